"""The status page of the real daemon: over HTTP as scripts see it, and in a browser as people do."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from between_sims import Between, Child, between
from chromium import Page, a_page
from statuses import Shown

from mailsyncd.meter import Meter
from mailsyncd.observe.listening import listening
from mailsyncd.observe.web.guard import Guard
from mailsyncd.observe.web.server import MOST_CONNECTIONS, serving
from mailsyncd.status import DaemonStatus, RouteState

USERS = {"ann@gmail.example": "Gmail/ann", "bob@gmail.example": "Gmail/<b>bob</b>"}
ROUTES = {f"{user} > {folder}" for user, folder in USERS.items()}
TOKEN = "a-token-of-this-test"
SECRET_SUBJECT = "Nobody shall read this in a status"
SENDER = "stranger@elsewhere.example"
MAIL = f"From: {SENDER}\r\nSubject: {SECRET_SUBJECT}\r\nMessage-ID: <%d@x>\r\n\r\nhello\r\n"


def a_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return int(line.getsockname()[1])


def deliver(bed: Between, number: int, user: str = "ann@gmail.example") -> None:
    bed.gmail.deliver(user, (MAIL % number).encode())


@asynccontextmanager
async def watched(directory: Path, **keys: object) -> AsyncIterator[tuple[Between, Child, str]]:
    """A daemon between simulators, with its page, once it watches."""
    port = a_port()
    async with between(directory, USERS) as bed:
        bed.http_keys = {"listen": f"127.0.0.1:{port}", **keys}
        async with bed.daemon() as child:
            await child.until(lambda: bool(child.events("http.listening")))
            await child.until(lambda: len(child.events("route.connected")) == len(USERS))
            yield bed, child, f"http://127.0.0.1:{port}"


@asynccontextmanager
async def made_up(port: int, shown: Shown | None = None) -> AsyncIterator[None]:
    """A page of a daemon that is not there, in this process."""
    async with (
        listening("127.0.0.1", port) as listener,
        serving(listener.sockets, Guard(None, frozenset()), (shown or Shown()).sight()),
    ):
        yield


def mapped(child: Child) -> str:
    """The libraries that it has loaded, as far as they are not of Python alone."""
    return Path(f"/proc/{child.process.pid}/maps").read_text()


async def get(url: str, method: str = "GET", **headers: str) -> tuple[int, str, Any]:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20)) as http,
        http.request(method, url, headers=headers) as answer,
    ):
        return answer.status, await answer.text(), answer.headers


# ------------------------------------------------------------------- as scripts see it


async def test_a_daemon_tells_over_http_what_it_does(tmp_path: Path) -> None:
    async with watched(tmp_path) as (bed, child, url):
        for number in range(3):
            deliver(bed, number)
        await child.until(lambda: bed.missing == 0)
        await child.until(lambda: len(child.events("message.copied")) == 3)
        assert (await get(f"{url}/healthz"))[:2] == (200, "healthy\n")
        assert (await get(f"{url}/readyz"))[:2] == (200, "ready\n")
        _, metrics, headers = await get(f"{url}/metrics")
        assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
        route = 'route="ann@gmail.example > Gmail/ann"'
        assert f'mailsyncd_messages_total{{destination="outlook",outcome="copied",{route}}} 3.0' in metrics
        assert 'mailsyncd_delivery_since_seen_seconds_count{destination="outlook",via="push"}' in metrics
        assert 'mailsyncd_state_requests_total{operation="transaction"}' in metrics
        status, text, headers = await get(f"{url}/status.json")
        told = json.loads(text)
        assert (status, told["health"]) == (200, "healthy")
        assert {one["name"]: one["copied"] for one in told["routes"]}["ann@gmail.example > Gmail/ann"] == 3
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["Cache-Control"] == "no-store"
        for words in (SECRET_SUBJECT, SENDER, "hello"):
            assert words not in metrics + text


async def test_only_reading_and_only_by_a_name_of_ours(tmp_path: Path) -> None:
    async with watched(tmp_path, token=TOKEN, hosts=["mail.example.org"]) as (_, _, url):
        shown = {"Authorization": f"Bearer {TOKEN}"}
        for path in ("/", "/page.js", "/healthz", "/readyz", "/metrics", "/status.json", "/nothing"):
            assert (await get(url + path))[0] == 401
        status, text, _ = await get(f"{url}/status.json", "HEAD", **shown)
        assert (status, text) == (200, "")
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert (await get(f"{url}/status.json", method, **shown))[0] == 405
        assert (await get(f"{url}/nothing", **shown))[0] == 404
        assert (await get(f"{url}/", Host="evil.example", **shown))[0] == 421
        assert (await get(f"{url}/", Host="mail.example.org", **shown))[0] == 200


NONSENSE = (
    b"garbage\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /%00%ff/.. HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"CONNECT evil.example:1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
)


async def test_nonsense_gets_nothing_and_leaves_no_line_in_the_log(tmp_path: Path) -> None:
    async with watched(tmp_path) as (_, child, url):
        before = [line for line in child.log.read_text().splitlines() if '"error"' in line]
        for sent in NONSENSE:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writer.write(sent)
            async with asyncio.timeout(10):
                first = await reader.readline()
            assert first.split()[1] in (b"400", b"404", b"405"), sent
            writer.close()
        assert (await get(f"{url}/healthz"))[0] == 200
        assert [line for line in child.log.read_text().splitlines() if '"error"' in line] == before


async def test_a_port_that_is_taken_is_told_in_a_line_and_holds_up_no_mail(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        async with between(tmp_path, USERS) as bed:
            bed.http_keys = {"listen": f"127.0.0.1:{other.getsockname()[1]}"}
            async with bed.daemon() as child:
                deliver(bed, 1)
                await child.until(lambda: bed.missing == 0)
                (told,) = child.events("http.unavailable")
                assert told["level"] == "warning"
                assert "Address already in use; [http] listen says where else" in str(told["error"])


async def test_a_reload_moves_the_page_and_takes_up_another_token(tmp_path: Path) -> None:
    async with watched(tmp_path, token=TOKEN) as (bed, child, url):
        second = f"http://127.0.0.1:{(port := a_port())}"
        bed.http_keys = {"listen": f"127.0.0.1:{port}", "token": TOKEN[::-1]}
        bed.write_configuration()
        child.process.send_signal(signal.SIGHUP)
        await child.until(lambda: len(child.events("http.listening")) == 2)
        assert (await get(f"{second}/healthz", Authorization=f"Bearer {TOKEN}"))[0] == 401
        status, metrics, _ = await get(f"{second}/metrics", Authorization=f"Bearer {TOKEN[::-1]}")
        assert status == 200
        assert 'mailsyncd_reloads_total{outcome="good"} 1.0' in metrics
        with pytest.raises(aiohttp.ClientConnectionError):
            await get(f"{url}/healthz")
        bed.http_keys = {"listen": "off"}
        bed.write_configuration()
        child.process.send_signal(signal.SIGHUP)
        await child.until(lambda: len(child.events("config.reloaded")) == 2)
        with pytest.raises(aiohttp.ClientConnectionError):
            await get(f"{second}/healthz")
        assert len(child.events("route.connected")) == len(USERS), "no connection was touched"


async def test_a_terminal_is_told_by_the_socket_without_the_page(tmp_path: Path) -> None:
    async with between(tmp_path, USERS) as bed, bed.daemon() as child:
        deliver(bed, 1)
        await child.until(lambda: len(child.events("message.copied")) == 1)
        await child.until(lambda: {str(one["route"]) for one in child.events("route.connected")} >= ROUTES)
        command = (sys.executable, "-m", "mailsyncd", "status", "--socket", str(tmp_path / "s"))
        asked = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        async with asyncio.timeout(60):
            said, _ = await asked.communicate()
        assert asked.returncode == 0
        (ann,) = [line for line in said.decode().splitlines() if line.startswith("ann@")]
        assert ann.split()[3] == "watching"
        assert SECRET_SUBJECT not in said.decode()


async def test_nothing_of_it_is_loaded_until_somebody_asks_and_he_is_answered(tmp_path: Path) -> None:
    async with watched(tmp_path) as (bed, child, url):
        deliver(bed, 1)
        await child.until(lambda: len(child.events("message.copied")) == 1)
        assert "sqlite" in mapped(child), "this is where its libraries show"
        assert "aiohttp" not in mapped(child)
        assert (await get(f"{url}/healthz"))[:2] == (200, "healthy\n")
        assert "aiohttp" in mapped(child)
        deliver(bed, 2)
        await child.until(lambda: len(child.events("message.copied")) == 2)


async def test_turned_off_it_listens_nowhere(tmp_path: Path) -> None:
    async with between(tmp_path, USERS) as bed, bed.daemon() as child:
        await child.until(lambda: len(child.events("route.connected")) == len(USERS))
        held = {os.readlink(one) for one in Path(f"/proc/{child.process.pid}/fd").iterdir()}
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        listening = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A"}
        assert listening, "the simulators' are among them"
        assert not held & listening
        assert child.events("http.listening") == []


async def test_who_holds_connections_and_says_nothing_keeps_nobody_out(tmp_path: Path) -> None:
    port = a_port()
    async with made_up(port):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MOST_CONNECTIONS + 10)]
        try:
            assert (await get(f"http://127.0.0.1:{port}/healthz"))[0] == 200
            async with asyncio.timeout(10):
                assert await held[0][0].read() == b""  # the oldest had to go
        finally:
            for _, writer in held:
                writer.close()


# ------------------------------------------------------------------- as people see it


async def nothing_is_cut_off(page: Page) -> None:
    assert await page.value("document.documentElement.scrollWidth <= innerWidth")


async def test_the_page_shows_mail_as_it_arrives(tmp_path: Path) -> None:
    async with watched(tmp_path) as (bed, _, url), a_page(tmp_path / "profile") as page:
        await page.look(width=1280, height=800)
        await page.open(url)
        await page.until("document.querySelectorAll('.route.good').length === 2")
        assert await page.value("document.getElementById('verdict').textContent") == "All mail is there"
        await page.value("window.same = true")
        deliver(bed, 1)
        await page.until("document.getElementById('hour').textContent === '1'")
        await page.until("document.querySelectorAll('#plot circle.push').length === 1")
        for number in range(2, 7):
            deliver(bed, number, "bob@gmail.example")
        await page.until("document.getElementById('hour').textContent === '6'")
        await page.until(
            "[...document.querySelectorAll('.route')].some(r => r.textContent.includes('5 copied'))"
        )
        assert await page.value("window.same"), "it was not loaded anew"
        names = await page.value("[...document.querySelectorAll('.route .name')].map(n => n.textContent)")
        assert names == ["ann@gmail.example→ Gmail/ann", "bob@gmail.example→ Gmail/<b>bob</b>"]
        assert await page.value("document.querySelector('.route b')") is None
        text = await page.value("document.documentElement.outerHTML")
        assert SECRET_SUBJECT not in text
        assert SENDER not in text
        assert page.complaints == []
        assert {one.split("/")[2] for one in page.asked} == {url.split("/")[2]}


async def test_the_page_says_when_the_daemon_is_gone(tmp_path: Path) -> None:
    async with a_page(tmp_path / "profile") as page:
        async with watched(tmp_path) as (_, _, url):
            await page.open(url)
            await page.until("document.body?.dataset.health === 'healthy'")
        await page.until("document.body.dataset.health === 'away'")
        assert "does not answer" in await page.value("document.getElementById('verdict').textContent")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 390, 768, 1280, 1920])
async def test_the_page_fits_every_window_by_day_and_by_night(tmp_path: Path, width: int, dark: bool) -> None:
    port = a_port()
    async with (
        made_up(port),
        a_page(tmp_path / "profile") as page,
    ):
        await page.look(width=width, height=800, dark=dark, mobile=width < 500)
        await page.open(f"http://127.0.0.1:{port}/")
        await page.until("document.querySelectorAll('.route').length === 5")
        await nothing_is_cut_off(page)
        ground = await page.value("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, ground[4:-1].split(","))) < 150) == dark
        told = await page.value("document.body.innerText")
        for words in (
            "Something needs you",
            "throttled for 42 s",
            "Too large for the destination",
            "needs you",
        ):
            assert words in told
        assert await page.value("document.querySelectorAll('#plot circle').length") > 50
        assert page.complaints == []


FAINT = """
(() => {
  const parts = text => text.match(/[\\d.]+/g).map(Number);
  const light = text => {
    const [r, g, b] = parts(text).map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const ground = one => {
    for (; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if ((parts(colour)[3] ?? 1) > .99) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const speaks = one => [...one.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
  const seen = one => one.getClientRects().length && speaks(one);
  const told = [...document.body.querySelectorAll("*")].filter(seen);
  return told.flatMap(one => {
    const style = getComputedStyle(one), ink = light(one.closest("svg") ? style.fill : style.color);
    const below = light(ground(one)), [high, low] = [Math.max(ink, below) + .05, Math.min(ink, below) + .05];
    return high / low < 4.5 ? [`${one.textContent.slice(0, 40)}: ${high / low}`] : [];
  });
})()
"""


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("busy", [False, True])
async def test_every_word_stands_out_from_its_ground(tmp_path: Path, dark: bool, busy: bool) -> None:
    port = a_port()
    shown = Shown() if busy else Shown(well=True, change=at_the_start)
    if not busy:
        shown.meter = Meter()
    async with made_up(port, shown), a_page(tmp_path / "profile") as page:
        await page.look(width=1280, height=800, dark=dark)
        await page.open(f"http://127.0.0.1:{port}/")
        await page.until("document.querySelectorAll('.route').length === 5")
        await asyncio.sleep(2)  # until no row is lit up by mail that came
        assert await page.value(FAINT) == [], "WCAG 2.2, 1.4.3: a contrast of 4.5 to 1"


def a_hundred(status: DaemonStatus) -> DaemonStatus:
    """With figures as large as they get."""
    first = replace(
        status.routes[0], copied=12_345_678, unsettled=1_234_567, oldest_age=80_000.0, copied_age=86_000.0
    )
    names = [f"somebody.with.a.long.name.{n:03}@googlemail.example > Imported/of {n:03}" for n in range(100)]
    late = replace(first, name=names[99], late=1000.0)
    return replace(status, routes=(*(replace(first, name=name) for name in names[:99]), late))


@pytest.mark.parametrize("width", [390, 1280])
async def test_a_hundred_routes_with_large_figures_fit_and_what_is_late_comes_first(
    tmp_path: Path, width: int
) -> None:
    port = a_port()
    async with made_up(port, Shown(change=a_hundred)), a_page(tmp_path / "profile") as page:
        await page.look(width=width, height=800, mobile=width < 500)
        await page.open(f"http://127.0.0.1:{port}/")
        await page.until("document.querySelectorAll('.route').length === 40")
        await nothing_is_cut_off(page)
        narrow = "[...document.querySelectorAll('.figure')].filter(one => one.scrollWidth > one.clientWidth)"
        assert await page.value(f"{narrow}.map(one => one.textContent)") == []
        assert ".099@" in await page.value("document.querySelector('.route.warn').textContent")
        assert await page.value("document.querySelector('.route').classList.contains('warn')")
        await page.value("document.getElementById('more').click()")
        await page.until("document.querySelectorAll('.route').length === 100")
        assert page.complaints == []


def at_the_start(status: DaemonStatus) -> DaemonStatus:
    fields = {"state": RouteState.CONNECTING, "listed_age": None, "copied": 0, "copied_age": None}
    return replace(status, routes=tuple(replace(one, **fields) for one in status.routes))  # type: ignore[arg-type]


async def test_before_anything_was_looked_at_the_page_does_not_say_that_all_is_well(tmp_path: Path) -> None:
    port = a_port()
    shown = Shown(well=True, change=at_the_start)
    shown.meter = Meter()
    async with made_up(port, shown), a_page(tmp_path / "profile") as page:
        await page.open(f"http://127.0.0.1:{port}/")
        await page.until("document.querySelectorAll('.route').length === 5")
        assert await page.value("document.getElementById('verdict').textContent") == "Connecting …"
        assert (
            await page.value("document.querySelector('#plot .empty').textContent")
            == "No mail in the last hour"
        )


async def test_a_command_to_run_is_told_once(tmp_path: Path) -> None:
    def with_a_command(status: DaemonStatus) -> DaemonStatus:
        eve = status.accounts[1]
        detail = f"{eve.name}: it was revoked. Run: {eve.command}"
        return replace(status, accounts=(replace(eve, detail=detail),))

    port = a_port()
    async with made_up(port, Shown(change=with_a_command)), a_page(tmp_path / "profile") as page:
        await page.open(f"http://127.0.0.1:{port}/")
        await page.until("document.querySelectorAll('#accounts li').length === 1")
        said = await page.value("document.getElementById('accounts').textContent")
        assert said.count("mailsyncd auth gmail") == 1
        assert said.count("eve@gmail.example: ") == 0
