"""config.example.toml and docs/configuration.md know every setting, with its true default."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from mailsyncd.config import parameters, schema, sources
from mailsyncd.config.load import Loaded, load
from mailsyncd.errors import ConfigError

Load = Callable[..., Loaded]
ROOT = Path(__file__).parents[3]
EXAMPLE = (ROOT / "config.example.toml").read_text(encoding="utf-8")
PAGE = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
HEADINGS = {
    "daemon": "[daemon]",
    "state": "[state]",
    "http": "[http]",
    "notify": "[notify]",
    "outlook": "[outlook] and [[destinations]]",
    "routes": "[[routes]]",
}
FIELDS = [(name, key) for name in HEADINGS for key in schema.SECTIONS[name].model_fields]


def understood(field: FieldInfo, value: object) -> object:
    """As the schema reads it: "5m" is 300.0."""
    return TypeAdapter(field.rebuild_annotation()).validate_python(value)


def of_example(section: str) -> dict[str, tuple[Any, str]]:
    """Key -> value and comment, commented out or not."""
    head = "[[routes]]" if section == "routes" else f"[{section}]"
    _, _, below = EXAMPLE.partition(f"\n{head}")
    found = {}
    for line in re.split(r"\n\[", below)[0].splitlines():
        if re.match(r"#?[a-z_]+ = ", line):
            ((key, value),) = tomllib.loads(line.removeprefix("#")).items()
            found[key] = (value, line.rpartition("# ")[2])
    return found


def of_page(section: str) -> dict[str, str]:
    """Key -> what stands in the column for the default."""
    below = PAGE.partition(f"### {HEADINGS[section]}\n")[2]
    return dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", re.split(r"\n##", below)[0], re.MULTILINE))


@pytest.mark.parametrize(("section", "key"), FIELDS)
def test_the_example_shows_the_setting_with_its_default(section: str, key: str) -> None:
    field = schema.SECTIONS[section].model_fields[key]
    value, comment = of_example(section)[key]
    assert len(comment) > 5
    shown = understood(field, value)
    if field.default is None:
        assert re.search(r"default|needed", comment), "without a default of its own it must say what holds"
    elif not field.is_required():
        assert shown == field.default


@pytest.mark.parametrize(("section", "key"), FIELDS)
def test_the_page_tells_the_setting_with_its_default(section: str, key: str) -> None:
    field = schema.SECTIONS[section].model_fields[key]
    told = of_page(section)[key]
    if field.is_required():
        assert told == "required"
    elif field.default is None:
        assert told == "none"
    else:
        assert understood(field, tomllib.loads(f"x = {told.strip('`')}")["x"]) == field.default


def test_neither_knows_a_setting_that_is_not_there() -> None:
    for section in HEADINGS:
        known = set(schema.SECTIONS[section].model_fields)
        assert set(of_example(section)) == known
        assert set(of_page(section)) == known


def test_the_page_tells_every_variable() -> None:
    told = dict(re.findall(r"^\| `([A-Z_]+)` \| `?([\w.]+)", PAGE, re.MULTILINE))
    assert told.pop(sources.ROUTES) == "all"
    assert {told.pop(name) for name in parameters.LISTS} == {"more", "likewise"}
    assert told == {name: f"{section}.{key}" for name, (section, key) in sources.LEGACY.items()}
    for name in sources.ROUTE_KEYS:
        assert f"`{name.upper()}`" in PAGE


def test_the_example_loads() -> None:
    environ = {"MS_REFRESH_TOKEN": "a", "GMAIL_CLIENT_SECRET": "b", "GMAIL_REFRESH_TOKEN": "c", "HOME": "/h"}
    loaded = load(ROOT / "config.example.toml", environ)
    assert len(loaded.configuration.routes) == 1


EXAMPLES = re.findall(
    r"```toml\n(.*?)```", PAGE.partition("\n## Examples")[2].partition("\n## When")[0], re.DOTALL
)


def test_the_page_has_an_example_for_each_way_of_using_it() -> None:
    assert len(EXAMPLES) == 4


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_examples_of_the_page_load(load_text: Load, tmp_path: Path, certificate: str, text: str) -> None:
    for kind, name in re.findall(r'(file|credential|ca_file) = "([^"]+)"', text):
        (tmp_path / name).write_text(certificate if kind == "ca_file" else "secret\n")
        (tmp_path / name).chmod(0o600)
    environ = dict.fromkeys(re.findall(r'env = "(\w+)"', text), "secret")
    assert load_text(text, {**environ, "CREDENTIALS_DIRECTORY": str(tmp_path)}).configuration.routes


def test_the_page_shows_mistakes_as_they_are_told(load_text: Load) -> None:
    text, answer = re.findall(r"```(?:toml)?\n(.*?)```", PAGE.partition("\n## When")[2], re.DOTALL)
    with pytest.raises(ConfigError) as caught:
        load_text(text)
    assert [f"mailsyncd: {one}" for one in caught.value.problems] == answer.splitlines()
