"""Gmail, Outlook.com and their token endpoint, simulated on loopback: for `mailsyncd demo` and tests.

They speak real IMAP, byte for byte, and misbehave on order. Reading order: mailstore.py (what an
account holds), wire.py and channel.py (bytes), session.py (the loop of a connection), signin.py,
folders.py, append.py and messages.py (the commands), personality.py and faults.py (how servers
differ and fail), server.py (the whole), gmail.py, outlook.py and plain.py (the three there are),
tokens.py, consent.py and http.py (OAuth), corpus.py (mail to send). The same protocol tests run on
these and on Dovecot.
"""

from mailsyncd.sim.faults import Act, Fault, throttle
from mailsyncd.sim.gmail import GMAIL, GmailServer
from mailsyncd.sim.http import Reply
from mailsyncd.sim.mailstore import StoredMessage
from mailsyncd.sim.outlook import OUTLOOK, OutlookServer
from mailsyncd.sim.personality import Literals, Personality
from mailsyncd.sim.plain import PLAIN, PlainServer
from mailsyncd.sim.server import ImapServer, Line
from mailsyncd.sim.tokens import TokenEndpoint, invalid_grant

__all__ = [
    "GMAIL",
    "OUTLOOK",
    "PLAIN",
    "Act",
    "Fault",
    "GmailServer",
    "ImapServer",
    "Line",
    "Literals",
    "OutlookServer",
    "Personality",
    "PlainServer",
    "Reply",
    "StoredMessage",
    "TokenEndpoint",
    "invalid_grant",
    "throttle",
]
