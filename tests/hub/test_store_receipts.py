"""What every store must do with receipts, and with installIds that are found by the start of their hash."""

from __future__ import annotations

from firstlight_hub.model import ByHand, InstallId, Tombstone
from firstlight_hub.store import Store
from tests.hub.stores import add, beat, bound, device

FIRST = ByHand("ab" * 32, "sha256:x", 1, 500, 600, "provisioned", "", "0.3.0", "cam", None, "aarch64", 0, "", "")
SECOND = FIRST._replace(hash="cd" * 32, counter=2, made_at_ms=700, beats=2**40, beats_digest="ef" * 16, note="n")


def test_newest_receipt_stands_in_the_record(store: Store) -> None:
    """Put once it is there with every field, put again it is replaced, and live beats are apart from it."""
    number = bound(store)
    for one in (FIRST, SECOND):
        with store.writing() as transaction:
            transaction.put_receipt(number, one)
        with store.reading() as view:
            found = view.device("cam")
            assert found is not None
            assert (found.by_hand, found.last_heartbeat_at_ms) == (one, None)
            assert view.devices("demo", 0, 9)[0].by_hand == view.every_device(0, 9)[0].by_hand == one
    store.write_beats([beat(number, 800, 1)])
    with store.reading() as view:
        found = view.device("cam")
    assert found is not None
    assert (found.by_hand, found.last_heartbeat_at_ms, found.is_by_hand) == (SECOND, 800, False)


def test_put_device_leaves_the_receipt(store: Store) -> None:
    """A record that is replaced keeps its receipt, whatever stands in the value that is put."""
    number = bound(store)
    with store.writing() as transaction:
        transaction.put_receipt(number, FIRST)
        found = transaction.device("cam")
        assert found is not None
        transaction.put_device(found._replace(name="New", by_hand=None))
    with store.reading() as view:
        again = view.device("cam")
    assert again is not None
    assert (again.name, again.by_hand) == ("New", FIRST)


def test_removed_device_takes_its_receipt_along(store: Store) -> None:
    """Nothing of it is left for a device that comes later."""
    number = bound(store)
    with store.writing() as transaction:
        transaction.put_receipt(number, FIRST)
        transaction.remove_device(Tombstone("demo", "cam", None, None, 900))
    (found,) = add(store, device("cam2"))
    assert found.by_hand is None


def test_install_ids_are_found_by_the_start_of_their_hash(store: Store) -> None:
    """Exactly those that begin so, at both ends of the range too."""
    starts = [b"\x00" * 8, b"\x7f" * 8, b"\xff" * 8]
    with store.writing() as transaction:
        for start in starts:
            for end in (b"\x00" * 24, b"\xff" * 24):
                transaction.put_install_id(InstallId(start + end, "cam", 1, 10))
    with store.reading() as view:
        for start in starts:
            assert [one.hash for one in view.install_ids_like(start)] == [start + b"\x00" * 24, start + b"\xff" * 24]
        assert view.install_ids_like(b"\x7f" * 7 + b"\x7e") == []
