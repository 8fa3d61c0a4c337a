"""A proxy in front of a DynamoDB that asks for the units of every request and adds them up: what would be
on the bill. Run as a program, it is the process; else the handle on it."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

READS = ("GetItem", "Query", "BatchGetItem", "TransactGetItems", "Scan")

Bill = dict[str, dict[str, float]]  # operation -> requests, items, units


class Meter:
    """The handle on a running proxy."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port = int(self._answer())

    @classmethod
    @contextmanager
    def to(cls, port: int) -> Iterator[Self]:
        command = [sys.executable, str(Path(__file__)), "--to", str(port)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield cls(process)
            finally:
                process.kill()

    def bill(self) -> Bill:
        """Since the last time."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer: Bill = json.loads(self._answer())
        return answer

    def _answer(self) -> str:
        assert self._process.stdout
        if line := self._process.stdout.readline():
            return line
        raise RuntimeError("the meter broke down")


# ------------------------------------------------------------------ the process


@dataclass
class Account:
    bill: Bill = field(default_factory=dict)

    def add(self, operation: str, answer: dict[str, Any], status: int, items: int) -> None:
        entry = self.bill.setdefault(operation, {"requests": 0, "items": 0, "units": 0})
        entry["requests"] += 1
        entry["items"] += items
        entry["units"] += _units(operation, answer, status, items)


def _units(operation: str, answer: dict[str, Any], status: int, items: int) -> float:
    """As AWS bills them, where DynamoDB Local is generous: a read that finds nothing is one, a refused
    write is as good as done, and one in a transaction is two, for preparing and for committing it."""
    if not operation.endswith(("Item", "Items", "Query")):
        return 0
    capacity = answer.get("ConsumedCapacity", [])
    told = sum(one["CapacityUnits"] for one in (capacity if isinstance(capacity, list) else [capacity]))
    if operation in READS:
        return float(max(told, items))
    return float(max(told, items) * (2 if operation.startswith("Transact") else 1))


async def _message(reader: asyncio.StreamReader) -> tuple[list[bytes], bytes]:
    """Head lines and body of one request or answer. Raises IncompleteReadError at the end."""
    head = (await reader.readuntil(b"\r\n\r\n")).removesuffix(b"\r\n\r\n").split(b"\r\n")
    length = next((int(line[15:]) for line in head if line.lower().startswith(b"content-length:")), 0)
    return head, await reader.readexactly(length)


def _metered(head: list[bytes], body: bytes) -> tuple[str, int, bytes]:
    """Operation, number of items, and the request with the question for its units."""
    target = next((line for line in head if line.lower().startswith(b"x-amz-target:")), b"")
    operation = target.rpartition(b".")[2].decode()
    asked = json.loads(body) if body else {}
    many = asked.get("TransactItems") or [
        one for some in asked.get("RequestItems", {}).values() for one in some
    ]
    if operation.endswith(("Item", "Items")) or operation == "Query":
        body = json.dumps({**asked, "ReturnConsumedCapacity": "TOTAL"}).encode()
    kept = [line for line in head if not line.lower().startswith(b"content-length:")]
    kept.append(b"Content-Length: %d" % len(body))
    return operation, max(1, len(many)), b"\r\n".join(kept) + b"\r\n\r\n" + body


async def _serve(to_port: int) -> None:
    account = Account()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", to_port)
        try:
            while True:
                operation, items, request = _metered(*await _message(reader))
                far_writer.write(request)
                head, body = await _message(far_reader)
                status = int(head[0].split()[1])
                account.add(operation, json.loads(body) if body else {}, status, items)
                writer.write(b"\r\n".join(head) + b"\r\n\r\n" + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            far_writer.close()
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(account.bill), flush=True)
        account.bill = {}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=int, required=True, help="port")
    asyncio.run(_serve(parser.parse_args().to))
