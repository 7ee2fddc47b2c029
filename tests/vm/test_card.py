"""Power cuts of a container whose disk forgets: quick, so each kind has one in every run; make soak has hundreds."""

from __future__ import annotations

import platform
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.system.conftest import CHECKOUT
from tests.system.hub_site import HubSite
from tests.system.namespaces import Network
from tests.system.upgrade_bundles import derived
from tests.vm import trials
from tests.vm.card import CardBox, formatted

MakeCardBox = Callable[..., CardBox]


@pytest.fixture(scope="module")
def make_card_box(network: Network) -> Iterator[MakeCardBox]:
    """Makes boxes that are off."""
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="fl-cd-")))
        empty = formatted(folder)
        [tree] = (each for each in (CHECKOUT / ".cache/system").glob("bookworm-*") if each.suffix != ".new")

        def make(born_of: CardBox | None = None) -> CardBox:
            name = f"card{len(list(folder.glob('card*')))}"
            (folder / name).mkdir()
            box = CardBox(name, tree, empty, folder / name, network, born_of)
            ends.callback(box.end)
            return box

        yield make


@pytest.fixture(scope="module")
def enrolled(make_card_box: MakeCardBox, hub: HubSite) -> tuple[CardBox, str]:
    """A box that is online, and its device's id."""
    box = make_card_box()
    box.boot()
    return box, trials.install(box, hub).device_id


def test_only_what_was_synced_survives_a_power_cut(make_card_box: MakeCardBox) -> None:
    """A file with fsync is there after a cut, its later name is not, nor is a file that nobody synced."""
    box = make_card_box()
    box.boot()
    box.sh(
        "echo kept >/srv/a && sync /srv/a && mv /srv/a /srv/b && dd if=/dev/zero of=/srv/c bs=1M count=4 status=none"
    )
    box.cut_power()
    box.boot()
    assert box.sh("cd /srv && ls && cat a").stdout.split() == ["a", "kept"]
    assert box.cuts == 1


def test_cut_while_it_beats(enrolled: tuple[CardBox, str], hub: HubSite) -> None:
    """Cut while the hub takes every beat: back as the same device, nothing missing or doubled."""
    box, device_id = enrolled
    trials.cut_while_beating(box, hub, device_id, random.Random(4))


def test_cut_while_there_is_no_hub(enrolled: tuple[CardBox, str], hub: HubSite) -> None:
    """Cut while beats are kept: every one that was on the disk arrives, once."""
    box, device_id = enrolled
    trials.cut_while_keeping(box, hub, device_id, random.Random(5))


def test_cut_in_the_pasted_command(make_card_box: MakeCardBox, hub: HubSite) -> None:
    """Cut while the pasted command runs: the same command ends with one device, and leaves no rest."""
    trials.cut_while_enrolling(make_card_box(), hub, random.Random(6), 6.0)


def test_cut_in_an_upgrade(enrolled: tuple[CardBox, str], hub: HubSite, bundles: list[Path], tmp_path: Path) -> None:
    """Cut while a new release proves itself: one release is left at work."""
    box, device_id = enrolled
    base = next(path for path in bundles if path.name.endswith(f"-{platform.machine()}.tar"))
    newer = derived(base, tmp_path, "0.90.0")
    hub.put_on_shelf(newer)
    try:
        trials.cut_while_upgrading(box, hub, device_id, newer, random.Random(7), "proving")
    finally:
        hub.take_off_shelf(newer.name)
