"""A TokenSource for servers that take a password: the password stands for the token."""

from __future__ import annotations

from mailsyncd.errors import ConfigError, Problem, RouteBlocked
from mailsyncd.model import Account


class PasswordSource:
    """Gives the account's password until the server has refused it: guessing locks accounts."""

    def __init__(self, account: Account) -> None:
        if account.password is None:
            raise ConfigError(Problem(f"password of {account.user}", "is missing"))
        self._user = account.user
        self._password = account.password
        self._refused = False

    async def token(self) -> str:
        if self._refused:
            raise RouteBlocked(f"{self._user}: the server refuses the password: configure the right one")
        return self._password.reveal()

    def reject(self, token: str) -> None:
        self._refused = self._refused or token == self._password.reveal()

    def lifetime(self) -> float | None:
        return None
