"""What every implementation of the store must do about certificates, boots and last wills."""

from __future__ import annotations

from firstlight_hub.model import Certificate, Tombstone
from firstlight_hub.store import Store
from tests.hub.stores import add, beat, bound, device


def certificate(serial: str, key: str = "sha256:x", device_id: str = "cam", ends_ms: int = 1000) -> Certificate:
    """A certificate that was just signed."""
    return Certificate(serial, device_id, key, f"PEM {serial}", ends_ms)


def test_certificates_are_revoked_but_for_those_to_keep(store: Store) -> None:
    """Revoking names whether there was one, keeps what is to be kept, another device's too, and the first time."""
    mine = [certificate("a", "k1"), certificate("b", "k2"), certificate("c", "k3")]
    with store.writing() as transaction:
        for one in (*mine, certificate("d", "k1", "door")):
            transaction.add_certificate(one)
        assert transaction.revoke_certificates("cam", 5, ["k2", "k3"])
        assert not transaction.revoke_certificates("cam", 6, ["k2", "k3"])
        assert transaction.revoke_certificates("cam", 7, ["k3"])
    with store.reading() as view:
        assert view.certificates("cam") == [
            mine[0]._replace(revoked_at_ms=5),
            mine[1]._replace(revoked_at_ms=7),
            mine[2],
        ]
        assert view.certificates("door") == [certificate("d", "k1", "door")]
        assert view.revoked_certificates(999) == [("a", 5), ("b", 7)]
        assert view.revoked_certificates(1000) == []


def test_expired_certificates_are_forgotten(store: Store) -> None:
    """What expired is dropped with the next revocation, revoked or not: it no longer counts anywhere."""
    with store.writing() as transaction:
        transaction.add_certificate(certificate("a", ends_ms=5))
        transaction.add_certificate(certificate("b"))
        assert transaction.revoke_certificates("cam", 5)
        assert [one.serial for one in transaction.certificates("cam")] == ["b"]


def test_removal_revokes_the_certificates(store: Store) -> None:
    """A removed device's certificate stays listed as revoked."""
    bound(store)
    with store.writing() as transaction:
        transaction.add_certificate(certificate("a"))
        transaction.remove_device(Tombstone("demo", "cam", "sha256:x", b"k" * 32, 50))
    with store.reading() as view:
        assert view.revoked_certificates(60) == [("a", 50)]


def test_beats_write_boot_and_clone_where_they_say_so(store: Store) -> None:
    """A row without them leaves both; a refused one writes neither."""
    number = bound(store)
    booted = beat(number, 1, 1)._replace(boot_id="b" * 32)
    store.write_beats([booted, beat(number, 2, 2)._replace(clone_at_ms=2), beat(number, 3, 3)])
    store.write_beats([beat(number, 4, 4, key=b"old")._replace(boot_id="c" * 32, clone_at_ms=4)])
    with store.reading() as view:
        found = view.device("cam")
    assert found is not None
    assert (found.boot_id, found.clone_at_ms) == ("b" * 32, 2)


def test_last_wills_are_noted_in_their_workspace_only(store: Store) -> None:
    """Several at once; a device of another workspace and an unknown one are left out."""
    add(store, device("cam"), device("door"), device("other", "other"))
    store.mark_gone("demo", ["cam", "door", "other", "nobody"], 9)
    with store.reading() as view:
        found = [view.device(name) for name in ("cam", "door", "other")]
    assert [one and one.gone_at_ms for one in found] == [9, 9, None]
