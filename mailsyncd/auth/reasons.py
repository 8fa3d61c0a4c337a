"""Why a provider takes a refresh token no more, as far as it can be told: one word, and one sentence.

What is done about it hangs on the OAuth `error` alone (C16). Descriptions, AADSTS numbers and what is
remembered of the token only help to name the cause, for the person who has to sign in again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from mailsyncd.account import Account, Issuer

DAY = 86_400.0
TESTING_LIFE = 7 * DAY  # C4
MICROSOFT_LIFE = 90 * DAY  # C15: since the last use
GOOGLE_LIFE = 183 * DAY  # C3: since the last use


class Reason(Enum):
    """The value is AccountStatus.reason."""

    TESTING = "testing"
    UNUSED = "unused"
    PASSWORD = "password_changed"  # noqa: S105 - a word
    REVOKED = "revoked"
    CONSENT = "consent"
    POLICY = "policy"
    APP = "app"
    SCOPE = "scope"
    UNKNOWN = "expired_or_revoked"


SENTENCES = {
    Reason.TESTING: "the app's consent screen is in Testing, where Google ends refresh tokens after 7 days: "
    "publish the app",
    Reason.UNUSED: "it was unused for too long",
    Reason.PASSWORD: "the password was changed, or the session revoked",
    Reason.REVOKED: "its user or an administrator revoked it",
    Reason.CONSENT: "nobody has consented, or the consent was taken back",
    Reason.POLICY: "a rule of the organisation wants a new sign-in",
    Reason.APP: "the application is switched off, gone or another: check client_id and client_secret",
    Reason.SCOPE: "it does not open mail: check scope",
    Reason.UNKNOWN: "it was revoked or has expired, or the password was changed",
}

_OF_MICROSOFT = {
    "AADSTS700082": Reason.UNUSED,
    "AADSTS70008": Reason.UNUSED,
    "AADSTS50173": Reason.PASSWORD,
    "AADSTS50133": Reason.PASSWORD,
    "AADSTS50132": Reason.REVOKED,
    "AADSTS70000": Reason.UNKNOWN,
    "AADSTS70043": Reason.POLICY,
    "AADSTS50076": Reason.POLICY,
    "AADSTS50079": Reason.POLICY,
    "AADSTS65001": Reason.CONSENT,
    "AADSTS7000112": Reason.APP,
    "AADSTS700016": Reason.APP,
    "AADSTS70011": Reason.SCOPE,
}
_OF_ERROR = {
    "consent_required": Reason.CONSENT,
    "interaction_required": Reason.POLICY,
    "login_required": Reason.POLICY,
    "access_denied": Reason.REVOKED,
    "invalid_client": Reason.APP,
    "unauthorized_client": Reason.APP,
    "deleted_client": Reason.APP,
    "disabled_client": Reason.APP,
    "invalid_scope": Reason.SCOPE,
}


@dataclass(frozen=True, slots=True)
class History:
    """What is known of the token's life, in seconds since the epoch."""

    now: float
    consented_at: float | None = None
    used_at: float | None = None
    in_testing: bool = False


def reason(account: Account, error: str, description: str, history: History) -> Reason:
    """The likeliest."""
    code = re.search(r"AADSTS\d{4,9}", description)
    if code and code[0] in _OF_MICROSOFT:
        return _OF_MICROSOFT[code[0]]
    if error in _OF_ERROR:
        return _OF_ERROR[error]
    if account.issuer is Issuer.GOOGLE:
        consent_age = history.now - (history.consented_at or history.now)
        if history.in_testing and consent_age >= TESTING_LIFE * 0.9:
            return Reason.TESTING
        # Nobody has to tell us that the app is in testing: which other token dies in its second week?
        if TESTING_LIFE * 0.95 <= consent_age <= TESTING_LIFE + DAY:
            return Reason.TESTING
    life = {Issuer.GOOGLE: GOOGLE_LIFE, Issuer.MICROSOFT: MICROSOFT_LIFE}.get(account.issuer)
    if life and history.used_at is not None and history.now - history.used_at >= life * 0.98:
        return Reason.UNUSED
    return Reason.UNKNOWN
