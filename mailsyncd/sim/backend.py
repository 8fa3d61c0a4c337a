"""What the sessions of one simulated server share: accounts, who may sign in, faults, the time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from random import Random
from typing import Protocol

from mailsyncd.ports import Clock
from mailsyncd.sim.faults import Script
from mailsyncd.sim.mailstore import Account, StoredMailbox, StoredMessage
from mailsyncd.sim.personality import Personality


class AccessTokens(Protocol):
    """Whoever knows which access tokens are good; TokenEndpoint is one."""

    def seconds_left(self, user: str, token: str) -> float | None:
        """How long this token is good for this user; None if it is not."""


class Backend:
    """Accounts by lower-case user name, made on first use."""

    def __init__(
        self,
        personality: Personality,
        clock: Clock,
        rng: Random,
        *,
        tokens: AccessTokens | None = None,
        passwords: Mapping[str, str] | None = None,
        later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self.personality = personality
        self.clock = clock
        self.rng = rng
        self.later = later
        self.script = Script()
        self._tokens = tokens
        self._passwords = {user.lower(): word for user, word in (passwords or {}).items()}
        self._accounts: dict[str, Account] = {}

    def account(self, user: str) -> Account:
        known = self._accounts.get(user.lower())
        if known is not None:
            return known
        made = Account(
            user,
            case_insensitive=self.personality.case_insensitive,
            uidvalidity=self.rng.randrange(2, 1_000_000),
        )
        for name, attributes in self.personality.folders:
            made.create(name, attributes)
        self._accounts[user.lower()] = made
        return made

    def password_is_good(self, user: str, password: str) -> bool:
        return self._passwords.get(user.lower()) == password

    def token_seconds(self, user: str, token: str) -> float | None:
        return self._tokens.seconds_left(user, token) if self._tokens else None

    def session_seconds(self) -> float | None:
        """How long a session may last, drawn anew for each."""
        life = self.personality.session_life
        return self.rng.uniform(*life) if life else None

    def store(
        self,
        mailbox: StoredMailbox,
        raw: bytes,
        internaldate: datetime | None = None,
        flags: Iterable[str] = (),
        *,
        gm_msgid: int = 0,
        category: str = "",
    ) -> StoredMessage:
        """Put a message into a mailbox, as it is."""
        when = internaldate or datetime.fromtimestamp(self.clock.now(), UTC)
        return mailbox.add(
            StoredMessage(
                uid=0,
                raw=raw,
                internaldate=when.replace(microsecond=0),
                flags=frozenset(flags),
                gm_msgid=gm_msgid,
                gm_thrid=gm_msgid,
                category=category,
                stored_mono=self.clock.monotonic(),
            )
        )
