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
from mailsyncd.auth.keeper import Keeper
from mailsyncd.auth.standing import Standing
from mailsyncd.errors import (
    ConfigError,
    MailsyncError,
    Problem,
    RouteBlocked,
    SignInNeeded,
    StateUnavailable,
    Throttled,
    Transient,
)
from mailsyncd.policy import backoff
from mailsyncd.ports import Clock
from mailsyncd.status import AccountStatus
from mailsyncd.steps import Step, reached

RENEW_BETWEEN = (0.7, 0.8)  # of its life, so that what is handed out has a fifth of it left
STILL_GOOD = 300.0
APART = 60.0  # Microsoft takes refreshes in quick succession for a loop (C16)
REASK = 300.0  # seconds until what was refused is tried again all the same
FIRST_PAUSE = 5.0
OVERTAKEN = 2.0  # seconds
SKEW = 300.0  # seconds that two clocks may differ before Google refuses what is good (C3)
PATIENCE_WITH_SKEW = 600.0

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
        self, account: Account, keeper: Keeper, client: httpx.AsyncClient, *, clock: Clock, rng: Random
    ) -> None:
        if why := url_problem(account.token_url):
            raise ConfigError(Problem(f"token_url of {account.user}", why))
        self._is_service = account.kind is AuthKind.SERVICE_ACCOUNT
        if not self._is_service and not (account.refresh_token and account.refresh_token.reveal()):
            raise ConfigError(Problem(f"refresh_token of {account.user}", "is missing: sign in first"))
        self._account = account
        self._keeper = keeper
        self._client = client
        self._clock = clock
        self._rng = rng
        self._lock = asyncio.Lock()
        self._standing = Standing(account, clock)
        self._access: _Access | None = None
        self._newest: Secret | None = None  # of this process
        self._is_kept = True
        self._refused: list[Secret] = []
        self._refusal: MailsyncError | None = None
        self._ask_again_mono = 0.0
        self._look_mono = 0.0
        self._skewed_since: float | None = None
        self._pauses = backoff(rng, FIRST_PAUSE, APART)
        self._young_rejections = 0
        self._in_use = False  # since the last renewal that nobody had asked for

    async def token(self) -> str:
        """A token with a fifth of its life left at least (12 minutes of the usual hour)."""
        async with self._lock:
            self._in_use = True
            return (await self._current()).token

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

    # ------------------------------------------------------------------- upkeep

    @property
    def due(self) -> bool:
        """Whether tend() has something to do."""
        now, access = self._clock.monotonic(), self._access
        if not self._is_kept or isinstance(self._refusal, RouteBlocked):
            return now >= self._look_mono
        return self._in_use and access is not None and now >= max(access.renew_mono, self._ask_again_mono)

    async def tend(self) -> None:
        """Renew ahead of time, keep what could not be kept, and look for a new refresh token where one is
        needed. How it went is for status()."""
        try:
            async with self._lock:
                self._look_mono = self._clock.monotonic() + self._look_pause()
                if isinstance(self._refusal, RouteBlocked) and not await self._is_replaced():
                    return
                before = self._access
                if await self._current() is not before:
                    self._in_use = False
                    await self.learn()
        except MailsyncError as failure:
            log.debug("token.tending_failed", account=self._account.user, error=str(failure))

    async def learn(self) -> None:
        """What is known of the token's life, for the forecast. It can wait, and be done again."""
        if self._is_service:
            return
        try:
            self._standing.history = await self._keeper.history()
        except MailsyncError as failure:
            log.debug("token.history_unknown", account=self._account.user, error=str(failure))
        self._standing.foresee()

    async def look(self) -> None:
        """What the stores tell, for who only wants to see it. Nobody is asked for a token."""
        try:
            await self._keeper.tokens()
        except MailsyncError as failure:
            self._standing.troubled(failure)
        await self.learn()

    def trust(self, client: httpx.AsyncClient) -> None:
        """From the next request on: other authorities are trusted now."""
        self._client = client

    def look_again(self) -> None:
        """Somebody says that something is mended."""
        self._look_mono = self._ask_again_mono = 0.0
        self._refused.clear()

    def status(self) -> AccountStatus:
        return self._standing.status(
            kept_in=self._keeper.kept_in,
            is_kept=self._is_kept,
            access_ends_in=self.lifetime() if self._access else None,
        )

    def _look_pause(self) -> float:
        wanted = self._keeper.home.look if self._is_kept else None
        return (wanted or APART) * self._rng.uniform(0.8, 1.2)

    async def _is_replaced(self) -> bool:
        """Whether there is a refresh token that was not refused, or the refused may be tried again."""
        if self._clock.monotonic() < self._ask_again_mono:
            if all(one in self._refused for one in await self._keeper.tokens()):
                return False
            self._ask_again_mono = 0.0
        return True

    # ------------------------------------------------------------------ renewal

    async def _current(self) -> _Access:
        if not self._is_kept:
            await self._keep()
        access = self._access
        if access is None or self._clock.monotonic() >= access.renew_mono:
            access = await self._renew(access)
        return access

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
        """One grant, and when its exchange began: a token's life is counted from before it was made."""
        try:
            if self._is_service:
                return await self._by_key()
            return await self._exchange()
        except Throttled as refusal:
            self._hold_off(refusal, refusal.pause)
            raise
        except Transient as refusal:
            self._hold_off(refusal, next(self._pauses))
            raise
        except RouteBlocked as refusal:
            found = self._standing.refused(refusal)
            self._hold_off(found, REASK)
            raise found from None

    async def _by_key(self) -> tuple[Grant, float]:
        self._refused = [self._keeper.base]
        began = self._clock.monotonic()
        return await service.exchange(self._client, self._account, self._clock.now()), began

    async def _exchange(self) -> tuple[Grant, float]:
        """The newest token that is alive. After each refusal the stores are read again: another daemon
        may have put its newer one there meanwhile."""
        self._refused = tried = list[Secret]()
        refusal = SignInNeeded(f"{self._account.user}: there is no refresh token")
        while one := await self._untried(tried):
            tried.append(one)
            began = self._clock.monotonic()
            try:
                grant = await exchange(self._client, self._account, one, self._clock.now())
            except SignInNeeded as refused:
                self._check_clock(refused)
                refusal = refused if len(tried) == 1 else refusal
                continue
            if len(tried) > 1:
                log.warning("token.fell_back", account=self._account.user, refused=len(tried) - 1)
            self._newest = one
            return grant, began
        await self.learn()
        raise refusal

    async def _untried(self, tried: list[Secret]) -> Secret | None:
        """The next one; where all were refused, whoever overtook us gets a moment to put theirs away."""
        for pause in (0.0, OVERTAKEN):
            await self._clock.sleep(pause)
            if one := next((found for found in await self._tokens() if found not in tried), None):
                return one
        return None

    async def _tokens(self) -> list[Secret]:
        """The newest first. One that is in memory alone is newer than its home, unless that was changed."""
        before, newest = self._keeper.base, self._newest
        try:
            stored = await self._keeper.tokens()
        except (RouteBlocked, Transient, StateUnavailable) as failure:
            if newest is None:
                raise Transient(str(failure)) if isinstance(failure, StateUnavailable) else failure from None
            log.warning("token.store_unreadable", account=self._account.user, error=str(failure))
            return [newest]
        if newest is None:
            return stored
        ours_first = not self._is_kept and self._keeper.base == before
        return [newest, *stored] if ours_first else [*stored, newest]

    def _check_clock(self, refused: SignInNeeded) -> None:
        """A clock that is wrong is refused like a dead token (C3): not the user's fault, for a while."""
        now = self._clock.monotonic()
        if abs(refused.skew) <= SKEW:
            self._skewed_since = None
            return
        self._skewed_since = now if self._skewed_since is None else self._skewed_since
        if now - self._skewed_since < PATIENCE_WITH_SKEW:
            raise Transient(
                f"{refused}, but the clocks differ by {abs(refused.skew):.0f} s: set this machine's clock"
            )

    async def _adopt(self, granted: tuple[Grant, float]) -> _Access:
        grant, began = granted
        self._refusal = None
        self._refused.clear()
        self._pauses = backoff(self._rng, FIRST_PAUSE, APART)
        if not self._is_service and grant.refresh_token and grant.refresh_token != self._newest:
            # In memory first, marked as unkept: a cancellation below loses nothing.
            self._newest, self._is_kept = grant.refresh_token, False
            reached(Step.TOKEN_RENEWED)
            await self._keep()
        renew = began + grant.life * self._rng.uniform(*RENEW_BETWEEN)
        self._access = access = _Access(grant.access_token, began, renew, began + grant.life)
        self._standing.good()
        log.debug("token.renewed", account=self._account.user, life=round(grant.life))
        if not self._is_service:
            await self._keeper.used()
        return access

    async def _keep(self) -> None:
        """Keep the rotated refresh token; if that fails go on with it in memory, and say so."""
        if self._newest is None:
            return
        try:
            self._newest = await self._keeper.keep(self._newest)
        except MailsyncError as failure:
            log.error(
                "token.not_kept",
                account=self._account.user,
                error=str(failure),
                consequence="a restart now would fall back to the refresh token before this one",
            )
            return
        self._is_kept = True
        reached(Step.TOKEN_KEPT)

    def _hold_off(self, refusal: MailsyncError, pause: float) -> None:
        if not isinstance(refusal, RouteBlocked):
            self._standing.troubled(refusal)
        self._refusal = refusal
        self._ask_again_mono = self._clock.monotonic() + pause

    def _raise_refusal_again(self) -> None:
        """Until the pause is over the last answer stands, however many ask."""
        left = self._ask_again_mono - self._clock.monotonic()
        if self._refusal is None or left <= 0:
            return
        if isinstance(self._refusal, RouteBlocked):
            raise self._refusal.with_traceback(None)
        if isinstance(self._refusal, Throttled):
            raise Throttled(str(self._refusal), left)
        raise Transient(str(self._refusal))
