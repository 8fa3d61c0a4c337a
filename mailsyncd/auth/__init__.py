"""Access tokens: grant.py asks the token endpoint, tokens.py decides when, keeper.py remembers.

Invariant: a rotated refresh token is kept before the access token that came with it is used.
Access tokens live in memory only, and no secret reaches a log or an error.
"""
