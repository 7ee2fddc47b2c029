"""Leaving events: the half that the beating process has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firstlight.core import desired
from firstlight.core.lifecycle import Desired
from firstlight.system import hooks
from tests.hooks.conftest import ABOUT


def test_what_is_left(tmp_path: Path) -> None:
    """An event has its kind, the time, who the box is and the fields of its kind, in a file of mode 0600."""
    assert hooks.leave(str(tmp_path), "refused", {**ABOUT, "code": "device_revoked", "message": "No."})
    (path,) = tmp_path.iterdir()
    found = json.loads(path.read_text())
    assert path.name == "hook-refused-1.json" and path.stat().st_mode & 0o777 == 0o600
    assert found.pop("at").endswith("Z")
    assert found == {"format": 1, "kind": "refused", **ABOUT, "code": "device_revoked", "message": "No."}


def test_what_is_not_known_is_null(tmp_path: Path) -> None:
    """A platform without workspaces has none to tell, and a box that is not enrolled has no id."""
    hooks.leave(str(tmp_path), "network", {"workspace": "", "code": "network_joined", "message": ""})
    found = json.loads((tmp_path / "hook-network-1.json").read_text())
    assert (found["workspace"], found["deviceId"], found["message"]) == (None, None, "")


def test_no_secret_slips_through(tmp_path: Path) -> None:
    """A name that the kind does not have is left out, whoever passed it."""
    hooks.leave(str(tmp_path), "enrolled", {**ABOUT, "secret": "s3cret", "passphrase": "p4ss", "credential": "secret"})
    text = (tmp_path / "hook-enrolled-1.json").read_text()
    assert "s3cret" not in text and "p4ss" not in text and json.loads(text)["credential"] == "secret"


def test_order_is_kept(tmp_path: Path) -> None:
    """Events of one kind are numbered in the order in which they came, also beyond nine."""
    for number in range(12):
        hooks.leave(str(tmp_path), "refused", {"code": f"c{number}"})
    names = hooks.waiting(str(tmp_path))
    assert [json.loads((tmp_path / name).read_text())["code"] for name in names] == [f"c{n}" for n in range(12)]


def test_bounded(tmp_path: Path) -> None:
    """Without anybody who takes them away sixteen of a kind wait, the newest; other kinds do not count."""
    hooks.leave(str(tmp_path), "enrolled", ABOUT)
    for number in range(40):
        hooks.leave(str(tmp_path), "refused", {"code": f"c{number}"})
    kept = [name for name in hooks.waiting(str(tmp_path)) if "refused" in name]
    assert len(kept) == hooks.MAX_WAITING and json.loads((tmp_path / kept[-1]).read_text())["code"] == "c39"
    assert hooks.waiting(str(tmp_path))[0] == "hook-enrolled-1.json"


def test_config_changed_coalesces(tmp_path: Path) -> None:
    """Of what the platform wants only the newest waits."""
    for version in (1, 2, 3):
        hooks.leave(str(tmp_path), "config-changed", {"desired": {"rate": version}, "version": version})
    (name,) = hooks.waiting(str(tmp_path))
    assert json.loads((tmp_path / name).read_text())["desired"] == {"rate": 3}


@pytest.mark.parametrize(
    ("kind", "about"),
    [
        ("no-such-kind", {}),
        ("config-changed", {"desired": "x" * hooks.MAX_BYTES}),
        ("config-changed", {"desired": object()}),
    ],
)
def test_what_cannot_be_left(kind: str, about: dict[str, object], tmp_path: Path) -> None:
    """Nothing is raised for what is no event or too large: it is said, and nothing is there."""
    assert not hooks.leave(str(tmp_path), kind, about)
    assert not list(tmp_path.iterdir())


def test_disk_that_refuses(tmp_path: Path) -> None:
    """A state directory that is not there is no reason to stop beating."""
    assert not hooks.leave(str(tmp_path / "none"), "enrolled", ABOUT)
    assert not hooks.leave(str(tmp_path / "none"), "config-changed", ABOUT)


def test_a_link_in_its_place(tmp_path: Path) -> None:
    """A link that somebody put where the event goes is replaced, and what it leads to stays as it is."""
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / "hook-config-changed.json").symlink_to(target)
    assert hooks.leave(str(tmp_path), "config-changed", ABOUT)
    assert target.read_text() == "mine" and not (tmp_path / "hook-config-changed.json").is_symlink()


def test_other_files_are_no_events(tmp_path: Path) -> None:
    """Files with names that nearly fit are not taken for events."""
    for name in ("hook-enrolled.json", "hook-enrolled-x.json", "hook-other-1.json", "hook-refused-1", "status.json"):
        (tmp_path / name).write_text("{}")
    assert hooks.waiting(str(tmp_path)) == [] and hooks.kind_of("hook-network-7.json") == "network"


def test_all_that_may_be_desired_fits(tmp_path: Path) -> None:
    """The largest desired state that is kept is told to the hooks too."""
    said = {"s": {f"p{number:02d}": "x" * 4000 for number in range(16)}}
    said["s"]["rest"] = "x" * (desired.MAX_BYTES - len(json.dumps(said)) - len(', "rest": ""'))
    now = desired.merged({}, Desired(1, json.dumps(said, separators=(",", ":")), is_whole=True))
    assert len(json.dumps(now)) == desired.MAX_BYTES
    assert hooks.leave(str(tmp_path), "config-changed", {"deviceId": "d" * 256, "desired": now, "version": 2**40})
