"""AWS's stores of secrets: read.py takes what a configuration names, in few requests; client.py asks,
troubles.py says what went wrong.

Imported only where a reference to AWS is in use: the SDK takes some 20 MiB. No value reaches a log or
an error, and neither does what AWS says of a request, which may repeat one.
"""
