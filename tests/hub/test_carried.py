"""Bundles that came with the hub's own package reach its shelf, signed by its key."""

from __future__ import annotations

from pathlib import Path

import pytest

import firstlight
from firstlight.wire.bundle import ARCHITECTURES, bundle_name
from firstlight_hub import release_keys
from firstlight_hub.bundle_contents import BundleError
from firstlight_hub.bundle_file import read_bundle, write_bundle
from firstlight_hub.carried import take_carried
from firstlight_hub.release_keys import ReleaseKeys

ARCH = ARCHITECTURES[0]
NAME = bundle_name(firstlight.__version__, ARCH)


@pytest.fixture
def keys(tmp_path: Path) -> ReleaseKeys:
    """A hub's release keys."""
    folder = tmp_path / "hub"
    folder.mkdir()
    return release_keys.load(folder)


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """An empty shelf."""
    (tmp_path / "shelf").mkdir()
    return tmp_path / "shelf"


def make(folder: Path, *pythons: str) -> Path:
    """A small bundle without signatures."""
    folder.mkdir(exist_ok=True)
    files: dict[str, Path | bytes] = {"lib/firstlight/__init__.py": " ".join(pythons).encode()}
    return write_bundle(folder, firstlight.__version__, ARCH, pythons, files, b"#!/bin/sh\n", lambda _: {})


def test_carried_bundle_is_taken_and_signed(tmp_path: Path, shelf: Path, keys: ReleaseKeys) -> None:
    """It comes to the shelf with the hub's signature and the same id; the one that came along stays as it was."""
    carried = make(tmp_path / "carried", "3.10", "3.11")
    before = carried.read_bytes()
    take_carried(shelf, keys, tmp_path / "carried")
    found = read_bundle(shelf / NAME)
    assert found.id == read_bundle(carried).id
    assert set(found.signatures) == set(keys.signing)
    assert carried.read_bytes() == before
    assert [path.name for path in shelf.iterdir()] == [NAME]


def test_bundle_on_the_shelf_stays(tmp_path: Path, shelf: Path, keys: ReleaseKeys) -> None:
    """One that somebody put there stays where it is for as many Pythons, and gives way where it is for fewer."""
    make(tmp_path / "carried", "3.10", "3.11")
    there = make(shelf, "3.10", "3.11", "3.12").read_bytes()
    take_carried(shelf, keys, tmp_path / "carried")
    assert (shelf / NAME).read_bytes() == there
    make(shelf, "3.11")
    take_carried(shelf, keys, tmp_path / "carried")
    assert read_bundle(shelf / NAME).manifest.pythons == ("3.10", "3.11")


def test_damaged_bundle_is_not_taken(tmp_path: Path, shelf: Path, keys: ReleaseKeys) -> None:
    """One whose bytes were damaged since the hub was installed is refused by name, and the shelf stays clean."""
    carried = make(tmp_path / "carried", "3.10")
    body = bytearray(carried.read_bytes())
    body[-1500] ^= 1
    carried.write_bytes(body)
    with pytest.raises(BundleError):
        take_carried(shelf, keys, tmp_path / "carried")
    assert not list(shelf.iterdir())


def test_hub_without_any(tmp_path: Path, shelf: Path, keys: ReleaseKeys) -> None:
    """A hub that brought none along leaves the shelf alone."""
    take_carried(shelf, keys, tmp_path / "nothing")
    assert not list(shelf.iterdir())
