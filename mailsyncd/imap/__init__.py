"""IMAP: the only code that speaks it, and the only one that knows aioimaplib.

Read responses.py (bytes -> responses), commands.py (a command in flight), protocol.py (a
connection: what is in flight, and what becomes of it), dial.py (how one is made), session.py
(signed in, typed), then gmail.py and outlook.py, which implement the ports Source and Sink.
faults.py turns what servers say into errors.*, profiles.py knows their manners, names.py their
mailbox names; fetches.py and searches.py are the two kinds of answers that are long.

Of aioimaplib we keep what is sound: the table of commands and the states they are legal in,
quoting, and the form of ID's arguments. Its receive path, scheduler, timeouts, sign-in and
APPEND are not used: they lose notifications, hang, and can store one message under
another's answer.
"""
