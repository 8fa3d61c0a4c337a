"""When a refresh token will die, why it has died, and who is told how often."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs
from token_endpoint import Endpoint, SharedHome, StandingClock, account, granted, refused, tokens

from mailsyncd.account import AuthKind, Home, Issuer, Secret
from mailsyncd.auth.consent import Consent, parse
from mailsyncd.auth.forecast import Forecast, forecast
from mailsyncd.auth.reasons import DAY, History, Reason, reason
from mailsyncd.errors import SignInNeeded, Transient
from mailsyncd.state.memory import MemoryStore
from mailsyncd.status import SignInState

NOW = 1_800_000_000.0
GOOGLE, MICROSOFT = account(issuer=Issuer.GOOGLE), account()


def test_microsoft_ends_ninety_days_after_the_last_use() -> None:
    assert forecast(MICROSOFT, History(NOW, NOW - 300 * DAY, NOW)).ends_at == NOW + 90 * DAY


def test_google_ends_after_half_a_year_without_use_and_never_by_age() -> None:
    assert forecast(GOOGLE, History(NOW, NOW - 900 * DAY, NOW)).ends_at == NOW + 183 * DAY


def test_an_app_in_testing_ends_seven_days_after_the_consent_however_it_is_used() -> None:
    found = forecast(GOOGLE, History(NOW, NOW - 5 * DAY, NOW, in_testing=True))
    assert found.ends_at == NOW + 2 * DAY
    assert "Testing" in found.why


@pytest.mark.parametrize("of", [account(issuer=Issuer.OTHER), account(kind=AuthKind.SERVICE_ACCOUNT)])
def test_of_what_has_no_known_life_nothing_is_foretold(of: object) -> None:
    assert forecast(of, History(NOW, NOW, NOW, in_testing=True)) == Forecast()  # type: ignore[arg-type]
    assert Forecast().days_left(NOW) is None


@pytest.mark.parametrize(
    ("left", "days"), [(15, None), (14, 14), (7.5, 14), (7, 7), (1.1, 7), (1, 1), (-3, 1)]
)
def test_the_warnings_are_fourteen_seven_and_one_days_ahead(left: float, days: int | None) -> None:
    assert Forecast(NOW + left * DAY).days_left(NOW) == days


@pytest.mark.parametrize(
    ("of", "error", "detail", "history", "wanted"),
    [
        (MICROSOFT, "invalid_grant", " (AADSTS700082)", History(NOW), Reason.UNUSED),
        (MICROSOFT, "invalid_grant", " (AADSTS50173)", History(NOW), Reason.PASSWORD),
        (MICROSOFT, "invalid_grant", " (AADSTS70043)", History(NOW), Reason.POLICY),
        (MICROSOFT, "invalid_grant", " (AADSTS65001)", History(NOW), Reason.CONSENT),
        (MICROSOFT, "invalid_grant", " (AADSTS70000)", History(NOW), Reason.UNKNOWN),
        (MICROSOFT, "invalid_grant", " (AADSTS9999999)", History(NOW), Reason.UNKNOWN),
        (MICROSOFT, "invalid_grant", "", History(NOW, NOW, NOW - 91 * DAY), Reason.UNUSED),
        (MICROSOFT, "interaction_required", "", History(NOW), Reason.POLICY),
        (MICROSOFT, "consent_required", "", History(NOW), Reason.CONSENT),
        (GOOGLE, "invalid_grant", "", History(NOW, NOW - 7 * DAY, NOW, in_testing=True), Reason.TESTING),
        (GOOGLE, "invalid_grant", "", History(NOW, NOW - 7.2 * DAY, NOW), Reason.TESTING),
        (GOOGLE, "invalid_grant", "", History(NOW, NOW - 3 * DAY, NOW), Reason.UNKNOWN),
        (GOOGLE, "invalid_grant", "", History(NOW, NOW - 30 * DAY, NOW), Reason.UNKNOWN),
        (GOOGLE, "invalid_grant", "", History(NOW, NOW - 400 * DAY, NOW - 190 * DAY), Reason.UNUSED),
        (GOOGLE, "access_denied", "", History(NOW), Reason.REVOKED),
        (GOOGLE, "invalid_scope", "", History(NOW), Reason.SCOPE),
    ],
)
def test_the_likeliest_cause_is_named(
    of: object, error: str, detail: str, history: History, wanted: Reason
) -> None:
    assert reason(of, error, detail, history) is wanted  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "yesterday", "2026-07-17", "2026-07-17T09:40:08Z production", "\x00"])
def test_a_note_that_no_mailsyncd_wrote_is_none(text: str) -> None:
    assert parse(text) is None


async def test_each_warning_comes_once_and_none_after_a_new_sign_in() -> None:
    clock, home = StandingClock(), SharedHome()
    home.told = Consent(clock.now(), in_testing=True)
    of = account(issuer=Issuer.GOOGLE, home=Home("file", "/t"), remedy="mailsyncd auth gmail")
    source = tokens(Endpoint([granted("one")]), clock, of=of, home=home)
    days: list[object] = []
    for hour in range(7 * 24):
        with capture_logs() as lines:
            await source.token()
            await source.learn()
        days += [line["days"] for line in lines if line["event"] == "account.sign_in_ending"]
        clock.at += 3600
        if hour == 6 * 24 + 3:
            home.told = Consent(clock.now(), in_testing=False)
    assert days == [7, 1]
    assert source.status().ends_why == "Google ends what is unused for 6 months"


async def test_the_last_use_outlives_the_process() -> None:
    clock, notes = StandingClock(), MemoryStore()
    await tokens(Endpoint([granted("one")]), clock, notes).token()
    used = clock.now()
    clock.at += 80 * DAY
    later = tokens(Endpoint([granted("one")]), clock, notes)
    with capture_logs() as lines:
        await later.look()
    found = later.status()
    assert (found.used_at, found.ends_at) == (used, used + 90 * DAY)
    assert found.consented_at == used  # since when it is known
    assert [line["days"] for line in lines if line["event"] == "account.sign_in_ending"] == [14]


async def test_the_use_is_noted_once_a_day_and_no_more() -> None:
    clock, notes = StandingClock(), MemoryStore()
    source, seen = tokens(Endpoint([granted("one")]), clock, notes), set()
    for _ in range(72):
        await source.token()
        seen.add(str(notes.table.items))
        clock.at += 3600
    assert len(seen) == 3


async def test_who_needs_their_user_is_told_once_with_cause_and_command() -> None:
    clock, home = StandingClock(), SharedHome()
    endpoint = Endpoint([refused("invalid_grant", "AADSTS50173: The provided grant has expired")])
    source = tokens(endpoint, clock, home=home)
    with capture_logs() as lines:
        for _ in range(10):
            with pytest.raises(SignInNeeded) as raised:
                await source.token()
            clock.at += 200
    (told,) = [line for line in lines if line["event"] == "account.sign_in_needed"]
    assert told["reason"] == "password_changed"
    assert told["command"] == "mailsyncd auth microsoft"
    assert str(raised.value).endswith("session revoked. Run: mailsyncd auth microsoft")
    found = source.status()
    assert (found.state, found.reason) == (SignInState.NEEDS_SIGN_IN, "password_changed")
    assert found.needed_at is not None


async def test_a_new_token_at_home_mends_it_within_seconds_and_ends_the_pause() -> None:
    clock, home = StandingClock(), SharedHome()
    endpoint = Endpoint([refused("invalid_grant"), granted("one")])
    source = tokens(endpoint, clock, home=home)
    with pytest.raises(SignInNeeded) as raised:
        await source.token()
    for _ in range(10):
        clock.at += 6
        assert source.due
        await source.tend()
        assert not raised.value.mended.is_set()
    assert len(endpoint.asked) == 1
    home.token = Secret("signed in again")
    clock.at += 6
    await source.tend()
    assert raised.value.mended.is_set()
    assert source.status().state is SignInState.GOOD
    assert source.status().reason == ""
    assert await source.token() == "one"


async def test_a_clock_that_is_wrong_is_named_and_waited_for_but_not_for_ever() -> None:
    clock = StandingClock()
    answer = refused("invalid_grant")
    answer.headers["Date"] = "Sat, 17 Jul 2010 09:40:08 GMT"
    source = tokens(Endpoint([answer]), clock)
    with pytest.raises(Transient, match="set this machine's clock"):
        await source.token()
    assert source.status().state is SignInState.RETRYING
    clock.at += 700
    with pytest.raises(SignInNeeded):
        await source.token()


async def test_only_what_is_in_use_is_renewed_ahead_of_its_time() -> None:
    clock, endpoint = StandingClock(), Endpoint([granted(f"t{n}") for n in range(20)])
    source = tokens(endpoint, clock)
    assert not source.due
    await source.token()
    clock.at += 3600 * 0.8
    assert source.due
    await source.tend()
    assert len(endpoint.asked) == 2
    clock.at += 3600 * 0.8
    assert not source.due  # nobody has asked since
    await source.token()
    assert len(endpoint.asked) == 3


async def test_ahead_of_time_a_failure_is_tried_again_while_the_old_token_is_good() -> None:
    clock = StandingClock()
    endpoint = Endpoint(
        [granted("one"), *[refused("temporarily_unavailable", status=503)] * 3, granted("two")]
    )
    source = tokens(endpoint, clock)
    await source.token()
    clock.at += 3600 * 0.8
    for _ in range(40):
        if source.due:
            await source.tend()
        clock.at += 5
    assert await source.token() == "two"
    assert len(endpoint.asked) == 5
