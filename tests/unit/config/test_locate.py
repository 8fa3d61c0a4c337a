"""Which line a key stands on."""

from __future__ import annotations

import tomllib

from mailsyncd.config.locate import line_of, lines_of

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
