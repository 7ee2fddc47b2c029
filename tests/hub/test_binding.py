"""Whose device it is: by what it shows, by what it signed, or because a broker let it in; never by nothing at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from firstlight_hub.model import Device, Refusal, Tombstone
from firstlight_hub.service.binding import beating, signing, vouched_for_by_broker
from firstlight_hub.store import Reading, Store
from tests.hub.stores import add, device

Find = Callable[[Reading, str, str], Device]

RIGHT: list[Find] = [
    lambda view, workspace, name: beating(view, workspace, name, b"present"),
    lambda view, workspace, name: signing(view, workspace, name, "sha256:present"),
    vouched_for_by_broker,
]
WRONG: list[Find] = [
    lambda view, workspace, name: beating(view, workspace, name, b"other"),
    lambda view, workspace, name: beating(view, workspace, name, b""),
    lambda view, workspace, name: beating(view, workspace, name, None),  # type: ignore[arg-type]
    lambda view, workspace, name: signing(view, workspace, name, "sha256:other"),
    lambda view, workspace, name: signing(view, workspace, name, "sha256:candidate"),
    lambda view, workspace, name: signing(view, workspace, name, ""),
    lambda view, workspace, name: signing(view, workspace, name, None),  # type: ignore[arg-type]
]
BOUND = device("cam")._replace(key_hash=b"present", key_fingerprint="sha256:present")


def refused(store: Store, find: Find, workspace: str = "demo", name: str = "cam") -> str:
    """The code with which it is refused."""
    with store.reading() as view, pytest.raises(Refusal) as caught:
        find(view, workspace, name)
    return caught.value.code


@pytest.mark.parametrize("find", RIGHT)
def test_device_is_found_in_its_workspace_only(store: Store, find: Find) -> None:
    """Each of the three ways, and none for another workspace, an unknown id or one that is no id."""
    (kept,) = add(store, BOUND)
    with store.reading() as view:
        assert find(view, "demo", "cam") == kept
    for workspace, name in (("other", "cam"), ("demo", "door"), ("demo", "ca/m")):
        assert refused(store, find, workspace, name) == "device_unknown"


def test_candidate_beats_but_does_not_sign(store: Store) -> None:
    """A beat proves a candidate; a renewal is signed by the present key alone."""
    (kept,) = add(store, BOUND._replace(candidate_hash=b"candidate", candidate_fingerprint="sha256:candidate"))
    with store.reading() as view:
        assert beating(view, "demo", "cam", b"candidate") == kept


@pytest.mark.parametrize("find", WRONG)
def test_wrong_or_missing_proof_lets_nobody_in(store: Store, find: Find) -> None:
    """Also where there is no candidate, and where the device was removed."""
    add(store, BOUND)
    assert refused(store, find) == "key_invalid"
    with store.writing() as transaction:
        transaction.remove_device(Tombstone("demo", "cam", "sha256:present", b"present", 5))
    assert refused(store, find) == "key_invalid"


@pytest.mark.parametrize("find", RIGHT)
def test_end_is_named_to_whom_it_concerns(store: Store, find: Find) -> None:
    """A device without a credential, a revoked and a removed one."""
    (kept,) = add(store, BOUND)
    with store.writing() as transaction:
        transaction.put_device(kept._replace(key_hash=None))
    assert refused(store, find) == "key_invalid"
    with store.writing() as transaction:
        transaction.put_device(kept._replace(key_hash=None, revoked_at_ms=5))
    assert refused(store, find) == "credential_revoked"
    with store.writing() as transaction:
        transaction.remove_device(Tombstone("demo", "cam", "sha256:present", b"present", 5))
    assert refused(store, find) == "device_removed"
