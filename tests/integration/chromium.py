"""A headless Chromium, driven over its DevTools protocol; skipped on a laptop without one, failed in CI."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
from needs import browser, lack

DEADLINE = 30.0
FLAGS = ("--headless=new", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")


def found() -> str:
    """The browser's path; skips, or fails in CI, where there is none."""
    path = browser()
    if path is None:
        lack("no Chromium: install it (Debian: apt install chromium), or set CHROMIUM to its path")
    return path


@dataclass
class Page:
    """One tab. `complaints`: errors of scripts and breaches of the policy; `asked`: every address."""

    line: aiohttp.ClientWebSocketResponse
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=count)
    _waiting: dict[int, asyncio.Future[Any]] = field(default_factory=dict)

    async def listen(self) -> None:
        async for message in self.line:
            told = json.loads(message.data)
            if (number := told.get("id")) in self._waiting:
                self._waiting.pop(number).set_result(told)
            elif told.get("method") == "Network.requestWillBeSent":
                self.asked.append(told["params"]["request"]["url"])
            elif told.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(json.dumps(told["params"]))

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self.line.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(DEADLINE):
            told = await answer
        assert "error" not in told, told["error"]
        result: dict[str, Any] = told["result"]
        return result

    async def value(self, script: str) -> Any:
        """What an expression is, in the page."""
        told = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def until(self, script: str) -> Any:
        """Wait until an expression is true."""
        try:
            async with asyncio.timeout(DEADLINE):
                while not (value := await self.value(script)):  # noqa: ASYNC110 - the page tells nobody
                    await asyncio.sleep(0.1)
                return value
        except TimeoutError:
            text = await self.value("document.body.innerText")
            raise AssertionError(f"never true: {script}\n{text}\n{self.complaints}") from None

    async def look(self, *, width: int, height: int, dark: bool = False, mobile: bool = False) -> None:
        """The size of the window, and what its user likes."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)

    async def picture(self, path: Path, *, whole: bool = False) -> None:
        told = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(told["data"]))


@asynccontextmanager
async def a_page(profile: Path) -> AsyncIterator[Page]:
    """A tab of a browser of its own, which ends with the context."""
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses root its sandbox
    process = await asyncio.create_subprocess_exec(
        found(), *FLAGS, *sandbox, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        port = await _port(profile / "DevToolsActivePort")
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://127.0.0.1:{port}/json/list") as answer,
        ):
            tab = next(one for one in await answer.json() if one["type"] == "page")
            async with http.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as line:
                page = Page(line)
                listening = asyncio.create_task(page.listen())
                for domain in ("Page", "Runtime", "Log", "Network"):
                    await page.call(f"{domain}.enable")
                yield page
                await line.close()
                await listening
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _port(file: Path) -> int:
    async with asyncio.timeout(DEADLINE):
        while not file.exists() or not file.read_text().strip():  # noqa: ASYNC110 - nor does a file
            await asyncio.sleep(0.05)
    return int(file.read_text().split()[0])
