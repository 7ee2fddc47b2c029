"""Two distributions, one version; and everything they declare is in the lock files."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

import firstlight
import firstlight_hub
from tests.rules.sources import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def project(path: str) -> dict[str, Any]:
    """One of the two pyproject files."""
    return tomllib.loads((ROOT / path).read_text(encoding="utf-8"))


def names(requirements: list[str]) -> set[str]:
    """The bare distribution names in a list of requirements."""
    found = {re.split(r"[\s\[;<>=!~\\]", line, maxsplit=1)[0].lower() for line in requirements}
    return {re.sub(r"[-_.]+", "-", name) for name in found}


def locked(name: str) -> set[str]:
    """The distributions that one lock file pins."""
    written = (ROOT / "packaging" / name).read_text(encoding="utf-8").splitlines()
    return names([line for line in written if "==" in line])


def test_both_distributions_have_one_version() -> None:
    """The hub and the agent are released together, and the hub asks for exactly its own agent."""
    assert firstlight.__version__ == firstlight_hub.__version__
    assert f"firstlight=={firstlight.__version__}" in project("hub/pyproject.toml")["project"]["dependencies"]


@pytest.mark.parametrize(
    ("pyproject", "lock"),
    [
        ("pyproject.toml", "requirements-agent.txt"),
        ("pyproject.toml", "requirements-dev.txt"),
        ("hub/pyproject.toml", "requirements-hub.txt"),
        ("hub/pyproject.toml", "requirements-dev.txt"),
    ],
)
def test_what_is_declared_is_locked(pyproject: str, lock: str) -> None:
    """Every dependency that a distribution declares is pinned in its lock file (else: make lock)."""
    declared = names(project(pyproject)["project"]["dependencies"]) - {"firstlight"}
    assert declared - locked(lock) == set()


@pytest.mark.parametrize("lock", sorted((ROOT / "packaging").glob("requirements-*.txt")), ids=lambda path: path.name)
def test_every_locked_package_has_its_hashes(lock: Path) -> None:
    """A lock file pins each package to one version and to the hashes of its files."""
    blocks = [block for block in re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8")) if block.strip()]
    assert blocks
    assert not [block.splitlines()[0] for block in blocks if "==" not in block or "--hash=sha256:" not in block]
