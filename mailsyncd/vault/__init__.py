"""AWS's stores of secrets: read.py takes what a configuration names, in few requests; documents.py
writes one key of a JSON object; migrate.py copies from the one store to the other. client.py asks,
troubles.py says what went wrong, parameters.py knows the versions of SSM.

Imported only where a reference to AWS is in use: the SDK takes some 20 MiB. No value reaches a log or
an error, and neither does what AWS says of a request, which may repeat one.
"""
