"""The newest refresh token of one account: read from where it is configured, and put back there when the
provider rotates it (C15); where that can't be written, kept sealed in the state store."""

from __future__ import annotations

import hashlib

import structlog

from mailsyncd.account import Account, Secret
from mailsyncd.auth.homes import TokenHome
from mailsyncd.auth.reasons import History
from mailsyncd.auth.sealed import line_of, seal, unseal
from mailsyncd.errors import RouteBlocked, StateUnavailable, Transient
from mailsyncd.model import TokenNote
from mailsyncd.ports import Clock, TokenNotes

DAY = 86_400.0
NOTE_LIFE = 400 * DAY  # beyond every lifetime that a forecast is made of
TRIES = 4  # of a write that other daemons get in the way of

log = structlog.get_logger()


class Keeper:
    """Of one account. `base` is what its home held at the last look; `kept_in` says where the newest is."""

    def __init__(self, account: Account, home: TokenHome, notes: TokenNotes, clock: Clock) -> None:
        self.base = account.refresh_token or Secret("")
        self.kept_in = str(account.home)
        self.home = home
        self.note: TokenNote | None = None
        self._account = account
        self._notes = notes
        self._clock = clock
        self._told = ""
        self._used_at: float | None = None

    async def tokens(self) -> list[Secret]:
        """The newest first, then what it descends from. Raises Transient, RouteBlocked, StateUnavailable."""
        self.base = await self.home.read()
        try:
            kept = await self._unsealed(await self._sealed())
        except StateUnavailable as failure:
            if not self._account.home.is_followed:  # then its newest is most likely there
                raise
            log.debug("token.state_unread", account=self._account.user, error=str(failure))
            kept = None
        self.kept_in = f"the state, sealed ({self._account.home} can't be written)" if kept else self._home
        return [self.base] if kept is None else [kept, self.base]

    @property
    def _home(self) -> str:
        return str(self._account.home)

    async def keep(self, token: Secret) -> Secret:
        """Durable when it returns. Returns what to go on with: where another daemon was faster, that
        one's. Raises Transient, RouteBlocked, StateUnavailable."""
        try:
            there = await self.home.replace(self.base, token)
        except (Transient, RouteBlocked) as refusal:
            return await self._keep_sealed(token, str(refusal))
        self.base, self.kept_in = there, self._home
        return there

    async def _keep_sealed(self, token: Secret, why: str) -> Secret:
        known = await self._sealed()
        for _ in range(TRIES):
            new = self._new_note(self._line, known, seal(self._account.user, self.base, token))
            if await self._notes.put_token_note(new, expected=known):
                self._tell(why)
                return token
            before, known = known, await self._sealed()
            theirs = await self._unsealed(known)
            if theirs is not None and theirs != await self._unsealed(before):
                return theirs
        raise Transient(f"{self._account.user}: others write the kept refresh token again and again")

    def _tell(self, why: str) -> None:
        """Once for each reason: it is no failure, and it is repeated every hour."""
        self.kept_in = f"the state, sealed ({why})"
        if why != self._told:
            self._told = why
            log.warning("token.kept_in_state", account=self._account.user, reason=why)

    @property
    def _line(self) -> str:
        return line_of(self._account.user, self.base)

    async def _sealed(self) -> TokenNote | None:
        return await self._notes.token_note(self._account.user.casefold(), self._line)

    async def _unsealed(self, note: TokenNote | None) -> Secret | None:
        if note is None or note.sealed is None:
            return None
        found = unseal(self._account.user, self.base, note.sealed)
        if found is None:
            log.warning("token.kept_unreadable", account=self._account.user)
        return found

    # ---------------------------------------------------------------------- use

    async def used(self) -> None:
        """Remember that the token was good just now, once a day: what it lives by is its last use."""
        self._used_at = self._clock.now()
        try:
            known = self.note or await self.last_use()
            if known is None or self._clock.now() - known.used_at >= DAY:
                new = self._new_note(self._place, known, None)
                is_noted = await self._notes.put_token_note(new, expected=known)
                self.note = new if is_noted else None
        except StateUnavailable as failure:  # the state's own watchers say so loudly
            log.debug("token.use_not_noted", account=self._account.user, error=str(failure))

    async def last_use(self) -> TokenNote | None:
        """What was remembered of it. Raises StateUnavailable."""
        self.note = await self._notes.token_note(self._account.user.casefold(), self._place)
        return self.note

    async def history(self) -> History:
        """What is known of the token's life. Raises Transient, RouteBlocked, StateUnavailable."""
        consent = await self.home.consent()
        known = self.note or await self.last_use()
        return History(
            now=self._clock.now(),
            consented_at=consent.at if consent else known.since if known else None,
            used_at=self._used_at or (known.used_at if known else None),
            in_testing=self._account.in_testing or bool(consent and consent.in_testing),
        )

    @property
    def _place(self) -> str:
        """The line of a home that is followed stays the same whatever stands there."""
        home = self._account.home
        if not home.is_followed:
            return f"use-{self._line}"
        named = "\0".join((home.kind, home.name, home.key or "", self._account.client_id))
        return f"use-{hashlib.sha256(named.encode()).hexdigest()[:24]}"

    def _new_note(self, line: str, before: TokenNote | None, sealed: str | None) -> TokenNote:
        now = self._clock.now()
        return TokenNote(
            account=self._account.user.casefold(),
            line=line,
            revision=before.revision + 1 if before else 1,
            since=before.since if before else now,
            used_at=now,
            expires_at=int(now + NOTE_LIFE),
            sealed=sealed,
        )
