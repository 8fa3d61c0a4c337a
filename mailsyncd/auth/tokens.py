"""Access tokens of one account, renewed early and by one request at a time.

The order that must not change: ask, keep the rotated refresh token, use the access token (C15).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random

import httpx
import structlog

from mailsyncd.account import Account, AuthKind, Secret
from mailsyncd.auth import service
from mailsyncd.auth.grant import Grant, exchange, url_problem
from mailsyncd.auth.keeper import TokenKeeper
from mailsyncd.errors import ConfigError, MailsyncError, Problem, RouteBlocked, Throttled, Transient
from mailsyncd.policy import backoff
from mailsyncd.ports import Clock
from mailsyncd.steps import Step, reached

RENEW_BETWEEN = (0.7, 0.8)  # of its life, so that what is handed out has a fifth of it left
STILL_GOOD = 300.0
APART = 60.0  # Microsoft takes refreshes in quick succession for a loop (C16)
FIRST_PAUSE = 5.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Access:
    token: str = field(repr=False)
    issued_mono: float
    renew_mono: float
    ends_mono: float


class RefreshingTokens:
    """A TokenSource fed by a refresh token, or by a service account's key. Make one per account: it is
    what keeps flights single."""

    def __init__(
        self, account: Account, keeper: TokenKeeper, client: httpx.AsyncClient, *, clock: Clock, rng: Random
    ) -> None:
        if why := url_problem(account.token_url):
            raise ConfigError(Problem(f"token_url of {account.user}", why))
        is_service = account.kind is AuthKind.SERVICE_ACCOUNT
        if not is_service and not (account.refresh_token and account.refresh_token.reveal()):
            raise ConfigError(Problem(f"refresh_token of {account.user}", "is missing: sign in first"))
        self._account = account
        self._configured = account.refresh_token or Secret("")
        self._keeper = keeper
        self._client = client
        self._clock = clock
        self._rng = rng
        self._lock = asyncio.Lock()
        self._access: _Access | None = None
        self._refresh_token: Secret | None = None
        self._unkept = False
        self._refusal: MailsyncError | None = None
        self._ask_again_mono = 0.0
        self._pauses = backoff(rng, FIRST_PAUSE, APART)
        self._young_rejections = 0

    async def token(self) -> str:
        """A token with a fifth of its life left at least (12 minutes of the usual hour)."""
        async with self._lock:
            if self._unkept:
                await self._keep()
            access = self._access
            if access is None or self._clock.monotonic() >= access.renew_mono:
                access = await self._renew(access)
            return access.token

    def reject(self, token: str) -> None:
        """Forget this token. The first time it is replaced at once, then once a minute at most."""
        access = self._access
        if access is None or access.token != token:
            return
        self._access = None
        wait = access.issued_mono + APART - self._clock.monotonic()
        self._young_rejections = self._young_rejections + 1 if wait > 0 else 0
        if self._young_rejections > 1:
            why = f"{self._account.user}: the server refuses every new access token"
            self._hold_off(Throttled(why, wait), wait)

    def lifetime(self) -> float | None:
        """Seconds until the present token expires, zero if there is none."""
        return max(0.0, self._access.ends_mono - self._clock.monotonic()) if self._access else 0.0

    async def _renew(self, old: _Access | None) -> _Access:
        try:
            self._raise_refusal_again()
            granted = await self._ask()
        except Transient as failure:
            if old is None or old.ends_mono - self._clock.monotonic() < STILL_GOOD:
                raise
            log.warning("token.renewal_failed", account=self._account.user, error=str(failure))
            return old
        return await self._adopt(granted)

    async def _ask(self) -> tuple[Grant, float]:
        """One exchange, and when it began: a token's life is counted from before it was made."""
        began = self._clock.monotonic()
        if self._refresh_token is None and self._account.kind is AuthKind.OAUTH:
            kept = await self._keeper.load(self._account.user, self._configured)
            self._refresh_token = kept or self._configured
        try:
            grant = await self._exchange()
        except Throttled as refusal:
            self._hold_off(refusal, refusal.pause)
            raise
        except Transient as refusal:
            self._hold_off(refusal, next(self._pauses))
            raise
        except RouteBlocked as refusal:
            self._hold_off(refusal, APART)
            raise
        return grant, began

    async def _exchange(self) -> Grant:
        if self._account.kind is AuthKind.SERVICE_ACCOUNT:
            return await service.exchange(self._client, self._account, self._clock.now())
        token = self._refresh_token or self._configured
        return await exchange(self._client, self._account, token, self._clock.now())

    async def _adopt(self, granted: tuple[Grant, float]) -> _Access:
        grant, began = granted
        self._refusal = None
        self._pauses = backoff(self._rng, FIRST_PAUSE, APART)
        if grant.refresh_token and grant.refresh_token != self._refresh_token:
            # In memory first, marked as unkept: a cancellation below loses nothing.
            self._refresh_token, self._unkept = grant.refresh_token, True
            reached(Step.TOKEN_RENEWED)
            await self._keep()
        renew = began + grant.life * self._rng.uniform(*RENEW_BETWEEN)
        self._access = _Access(grant.access_token, began, renew, began + grant.life)
        log.debug("token.renewed", account=self._account.user, life=round(grant.life))
        return self._access

    async def _keep(self) -> None:
        """Keep the rotated refresh token; if that fails go on with it in memory, and say so."""
        if self._refresh_token is None:
            return
        try:
            await self._keeper.save(self._account.user, self._configured, self._refresh_token)
        except MailsyncError as failure:
            problem = str(failure)
        else:
            self._unkept = False
            reached(Step.TOKEN_KEPT)
            return
        log.error(
            "token.not_kept",
            account=self._account.user,
            error=problem,
            consequence="a restart now would fall back to the refresh token before this one",
        )

    def _hold_off(self, refusal: MailsyncError, pause: float) -> None:
        self._refusal = refusal
        self._ask_again_mono = self._clock.monotonic() + pause

    def _raise_refusal_again(self) -> None:
        """Until the pause is over the last answer stands, however many ask."""
        left = self._ask_again_mono - self._clock.monotonic()
        if self._refusal is None or left <= 0:
            return
        why = str(self._refusal)
        if isinstance(self._refusal, RouteBlocked):
            raise RouteBlocked(why)
        if isinstance(self._refusal, Throttled):
            raise Throttled(why, left)
        raise Transient(why)
