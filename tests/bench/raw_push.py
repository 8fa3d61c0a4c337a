"""The limit for new mail: on EXISTS, one flight ends IDLE, fetches and idles again; what comes is passed on
to APPEND piece by piece. No state, one route, and never a thought about what goes wrong."""

from __future__ import annotations

import argparse
import asyncio
import re

from bench.raw import Destination, Source

_EXISTS = re.compile(rb"\* (\d+) EXISTS$")


class Watcher(Source):
    """Messages by their numbers: nothing is ever removed."""

    def __init__(self, to: Destination, folder: str) -> None:
        super().__init__(to, folder)
        self._known = 0
        self._idling = False

    def watch(self, user: str, password: str) -> None:
        self.transport.write(
            b's1 LOGIN "%s" "%s"\r\ns2 EXAMINE INBOX\r\n' % (user.encode(), password.encode())
        )

    def got_line(self, line: bytes) -> None:
        super().got_line(line)
        if line.startswith(b"s2 "):
            self._idling = True
            self.transport.write(b"i IDLE\r\n")
        elif (exists := _EXISTS.match(line)) and int(exists[1]) > self._known:
            first, self._known = self._known + 1, int(exists[1])
            fetch = b"f FETCH %d:%d (FLAGS INTERNALDATE BODY.PEEK[])\r\n" % (first, self._known)
            self.transport.write(b"DONE\r\n" + fetch + b"i IDLE\r\n" if self._idling else fetch)


async def watch(source_port: int, source_user: str, port: int, user: str, folder: str) -> None:
    loop = asyncio.get_running_loop()
    _, to = await loop.create_connection(Destination, "127.0.0.1", port)
    await to.command(f'LOGIN "{user}" "pw"')
    await to.command(f'SELECT "{folder}"')
    _, source = await loop.create_connection(lambda: Watcher(to, folder), "127.0.0.1", source_port)
    source.watch(source_user, "pw")
    await source.ended


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name, kind in (("source-port", int), ("source-user", str), ("port", int), ("user", str)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    parser.add_argument("--folder", required=True)
    asyncio.run(watch(**vars(parser.parse_args())))
