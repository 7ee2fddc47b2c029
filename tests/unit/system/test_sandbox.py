"""What a process can see of its own sandbox."""

from __future__ import annotations

from pathlib import Path

import pytest

from firstlight.system import sandbox

STRICT = {"Uid": "61184\t61184", "NoNewPrivs": "1", "Seccomp": "2", "CapEff": "0" * 16, "CapBnd": "0" * 16}


def missing(folder: Path, **changed: str) -> set[str]:
    """What is found missing of a process with those fields, on a disk that is as writable as this one."""
    status = folder / "proc/self/status"
    status.parent.mkdir(parents=True, exist_ok=True)
    status.write_text("".join(f"{name}:\t{value}\n" for name, value in {**STRICT, **changed}.items()))
    # Both are of the machine that runs this test, not of the fields.
    return set(sandbox.missing(str(folder))) - {"ProtectSystem", "MemoryDenyWriteExecute"}


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("DynamicUser", {"Uid": "0\t0"}),
        ("NoNewPrivileges", {"NoNewPrivs": "0"}),
        ("SystemCallFilter", {"Seccomp": "0"}),
        ("CapabilityBoundingSet", {"CapBnd": "00000000a80425fb"}),
        ("CapabilityBoundingSet", {"CapEff": "0000000000002000"}),
    ],
)
def test_each_protection(name: str, changed: dict[str, str], tmp_path: Path) -> None:
    """With all in force nothing is said; each that is gone is named by its line in the unit."""
    assert missing(tmp_path) == set()
    assert missing(tmp_path, **changed) == {name}


def test_homes(tmp_path: Path) -> None:
    """A home that nobody may enter is hidden, one with rights is not."""
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    assert missing(tmp_path) == {"ProtectHome"}
    home.chmod(0o000)
    assert missing(tmp_path) == set()


def test_nothing_is_claimed_without_proc(tmp_path: Path) -> None:
    """Where the fields cannot be read, none of them is called missing."""
    assert set(sandbox.missing(str(tmp_path))) <= {"ProtectSystem", "MemoryDenyWriteExecute"}


def test_this_process_has_no_sandbox() -> None:
    """A test runs without one, and that is seen."""
    assert "MemoryDenyWriteExecute" in sandbox.missing()
