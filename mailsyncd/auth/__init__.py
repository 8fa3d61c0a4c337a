"""Access tokens, and the refresh tokens they are made of.

Staying signed in: grant.py asks the token endpoint, tokens.py decides when, keeper.py remembers.
Signing in: attempt.py is the way to the browser and back, loopback.py the page that it comes back to,
browser.py opens it, paste.py and device.py do without one; providers.py has what sets Google and
Microsoft apart, stores.py where the result goes, private.py files for their owner alone.

Invariant: a rotated refresh token is kept before the access token that came with it is used.
Access tokens live in memory only, and no secret reaches a log or an error.
"""
