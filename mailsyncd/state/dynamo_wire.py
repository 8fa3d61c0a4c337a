"""Arguments straight to the wire: DynamoDB's JSON is the arguments as they are.

The SDK walks through every attribute to find that out, which takes it longer than all the rest of a
request with many items. Its own events let the body be made at once.
"""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

_BODY = "mailsyncd.body"  # in the context of a request, from one event to the other


def shorten(client: Any) -> None:
    """For every request of this aiobotocore client. Nobody says so if an argument is bytes or a time."""
    client.meta.events.register("provide-client-params.dynamodb", _take)
    client.meta.events.register("before-call.dynamodb", _put)


def _take(params: dict[str, Any], context: dict[str, Any], **_: Any) -> dict[str, Any]:
    """The arguments, of which none are left for the SDK to look through."""
    context[_BODY] = to_json(params)
    return {}


def _put(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    """`params` is the request that the SDK has made, not yet signed."""
    params["body"] = context[_BODY]
