"""How it stands with one account's sign-in: what status shows, and the one loud line when its user is
needed, when a sign-in will end, and when all is well again."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import structlog

from mailsyncd.account import Account
from mailsyncd.auth.forecast import forecast
from mailsyncd.auth.reasons import SENTENCES, History, Reason, reason
from mailsyncd.errors import MailsyncError, RouteBlocked, SignInNeeded
from mailsyncd.ports import Clock
from mailsyncd.status import AccountStatus, SignInState

log = structlog.get_logger()


class Standing:
    """Of one account. `history` is what is known of its refresh token's life."""

    def __init__(self, account: Account, clock: Clock) -> None:
        self.history = History(clock.now())
        self._account = account
        self._clock = clock
        self._state = SignInState.UNUSED
        self._detail = ""
        self._reason: Reason | None = None
        self._needed_at: float | None = None
        self._mended = asyncio.Event()
        self._warned: int | None = None
        self._renewals = self._refusals = self._failures = 0

    def good(self) -> None:
        """The provider took the refresh token."""
        self._renewals += 1
        if self._state in (SignInState.NEEDS_SIGN_IN, SignInState.REFUSED):
            log.info("account.signed_in_again", account=self._account.user)
        self._state, self._detail, self._reason, self._needed_at = SignInState.GOOD, "", None, None
        self._mended.set()
        self.history = replace(self.history, used_at=self._clock.now())

    def troubled(self, failure: MailsyncError) -> None:
        """It could not be asked, or not now. Who needs a sign-in needs it still."""
        self._failures += 1
        if self._state is not SignInState.NEEDS_SIGN_IN:
            self._state, self._detail = SignInState.RETRYING, str(failure)

    def refused(self, failure: RouteBlocked) -> RouteBlocked:
        """Only a person can help. Returns what to raise: with the cause, and with what to run."""
        self._refusals += 1
        found = self._explained(failure) if isinstance(failure, SignInNeeded) else failure
        is_new = str(found) != self._detail
        if self._needed_at is None:
            self._needed_at = self._clock.now()
        needed = isinstance(found, SignInNeeded)
        self._state = SignInState.NEEDS_SIGN_IN if needed else SignInState.REFUSED
        self._detail = str(found)
        if is_new:
            log.error(
                "account.sign_in_needed" if needed else "account.refused",
                account=self._account.user,
                reason=self._reason.value if self._reason and needed else "",
                error=str(found),
                command=self._account.remedy if needed else "",
            )
        return found

    def _explained(self, failure: SignInNeeded) -> SignInNeeded:
        if self._mended.is_set():
            self._mended = asyncio.Event()
        cause = reason(self._account, failure.error, failure.detail, self.history)
        self._reason = cause
        why = str(failure)
        if failure.error != "invalid_scope":
            why = f"{self._account.user}: the token endpoint refused: {failure.error}{failure.detail}: "
            why += SENTENCES[cause]
        if self._account.remedy:
            why += f". Run: {self._account.remedy}"
        return SignInNeeded(why, error=failure.error, detail=failure.detail, mended=self._mended)

    def foresee(self) -> None:
        """Warn of the end that is known, once at each of the days ahead."""
        ahead = forecast(self._account, self.history)
        days = ahead.days_left(self._clock.now())
        if days is not None and days != self._warned and self._state is not SignInState.NEEDS_SIGN_IN:
            log.warning(
                "account.sign_in_ending",
                account=self._account.user,
                days=days,
                reason=ahead.why,
                command=self._account.remedy,
            )
        self._warned = days

    def status(self, *, kept_in: str, is_kept: bool, access_ends_in: float | None) -> AccountStatus:
        ahead = forecast(self._account, self.history)
        return AccountStatus(
            name=self._account.user,
            provider=self._account.issuer.value,
            state=self._state,
            detail=self._detail,
            reason=self._reason.value if self._reason else "",
            command=self._account.remedy,
            kept_in=kept_in,
            is_kept=is_kept,
            renewals=self._renewals,
            refusals=self._refusals,
            failures=self._failures,
            needed_at=self._needed_at,
            consented_at=self.history.consented_at,
            used_at=self.history.used_at,
            ends_at=ahead.ends_at,
            ends_why=ahead.why,
            access_ends_in=access_ends_in,
        )
