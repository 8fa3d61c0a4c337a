"""Which line a key stands on."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as some

from mailsyncd.config.locate import KeyPath, line_of, lines_of

TEXT = '''# comment = 1
[daemon]
log_level = "info"
note = """
log_format = "not a key"
[state]
"""
[ state ] # a comment
"path" = "x"

[[routes]]
gmail = "a"
[routes.refresh_token]
env = "A"
[[ routes ]]
gmail = "b"
refresh_token.env = "B"
'''


def test_keys_are_found_on_their_lines() -> None:
    tomllib.loads(TEXT)
    found = lines_of(TEXT)
    assert found[("daemon",)] == 2
    assert found[("daemon", "log_level")] == 3
    assert found[("state",)] == 8
    assert found[("state", "path")] == 9
    assert found[("routes", 0)] == 11
    assert found[("routes", 0, "gmail")] == 12
    assert found[("routes", 0, "refresh_token")] == 13
    assert found[("routes", 1)] == 15
    assert found[("routes", 1, "gmail")] == 16
    assert found[("routes", 1, "refresh_token")] == 17


def test_what_stands_in_a_string_of_several_lines_or_a_comment_is_no_key() -> None:
    found = lines_of(TEXT)
    assert ("daemon", "log_format") not in found
    assert ("comment",) not in found


def test_a_missing_key_is_shown_at_its_section() -> None:
    found = lines_of(TEXT)
    assert line_of(found, ("routes", 1, "folder")) == 15
    assert line_of(found, ("outlook", "email")) is None


def test_lines_end_where_toml_says() -> None:
    assert lines_of("# a\u2028b\x85c\r\nkey = 1\r\n")[("key",)] == 2


@pytest.mark.parametrize(
    "before",
    [
        '# an odd """ in a comment',
        "# an odd ''' in a comment",
        "a = \"an odd ''' in a string\"",
        'a = \'an odd """ in a string\'',
        'a = """an escaped \\""" inside"""',
        'a = """two more quotes"""""',
        "a = '''two more quotes'''''",
        'a = "" # an empty string, then """',
        'a = "\\\\" # a backslash at the end',
        'a = """\n[fake]\nkey = 0\n"""',
        'a = [\n"[fake]", # ]\n["key = 0"],\n]',
        "a = { b = 1, c = [{ key = 2 }] }",
        "a = 1979-05-27 07:32:00 # [fake]",
        '"#" = 1',
        '"\\"" = 1',
    ],
)
def test_nothing_before_a_key_hides_it(before: str) -> None:
    text = f"{before}\n[daemon]\nkey = 1\n"
    assert tomllib.loads(text)["daemon"] == {"key": 1}
    found = lines_of(text)
    assert found[("daemon", "key")] == text.count("\n")
    assert ("fake",) not in found
    assert ("key",) not in found


def test_inline_tables_and_arrays_are_looked_into() -> None:
    text = """state = { backend = "sqlite", path = "x" }
routes = [
  { gmail = "a", refresh_token = { env = "A" } }, # { gmail = "no" }
  { gmail = "b", "fol\\u0064er" = "c" },
]
"""
    tomllib.loads(text)
    found = lines_of(text)
    assert found[("state", "path")] == 1
    assert found[("routes",)] == 2
    assert found[("routes", 0)] == found[("routes", 0, "refresh_token", "env")] == 3
    assert found[("routes", 1)] == found[("routes", 1, "folder")] == 4
    assert ("routes", 2) not in found


def test_a_section_stands_where_its_head_is_though_a_longer_one_came_first() -> None:
    assert lines_of("[a.b]\nc = 1\n[a]\nd = 1\n")[("a",)] == 3


def test_what_is_not_understood_costs_lines_and_nothing_else() -> None:
    assert lines_of("a = 1\nb = = 2\n") == {("a",): 1, ("b",): 2}
    assert lines_of("a = " + "[" * 100_000)[("a",)] == 1


FILLERS = ["", "# \"\"\" ''' [x] y = 1", "   ", "\r"]
VALUES = [
    "1",
    "true # = [",
    '"a # b = ]"',
    '\'"""\'',
    '"""a\n[x]\ny = 1\n"""',
    "'''\n\"\"\" \\'''",
    "[1, [2, ']'],\n # ]\n]",
    "{ k = 1, l.m = '}' }",
    "1979-05-27 07:32:00Z",
]
ENTRIES = some.lists(
    some.tuples(some.sampled_from(FILLERS), some.sampled_from(["", '"', "'"]), some.sampled_from(VALUES)),
    max_size=4,
)


@given(some.lists(some.tuples(some.booleans(), ENTRIES), max_size=4))
def test_every_key_of_a_document_is_found_on_its_own_line(
    tables: list[tuple[bool, list[tuple[str, str, str]]]],
) -> None:
    text = ""
    wanted: dict[KeyPath, int] = {}
    for n, (is_array, entries) in enumerate(tables):
        before = sum(array for array, _ in tables[:n])
        table: KeyPath = ("many", before) if is_array else (f"one{n}",)
        wanted[table] = text.count("\n") + 1
        text += "[[ many ]]\n" if is_array else f"[ one{n} ] # ]\n"
        for m, (filler, quote, value) in enumerate(entries):
            text += f"{filler}\n"
            wanted[(*table, f"key-{m}")] = text.count("\n") + 1
            text += f"  {quote}key-{m}{quote} = {value}\n"
    found = lines_of(text)
    assert {path: found.get(path) for path in wanted} == wanted
    assert set(_paths(tomllib.loads(text))) == set(found)


def _paths(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (*path, key)
        yield from _paths(inner, (*path, key))
