"""A server with no character: plain RFC 3501 with passwords, UIDPLUS, MOVE and LITERAL+."""

from __future__ import annotations

from mailsyncd.sim.personality import Personality, Refusal, Words
from mailsyncd.sim.server import ImapServer

_CAPABILITIES = "IMAP4rev1 SASL-IR LITERAL+ ID NAMESPACE UNSELECT CHILDREN IDLE UIDPLUS MOVE ENABLE"

PLAIN = Personality(
    name="plain",
    words=Words(
        greeting="IMAP4rev1 ready.",
        signed_in=lambda user: "AUTHENTICATE completed.",
        refused="NO [AUTHENTICATIONFAILED] Authentication failed.",
        done=lambda command: f"OK {command} completed.",
        idling="idling",
        idle_done="Idle completed.",
        bye="Logging out",
        logged_out="LOGOUT completed.",
        expired="Autologout; idle for too long",
        too_many="NO [LIMIT] Too many connections.",
        hang_up="Too many errors.",
        no_mailbox=lambda name: f"[NONEXISTENT] Mailbox doesn't exist: {name}",
    ),
    before_login=_CAPABILITIES + " AUTH=PLAIN AUTH=XOAUTH2 AUTH=OAUTHBEARER",
    after_login=_CAPABILITIES,
    announces_after_login=True,
    refusal=Refusal.CHALLENGE,
    keywords=True,
)


class PlainServer(ImapServer):
    """A simulated server of no particular make."""

    own = PLAIN
