"""The device code flow (RFC 8628): the person signs in with any browser, here we ask until they have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

import httpx

from mailsyncd.account import Account, Secret
from mailsyncd.auth.attempt import ADVICE, granted
from mailsyncd.auth.grant import Grant, Reply, ask, json_object, judge, url_problem
from mailsyncd.auth.providers import Provider
from mailsyncd.errors import SignInFailed, Throttled, Transient
from mailsyncd.ports import Clock

ASSUMED_INTERVAL = 5.0  # RFC 8628 section 3.2
LONGEST_INTERVAL = 60.0
LONGEST_LIFE = 1800.0
LONGEST_WORD = 300  # characters
_GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"
_OVER = {
    "access_denied": "access was refused in the browser",
    "authorization_declined": "access was refused in the browser",
    "expired_token": "nobody signed in in time",
    "bad_verification_code": "the provider does not know the code any more",
}


@dataclass(frozen=True, slots=True)
class Prompt:
    """What to tell the person, and what to ask with meanwhile."""

    address: str
    user_code: str
    device_code: Secret
    interval: float
    life: float


async def begin(client: httpx.AsyncClient, account: Account, now: float) -> Prompt:
    """Ask for a code to show. Raises RouteBlocked, SignInFailed, Transient."""
    form = {"client_id": account.client_id, "scope": account.scope or ""}
    reply = await ask(client, account.user, account.device_url, form)
    fields = json_object(reply.body)
    if reply.status != 200:
        judge(account, reply, now, advice=ADVICE)  # raises what the refusal means
    if fields is None:
        raise Transient(f"{account.user}: the device endpoint answered with something other than JSON")
    address, code = _word(fields, "verification_uri", "verification_url"), _word(fields, "user_code")
    device_code = fields.get("device_code")
    if not isinstance(device_code, str) or not device_code or not code or url_problem(address):
        raise SignInFailed(f"{account.user}: the device endpoint's answer can't be used: check device_url")
    return Prompt(
        address,
        code,
        Secret(device_code),
        min(_seconds(fields, "interval", ASSUMED_INTERVAL), LONGEST_INTERVAL),
        min(_seconds(fields, "expires_in", LONGEST_LIFE), LONGEST_LIFE),
    )


async def wait(
    client: httpx.AsyncClient, account: Account, provider: Provider, prompt: Prompt, clock: Clock
) -> Grant:
    """Ask until the person has signed in, refused, or run out of time."""
    form = {"grant_type": _GRANT_TYPE, "client_id": account.client_id}
    form["device_code"] = prompt.device_code.reveal()
    if account.client_secret:
        form["client_secret"] = account.client_secret.reveal()
    ends, interval = clock.monotonic() + prompt.life, prompt.interval
    while clock.monotonic() < ends:
        await clock.sleep(min(interval, max(ends - clock.monotonic(), 0.0)))
        try:
            reply = await ask(client, account.user, account.token_url, form)
            error = _error(reply)
            if error == "slow_down":
                interval = min(interval + 5.0, LONGEST_INTERVAL)  # RFC 8628 section 3.5
            elif error in _OVER:
                raise SignInFailed(f"{account.user}: {_OVER[error]}: nothing was stored")
            elif error != "authorization_pending":
                return granted(account, provider, reply, clock.now(), prompt.device_code)
        except Throttled as refusal:
            interval = min(max(interval, refusal.pause), LONGEST_INTERVAL)
        except Transient:
            interval = min(interval * 2, LONGEST_INTERVAL)
    raise SignInFailed(f"{account.user}: {_OVER['expired_token']}: nothing was stored")


def _error(reply: Reply) -> str:
    error = (json_object(reply.body) or {}).get("error") if reply.status != 200 else None
    return error if isinstance(error, str) else ""


def _word(fields: Mapping[str, object], *names: str) -> str:
    """What will be shown to the person: one word, or nothing."""
    found = next((str(fields[name]) for name in names if isinstance(fields.get(name), str)), "")
    return found if found.isprintable() and " " not in found and len(found) <= LONGEST_WORD else ""


def _seconds(fields: Mapping[str, object], name: str, otherwise: float) -> float:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return otherwise
    try:
        seconds = float(value)
    except OverflowError:
        return otherwise
    return seconds if isfinite(seconds) and seconds > 0 else otherwise
