"""moto's server with one request after the other: `moto_in_turn.py PORT`.

moto undoes a refused transaction by putting back all tables as they were, with what other threads
have written meanwhile. DynamoDB does not, and a test that writes side by side must not see it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from threading import Lock
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple


class InTurn:
    """A WSGI application around another."""

    def __init__(self, inner: Callable[..., Any]) -> None:
        self._inner = inner
        self._one = Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        with self._one:
            return list(self._inner(environ, start_response))


if __name__ == "__main__":
    app = InTurn(DomainDispatcherApplication(create_backend_app))
    run_simple("127.0.0.1", int(sys.argv[1]), app, threaded=True)
