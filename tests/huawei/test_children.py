"""The file in which an integrator's program tells a gateway how the devices behind it are."""

import json
import os
from pathlib import Path

import pytest

from firstlight.core.model import Child
from firstlight.system.children import MAX_CHILDREN, NAME, read_children


def write(folder: Path, value: object) -> None:
    """Puts a file there, as JSON or as it is."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    (folder / NAME).write_bytes(body)


def entry(number: int) -> dict[str, object]:
    """One child of many."""
    return {"device_id": f"c{number}", "online": True}


def test_children_are_read_in_their_order(tmp_path: Path) -> None:
    """Id and whether it is online."""
    write(tmp_path, {"children": [{"device_id": "a_1", "online": True}, {"device_id": "b", "online": False}]})
    assert read_children(str(tmp_path)) == (Child("a_1", True), Child("b", False))


def test_without_a_file_there_are_none(tmp_path: Path) -> None:
    """Most boxes are no gateway."""
    assert read_children(str(tmp_path)) == ()
    assert read_children(str(tmp_path / "nowhere")) == ()


def test_the_most_are_taken_and_one_more_is_not(tmp_path: Path) -> None:
    """500 of them."""
    write(tmp_path, {"children": [entry(number) for number in range(MAX_CHILDREN)]})
    assert len(read_children(str(tmp_path))) == MAX_CHILDREN
    write(tmp_path, {"children": [entry(number) for number in range(MAX_CHILDREN + 1)]})
    assert read_children(str(tmp_path)) == ()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b"[" * 60_000,
        b"\xff\xfe",
        b" " * 70_000,
        [],
        {},
        {"children": {}},
        {"children": ["a"]},
        {"children": [{"device_id": "a"}]},
        {"children": [{"device_id": "a", "online": 1}]},
        {"children": [{"device_id": "a/b", "online": True}]},
        {"children": [{"device_id": "", "online": True}]},
        {"children": [entry(1), entry(1)]},
    ],
)
def test_what_cannot_be_used_counts_as_none(tmp_path: Path, value: object) -> None:
    """A gateway's own heartbeat does not fall with its children's file."""
    write(tmp_path, value)
    assert read_children(str(tmp_path)) == ()


def test_no_link_and_no_pipe_is_followed(tmp_path: Path) -> None:
    """Neither another file is read in its place, nor does a pipe make the agent wait."""
    write(tmp_path, {"children": [entry(1)]})
    (tmp_path / NAME).rename(tmp_path / "other.json")
    (tmp_path / NAME).symlink_to(tmp_path / "other.json")
    assert read_children(str(tmp_path)) == ()
    (tmp_path / NAME).unlink()
    os.mkfifo(tmp_path / NAME)
    assert read_children(str(tmp_path)) == ()
