"""The rules of the architecture that a machine can hold: who imports whom, and what no library does."""

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARIES = ("agents", "envs", "gen_ssl", "seqmodels")

# The dependency policy: what each library may import besides Python's own library.
ALLOWED_IMPORTS = {
    "agents": {"gymnasium", "jaxtyping", "lz4", "numpy", "scipy", "torch"},
    "envs": {"ale_py", "gymnasium", "jaxtyping", "numpy"},
    "gen_ssl": {"huggingface_hub", "jaxtyping", "lightning_fabric", "lz4", "numpy", "safetensors", "torch"},
    "seqmodels": {"jaxtyping", "numpy", "torch"},
}
# And what single modules may import in addition.
ALLOWED_IN_MODULE = {
    "agents/stable_baselines3_bridge.py": {"stable_baselines3"},
    "gen_ssl/views/photographic.py": {"kornia"},
    "seqmodels/scans/triton_kernels.py": {"triton"},
    "seqmodels/tasks/pathfinder.py": {"tqdm"},
    "seqmodels/tasks/published_files.py": {"datasets"},
    "seqmodels/tasks/sequential_digits.py": {"sklearn"},
    "seqmodels/training.py": {"lightning_fabric"},
}

MEANINGLESS_NAMES = {"base", "common", "core", "helper", "helpers", "misc", "util", "utils"}

# Calls that read or set a generator, device or precision of the whole process.
GLOBAL_STATE_CALLS = {
    "torch.initial_seed",
    "torch.manual_seed",
    "torch.seed",
    "torch.set_default_device",
    "torch.set_default_dtype",
    "torch.set_num_threads",
    "torch.use_deterministic_algorithms",
}
NUMPY_RANDOM_ALLOWED = {"BitGenerator", "Generator", "PCG64", "SeedSequence", "default_rng"}


def modules_of(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yields (level, module) of every import in a file: level 0 is absolute, 1 and more relative."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or ""


def absolute_imports_of(path: Path) -> set[str]:
    return {module.split(".")[0] for level, module in imports_of(path) if level == 0}


def dotted_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_imports_only_what_the_policy_allows(library):
    # None of ours is in the table: so no library imports another one or a script, nor itself by an absolute name.
    for path in modules_of(library):
        name = path.relative_to(ROOT).as_posix()
        allowed = ALLOWED_IMPORTS[library] | ALLOWED_IN_MODULE.get(name, set()) | sys.stdlib_module_names
        assert not absolute_imports_of(path) - allowed, name


@pytest.mark.parametrize("library", LIBRARIES)
def test_everything_that_the_policy_allows_is_used(library):
    used = set().union(*(absolute_imports_of(path) for path in modules_of(library)))
    assert not ALLOWED_IMPORTS[library] - used


def test_no_library_reads_a_command_line():
    for library in LIBRARIES:
        for path in modules_of(library):
            assert not absolute_imports_of(path) & {"argparse", "getopt", "optparse"}, path


@pytest.mark.parametrize("library", LIBRARIES)
def test_relative_imports_stay_within_their_library(library):
    for path in modules_of(library):
        depth = len(path.relative_to(ROOT).parts) - 1
        assert all(level <= depth for level, _ in imports_of(path)), path


@pytest.mark.parametrize("package", [*LIBRARIES, "scripts"])
def test_the_imported_package_is_ours(package):
    # Other distributions install a top-level `agents` or `envs` too.
    assert Path(importlib.import_module(package).__file__).parent == ROOT / package


def test_no_module_is_named_after_nothing():
    for package in (*LIBRARIES, "scripts", "tests"):
        for path in modules_of(package):
            parts = {part.removesuffix(".py") for part in path.relative_to(ROOT).parts}
            assert not parts & MEANINGLESS_NAMES, path


@pytest.mark.parametrize("library", LIBRARIES)
def test_no_library_touches_randomness_or_settings_of_the_whole_process(library):
    for path in modules_of(library):
        assert "random" not in absolute_imports_of(path), path
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = dotted_name(node.func)
                assert name not in GLOBAL_STATE_CALLS, f"{path}:{node.lineno}"
                # Without a seed, default_rng asks the operating system.
                assert name != "np.random.default_rng" or node.args, f"{path}:{node.lineno}"
            if isinstance(node, ast.Attribute) and dotted_name(node.value) in ("np.random", "numpy.random"):
                assert node.attr in NUMPY_RANDOM_ALLOWED, f"{path}:{node.lineno}"


def test_no_class_of_ours_is_subclassed_by_another_of_ours():
    bases_of = {}
    for package in (*LIBRARIES, "scripts"):
        for path in modules_of(package):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    subscripted = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
                    bases_of[node.name] = {dotted_name(base).split(".")[-1] for base in subscripted}
    protocols = {name for name, bases in bases_of.items() if "Protocol" in bases}
    for name, bases in bases_of.items():
        assert not bases & (bases_of.keys() - protocols), name


def test_scripts_import_no_private_module_of_a_library():
    for path in modules_of("scripts"):
        for _, module in imports_of(path):
            library, *inner = module.split(".")
            assert library not in LIBRARIES or not any(part.startswith("_") for part in inner), f"{path}: {module}"
