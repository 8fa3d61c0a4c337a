"""Mailbox names on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsyncd.errors import RouteBlocked
from mailsyncd.imap.names import Naming, check, decode, encode


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("INBOX", "INBOX"),
        ("Été", "&AMk-t&AOk-"),
        ("Q&A", "Q&-A"),
        ("台北/日本語", "&U,BTFw-/&ZeVnLIqe-"),
        ("📮", "&2D3c7g-"),
        ('with space and "quotes"', 'with space and "quotes"'),
    ],
)
def test_names_are_encoded_as_rfc_3501_has_it(name: str, wire: str) -> None:
    assert encode(name) == wire
    assert decode(wire) == name


@given(st.text(st.characters(exclude_categories=["Cs"], min_codepoint=32)))
def test_encoding_is_ascii_and_can_be_undone(name: str) -> None:
    wire = encode(name)
    assert wire.isascii()
    assert decode(wire) == name


@given(st.text())
def test_decoding_never_fails(name: str) -> None:
    assert isinstance(decode(name), str)


@pytest.mark.parametrize(
    ("name", "separator", "prefix", "wire"),
    [
        ("Gmail/ann", "/", "", "Gmail/ann"),
        ("Gmail/ann", ".", "INBOX.", "INBOX.Gmail.ann"),
        ("inbox/sub", ".", "INBOX.", "INBOX.sub"),
        ("Inbox", "/", "", "INBOX"),
        ("Gmail/ann", "", "", "Gmail/ann"),
    ],
)
def test_a_users_slashes_become_the_servers_separator(
    name: str, separator: str, prefix: str, wire: str
) -> None:
    assert Naming(prefix, separator).to_server(name) == wire


@pytest.mark.parametrize(
    "name", ["", "a\r\nb", "a\0", "tab\there", "\x7f", "a//b", "/a", "a /b", " a", "\ud800"]
)
def test_names_that_no_server_takes_are_refused(name: str) -> None:
    with pytest.raises(RouteBlocked, match="folder name"):
        check(name)
