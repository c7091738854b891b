"""Turns on the checking of every shape and type in our signatures while tests run."""

from collections.abc import Iterator

import jaxtyping
import pytest
import torch

# A hook acts on modules imported after it, and conftest is read before any test module. It is never
# uninstalled: scripts import libraries late, inside functions.
jaxtyping.install_import_hook(["agents", "envs", "gen_ssl", "scripts", "seqmodels"], "beartype.beartype")

# Tests compute tiny things, on which threads lose more by waiting for each other than they win.
torch.set_num_threads(1)


@pytest.fixture
def unchecked_signatures() -> Iterator[None]:
    """Turns the checking off for one test: as users run it, and as `torch.compile` can trace it."""
    # All our signatures are checked in one function, of which torch.compile keeps eight traces and refuses a ninth.
    torch.compiler.reset()
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
