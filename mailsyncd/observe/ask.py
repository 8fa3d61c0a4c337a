"""The other end of the status socket. Imports next to nothing: `check` is to start at once."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

from mailsyncd.errors import MailsyncError

LONGEST_ANSWER = 4 * 1024 * 1024
LONGEST_ERROR = 200


class NoAnswer(MailsyncError):
    """No daemon answers there, or not in time, or not sensibly."""


def ask(path: Path, timeout: float, what: str = "status", has: str = "health") -> dict[str, Any]:
    """What the daemon behind `path` answers, all within `timeout` seconds; it must have that key.
    Raises NoAnswer."""
    try:
        answer = json.loads(_exchange(str(path), json.dumps({"ask": what}).encode() + b"\n", timeout))
    except FileNotFoundError:
        raise NoAnswer(f"mailsyncd is not running: there is no socket at {path}") from None
    except ConnectionRefusedError:
        raise NoAnswer(f"mailsyncd is not running: nobody listens at {path}") from None
    except TimeoutError:
        raise NoAnswer(f"mailsyncd did not answer at {path} within {timeout:g} s") from None
    except OSError as failure:
        raise NoAnswer(f"mailsyncd can't be asked at {path}: {failure.strerror or failure}") from None
    except (ValueError, RecursionError):
        raise NoAnswer(f"what answers at {path} is not mailsyncd") from None
    if isinstance(answer, dict) and "error" in answer:
        raise NoAnswer(f"mailsyncd answered: {str(answer['error'])[:LONGEST_ERROR]}")
    if not isinstance(answer, dict) or has not in answer:
        raise NoAnswer(f"what answers at {path} is not mailsyncd")
    return answer


def _exchange(path: str, request: bytes, timeout: float) -> bytes:
    ends = time.monotonic() + timeout
    answer = bytearray()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(timeout)
        line.connect(path)
        line.sendall(request)
        while not answer.endswith(b"\n") and len(answer) < LONGEST_ANSWER:
            left = ends - time.monotonic()
            if left <= 0:
                raise TimeoutError
            line.settimeout(left)
            part = line.recv(65536)
            if not part:
                break
            answer += part
    return bytes(answer)
