"""A DynamoDB that costs next to nothing: the operations and the forms of conditions that mailsyncd uses,
in memory, each answer a set time late. For benchmarks, where an engine must not be what is measured; the
contract of the state stores holds it to what the others do. Run it: light_dynamo.py PORT ANSWER_MS"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from bisect import bisect_left, insort
from collections.abc import Callable
from functools import partial
from typing import Any

Item = dict[str, dict[str, Any]]
TARGET = re.compile(rb"^x-amz-target: *\S+\.(\w+)\r$", re.IGNORECASE | re.MULTILINE)
LENGTH = re.compile(rb"^content-length: *(\d+)\r$", re.IGNORECASE | re.MULTILINE)
ABSENT = "attribute_not_exists(PK)"
PAGE = 1_000_000  # bytes of JSON, about: a query gives no more at once


class Failed(Exception):
    """`answer` goes out with status 400."""

    def __init__(self, kind: str, **answer: Any) -> None:
        self.answer = {"__type": f"com.amazonaws.dynamodb.v20120810#{kind}", "message": kind, **answer}


class Table:
    def __init__(self, description: dict[str, Any]) -> None:
        self.description = {**description, "TableStatus": "ACTIVE"}
        self.expiry: dict[str, str] = {"TimeToLiveStatus": "DISABLED"}
        self.items: dict[tuple[str, str], Item] = {}
        self._order: dict[str, list[str]] = {}

    def put(self, key: tuple[str, str], item: Item) -> None:
        if key not in self.items:
            insort(self._order.setdefault(key[0], []), key[1])
        self.items[key] = item

    def drop(self, key: tuple[str, str]) -> None:
        if self.items.pop(key, None) is not None:
            self._order[key[0]].remove(key[1])

    def between(self, pk: str, start: str, end: str) -> list[Item]:
        order = self._order.get(pk, [])
        found = order[bisect_left(order, start) :]
        return [self.items[pk, sk] for sk in found[: bisect_left(found, end + "\0")]]


def holds(expression: str, given: dict[str, Any], item: Item | None) -> bool:
    """attribute_not_exists(PK), #a = :a AND #b = :b, or the one OR (the other)."""
    if expression.startswith(ABSENT):
        if item is None or expression == ABSENT:
            return item is None
        expression = expression.removeprefix(f"{ABSENT} OR (").removesuffix(")")
    if item is None:
        return False
    names, values = given["ExpressionAttributeNames"], given["ExpressionAttributeValues"]
    terms = (term.split(" = ") for term in expression.split(" AND "))
    return all(item.get(names[name]) == values[value] for name, value in terms)


class Engine:
    """Every operation is done in the moment it comes in."""

    def __init__(self) -> None:
        self._tables: dict[str, Table] = {}
        self._operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "CreateTable": self._create,
            "DescribeTable": lambda asked: {"Table": self._table(asked).description},
            "DescribeTimeToLive": lambda asked: {"TimeToLiveDescription": self._table(asked).expiry},
            "UpdateTimeToLive": self._expire,
            "PutItem": self._put,
            "TransactWriteItems": self._transact,
            "GetItem": self._get,
            "DeleteItem": self._delete,
            "Query": self._query,
        }

    def do(self, operation: str, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        try:
            if operation not in self._operations:
                raise Failed("UnknownOperationException")
            return 200, self._operations[operation](asked)
        except Failed as failed:
            return 400, failed.answer

    def _table(self, asked: dict[str, Any]) -> Table:
        if asked["TableName"] not in self._tables:
            raise Failed("ResourceNotFoundException")
        return self._tables[asked["TableName"]]

    def _create(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["TableName"] in self._tables:
            raise Failed("ResourceInUseException")
        self._tables[asked["TableName"]] = Table(asked)
        return {}

    def _expire(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = asked["TimeToLiveSpecification"]["AttributeName"]
        self._table(asked).expiry = {"TimeToLiveStatus": "ENABLED", "AttributeName": name}
        return {}

    def _look(self, put: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
        """May it be done, and what to say if not."""
        there = self._table(put).items.get(_key(put["Item"]))
        may = "ConditionExpression" not in put or holds(put["ConditionExpression"], put, there)
        told = "ReturnValuesOnConditionCheckFailure" in put and there is not None
        return may, {"Item": there} if told else {}

    def _put(self, asked: dict[str, Any]) -> dict[str, Any]:
        may, why = self._look(asked)
        if not may:
            raise Failed("ConditionalCheckFailedException", **why)
        self._table(asked).put(_key(asked["Item"]), asked["Item"])
        return {}

    def _transact(self, asked: dict[str, Any]) -> dict[str, Any]:
        puts = [one["Put"] for one in asked["TransactItems"]]
        keys = {(put["TableName"], *_key(put["Item"])) for put in puts}
        if len(keys) < len(puts) or len(puts) > 100:
            raise Failed("ValidationException")
        looks = [self._look(put) for put in puts]
        if not all(may for may, _ in looks):
            reasons = [
                {"Code": "None"} if may else {"Code": "ConditionalCheckFailed", **why} for may, why in looks
            ]
            raise Failed("TransactionCanceledException", CancellationReasons=reasons)
        for put in puts:
            self._table(put).put(_key(put["Item"]), put["Item"])
        return {}

    def _get(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = self._table(asked).items.get(_key(asked["Key"]))
        return {"Item": found} if found is not None else {}

    def _delete(self, asked: dict[str, Any]) -> dict[str, Any]:
        self._table(asked).drop(_key(asked["Key"]))
        return {}

    def _query(self, asked: dict[str, Any]) -> dict[str, Any]:
        values, only = asked["ExpressionAttributeValues"], asked.get("FilterExpression")
        start = asked["ExclusiveStartKey"]["SK"]["S"] + "\0" if "ExclusiveStartKey" in asked else ""
        pk, first, last = (values[name]["S"] for name in (":pk", ":start", ":end"))
        items: list[Item] = []
        size, seen, more = 0, 0, {}
        for seen, item in enumerate(self._table(asked).between(pk, max(first, start), last), 1):
            size += len(json.dumps(item))
            if only is None or holds(only, asked, item):
                items.append(item)
            if size > PAGE or seen == asked.get("Limit"):
                more = {"LastEvaluatedKey": {"PK": item["PK"], "SK": item["SK"]}}
                break
        return {"Items": items, "Count": len(items), "ScannedCount": seen, **more}


def _key(item: Item) -> tuple[str, str]:
    return item["PK"]["S"], item["SK"]["S"]


class Http(asyncio.Protocol):
    """Requests of one connection, one after the other, as the SDK makes them."""

    def __init__(self, engine: Engine, late: float) -> None:
        self._engine = engine
        self._late = late
        self._read = bytearray()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._read[: end + 2])
            length, target = LENGTH.search(head), TARGET.search(head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._read) < whole:
                return
            body = bytes(self._read[end + 4 : whole])
            del self._read[:whole]
            self._answer(*self._engine.do(target[1].decode() if target else "", json.loads(body or b"{}")))

    def _answer(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer, separators=(",", ":")).encode()
        head = b"HTTP/1.1 %d -\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\n\r\n"
        assert self._transport is not None
        asyncio.get_running_loop().call_later(
            self._late, self._transport.write, head % (status, len(body)) + body
        )


async def main(port: int, answer_ms: float) -> None:
    made = partial(Http, Engine(), answer_ms / 1000)
    server = await asyncio.get_running_loop().create_server(made, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
