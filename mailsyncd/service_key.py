"""The key of a service account as its provider gives it: Google's JSON file, or for Microsoft a PEM file
with a private key and its certificate. Read here, used in auth/."""

from __future__ import annotations

import hashlib
import json
import re
import ssl
from dataclasses import dataclass

from mailsyncd.account import Secret

_WHAT = {
    "authorized_user": "what gcloud keeps of a user's own sign-in",
    "external_account": "workload identity federation, which has no key",
    "impersonated_service_account": "an impersonation, which has no key",
}
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_PRIVATE = re.compile(
    r"-----BEGIN ((?:\w+ )?PRIVATE KEY)-----[A-Za-z0-9+/=\s]+-----END \1-----"  # PKCS #8, or of one kind
)
_MAKE_ANOTHER = "make a key of type JSON for the service account, and take its file whole"


@dataclass(frozen=True, slots=True)
class GoogleKey:
    """`email` is the service account's own, `client` the number that an administrator delegates to."""

    email: str
    client: str
    number: str
    private: Secret


@dataclass(frozen=True, slots=True)
class Certificate:
    """`digest` is what Microsoft knows it by: SHA-256 of the certificate."""

    private: Secret
    digest: bytes


def read(whole: Secret) -> GoogleKey | Certificate:
    """Raises ValueError with a sentence that holds nothing of the key."""
    text = whole.reveal().strip()
    return _google(text) if text.startswith("{") else _certificate(text)


def _google(text: str) -> GoogleKey:
    found: object = None
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"is broken JSON ({place}); was it copied whole?") from None
    except (ValueError, RecursionError):  # Python's limits on digits and on depth
        pass
    if not isinstance(found, dict):
        raise ValueError("is broken JSON; was it copied whole?")
    if "installed" in found or "web" in found:
        raise ValueError(f"is the file of an OAuth client, not a service account's key; {_MAKE_ANOTHER}")
    kind = found.get("type")
    if kind != "service_account":
        what = _WHAT.get(kind, "") if isinstance(kind, str) else ""
        shown = f" ({what})" if what else ""
        raise ValueError(f'is not a service account\'s key: its "type" is another{shown}; {_MAKE_ANOTHER}')
    fields = [found.get(name) for name in ("client_email", "client_id", "private_key_id", "private_key")]
    if not all(isinstance(one, str) and one for one in fields):
        raise ValueError(f"lacks client_email, client_id, private_key_id or private_key; {_MAKE_ANOTHER}")
    email, client, number, private = map(str, fields)
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", email) or not re.fullmatch(r"\w+", client):
        raise ValueError(f"has a client_email or client_id that is none; {_MAKE_ANOTHER}")
    return GoogleKey(email, client, number, _private(private))


def _certificate(text: str) -> Certificate:
    private = _private(text)
    found = _CERTIFICATE.search(text)
    if found is None:
        raise ValueError("has a private key and no certificate (-----BEGIN CERTIFICATE-----); append it")
    try:
        octets = ssl.PEM_cert_to_DER_cert(found[0])
    except ValueError:
        raise ValueError("has a broken certificate; was it copied whole?") from None
    return Certificate(private, hashlib.sha256(octets).digest())


def _private(text: str) -> Secret:
    found = _PRIVATE.search(text)
    if "ENCRYPTED" in text:
        raise ValueError("is locked with a passphrase; write it without, by: openssl pkey -in FILE")
    if found is None:
        raise ValueError(
            "has no private key; take Google's JSON file, or for Microsoft a PEM file with "
            "-----BEGIN PRIVATE KEY----- and a certificate"
        )
    return Secret(found[0])
