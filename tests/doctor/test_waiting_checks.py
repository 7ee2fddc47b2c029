"""A box that waits for its code: the keys it trusts, and the service that looks for one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from firstlight.cli.upgrade_bundle import trusted
from firstlight.core.diagnosis import FAILURE, NOTE, PASS, WARNING, Finding
from firstlight.system import checks_waiting
from tests.detached.labels import Signer
from tests.doctor.findings import check


def says(**found: str) -> Callable[[list[str]], str | None]:
    """A systemctl that has these properties."""
    return lambda words: "".join(f"{name}={value}\n" for name, value in {"LoadState": "loaded", **found}.items())


def waiting(tmp_path: Path, **found: str) -> Finding:
    """The check on a box where systemd says that."""
    return checks_waiting.waiting(checks_waiting.asked(says(**found), str(tmp_path)), is_needed=True)


def test_the_service_that_waits(tmp_path: Path) -> None:
    """It runs; it failed; it is switched off or masked; it is on and does not run."""
    on, off = {"UnitFileState": "enabled"}, {"UnitFileState": "disabled", "ActiveState": "inactive"}
    check(waiting(tmp_path, **on, ActiveState="active"), "waiting", PASS)
    check(waiting(tmp_path, **off, Result="success"), "waiting", NOTE, "disabled", "enable --now")
    masked = waiting(tmp_path, LoadState="masked", UnitFileState="masked", ActiveState="inactive")
    check(masked, "waiting", NOTE, "masked", "unmask")
    check(waiting(tmp_path, **on, ActiveState="inactive", Result="success"), "waiting", WARNING, "systemctl start")
    check(waiting(tmp_path, **on, ActiveState="failed", Result="exit-code"), "waiting", FAILURE, "exit-code", "logs")


@pytest.mark.parametrize(
    ("runs", "load_state", "is_needed", "why"),
    [
        (True, "loaded", False, "enrolled or provisioned"),
        (True, "not-found", True, "not installed"),
        (False, "loaded", True, "not installed"),
    ],
)
def test_nothing_waits_here(tmp_path: Path, runs: bool, load_state: str, is_needed: bool, why: str) -> None:
    """An enrolled box, one without the service and one without systemd are left alone."""
    found = checks_waiting.asked(says(LoadState=load_state), str(tmp_path if runs else tmp_path / "none"))
    finding = checks_waiting.waiting(found, is_needed=is_needed)
    assert finding.severity == "skipped" and why in finding.message


def keys(folder: Path, *, waits: bool = True, takes_any: bool = False) -> Finding:
    """The check on a box that is not provisioned."""
    return checks_waiting.keys(str(folder), trusted, is_needed=True, waits=waits, takes_any=takes_any)


def test_keys_that_are_trusted(tmp_path: Path) -> None:
    """None: worse where codes are waited for, well where unsigned ones count; one; a broken one."""
    folder = tmp_path / "trust.d"
    check(keys(folder), "keys", WARNING, "trusts no key", "release-key", str(folder))
    check(keys(folder, waits=False), "keys", NOTE, "trusts no key")
    check(keys(folder, takes_any=True), "keys", PASS, "nobody signed")
    folder.mkdir()
    signer = Signer()
    (folder / f"{signer.id}.pub").write_bytes(signer.pem)
    found = keys(folder)
    check(found, "keys", PASS, "1 trusted key ")
    assert found.detail == {"keys": [signer.id]}
    (folder / "other.pub").write_text("nonsense")
    check(keys(folder), "keys", WARNING, "other.pub")


def test_keys_of_an_enrolled_box(tmp_path: Path) -> None:
    """They are nobody's concern any more."""
    found = checks_waiting.keys(str(tmp_path), trusted, is_needed=False, waits=False, takes_any=False)
    assert found.severity == "skipped" and "enrolled or provisioned" in found.message
