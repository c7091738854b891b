"""Turns on the checking of every shape and type in our signatures while tests run."""

from jaxtyping import install_import_hook

# A hook acts on modules imported after it, and conftest is read before any test module. It is never
# uninstalled: scripts import libraries late, inside functions.
install_import_hook(["agents", "envs", "gen_ssl", "scripts", "seqmodels"], "beartype.beartype")
