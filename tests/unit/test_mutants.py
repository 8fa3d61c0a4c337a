"""Each mutant must still find the source line that it takes out: or `make mutants` would prove nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults.mutants import MUTANTS, ROOT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.protection)
def test_a_mutant_changes_the_source_as_it_stands(mutant: Mutant) -> None:
    text = Path(ROOT / mutant.file).read_text(encoding="utf-8")
    assert mutant.applied(text) != text


def test_a_mutant_that_no_longer_fits_says_so() -> None:
    with pytest.raises(ValueError, match="not once"):
        Mutant("x", "y", "old", "new", ()).applied("nothing of it")
