"""The other end of the status socket. Imports next to nothing: `check` is to start at once."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

from mailsyncd.errors import MailsyncError

LONGEST_ANSWER = 4 * 1024 * 1024


class NoAnswer(MailsyncError):
    """No daemon answers there, or not in time, or not sensibly."""


def ask(path: Path, timeout: float) -> dict[str, Any]:
    """The status of the daemon behind `path`, all within `timeout` seconds. Raises NoAnswer."""
    try:
        answer = json.loads(_exchange(str(path), b'{"ask":"status"}\n', timeout))
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
    if not isinstance(answer, dict) or "health" not in answer:
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
