"""The page on loopback, by requests of every kind over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import pytest

from mailsyncd.account import Account, AuthKind, Secret
from mailsyncd.auth.attempt import Attempt
from mailsyncd.auth.loopback import MOST_CONNECTIONS, Loopback
from mailsyncd.auth.providers import GOOGLE
from mailsyncd.errors import SignInFailed

ACCOUNT = Account(
    "me@gmail.com", AuthKind.OAUTH, client_id="c", authorize_url="https://a.example/", scope="s"
)
CODE = "4/code-canary"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def attempt() -> Attempt:
    return Attempt(ACCOUNT, GOOGLE, GOOGLE.redirect_at(free_port()))


@pytest.fixture
async def page(attempt: Attempt) -> AsyncIterator[Loopback]:
    async with Loopback(attempt.redirect, attempt.code) as opened:
        yield opened


def target(attempt: Attempt, **fields: str) -> str:
    return "/callback?" + urlencode({"state": attempt.state.reveal(), "code": CODE, **fields})


def port_of(attempt: Attempt) -> int:
    return int(attempt.redirect.partition("//")[2].partition("/")[0].rpartition(":")[2])


async def sent(attempt: Attempt, raw: bytes, address: str = "127.0.0.1") -> str:
    """All that comes back until the server closes."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(address, port_of(attempt))
        writer.write(raw)
        try:
            return (await reader.read()).decode()
        finally:
            writer.close()


async def requested(
    attempt: Attempt, path: str, *, method: str = "GET", host: str | None = None, address: str = "127.0.0.1"
) -> str:
    host = attempt.redirect.split("/")[2] if host is None else host
    return await sent(attempt, f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), address)


def status(answer: str) -> int:
    return int(answer.split(" ")[1])


async def test_the_code_is_handed_on_and_the_page_waits_for_what_becomes_of_it(
    page: Loopback, attempt: Attempt
) -> None:
    browser = asyncio.create_task(requested(attempt, target(attempt)))
    assert await page.code() == Secret(CODE)
    await asyncio.sleep(0.05)
    assert not browser.done()
    page.tell(worked=True)
    answer = await browser
    assert status(answer) == 200
    assert "Signed in" in answer


async def test_the_page_says_nothing_of_the_request_and_is_not_kept(page: Loopback, attempt: Attempt) -> None:
    page.tell(worked=True)
    head, _, body = (await requested(attempt, target(attempt))).partition("\r\n\r\n")
    for secret in (CODE, "canary", attempt.state.reveal()):
        assert secret not in head + body
    assert "Cache-Control: no-store" in head
    assert "Content-Security-Policy: default-src 'none'" in head
    assert "Referrer-Policy: no-referrer" in head
    assert not any(word in body for word in ("http", "src=", "href=", "<script", "<style", "url("))


async def test_a_page_whose_sign_in_failed_does_not_say_that_it_worked(attempt: Attempt) -> None:
    async with Loopback(attempt.redirect, attempt.code) as page:
        browser = asyncio.create_task(requested(attempt, target(attempt)))
        await page.code()
    assert "Not signed in" in await browser


async def test_a_second_redirect_gets_nothing(page: Loopback, attempt: Attempt) -> None:
    page.tell(worked=True)
    assert status(await requested(attempt, target(attempt))) == 200
    assert status(await requested(attempt, target(attempt, code="another"))) == 410
    assert await page.code() == Secret(CODE)


async def test_of_two_at_once_one_is_served(page: Loopback, attempt: Attempt) -> None:
    page.tell(worked=True)
    answers = await asyncio.gather(*(requested(attempt, target(attempt, code=str(n))) for n in range(8)))
    assert sorted(map(status, answers)) == [200] + [410] * 7


async def test_a_forged_state_is_turned_away_and_the_true_one_still_served(
    page: Loopback, attempt: Attempt
) -> None:
    for forged in ("", "x" * 43, attempt.state.reveal()[:-1]):
        assert status(await requested(attempt, target(attempt, state=forged, code="evil"))) == 400
    assert list(page.turned_away.values()) == [3]
    page.tell(worked=True)
    assert status(await requested(attempt, target(attempt))) == 200
    assert await page.code() == Secret(CODE)


@pytest.mark.parametrize("path", ["/", "/favicon.ico", "/callback/", "/callback2", "/CALLBACK", "//callback"])
async def test_another_path_is_not_found(page: Loopback, attempt: Attempt, path: str) -> None:
    query = target(attempt).partition("?")[2]
    assert status(await requested(attempt, f"{path}?{query}")) == 404
    assert page.turned_away == {"a request for another path": 1}


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "OPTIONS", "get"])
async def test_another_method_is_not_allowed(page: Loopback, attempt: Attempt, method: str) -> None:
    answer = await requested(attempt, target(attempt), method=method)
    assert status(answer) == 405
    assert "Allow: GET\r\n" in answer


@pytest.mark.parametrize("host", ["", "evil.example", "127.0.0.1", "localhost:{port}", "evil.example:{port}"])
async def test_another_host_is_not_served(page: Loopback, attempt: Attempt, host: str) -> None:
    answer = await requested(attempt, target(attempt), host=host.format(port=port_of(attempt)))
    assert status(answer) == 421


async def test_two_hosts_are_not_served(page: Loopback, attempt: Attempt) -> None:
    host = attempt.redirect.split("/")[2]
    raw = f"GET {target(attempt)} HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\n\r\n"
    assert status(await sent(attempt, raw.encode())) == 421


@pytest.mark.parametrize(
    "raw", [b"\r\n\r\n", b"GET\r\n\r\n", b"GET http://127.0.0.1/callback HTTP/1.1\r\n\r\n"]
)
async def test_what_is_no_request_is_refused(page: Loopback, attempt: Attempt, raw: bytes) -> None:
    assert status(await sent(attempt, raw)) == 400


async def test_an_endless_request_is_cut_off(page: Loopback, attempt: Attempt) -> None:
    try:
        answer = await sent(attempt, b"GET /callback?" + b"x" * 200_000)
    except ConnectionError:
        answer = ""
    assert answer == ""


async def test_many_silent_connections_keep_the_browser_out_no_longer_than_they_last(
    page: Loopback, attempt: Attempt
) -> None:
    silent = [
        await asyncio.open_connection("127.0.0.1", port_of(attempt)) for _ in range(MOST_CONNECTIONS + 4)
    ]
    for _, writer in silent:
        writer.close()
    await asyncio.sleep(0.05)
    page.tell(worked=True)
    assert status(await requested(attempt, target(attempt))) == 200


async def test_no_other_machine_can_reach_it(page: Loopback, attempt: Attempt) -> None:
    """Not by any address of this machine but the one, nor if something passed them on."""
    for address in ("127.0.0.2", *own_addresses()):
        with pytest.raises(OSError):
            await requested(attempt, target(attempt), address=address)
    head = f"GET {target(attempt)} HTTP/1.1\r\nHost: {attempt.redirect.split('/')[2]}\r\n\r\n".encode()
    for peer in ("192.0.2.7", "fe80::1%eth0", "2001:db8::1"):
        answered, _ = await page._answer(head, (peer, 40_000))
        assert answered == 403


def own_addresses() -> list[str]:
    """Those that are not loopback."""
    found = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET, socket.SOCK_STREAM)
    return sorted({str(one[4][0]) for one in found if not str(one[4][0]).startswith("127.")})


async def test_localhost_is_held_on_both_addresses_it_may_have() -> None:
    attempt = Attempt(ACCOUNT, GOOGLE, f"http://localhost:{free_port()}/callback")
    async with Loopback(attempt.redirect, attempt.code) as page:
        page.tell(worked=True)
        assert status(await requested(attempt, target(attempt), address="::1")) == 200
        assert status(await requested(attempt, target(attempt), address="127.0.0.1")) == 410


@pytest.mark.parametrize("taken", ["127.0.0.1", "::1"])
async def test_a_port_that_is_taken_names_the_option(taken: str) -> None:
    family = socket.AF_INET6 if ":" in taken else socket.AF_INET
    with socket.create_server((taken, 0), family=family) as other:
        port = other.getsockname()[1]
        redirect = f"http://localhost:{port}/callback"
        with pytest.raises(SignInFailed, match=f"port {port} is taken: choose another with --port"):
            async with Loopback(redirect, lambda _: Secret("")):
                pass


async def test_a_user_who_cancels_ends_it(page: Loopback, attempt: Attempt) -> None:
    path = "/callback?" + urlencode({"state": attempt.state.reveal(), "error": "access_denied"})
    browser = asyncio.create_task(requested(attempt, path))
    with pytest.raises(SignInFailed, match="refused in the browser"):
        await page.code()
    page.tell(worked=False)
    assert "Not signed in" in await browser


async def test_nothing_listens_any_more_afterwards(attempt: Attempt) -> None:
    async with Loopback(attempt.redirect, attempt.code):
        pass
    with pytest.raises(ConnectionRefusedError):
        await requested(attempt, target(attempt))


async def test_the_usual_port_may_be_left_out_of_the_host() -> None:
    page = Loopback("http://127.0.0.1:80/callback", Secret)
    for host in ("127.0.0.1", "127.0.0.1:80"):
        assert (
            page._query(f"GET /callback?q HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), ("127.0.0.1", 1)) == "q"
        )
