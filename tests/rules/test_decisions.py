"""Decisions are numbered pages that one can cite: 0001, 0002, and so on, with no gap and no twin."""

import re
from pathlib import Path

import pytest

from tests.rules.sources import ROOT

PAGES = sorted(path for path in (ROOT / "docs" / "decisions").glob("*.md") if path.name != "README.md")


def test_numbers_are_unique_and_without_gap() -> None:
    """The pages in docs/decisions are numbered from 0001 on, each number once."""
    assert [page.name[:5] for page in PAGES] == [f"{number:04}-" for number in range(1, len(PAGES) + 1)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_has_a_date_and_a_status(page: Path) -> None:
    """Each decision says when it was taken and whether it still holds."""
    text = page.read_text(encoding="utf-8")
    assert re.search(r"(?im)^\W*date\W+\d{4}-\d{2}-\d{2}\b", text), "a line like: Date: 2026-01-31"
    assert re.search(r"(?im)^\W*status\W+\w+", text), "a line like: Status: accepted"
