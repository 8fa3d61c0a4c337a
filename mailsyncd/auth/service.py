"""Access tokens without a person: Google's domain-wide delegation (the JWT bearer grant of RFC 7523 with
a `sub`), and Microsoft's client credentials (RFC 6749 section 4.4), by a secret or by a certificate.

A JWT that is only made, never read, is three parts in base64 and a signature. The signature is
cryptography's: PyJWT and joserfc would bring no more than those three parts beside the same library,
and google-auth and msal bring HTTP clients of their own that block.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

import httpx

from mailsyncd import service_key
from mailsyncd.account import Account, Secret
from mailsyncd.auth.grant import Grant, Reply, ask, json_object, judge
from mailsyncd.errors import RouteBlocked, Transient
from mailsyncd.service_key import Certificate, GoogleKey

ASSERTION_LIFE = 3600  # seconds; the most that Google takes
CERTIFICATE_LIFE = 600
SKEW = 240.0  # seconds that a clock may be wrong before it is named as the reason
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


async def exchange(client: httpx.AsyncClient, account: Account, now: float) -> Grant:
    """An access token for the account's user. Raises RouteBlocked, Throttled, Transient."""
    key = _key(account)
    form = _by_delegation(account, key, now) if isinstance(key, GoogleKey) else _by_client(account, key, now)
    reply = await ask(client, account.user, account.token_url, form)
    if why := _clock_is_wrong(reply, now):
        raise Transient(f"{account.user}: {why}")
    hide = [Secret(form[name]) for name in ("assertion", "client_assertion") if name in form]
    grant = judge(account, reply, now, advice=advice(account, key), hide=hide)
    if lacking := _lacking(account.scope or "", grant.scope):
        raise RouteBlocked(
            f"{account.user}: the token has the wrong scope ({lacking} is missing): check scope"
        )
    return grant


def _key(account: Account) -> GoogleKey | Certificate | None:
    if account.service_key is None:
        return None
    try:
        return service_key.read(account.service_key)
    except ValueError as error:
        raise RouteBlocked(f"{account.user}: service_key {error}") from None


# ----------------------------------------------------------------------- what is asked


def _by_delegation(account: Account, key: GoogleKey, now: float) -> dict[str, str]:
    claims = {
        "iss": key.email,
        "sub": account.user,
        "scope": account.scope or "",
        "aud": account.token_url,
        "iat": int(now),
        "exp": int(now) + ASSERTION_LIFE,
    }
    signed = _signed(account, {"alg": "RS256", "kid": key.number}, claims, key.private)
    return {"grant_type": _JWT_BEARER, "assertion": signed}


def _by_client(account: Account, key: Certificate | None, now: float) -> dict[str, str]:
    form = {"grant_type": "client_credentials", "client_id": account.client_id}
    form["scope"] = account.scope or ""
    if key is None:
        form["client_secret"] = account.client_secret.reveal() if account.client_secret else ""
        return form
    claims = {
        "iss": account.client_id,
        "sub": account.client_id,
        "aud": account.token_url,
        "jti": secrets.token_urlsafe(16),
        "nbf": int(now),
        "exp": int(now) + CERTIFICATE_LIFE,
    }
    header = {"alg": "PS256", "x5t#S256": _base64url(key.digest)}
    signed = _signed(account, header, claims, key.private)
    return form | {"client_assertion_type": _ASSERTION, "client_assertion": signed}


def _signed(
    account: Account, header: Mapping[str, str], claims: Mapping[str, object], private: Secret
) -> str:
    """A JWT in compact form (RFC 7515 section 3.1). Raises RouteBlocked if the key is no RSA key."""
    # Here, because it takes 8 MiB that refresh tokens have no use for.
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    parts = (json.dumps(one, separators=(",", ":")).encode() for one in ({**header, "typ": "JWT"}, claims))
    text = ".".join(map(_base64url, parts))
    try:
        key = load_pem_private_key(private.reveal().encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise RouteBlocked(
            f"{account.user}: the private key of service_key is broken: take the whole file, or a new key"
        ) from None
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < 2048:
        raise RouteBlocked(
            f"{account.user}: the private key of service_key is not RSA with 2048 bits or more, "
            "and the provider takes no other: make a new key"
        )
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)  # RFC 7518 section 3.5
    way = pss if header["alg"] == "PS256" else padding.PKCS1v15()
    return f"{text}.{_base64url(key.sign(text.encode(), way, hashes.SHA256()))}"


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


# -------------------------------------------------------------------- what is answered


def advice(account: Account, key: GoogleKey | Certificate | None) -> Mapping[str, str]:
    """What to do about each error that only a person can mend."""
    return _delegation_advice(account, key) if isinstance(key, GoogleKey) else _client_advice(key)


def _delegation_advice(account: Account, key: GoogleKey) -> Mapping[str, str]:
    delegate = (
        "delegation is not granted: an administrator has to enter client ID "
        f"{key.client} with the scope {account.scope} in the Admin console, under API controls, "
        "Domain-wide delegation; it can take a day"
    )
    return {
        "unauthorized_client": delegate,
        "access_denied": delegate,
        "invalid_grant": (
            f"check that {account.user} is a mailbox of the domain, that this machine's clock is right, "
            "and that the key was not deleted"
        ),
        "invalid_client": "the service account or its key is gone: make a new key",
        "disabled_client": "the service account is switched off: switch it on",
        "deleted_client": "the service account is gone: make another, and delegate to it",
        "invalid_scope": "check scope",
        "invalid_request": "check token_url and scope",
        "unsupported_grant_type": "check token_url",
        "admin_policy_enforced": "a rule of the domain forbids it: ask the administrator",
    }


def _client_advice(key: Certificate | None) -> Mapping[str, str]:
    what = "client_secret is the secret's value, not its id" if key is None else "the certificate is uploaded"
    return {
        "invalid_client": f"check client_id, that {what}, and that it has not expired",
        "unauthorized_client": "check client_id and tenant: that directory has no such application",
        "invalid_request": "check tenant, client_id and token_url",
        "invalid_resource": "check scope: that directory has no such service",
        "invalid_scope": "check scope: it ends in /.default",
        "access_denied": "a rule of the directory forbids it: ask the administrator",
        "invalid_grant": "a rule of the directory forbids it: ask the administrator",
        "unsupported_grant_type": "check token_url",
    }


def _clock_is_wrong(reply: Reply, now: float) -> str | None:
    """An assertion holds the time: a refusal that a wrong clock explains is not the key's fault."""
    error = (json_object(reply.body) or {}).get("error") if reply.status != 200 else None
    if error not in ("invalid_grant", "invalid_client"):
        return None
    try:
        date = parsedate_to_datetime(reply.headers.get("date", ""))
    except ValueError:
        return None
    ahead = now - (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    if abs(ahead) < SKEW:
        return None
    minutes, which = round(abs(ahead) / 60), "ahead" if ahead > 0 else "behind"
    return (
        f"the token endpoint refused ({error}), and this machine's clock is {minutes} minutes {which}: set it"
    )


def _lacking(asked: str, granted: str | None) -> str | None:
    """What was asked for and is not in the answer; answers without a scope show nothing."""
    has = (granted or "").lower().split()
    for one in asked.lower().split() if has else ():
        resource, is_whole, _ = one.partition("/.default")
        if not (any(scope.startswith(resource + "/") for scope in has) if is_whole else one in has):
            return one
    return None
