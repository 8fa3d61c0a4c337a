"""When a refresh token will die if nothing is done, by the lifetimes that are known of its provider."""

from __future__ import annotations

from dataclasses import dataclass

from mailsyncd.account import Account, AuthKind, Issuer
from mailsyncd.auth.reasons import DAY, GOOGLE_LIFE, MICROSOFT_LIFE, TESTING_LIFE, History

WARNINGS = (14, 7, 1)  # days ahead


@dataclass(frozen=True, slots=True)
class Forecast:
    """`ends_at` in seconds since the epoch; None where no end is known."""

    ends_at: float | None = None
    why: str = ""

    def days_left(self, now: float) -> int | None:
        """The least of WARNINGS that its end is within; None if it is further off than all of them."""
        if self.ends_at is None:
            return None
        return min((days for days in WARNINGS if self.ends_at - now <= days * DAY), default=None)


def forecast(account: Account, history: History) -> Forecast:
    """A token that is used every hour has an end only where its consent has one."""
    found: list[Forecast] = []
    if account.kind is not AuthKind.OAUTH:
        return Forecast()
    if account.issuer is Issuer.GOOGLE:
        if history.in_testing and history.consented_at is not None:
            why = "the app's consent screen is in Testing, where refresh tokens live for 7 days"
            found.append(Forecast(history.consented_at + TESTING_LIFE, why))
        if history.used_at is not None:
            found.append(Forecast(history.used_at + GOOGLE_LIFE, "Google ends what is unused for 6 months"))
    elif account.issuer is Issuer.MICROSOFT and history.used_at is not None:
        why = "Microsoft ends what is unused for 90 days"
        found.append(Forecast(history.used_at + MICROSOFT_LIFE, why))
    return min(found, key=lambda one: one.ends_at or 0.0, default=Forecast())
