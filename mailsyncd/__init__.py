"""mailsyncd copies new Gmail mail into Outlook.com: now, once, unchanged.

The path of a message, in reading order:

1. flow/watch.py    a route's connection idles; EXISTS arrives
2. flow/pull.py     lists what lies past the watermark, puts references on the queue
3. flow/queue.py    the one bounded queue
4. flow/read.py     fetches the bytes ahead of the writer, within a budget
5. flow/writer.py   claim, append, finish, advance: the four laws, in this order
6. flow/recover.py  looks, when an APPEND's fate is unknown, instead of guessing

The nouns are in model.py, the decisions in policy.py and matching.py, the seams in ports.py, what can go
wrong in errors.py; assemble.py puts real parts into the seams. Imports point down only:
cli > commands > assemble | daemon > reload > config | flow | imap | auth | state | observe | notify | sim >
ports > matching > policy > model | status > errors | steps.
"""

__version__ = "0.1.0"
