"""Outlook.com as its IMAP server behaves, and the ways in which it rewrites what it stores (B26)."""

from __future__ import annotations

import re

from mailsyncd.sim.personality import Literals, Personality, Refusal, Words
from mailsyncd.sim.server import ImapServer

_CAPABILITIES = (
    "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS {}ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+"
)

_WORDS = Words(
    greeting="The Microsoft Exchange IMAP4 service is ready. [bQBhAGkAbABzAHkAbgBjAGQA]",
    signed_in=lambda user: "AUTHENTICATE completed.",
    refused="NO AUTHENTICATE failed.",
    done=lambda command: f"OK {command} completed.",
    idling="IDLE accepted, awaiting DONE command.",
    idle_done="IDLE completed.",
    bye="Microsoft Exchange Server IMAP4 server signing off.",
    logged_out="LOGOUT completed.",
    expired="Session invalidated - AccessTokenExpired",
    too_many="NO AUTHENTICATE failed.",
    hang_up="Connection closed. 14",
    no_mailbox=lambda name: f"{name} doesn't exist.",
    unknown="BAD Command Error. 12",
    bad_literal="BAD Command Argument Error. 11",
)

OUTLOOK = Personality(
    name="outlook",
    words=_WORDS,
    before_login=_CAPABILITIES.format(""),
    after_login=_CAPABILITIES.format("MOVE "),
    announces_after_login=False,
    refusal=Refusal.PLAIN,
    flags=("\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft", "$MDNSent"),
    inbox_name="Inbox",
    folders=(
        ("Archive", ()),
        ("Deleted", ("\\Trash",)),
        ("Drafts", ("\\Drafts",)),
        ("Junk", ("\\Junk",)),
        ("Sent", ("\\Sent",)),
    ),
    case_insensitive=True,
    reserved=frozenset({"Files"}),
    literals=Literals.PLUS,
    literals_after_refusal=False,
    uid_comes_last=True,
    size_is_estimate=True,
    empty_set_refused=True,
    max_connections=20,
    max_errors=10,
    max_message=36_700_160,
    max_body_line=10_239,
    max_command_line=10_240,
)


def regenerated_mime(raw: bytes) -> bytes:
    """The message as Exchange may give it back: a charset requoted, a header put on top."""
    requoted = re.sub(rb"(?i)(charset=)([a-z0-9-]+)", rb'\1"\2"', raw, count=1)
    return b"X-MS-Exchange-Organization-AuthSource: simulated\r\n" + requoted


class OutlookServer(ImapServer):
    """A simulated Outlook.com. Vary it by dataclasses.replace on OUTLOOK."""

    own = OUTLOOK
