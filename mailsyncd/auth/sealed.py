"""A refresh token at rest, sealed with the one it descends from: who does not have the configuration
can't read it, and a newly configured token opens nothing of the old line."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os

from mailsyncd.account import Secret

_SALT, _NONCE, _KEY = 16, 12, 32  # bytes
_PURPOSE = b"mailsyncd: a refresh token of "


def line_of(user: str, base: Secret) -> str:
    """What tells the descendants of one token from those of others, and tells nothing else."""
    told = b"mailsyncd: the line of " + _name(user)
    return hmac.new(base.reveal().encode(), told, hashlib.sha256).hexdigest()[:24]


def seal(user: str, base: Secret, token: Secret) -> str:
    """AES-256-GCM, under a key that HKDF (RFC 5869) makes of `base` and a new salt each time."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    salt, nonce = os.urandom(_SALT), os.urandom(_NONCE)
    hidden = AESGCM(_key(user, base, salt)).encrypt(nonce, token.reveal().encode(), _name(user))
    return base64.b64encode(salt + nonce + hidden).decode()


def unseal(user: str, base: Secret, sealed: str) -> Secret | None:
    """None if it was sealed with another token, for another user, or is damaged."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        octets = base64.b64decode(sealed, validate=True)
        salt, nonce, hidden = octets[:_SALT], octets[_SALT : _SALT + _NONCE], octets[_SALT + _NONCE :]
        found = AESGCM(_key(user, base, salt)).decrypt(nonce, hidden, _name(user))
        return Secret(found.decode())
    except (InvalidTag, ValueError, binascii.Error):
        return None


def _key(user: str, base: Secret, salt: bytes) -> bytes:
    # Here, because the library takes time and memory that most accounts have no use for.
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    made = HKDF(SHA256(), _KEY, salt, _PURPOSE + _name(user)).derive(base.reveal().encode())
    return bytes(made)


def _name(user: str) -> bytes:
    return user.casefold().encode()
