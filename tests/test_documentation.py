"""What is written down is true: commands exist and take the flags shown, links resolve, public names are explained."""

import ast
import contextlib
import importlib
import inspect
import io
import pkgutil
import re
import runpy
import signal
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from scripts.run.probe_assembly import SUMMARY_TITLES

ROOT = Path(__file__).parents[1]
LIBRARIES = ("agents", "envs", "gen_ssl", "seqmodels")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
COMMANDS = sorted(path.stem for path in (ROOT / "scripts").glob("*.py") if path.stem != "__init__")

FLAG = re.compile(r"(?<![\w-])--[a-z][\w.-]*")
COMMAND = re.compile(r"python -m scripts\.(\w+)((?:[^`\n\\]|\\\n)*)")
MAKE = re.compile(r"(?:^|`)\s*make ([a-z-]+)((?: [A-Z]+=(?:\"[^\"]*\"|\S+))*)", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# A row of a box that begins with an option: flags that the description above mentions are no options.
OPTION_ROW = re.compile(r"(?:│ |^  )(?:-h, )?(--[a-z][\w.-]*(?:, --[a-z][\w.-]*)*)", re.MULTILINE)


def written_commands() -> list[tuple[str, str, str]]:
    """Returns (place, command, arguments) of every `python -m scripts.X ...` in the pages, the Makefile and scripts."""
    places = [*PAGES, ROOT / "Makefile", *sorted((ROOT / "scripts").glob("*.py"))]
    return [
        (place.relative_to(ROOT).as_posix(), *match.groups())
        for place in places
        for match in COMMAND.finditer(place.read_text(encoding="utf-8"))
        if match.group(1) not in ("NAME", "X")
    ]


@cache
def help_of(command: str) -> str:
    """Returns what a command prints for `--help`, run in this process: a new one for each would import for minutes."""
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    on_broken_pipe = signal.getsignal(signal.SIGPIPE)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(sys, "argv", [command, "--help"])
        patch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / "scripts" / f"{command}.py"), run_name="__main__")
    signal.signal(signal.SIGPIPE, on_broken_pipe)  # --help leaves it to the shell
    assert not end.value.code
    printed.seek(0)
    return printed.read()


def flags_of(command: str) -> set[str]:
    """Returns the flags that a command takes."""
    return {flag for row in OPTION_ROW.findall(help_of(command)) for flag in FLAG.findall(row)}


def slug(heading: str) -> str:
    """Returns the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def modules_of(package: str) -> list[ModuleType]:
    """Imports and returns a package and all its modules."""
    root = importlib.import_module(package)
    found = pkgutil.walk_packages(root.__path__, f"{package}.")
    return [root, *(importlib.import_module(module.name) for module in found)]


def own_docstring(item: object) -> str:
    """Returns what was written about an item, or about the method it overrides; "" for what Python generated."""
    text = inspect.getdoc(item) or ""
    generated = inspect.isclass(item) and text.startswith((f"{item.__name__}(", "dict() ->"))
    return "" if generated else text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_is_its_documentation(command):
    docstring = inspect.getdoc(importlib.import_module(f"scripts.{command}")) or ""
    assert f"python -m scripts.{command}" in docstring, "the docstring shows no command"
    plain_help = " ".join(re.sub("[│╭╮╰╯─]", " ", help_of(command)).split())
    first_sentence = " ".join(docstring.split("\n\n")[0].split())
    assert first_sentence in plain_help


def test_a_command_also_runs_as_a_file(tmp_path):
    command = [sys.executable, str(ROOT / "scripts" / "train_dqn.py"), "--help"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize(("place", "command", "arguments"), written_commands())
def test_a_written_command_exists_and_takes_the_flags_shown(place, command, arguments):
    assert command in COMMANDS, f"{place} names scripts.{command}"
    assert set(FLAG.findall(arguments)) <= flags_of(command), place


def test_a_flag_that_only_the_description_mentions_is_none_of_the_command():
    assert "--frames" in flags_of("probe_encoder")
    assert "--from-dqn-replay" in flags_of("collect_frames")
    assert "--memory-gigabytes" in help_of("benchmark_pretraining")
    assert "--memory-gigabytes" not in flags_of("benchmark_pretraining")


def test_make_targets_that_are_written_down_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in [*PAGES, ROOT / "Makefile"]:
        for target, variables in MAKE.findall(page.read_text(encoding="utf-8")):
            assert target in targets, f"{page.name}: make {target}"
            if target == "train":
                assert set(FLAG.findall(variables)) <= flags_of("train_dqn"), page.name


def test_console_commands_lead_to_functions():
    with (ROOT / "pyproject.toml").open("rb") as file:
        console_commands = tomllib.load(file)["project"]["scripts"]
    for name, target in console_commands.items():
        module, function = target.split(":")
        assert module == f"scripts.{name.replace('-', '_')}"
        assert callable(getattr(importlib.import_module(module), function))


def test_the_python_in_the_readme_runs():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_of_a_page_resolve(page):
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue  # of other sites, which may be out of reach here
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, link


def test_every_page_can_be_reached_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.suffix == ".md" and page.exists():
            reached.add(page)
            links = LINK.findall(page.read_text(encoding="utf-8"))
            local = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:", link)]
            waiting += [(page.parent / link).resolve() for link in local if link]
    assert set(PAGES) - reached == set()


@pytest.mark.parametrize("package", [*LIBRARIES, "scripts"])
def test_every_public_name_is_explained(package):
    unexplained = []
    for module in modules_of(package):
        if not module.__doc__:
            unexplained.append(module.__name__)
        for name, item in vars(module).items():
            of_ours = getattr(item, "__module__", None) == module.__name__
            if name.startswith("_") or not of_ours or not (inspect.isclass(item) or inspect.isfunction(item)):
                continue
            if not own_docstring(item):
                unexplained.append(f"{module.__name__}.{name}")
            if inspect.isclass(item):
                unexplained += [f"{module.__name__}.{name}.{method}" for method in unexplained_methods(item)]
    assert not unexplained


def unexplained_methods(item: type) -> list[str]:
    """Returns the public methods and properties of a class that neither it nor the class it extends explains."""
    methods = {
        name: getattr(item, name)
        for name, value in vars(item).items()
        if not name.startswith("_") and isinstance(value, property | classmethod | staticmethod | type(slug))
    }
    return [name for name, method in methods.items() if not own_docstring(method)]


def test_every_tensorboard_tag_is_explained():
    tag = re.compile(
        r"(collapse|cost|episode|evaluation|exploration|final|learning|length|pictures|pretraining|replay|size|time|tokens|"
        r"validation)/[a-z0-9_]+"
    )
    explained = "".join(page.read_text(encoding="utf-8") for page in ROOT.glob("docs/*.md"))
    tags = {
        node.value
        for folder in ("agents", "gen_ssl", "scripts", "seqmodels")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and tag.fullmatch(node.value)
    }
    assert {tag for tag in tags if f"`{tag}`" not in explained} == set()


def test_every_score_of_a_probe_is_explained_as_a_tag():
    page = (ROOT / "docs" / "pretraining.md").read_text(encoding="utf-8")
    assert [name for name in SUMMARY_TITLES if f"`final/{name}`" not in page] == []


def test_the_map_in_the_readme_names_every_top_level_folder():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    folders = {path.split("/")[0] for path in tracked if "/" in path and not path.startswith(".")}
    assert {folder for folder in folders if f"{folder}/" not in readme} == set()
