"""Reloads while mail flows, the real daemon between simulated servers: forty configurations that are wrong
in forty ways, good changes of everything that can change, and a storm of signals. The process, and the
connection of the route that is never touched, live through it all; nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from between_sims import OUTLOOK_USER, PASSWORD, Between, Child, between
from service_provider import CERTIFICATE

from mailsyncd.observe.ask import ask
from mailsyncd.sim.verdict import compare
from mailsyncd.tasks import begun

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

ANN, BOB, CAT = "ann@gmail.example", "bob@gmail.example", "cat@gmail.example"
SECOND = "second@outlook.example"


@dataclass(frozen=True)
class Wanted:
    """A configuration, as it is to be written."""

    port: int
    gmail_port: int
    daemon: dict[str, object] = field(default_factory=dict)
    outlook: dict[str, object] = field(default_factory=dict)
    routes: tuple[tuple[str, str, str], ...] = ((ANN, "Gmail/ann", ""), (BOB, "Gmail/bob", ""))
    second: bool = False

    def text(self) -> str:
        lines = ["[daemon]", 'socket = "s"', *_keys({"settle_window": "2s", **self.daemon})]
        lines += ["[http]", 'listen = "off"', "[state]", 'path = "state.db"']
        lines += [
            "[[destinations]]",
            'name = "outlook"',
            f'email = "{OUTLOOK_USER}"',
            *_server(self.port),
            f'password = "{PASSWORD}"',
        ]
        lines += _keys({"per_second": 0, **self.outlook})
        if self.second:
            lines += ["[[destinations]]", 'name = "second"', f'email = "{SECOND}"', *_server(self.port)]
            lines += [f'password = "{PASSWORD}"', "per_second = 0"]
            lines += self._route(CAT, "Second/cat", "", "second")
        for route in self.routes:
            lines += self._route(*route)
        return "\n".join(lines) + "\n"

    def _route(self, user: str, folder: str, more: str, destination: str = "outlook") -> list[str]:
        lines = ["[[routes]]", f'gmail = "{user}"', f'folder = "{folder}"', 'start = "all"', more]
        lines += [f'destination = "{destination}"']
        lines += [*_server(self.gmail_port), f'password = {{ file = "{user[:3]}.password" }}']
        return lines


def _server(port: int) -> list[str]:
    return ['host = "127.0.0.1"', f"port = {port}", "tls = false", 'auth = "password"']


def _keys(values: dict[str, object]) -> list[str]:
    return [f"{key} = {json.dumps(value)}" for key, value in values.items()]


@dataclass
class Life:
    """The daemon, its configuration, and the mail that does not stop."""

    stage: Between
    child: Child
    wanted: Wanted
    delivered: int = 0
    at_end: list[tuple[str, str]] = field(default_factory=lambda: [(ANN, "Gmail/ann"), (BOB, "Gmail/bob")])

    @property
    def path(self) -> Path:
        return self.stage.directory / "config.toml"

    def hang_up(self) -> None:
        self.child.process.send_signal(signal.SIGHUP)

    async def status(self) -> dict[str, Any]:
        return await asyncio.to_thread(ask, self.stage.directory / "s", 10.0)

    async def reload(self, text: str) -> dict[str, Any]:
        """SIGHUP with that configuration; the outcome as `status` shows it."""
        await asyncio.to_thread(self.path.write_text, text)
        return await self.outcome()

    async def outcome(self) -> dict[str, Any]:
        """SIGHUP, and how that ended."""
        reload = before = (await self.status())["reload"]
        self.hang_up()
        async with asyncio.timeout(30):
            while reload["at"] == before["at"]:
                await asyncio.sleep(0.02)
                reload = (await self.status())["reload"]
        return dict(reload)

    async def apply(self, **changes: object) -> dict[str, Any]:
        self.wanted = replace(self.wanted, **changes)  # type: ignore[arg-type]
        return await self.reload(self.wanted.text())

    def connections(self, user: str) -> list[int]:
        return [session.number for session in self.stage.gmail._of(user)]

    async def until_copied(self, user: str, folder: str) -> None:
        """Everything, once, unchanged."""
        source, outlook = self.stage.gmail, self.stage.outlook
        await self.child.until(
            lambda: len(outlook.messages(OUTLOOK_USER, folder)) >= len(source.messages(user))
        )
        verdict = compare(source.messages(user), outlook.messages(OUTLOOK_USER, folder), 0.0)
        assert verdict.is_clean, verdict

    async def post(self) -> None:
        """A message to everyone now and then, until cancelled."""
        while True:
            for user in (ANN, BOB, CAT):
                self.delivered += 1
                self.stage.gmail.deliver(user, _mail(self.delivered))
            await asyncio.sleep(0.05)

    async def cli(self, *arguments: str) -> tuple[int, str, str]:
        import sys

        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mailsyncd", *arguments, "--config", "config.toml"),
            cwd=self.stage.directory,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()


def _mail(number: int) -> bytes:
    head = b"From: a@example.org\r\nSubject: %d\r\nMessage-ID: <%d@example.org>\r\n\r\n" % (number, number)
    return head + (b"x" * 76 + b"\r\n") * (number % 40)


@asynccontextmanager
async def life(directory: Path) -> AsyncIterator[Life]:
    """Mail flows until the caller has done; then all that these routes got must be copied."""
    routes = {ANN: "Gmail/ann", BOB: "Gmail/bob", CAT: "Gmail/cat"}
    for user in routes:
        (directory / f"{user[:3]}.password").touch(mode=0o600)
        (directory / f"{user[:3]}.password").write_text(PASSWORD)
    async with between(directory, routes, others=[SECOND]) as stage:
        wanted = Wanted(stage.outlook.port, stage.gmail.port)
        stage.write_configuration = lambda: _written(directory, wanted)  # type: ignore[method-assign]
        async with stage.daemon() as child:
            await child.until(lambda: len(child.events("route.connected")) == 2)
            living = Life(stage, child, wanted)
            async with begun(living.post()):
                yield living
            for user, folder in living.at_end:
                await living.until_copied(user, folder)


def _written(directory: Path, wanted: Wanted) -> Path:
    path = directory / "config.toml"
    path.touch(mode=0o600)
    path.write_text(wanted.text())
    return path


def swap(old: str, new: str) -> Callable[[str], str]:
    def edit(text: str) -> str:
        assert old in text, old
        return text.replace(old, new, 1)

    return edit


def add(line: str, under: str = "[daemon]") -> Callable[[str], str]:
    return swap(under, f"{under}\n{line}")


BROKEN: dict[str, Callable[[str], str]] = {
    "empty": lambda text: "",
    "cut in the middle": lambda text: text[: len(text) // 2] + '"',
    "not TOML": lambda text: text + "what = is this\n",
    "not text": lambda text: text + "\udcff\udcfe",
    "a section that is none": lambda text: text + "[deamon]\n",
    "a section twice": lambda text: text + "[state]\n",
    "a key twice": add('socket = "t"'),
    "an unknown key": add("sweep_intervall = 5"),
    "a duration that is none": add('sweep_interval = "soon"'),
    "a duration out of range": add('sweep_interval = "1s"'),
    "a number as text": add('queue_size = "many"'),
    "a queue of nothing": add("queue_size = 0"),
    "a boolean for a number": add("queue_size = true"),
    "no such log level": add('log_level = "loud"'),
    "a list for text": add('log_format = ["json"]'),
    "a size out of range": add('memory_budget = "1kB"'),
    "nested too deeply": lambda text: text + "x = " + "[" * 200 + "]" * 200 + "\n",
    "a number of too many digits": add("queue_size = " + "9" * 5000),
    "a socket too long": swap('socket = "s"', f'socket = "{"s" * 120}"'),
    "another socket": swap('socket = "s"', 'socket = "other"'),
    "another state": swap("state.db", "other.db"),
    "another back end": add('backend = "dynamodb"', "[state]"),
    "another lease": add('lease = "30s"', "[state]"),
    "no destination": lambda text: text.replace("[[destinations]]", "[[routes]]"),
    "two destinations of one name": lambda text: (
        text + "[[destinations]]\n" + text.partition("[[destinations]]\n")[2].partition("[[routes]]")[0]
    ),
    "an email that is none": swap(OUTLOOK_USER, "nobody"),
    "a port that is none": swap("port = ", "port = 9"),
    "a host with a scheme": swap('host = "127.0.0.1"', 'host = "imaps://127.0.0.1"'),
    "TLS given up for a host elsewhere": swap('host = "127.0.0.1"', 'host = "imap.example.org"'),
    "no such way to sign in": swap('auth = "password"', 'auth = "guess"'),
    "OAuth without a client": swap('auth = "password"', 'auth = "oauth"'),
    "a secret's file that is not there": swap("bob.password", "nobody.password"),
    "a secret of the environment that is not there": swap(
        '{ file = "bob.password" }', '{ env = "NOT_SET_AT_ALL" }'
    ),
    "a secret that others can read": swap("bob.password", "open.password"),
    "authorities that are none": add('ca_file = "bob.password"', f'email = "{OUTLOOK_USER}"'),
    "a folder with an empty part": swap("Gmail/bob", "Gmail//bob"),
    "a folder with a control character": swap("Gmail/bob", "Gmail/\\u0007"),
    "a route twice": lambda text: text + "[[routes]]" + text.rpartition("[[routes]]")[2],
    "a route to nowhere": swap('destination = "outlook"', 'destination = "nowhere"'),
    "a start that is none": swap('start = "all"', 'start = "2026-02-31"'),
    "a filter on two lines": swap('start = "all"', 'filter = "a\\nb"'),
    "no route": lambda text: text.partition("[[routes]]")[0],
}


async def test_forty_broken_configurations_do_nothing_but_say_so(tmp_path: Path) -> None:
    (tmp_path / "open.password").write_text(PASSWORD)
    (tmp_path / "open.password").chmod(0o644)
    assert len(BROKEN) >= 40
    async with life(tmp_path) as living:
        good, before = living.wanted.text(), await living.status()
        both = living.connections(ANN), living.connections(BOB)
        for number, (name, edit) in enumerate(BROKEN.items(), 1):
            text = edit(good).encode("utf-8", "surrogateescape")
            await asyncio.to_thread(living.path.write_bytes, text)
            outcome = await living.outcome()
            assert outcome["outcome"] == "refused", name
            assert outcome["reason"].count("\n") == 0 < len(outcome["reason"]), name
            assert PASSWORD not in outcome["reason"], name
            assert (outcome["refused"], outcome["applied"]) == (number, 0)
        for make in (living.path.unlink, living.path.mkdir):
            await asyncio.to_thread(make)
            assert (await living.outcome())["outcome"] == "refused"
        await asyncio.to_thread(living.path.rmdir)
        after = await living.status()
        assert after["run_id"] == before["run_id"]
        assert after["uptime"] > before["uptime"]
        assert (living.connections(ANN), living.connections(BOB)) == both
        assert len(living.child.events("config.reload_failed")) == len(BROKEN) + 2
        code, out, _ = await asyncio.to_thread(_write_and_check, living, good)
        assert code == 0
        assert "last reload: refused at" in out
        assert (await living.reload(good))["changes"] == "nothing changed"
        assert (living.connections(ANN), living.connections(BOB)) == both


def _write_and_check(living: Life, good: str) -> tuple[int, str, str]:
    living.path.write_text(good)
    living.path.chmod(0o600)
    return asyncio.run(living.cli("check"))


async def test_good_changes_touch_what_changed_and_nothing_else(tmp_path: Path) -> None:
    async with life(tmp_path) as living:
        before, ann = await living.status(), living.connections(ANN)
        outlook, two = living.stage.outlook, living.wanted.routes
        cat = (CAT, "Gmail/cat", "")
        accepted = outlook.accepted

        async def changed(says: str, **changes: object) -> None:
            outcome = await living.apply(**changes)
            assert (outcome["outcome"], outcome["changes"]) == ("applied", says)
            await asyncio.sleep(0.3)  # for mail to flow under what is in force now
            assert living.connections(ANN) == ann

        await changed("1 route added", routes=(*two, cat))
        await changed("1 route removed", routes=(two[0], cat))
        await living.child.until(lambda: living.connections(BOB) == [])
        await changed("1 route added", routes=(*two, cat))
        two = (two[0], (*two[1][:2], "mark_seen = true"))
        await changed("1 route changed", routes=(*two, cat))
        await changed("1 route added, 1 route removed", routes=(*two, (CAT, "Moved/cat", "")))
        assert outlook.accepted == accepted
        await changed("daemon.log_level, daemon.queue_size", daemon={"log_level": "debug", "queue_size": 50})
        await changed(
            "daemon.settle_window, daemon.memory_budget",
            daemon={"log_level": "debug", "queue_size": 50, "settle_window": "3s", "memory_budget": "1MiB"},
        )
        assert outlook.accepted == accepted
        await changed("1 destination changed", outlook={"window": 2})
        await living.child.until(lambda: len(living.child.events("writer.connected")) == 2)
        await changed("1 route added, 1 destination added", second=True)
        await living.child.until(lambda: len(outlook.messages(SECOND, "Second/cat")) > 100)
        await changed("1 route removed, 1 destination removed", second=False)
        after = await living.status()
        assert (after["run_id"], after["reload"]["refused"]) == (before["run_id"], 0)
        assert after["uptime"] > before["uptime"]
        assert {writer["name"] for writer in after["writers"]} == {"outlook"}
        living.at_end.append((CAT, "Moved/cat"))


async def test_secrets_are_read_again(tmp_path: Path) -> None:
    async with life(tmp_path) as living:
        ann, secret = living.connections(ANN), tmp_path / "bob.password"
        await asyncio.to_thread(secret.write_text, "wrong")
        assert (await living.apply())["changes"] == "1 route changed"
        await living.child.until(lambda: living.connections(BOB) == [])
        await asyncio.to_thread(secret.write_text, PASSWORD)
        assert (await living.apply())["changes"] == "1 route changed"
        await living.child.until(lambda: len(living.connections(BOB)) == 1)
        assert living.connections(ANN) == ann


async def test_authorities_are_read_again_and_touch_only_who_trusts_them(tmp_path: Path) -> None:
    async with life(tmp_path) as living:
        authorities, two, before = tmp_path / "ca.pem", living.wanted.routes, living.connections(BOB)
        await asyncio.to_thread(authorities.write_text, CERTIFICATE)
        assert (await living.apply(routes=(two[0], (*two[1][:2], 'ca_file = "ca.pem"'))))["changes"]
        await living.child.until(lambda: living.connections(BOB) not in ([], before))
        ann, bob, accepted = living.connections(ANN), living.connections(BOB), living.stage.outlook.accepted
        assert (await living.apply())["changes"] == "nothing changed"
        assert living.connections(BOB) == bob
        await asyncio.to_thread(authorities.write_text, CERTIFICATE * 2)
        assert "ca_file (its contents)" in (await living.cli("config", "diff"))[1]
        assert (await living.apply())["changes"] == "1 route changed"
        await living.child.until(lambda: living.connections(BOB) not in ([], bob))
        await asyncio.to_thread(authorities.write_text, "no certificate")
        assert "has no certificate" in (await living.apply())["reason"]
        assert living.connections(ANN) == ann
        assert living.stage.outlook.accepted == accepted


async def test_a_hundred_signals_in_a_second_are_few_reloads(tmp_path: Path) -> None:
    async with life(tmp_path) as living:
        ann = living.connections(ANN)
        for _ in range(100):
            living.hang_up()
            await asyncio.sleep(0.01)
        await asyncio.sleep(1.5)
        reload = (await living.status())["reload"]
        assert 1 <= reload["applied"] <= 5
        assert reload["refused"] == 0
        assert living.connections(ANN) == ann


async def test_a_reload_by_command_and_a_look_beforehand(tmp_path: Path) -> None:
    async with life(tmp_path) as living:
        assert await living.cli("config", "diff") == (0, "nothing would change\n", "")
        text = replace(living.wanted, routes=(*living.wanted.routes, (CAT, "Gmail/cat", ""))).text()
        living.path.write_text(text.replace("Gmail/bob", "Gmail/bob"))
        (tmp_path / "ann.password").write_text("secret\n")  # the same
        code, out, err = await living.cli("config", "diff")
        assert (code, err) == (0, "")
        assert out.splitlines() == [
            "+ route cat@gmail.example > Gmail/cat",
            "= 2 routes, 1 destinations untouched",
        ]
        assert await living.cli("reload") == (0, "reloaded: 1 route added\n", "")
        (tmp_path / "cat.password").write_text("another")
        code, out, _ = await living.cli("config", "diff")
        assert out.splitlines()[0] == "~ route cat@gmail.example > Gmail/cat: password"
        assert "another" not in out
        (tmp_path / "cat.password").write_text(PASSWORD)
        living.path.write_text(text.replace("state.db", "other.db"))
        code, out, _ = await living.cli("config", "diff")
        assert code == 1
        assert out.startswith("! state.path ")
        code, out, err = await living.cli("reload")
        assert (code, out) == (78, "")
        assert "state.path: can't change while running" in err
        living.path.write_text(text + "nonsense = 1\n")
        code, _, err = await living.cli("reload", "--json")
        assert code == 78
        living.path.write_text(text)
        code, out, _ = await living.cli("reload", "--json")
        assert (code, json.loads(out)["outcome"]) == (0, "applied")


async def test_without_a_daemon_both_say_so(tmp_path: Path) -> None:
    async with between(tmp_path, {ANN: "Gmail/ann"}) as stage:
        stage.write_configuration()
        living = Life(stage, None, None)  # type: ignore[arg-type]
        for arguments in (("reload",), ("config", "diff")):
            code, out, err = await living.cli(*arguments)
            assert (code, out) == (3, "")
            assert "is not running" in err
