"""A rotated refresh token goes back where it came from, or is kept sealed; nobody ends with a dead one."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx
import pytest
from structlog.testing import capture_logs
from token_endpoint import CONFIGURED, Endpoint, SharedHome, StandingClock, account, granted, refused, tokens

from mailsyncd.account import Secret
from mailsyncd.auth.sealed import line_of, seal, unseal
from mailsyncd.errors import SignInNeeded, Transient
from mailsyncd.model import TokenNote
from mailsyncd.state.memory import MemoryStore


class Strict(Endpoint):
    """Every refresh token is good once: the harshest rotation there is."""

    def __init__(self, alive: Secret = CONFIGURED) -> None:
        super().__init__([])
        self.alive = alive.reveal()
        self.issued = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.answers = [refused("invalid_grant")]
        if f"refresh_token={self.alive}" in request.content.decode():
            self.issued += 1
            self.alive = f"rotated-{self.issued}"
            self.answers = [granted(f"access-{self.issued}", refresh_token=self.alive)]
        return super().__call__(request)


async def test_what_a_home_takes_is_not_kept_anywhere_else() -> None:
    home, notes = SharedHome(), MemoryStore()
    await tokens(Strict(), StandingClock(), notes, home=home).token()
    assert home.token == Secret("rotated-1")
    assert [item.get("sealed") for item in notes.table.items.values()] == [None]


async def test_what_can_not_be_written_is_kept_sealed_and_the_user_is_told_once() -> None:
    notes, clock, endpoint = MemoryStore(), StandingClock(), Strict()
    source = tokens(endpoint, clock, notes)
    with capture_logs() as lines:
        for _ in range(3):
            await source.token()
            clock.at += 3600
    told = [line for line in lines if line["event"] == "token.kept_in_state"]
    assert [line["reason"] for line in told] == ["the configuration can't be written"]
    assert source.status().kept_in == "the state, sealed (the configuration can't be written)"
    assert source.status().is_kept
    assert "rotated" not in str(notes.table.items)
    assert await tokens(endpoint, clock, notes).token() == "access-4"


async def test_a_newly_configured_refresh_token_wins_over_a_kept_one() -> None:
    notes = MemoryStore()
    await tokens(Endpoint([granted("one", refresh_token="rotated")]), StandingClock(), notes).token()
    endpoint, fresh = Endpoint([granted("two")]), account(refresh_token=Secret("signed in again"))
    await tokens(endpoint, StandingClock(), notes, of=fresh).token()
    assert endpoint.asked[0]["refresh_token"] == "signed in again"


async def test_with_neither_home_nor_state_it_goes_on_in_memory_and_is_kept_later() -> None:
    home, notes, clock = SharedHome(), MemoryStore(), StandingClock()
    source = tokens(Strict(), clock, notes, home=home)
    home.broken = notes.down = True
    with capture_logs() as lines:
        assert await source.token() == "access-1"
    assert [line["log_level"] for line in lines if line["event"] == "token.not_kept"] == ["error"]
    assert "rotated" not in str(lines)
    assert not source.status().is_kept
    assert source.due
    home.broken = False
    await source.tend()
    assert home.token == Secret("rotated-1")
    assert source.status().is_kept


async def test_an_unkept_token_is_used_before_the_older_one_at_home() -> None:
    home, notes, clock = SharedHome(), MemoryStore(), StandingClock()
    source = tokens(Strict(), clock, notes, home=home)
    home.broken = notes.down = True
    await source.token()
    clock.at += 3600
    assert await source.token() == "access-2"


async def test_a_new_sign_in_at_home_is_used_before_an_unkept_token() -> None:
    home, notes, clock = SharedHome(), MemoryStore(), StandingClock()
    endpoint = Endpoint([granted("one", refresh_token="rotated"), granted("two")])
    source = tokens(endpoint, clock, notes, home=home)
    home.broken = notes.down = True
    await source.token()
    home.token = Secret("signed in again")
    clock.at += 3600
    await source.token()
    assert endpoint.asked[1]["refresh_token"] == "signed in again"


@pytest.mark.parametrize("followed", [True, False], ids=["home", "state"])
async def test_daemons_that_rotate_by_turns_never_meet_a_dead_token(followed: bool) -> None:
    home, notes, clock, endpoint = SharedHome(), MemoryStore(), StandingClock(), Strict()
    shared = home if followed else None
    daemons = [tokens(endpoint, clock, notes, home=shared) for _ in range(2)]
    for turn in range(1, 7):
        clock.at += 3600
        assert await daemons[turn % 2].token() == f"access-{turn}"
    assert len(endpoint.asked) == 6


@pytest.mark.parametrize("followed", [True, False], ids=["home", "state"])
async def test_a_daemon_that_was_overtaken_reads_again_and_goes_on(followed: bool) -> None:
    home, notes, clock, endpoint = SharedHome(), MemoryStore(), StandingClock(), Strict()
    shared = home if followed else None
    other = tokens(endpoint, clock, notes, home=shared)

    class Late(Strict):
        """Before the first request is answered, another daemon rotates."""

        def __init__(self) -> None:
            super().__init__()
            self.handler = endpoint

        async def overtaken(self, request: httpx.Request) -> httpx.Response:
            if not self.asked:
                await other.token()
            self.asked.append({})
            return self.handler(request)

    late = Late()
    source = tokens(endpoint, clock, notes, home=shared)
    source._client = httpx.AsyncClient(transport=httpx.MockTransport(late.overtaken))
    assert await source.token() == "access-2"
    assert len(late.asked) == 2


async def test_of_two_who_rotate_at_once_the_first_to_write_is_followed() -> None:
    home, clock = SharedHome(), StandingClock()
    home.go_on.clear()
    endpoint = Endpoint([granted("mine", refresh_token="mine"), granted("next")])
    source = tokens(endpoint, clock, home=home)
    waiting = asyncio.create_task(source.token())
    await home.written.wait()
    home.token = Secret("theirs")
    home.go_on.set()
    assert await waiting == "mine"
    clock.at += 3600
    await source.token()
    assert endpoint.asked[1]["refresh_token"] == "theirs"


async def test_of_two_who_seal_at_once_the_first_to_write_is_followed() -> None:
    clock = StandingClock()

    class Racing(MemoryStore):
        raced = False

        async def put_token_note(self, new: TokenNote, *, expected: TokenNote | None) -> bool:
            if new.sealed and not self.raced:
                self.raced = True
                theirs = seal("me@example.org", CONFIGURED, Secret("theirs"))
                await super().put_token_note(replace(new, sealed=theirs), expected=expected)
            return await super().put_token_note(new, expected=expected)

    endpoint = Endpoint([granted("mine", refresh_token="mine"), granted("next")])
    source = tokens(endpoint, clock, Racing())
    await source.token()
    clock.at += 3600
    await source.token()
    assert endpoint.asked[1]["refresh_token"] == "theirs"


async def test_when_the_newest_is_dead_the_configured_one_is_tried() -> None:
    notes, clock = MemoryStore(), StandingClock()
    await tokens(Endpoint([granted("one", refresh_token="rotated")]), clock, notes).token()
    endpoint = Endpoint([refused("invalid_grant"), granted("two")])
    with capture_logs() as lines:
        assert await tokens(endpoint, clock, notes).token() == "two"
    assert [form["refresh_token"] for form in endpoint.asked] == ["rotated", CONFIGURED.reveal()]
    assert "token.fell_back" in [line["event"] for line in lines]


async def test_a_home_restored_to_an_older_token_does_not_end_who_knows_a_newer() -> None:
    home, clock, endpoint = SharedHome(), StandingClock(), Strict()
    source = tokens(endpoint, clock, home=home)
    await source.token()
    home.token = CONFIGURED
    clock.at += 3600
    assert await source.token() == "access-2"
    assert home.token == Secret("rotated-2")


async def test_a_state_that_is_away_is_no_reason_to_sign_out_who_has_a_home() -> None:
    home, notes = SharedHome(), MemoryStore()
    notes.down = True
    assert await tokens(Strict(), StandingClock(), notes, home=home).token() == "access-1"


async def test_without_a_home_the_state_is_waited_for_since_it_may_know_a_newer_token() -> None:
    notes, clock, endpoint = MemoryStore(), StandingClock(), Strict()
    notes.down = True
    source = tokens(endpoint, clock, notes)
    with pytest.raises(Transient):
        await source.token()
    assert endpoint.asked == []
    notes.down = False
    clock.at += 60
    assert await source.token() == "access-1"


async def test_all_tokens_dead_is_one_refusal_and_each_was_tried_once() -> None:
    notes, clock = MemoryStore(), StandingClock()
    await tokens(Endpoint([granted("one", refresh_token="rotated")]), clock, notes).token()
    endpoint = Endpoint([refused("invalid_grant")])
    with pytest.raises(SignInNeeded):
        await tokens(endpoint, clock, notes).token()
    assert len(endpoint.asked) == 2


# ---------------------------------------------------------------------- sealing


def test_only_who_has_the_first_token_can_read_what_descends_from_it() -> None:
    sealed = seal("Me@example.org", CONFIGURED, Secret("rotated"))
    assert unseal("me@EXAMPLE.org", CONFIGURED, sealed) == Secret("rotated")
    assert unseal("me@example.org", Secret("another"), sealed) is None
    assert unseal("you@example.org", CONFIGURED, sealed) is None
    assert "rotated" not in sealed


def test_nothing_sealed_is_sealed_twice_alike() -> None:
    assert len({seal("me", CONFIGURED, Secret("rotated")) for _ in range(5)}) == 5


@pytest.mark.parametrize("damage", ["", "%%%", "AAAA", "é"])
def test_damage_is_as_good_as_nothing(damage: str) -> None:
    assert unseal("me", CONFIGURED, damage) is None
    sealed = seal("me", CONFIGURED, Secret("rotated"))
    assert unseal("me", CONFIGURED, sealed[:-8] + "AAAAAAA=") is None


def test_lines_are_told_apart_and_tell_nothing() -> None:
    lines = {line_of("me", CONFIGURED), line_of("me", Secret("other")), line_of("you", CONFIGURED)}
    assert len(lines) == 3
    assert all(CONFIGURED.reveal() not in line for line in lines)
    assert line_of("ME", CONFIGURED) == line_of("me", CONFIGURED)
