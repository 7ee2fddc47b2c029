"""What every implementation of the store must do about certificates, boots and last wills."""

from __future__ import annotations

import pytest

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


def test_device_names_the_end_of_its_present_certificate(store: Store) -> None:
    """Of the present key only, however the device is asked for; a revoked one and another device's do not count."""
    (kept,) = add(store, device("cam")._replace(key_hash=b"h", key_fingerprint="k1"))
    with store.writing() as transaction:
        for one in (certificate("a", "k1"), certificate("b", "k2", ends_ms=9000), certificate("c", "k1", "door", 8000)):
            transaction.add_certificate(one)
    with store.reading() as view:
        asked = [view.device("cam"), view.device_by_key(b"h"), *view.devices("demo", 0, 9), *view.every_device(0, 9)]
        assert asked == [kept._replace(certificate_ends_at_ms=1000)] * 4
    with store.writing() as transaction:
        transaction.put_device(kept._replace(certificate_ends_at_ms=1))
        transaction.revoke_certificates("cam", 5)
        assert transaction.device("cam") == kept


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


def owed(store: Store) -> list[str]:
    """Whose sessions are to be ended."""
    with store.reading() as view:
        return [device_id for _, device_id in view.ended_sessions()]


def put(store: Store, device_id: str, **changed: object) -> None:
    """Changes a device."""
    with store.writing() as transaction:
        found = transaction.device(device_id)
        assert found is not None
        transaction.put_device(found._replace(**changed))  # type: ignore[arg-type]


def test_a_credential_that_ends_leaves_a_session_to_end(store: Store) -> None:
    """Written with the change itself: a key or candidate that is replaced or ended, also after it was revoked."""
    add(store, device("new"))
    put(store, "new", key_fingerprint="sha256:n", key_hash=b"n")
    put(store, "new", candidate_fingerprint="sha256:c", candidate_hash=b"c")
    put(store, "new", name="Another name", rotate_asked_at_ms=5)
    assert owed(store) == []
    put(store, "new", candidate_hash=b"d")  # another candidate
    assert owed(store) == ["new"]
    bound(store, "cam", b"k")
    put(store, "cam", candidate_hash=b"l")
    assert owed(store) == ["new"]
    put(store, "cam", key_hash=b"l", candidate_hash=None)  # promoted
    assert owed(store) == ["new", "cam"]
    put(store, "new", key_hash=None)  # revoked: it ends again, and stands last
    assert owed(store) == ["cam", "new"]


def test_what_ended_again_is_not_forgotten_with_what_was_settled(store: Store) -> None:
    """A number is given once: only what was looked at is forgotten, and a removed device is among it."""
    bound(store, "cam", b"k")
    put(store, "cam", key_hash=None)
    with store.reading() as view:
        first = [number for number, _ in view.ended_sessions()]
    put(store, "cam", key_hash=b"m")
    with store.writing() as transaction:
        transaction.forget_ended_sessions(first)
    assert owed(store) == ["cam"]
    with store.writing() as transaction:
        transaction.forget_ended_sessions([number for number, _ in transaction.ended_sessions()])
    assert owed(store) == []
    with store.writing() as transaction:
        transaction.remove_device(Tombstone("demo", "cam", None, None, 6))
    with store.reading() as view:
        ((number, device_id),) = view.ended_sessions()
    assert (device_id, number > max(first)) == ("cam", True)


def test_a_change_that_is_taken_back_leaves_no_session_to_end(store: Store) -> None:
    """One transaction: nobody is thrown out for what did not happen."""
    bound(store, "cam", b"k")

    class OnPurpose(Exception):
        pass

    def fail() -> None:
        with store.writing() as transaction:
            transaction.remove_device(Tombstone("demo", "cam", None, None, 6))
            assert len(transaction.ended_sessions()) == 1
            raise OnPurpose

    with pytest.raises(OnPurpose):
        fail()
    assert owed(store) == []
