"""Gmail as its IMAP server behaves: its words, its limits, and labels that are one message.

Of what it advertises, COMPRESS, CONDSTORE, ESEARCH, LIST-EXTENDED and UTF8=ACCEPT are names only.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from mailsyncd.sim.mailstore import NoSuchMailbox
from mailsyncd.sim.personality import Literals, Personality, Refusal, Words
from mailsyncd.sim.server import ImapServer

ALL_MAIL = "[Gmail]/All Mail"

_WORDS = Words(
    greeting="Gimap ready for requests from 127.0.0.1 mailsyncd",
    signed_in=lambda user: f"{user} authenticated (Success)",
    refused="NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)",
    done=lambda command: "OK Thats all she wrote! mailsyncd" if command == "CAPABILITY" else "OK Success",
    idling="idling",
    idle_done="IDLE terminated (Success)",
    bye="LOGOUT Requested",
    logged_out="73 good day (Success)",
    expired="Session expired, please login again.",
    too_many="NO [ALERT] Too many simultaneous connections. (Failure)",
    hang_up="Too many invalid IMAP commands.",
    no_mailbox=lambda name: f"[NONEXISTENT] Unknown Mailbox: {name} (now in authenticated state) (Failure)",
    identity='("name" "GImap" "vendor" "Google, Inc." "support-url" "http://support.google.com/mail")',
    unknown="BAD Unknown command",
    bad_literal="BAD Could not parse command",
)

GMAIL = Personality(
    name="gmail",
    words=_WORDS,
    before_login=(
        "IMAP4rev1 UNSELECT IDLE NAMESPACE QUOTA ID XLIST CHILDREN X-GM-EXT-1 XYZZY SASL-IR "
        "AUTH=XOAUTH2 AUTH=PLAIN AUTH=PLAIN-CLIENTTOKEN AUTH=OAUTHBEARER"
    ),
    after_login=(
        "IMAP4rev1 UNSELECT IDLE NAMESPACE QUOTA ID XLIST CHILDREN X-GM-EXT-1 UIDPLUS "
        "COMPRESS=DEFLATE ENABLE MOVE CONDSTORE ESEARCH UTF8=ACCEPT LIST-EXTENDED LIST-STATUS "
        "LITERAL- SPECIAL-USE APPENDLIMIT=35651584"
    ),
    announces_after_login=True,
    refusal=Refusal.CHALLENGE,
    flags=("\\Answered", "\\Flagged", "\\Draft", "\\Deleted", "\\Seen", "$Phishing", "$NotPhishing"),
    keywords=True,
    gmail_extensions=True,
    folders=(
        ("[Gmail]", ("\\Noselect",)),
        (ALL_MAIL, ("\\All",)),
        ("[Gmail]/Sent Mail", ("\\Sent",)),
        ("[Gmail]/Spam", ("\\Junk",)),
        ("[Gmail]/Trash", ("\\Trash",)),
    ),
    literals=Literals.MINUS,
    max_connections=15,
    max_message=35_651_584,
)


class GmailServer(ImapServer):
    """A simulated Gmail: what is in INBOX is in All Mail too, under one X-GM-MSGID."""

    own = GMAIL

    def deliver(
        self,
        user: str,
        raw: bytes,
        *,
        internaldate: datetime | None = None,
        mailbox: str = "INBOX",
        flags: Iterable[str] = (),
        category: str = "",
    ) -> int:
        """New mail arrives, with an X-GM-MSGID of its own. Returns its UID."""
        account = self.account(user)
        msgid = account.next_msgid()
        for name in dict.fromkeys((mailbox, ALL_MAIL)):
            stored = self.backend.store(
                account.mailbox(name), raw, internaldate, flags, gm_msgid=msgid, category=category
            )
            if name == mailbox:
                uid = stored.uid
        return uid

    def archive(self, user: str, uid: int) -> int:
        """A message leaves INBOX and stays in All Mail. Returns its X-GM-MSGID."""
        gone = self.mailbox(user).remove(uid)
        if gone is None:
            raise LookupError(f"INBOX has no UID {uid}")
        return gone.gm_msgid

    def return_to_inbox(self, user: str, gm_msgid: int) -> int:
        """Un-archived or un-snoozed: the same X-GM-MSGID under a new UID, with its old date (A42)."""
        for message in self.mailbox(user, ALL_MAIL):
            if message.gm_msgid == gm_msgid:
                return self.mailbox(user).add(message).uid
        raise NoSuchMailbox(f"no message {gm_msgid} in All Mail")
