"""docs/sign-in.md knows what a sign-in may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailsyncd.account import Account, AuthKind, Secret
from mailsyncd.auth import service
from mailsyncd.auth.attempt import ADVICE
from mailsyncd.auth.providers import GOOGLE, MICROSOFT
from mailsyncd.service_key import GoogleKey

PAGE = (Path(__file__).parents[3] / "docs/sign-in.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("error", sorted(ADVICE))
def test_every_error_with_advice_is_on_the_page(error: str) -> None:
    assert error in PAGE


def test_every_error_of_a_service_account_is_on_the_page() -> None:
    account = Account("me@company.example", AuthKind.SERVICE_ACCOUNT)
    google = service.advice(account, GoogleKey("a@b", "1", "2", Secret("")))
    assert not [error for error in {*google, *service.advice(account, None)} if f"`{error}`" not in PAGE]


def test_the_address_to_register_is_the_one_that_is_used() -> None:
    assert f"`{MICROSOFT.redirect_at(None)}`" in PAGE
    assert f"-L {GOOGLE.port}:127.0.0.1:{GOOGLE.port} " in PAGE
