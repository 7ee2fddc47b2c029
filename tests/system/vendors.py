"""Environments with the vendors' own clients, each locked by hash and apart from everything else (``make vendors``)."""

from __future__ import annotations

from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


def environment(name: str) -> Path:
    """The folder with that vendor's programs: of ``packaging/requirements-NAME.txt``."""
    found = CHECKOUT / ".cache" / "vendors" / name
    if not (found / ".locked").exists():
        pytest.fail(f"There is no environment with the client of {name}: run 'make vendors'.", pytrace=False)
    return found / "bin"
