"""The path of a message. Read: watch, pull, queue, read, writer, recover; then the rest.

watch.py keeps a route's connection, origin.py says where it goes on from, pull.py is the only way
in, queue.py holds references, read.py turns them into bodies, ready.py hands those to writer.py,
which obeys the four laws (claim, append, finish, advance), and recover.py looks where an APPEND's
fate is unknown. progress.py knows what is settled; lease.py who may write, and share.py who of
several daemons is to; gate.py whether state answers; vouch.py whether it remembers, and rebuild.py
what to do if not (it is a command's, not the daemon's); destination.py joins the parts of one
destination, delivery.py says what goes over its connection next, and routes.py starts and stops its
routes.

The invariant: nothing is appended without an acknowledged PENDING under a live lease, and
the watermark never passes a message that is not settled.
"""
