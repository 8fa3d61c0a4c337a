"""Every TokenKeeper keeps the newest refresh token of each account."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailsyncd.account import Secret
from mailsyncd.auth.keeper import FileTokenKeeper, MemoryKeeper, TokenKeeper

CONFIGURED = Secret("configured")


@pytest.fixture(params=["memory", "files"])
def keeper(request: pytest.FixtureRequest, tmp_path: Path) -> TokenKeeper:
    return MemoryKeeper() if request.param == "memory" else FileTokenKeeper(tmp_path / "tokens")


async def test_nothing_is_kept_at_first(keeper: TokenKeeper) -> None:
    assert await keeper.load("a@example.org", CONFIGURED) is None


async def test_the_last_one_saved_is_the_one_loaded(keeper: TokenKeeper) -> None:
    for token in ("one", "two", "three"):
        await keeper.save("a@example.org", CONFIGURED, Secret(token))
    assert await keeper.load("a@example.org", CONFIGURED) == Secret("three")


async def test_accounts_do_not_share(keeper: TokenKeeper) -> None:
    await keeper.save("a@example.org", CONFIGURED, Secret("of a"))
    await keeper.save("b@example.org", CONFIGURED, Secret("of b"))
    assert await keeper.load("a@example.org", CONFIGURED) == Secret("of a")
    assert await keeper.load("c@example.org", CONFIGURED) is None


async def test_an_account_is_the_same_in_upper_and_lower_case(keeper: TokenKeeper) -> None:
    await keeper.save("A@Example.org", CONFIGURED, Secret("of a"))
    assert await keeper.load("a@example.ORG", CONFIGURED) == Secret("of a")


async def test_a_kept_token_counts_only_with_the_configured_one_it_came_from(keeper: TokenKeeper) -> None:
    await keeper.save("a@example.org", CONFIGURED, Secret("old line"))
    assert await keeper.load("a@example.org", Secret("new sign-in")) is None
    await keeper.save("a@example.org", Secret("new sign-in"), Secret("new line"))
    assert await keeper.load("a@example.org", Secret("new sign-in")) == Secret("new line")
    assert await keeper.load("a@example.org", CONFIGURED) is None


@pytest.mark.parametrize("account", ["../../etc/passwd", "a/b", ".", "", "ä" * 300, "a\x00b", "a%2Fb"])
async def test_no_account_name_is_too_odd(keeper: TokenKeeper, account: str) -> None:
    await keeper.save(account, CONFIGURED, Secret("odd"))
    assert await keeper.load(account, CONFIGURED) == Secret("odd")
