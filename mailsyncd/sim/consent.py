"""The authorization and device endpoints beside the token endpoint, with a user who clicks at once.

They check what a provider checks: PKCE by S256 (RFC 7636), the redirect to be loopback and the same
again when the code is redeemed, a code to be used once and by its own client.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode, urlsplit

from mailsyncd.ports import Clock
from mailsyncd.sim.http import Reply

CODE_SECONDS = 60.0
DEVICE_SECONDS = 900
NOBODY = "somebody@example.org"


@dataclass(frozen=True, slots=True)
class _Code:
    provider: str
    user: str
    client: str
    redirect: str
    challenge: str
    ends: float


@dataclass(frozen=True, slots=True)
class _Device:
    provider: str
    client: str
    code: str
    ends: float
    user: str | None = None
    denied: bool = False


class Consents:
    """Sign-ins under way. `user` is who signs in (None: whom the client hints at), `denies` makes
    them refuse."""

    def __init__(self, clock: Clock, random: Callable[[str], str]) -> None:
        self.user: str | None = None
        self.denies = False
        self.interval = 5.0  # seconds between two polls of a device
        self._clock = clock
        self._random = random
        self._codes: dict[str, _Code] = {}
        self._devices: dict[str, _Device] = {}

    # -------------------------------------------------------------- by the browser

    def authorize(self, provider: str, asked: Mapping[str, str]) -> Reply:
        """The user is sent here, and back to the redirect."""
        redirect, state = asked.get("redirect_uri", ""), asked.get("state", "")
        try:
            parts = urlsplit(redirect)
            is_loopback = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
        except ValueError:
            is_loopback = False
        if not is_loopback or not asked.get("client_id"):
            return Reply(400, "Error 400: redirect_uri_mismatch")
        if why := _wrong(asked):
            answer = {"error": "invalid_request", "error_description": why}
        elif self.denies:
            answer = {"error": "access_denied"}
        else:
            answer = {"code": self._code(provider, asked, redirect)}
        return Reply(302, "", {"Location": f"{redirect}?{urlencode({**answer, 'state': state})}"})

    def _code(self, provider: str, asked: Mapping[str, str], redirect: str) -> str:
        code = self._random("4/")
        user = self.user or asked.get("login_hint") or NOBODY
        ends = self._clock.monotonic() + CODE_SECONDS
        challenge = asked["code_challenge"]
        self._codes[code] = _Code(provider, user, asked["client_id"], redirect, challenge, ends)
        return code

    def redeem(self, provider: str, form: Mapping[str, str]) -> str | None:
        """Whose code it is; None if it is not good, or not good any more."""
        code = self._codes.pop(form.get("code", ""), None)
        if code is None or code.provider != provider or self._clock.monotonic() > code.ends:
            return None
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        is_same = (form.get("redirect_uri"), form.get("client_id")) == (code.redirect, code.client)
        return code.user if is_same and hmac.compare_digest(challenge, code.challenge) else None

    # --------------------------------------------------------------- by the device

    def device(self, provider: str, form: Mapping[str, str], at: str) -> Reply:
        """RFC 8628 section 3.2. Google's gives no access to mail (C8)."""
        if not form.get("client_id"):
            return Reply(401, {"error": "invalid_client"})
        if provider == "google":
            what = f"Invalid device flow scope: {form.get('scope', '')}"
            return Reply(400, {"error": "invalid_scope", "error_description": what})
        device_code, user_code = self._random(""), self._random("")[:8].upper()
        ends = self._clock.monotonic() + DEVICE_SECONDS
        self._devices[user_code] = _Device(provider, form["client_id"], device_code, ends)
        body = {"device_code": device_code, "user_code": user_code, "verification_uri": at}
        return Reply(200, {**body, "expires_in": DEVICE_SECONDS, "interval": self.interval})

    def approve(self, user_code: str, user: str) -> None:
        """What the user does in a browser."""
        self._devices[user_code] = replace(self._devices[user_code], user=user)

    def deny(self, user_code: str) -> None:
        self._devices[user_code] = replace(self._devices[user_code], denied=True)

    def poll(self, provider: str, form: Mapping[str, str]) -> str | Reply:
        """Who has signed in, or what there is to say instead (RFC 8628 section 3.5)."""
        found = next((one for one in self._devices.items() if one[1].code == form.get("device_code")), None)
        if found is None or (found[1].provider, found[1].client) != (provider, form.get("client_id")):
            return Reply(400, {"error": "bad_verification_code"})
        user_code, device = found
        if self._clock.monotonic() > device.ends:
            return Reply(400, {"error": "expired_token"})
        if device.denied:
            return Reply(400, {"error": "authorization_declined"})
        if device.user is None:
            return Reply(400, {"error": "authorization_pending"})
        del self._devices[user_code]
        return device.user


def _wrong(asked: Mapping[str, str]) -> str | None:
    if asked.get("response_type") != "code":
        return "response_type must be code"
    if asked.get("code_challenge_method") != "S256" or len(asked.get("code_challenge", "")) != 43:
        return "PKCE by S256 is required"
    if not asked.get("state") or not asked.get("scope"):
        return "state and scope are required"
    return None
