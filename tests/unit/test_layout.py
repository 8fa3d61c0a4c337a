"""The shape of the code is a rule, not a wish."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mailsyncd"
OWNERS = {
    "aioimaplib": {"imap"},
    "aiobotocore": {"state", "vault"},
    "botocore": {"state", "vault"},
    "httpx": {"auth", "notify"},
    "cryptography": {"auth"},
    "pydantic": {"config"},
    "pydantic_settings": {"config"},
    "pydantic_core": {"state"},
    "rich": {"commands"},
    "aiohttp": {"observe", "state", "vault"},
    "prometheus_client": {"observe"},
}
# assemble.py closes the client that it had auth make: it names the type and nothing more.
ALLOWED = {("assemble.py", "httpx")}
# The path of a message, and all below it.
INNER = {
    "flow",
    "ports.py",
    "matching.py",
    "policy.py",
    "stored.py",
    "meter.py",
    "account.py",
    "service_key.py",
    "model.py",
    "status.py",
    "errors.py",
}
LONGEST_FILE = 400  # lines
LONGEST_FUNCTION = 50
# Longer than it should be, with the length that it may not exceed. Only to be shortened.
TOO_LONG_YET: dict[str, int] = {}


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    """The dotted names of all modules that a file imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_imports_only_point_down() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([str(linter), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_layers_are_told_as_they_are() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    page = " ".join((ROOT / "docs/architecture.md").read_text(encoding="utf-8").split())
    assert " > ".join(f"`{layer}`" for layer in layers) in page


def test_each_outside_library_is_touched_by_its_one_owner() -> None:
    strangers = []
    for path, tree in modules():
        part = path.relative_to(PACKAGE).parts[0]
        for name in imported(tree):
            library = name.partition(".")[0]
            if library in OWNERS and part not in OWNERS[library] and (part, library) not in ALLOWED:
                strangers.append(f"{path.relative_to(ROOT)} imports {name}")
    assert strangers == []


def test_the_path_of_a_message_knows_the_standard_library_and_structlog_alone() -> None:
    strangers = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path, tree in modules()
        if path.relative_to(PACKAGE).parts[0] in INNER
        for name in imported(tree)
        if name.partition(".")[0] not in {*sys.stdlib_module_names, "mailsyncd", "structlog"}
    ]
    assert strangers == []


def test_every_file_says_what_it_is_for() -> None:
    assert [str(path.relative_to(ROOT)) for path, tree in modules() if not ast.get_docstring(tree)] == []


def test_no_file_is_too_long_to_know() -> None:
    wrong = []
    for path, _ in modules():
        name, lines = path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8").count("\n")
        if lines > TOO_LONG_YET.get(name, LONGEST_FILE):
            wrong.append(f"{name} has {lines} lines")
    assert wrong == []


def test_no_function_is_too_long_to_see_whole() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= LONGEST_FUNCTION
    ]
    assert long == []


@pytest.mark.parametrize("name", ["run.txt", "dev.txt", "build.txt"])
def test_lock_files_name_no_host_and_hash_everything(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    assert not re.search(r"(https?|file)://", text)
    pins = len(re.findall(r"^[a-z0-9._-]+==", text, re.MULTILINE | re.IGNORECASE))
    assert pins > 0
    assert text.count("--hash=sha256:") >= pins
