"""Two boxes with one copied disk: noticed, named in list and answers, and not mixed up with a box that restarted."""

from __future__ import annotations

import pytest

from firstlight.core.model import Metrics, MissedBeat, Moment
from firstlight_hub.service.clones import Boots
from tests.hub.hub_world import Box, World, refusal

A, B, C = "a" * 32, "b" * 32, "c" * 32


def beats(hub: World, device_id: str, key: str, box: Box, *steps: tuple[str, int]) -> list[bool]:
    """Sends beats of (boot id, sequence) -> whether each answer named a clone."""
    answers = [hub.beat(device_id, key, box.beat_body(boot_id=boot, sequence=n)) for boot, n in steps]
    assert {answer.status_code for answer in answers} == {200}
    return [answer.json().get("clone", False) for answer in answers]


def test_interleaving_boots_are_a_clone(hub: World, box: Box) -> None:
    """The boot that was left beats again: named in both boxes' answers, in the list and in the record."""
    device_id, key = hub.enrolled(box)
    assert beats(hub, device_id, key, box, (A, 1), (B, 1), (A, 2), (B, 2)) == [False, False, True, True]
    assert hub.device(device_id)["clone"] is True
    assert hub.call("GET", "/demo/devices/v2").json()["data"][0]["clone"] is True


def test_restarts_are_no_clone(hub: World, box: Box) -> None:
    """Boot after boot, an agent that starts anew within one, and kept beats of an earlier boot."""
    device_id, key = hub.enrolled(box)
    assert beats(hub, device_id, key, box, (A, 1), (A, 900), (B, 1), (C, 1), (C, 2)) == [False] * 5
    missed = (MissedBeat(901, Moment(A, 54_060.0, 0.0), Metrics(), "dns_failed"),)
    body = box.beat_body(boot_id=C, sequence=3, missed=missed)
    assert "clone" not in hub.beat(device_id, key, body).json()
    assert "clone" not in hub.device(device_id)


def test_old_beats_that_a_broker_delivers_again_are_no_clone(hub: World, box: Box) -> None:
    """A number that was reached already says nothing, in the present boot as in one that was left."""
    device_id, key = hub.enrolled(box)
    steps = ((A, 5), (A, 6), (B, 1), (A, 5), (A, 6), (B, 1), (B, 2), (B, 1))
    assert beats(hub, device_id, key, box, *steps) == [False] * 8


def test_copies_with_one_boot_id_are_noticed_by_their_numbers(hub: World, box: Box) -> None:
    """Two copies on one machine share its boot id: a number that is not new, made later than the newest."""
    device_id, key = hub.enrolled(box)
    assert beats(hub, device_id, key, box, (A, 1), (A, 9)) == [False, False]
    late = box.beat_body(boot_id=A, sequence=2).replace(b'"mono":120.0', b'"mono":601.5')
    assert hub.beat(device_id, key, late).json()["clone"] is True


def test_clone_is_named_for_a_day_after_the_last_sign(hub: World, box: Box) -> None:
    """While it goes on it stays; a day after it stopped, record and answer are as before."""
    device_id, key = hub.enrolled(box)
    beats(hub, device_id, key, box, (A, 1), (B, 1), (A, 2))
    hub.clock.forward(3600)
    beats(hub, device_id, key, box, (B, 2))
    hub.clock.forward(86_400)
    assert hub.device(device_id)["clone"] is True
    assert beats(hub, device_id, key, box, (B, 3)) == [True]
    hub.clock.forward(1)
    assert "clone" not in hub.device(device_id)
    assert beats(hub, device_id, key, box, (B, 4)) == [False]


def test_first_one_is_not_locked_out(hub: World, box: Box) -> None:
    """While two boxes beat, neither may renew: the one that did first would lock the other out. Both beat on."""
    device_id, key = hub.enrolled(box)
    beats(hub, device_id, key, box, (A, 1), (B, 1), (A, 2))
    assert refusal(hub.renew(device_id, box, Box())) == (409, "clone_suspected")
    assert beats(hub, device_id, key, box, (B, 2), (A, 3)) == [True, True]


def test_new_credential_clears_the_sign(hub: World, box: Box) -> None:
    """The operator ends the credential and invites the right box again: no clone any more, and it may renew."""
    device_id, key = hub.enrolled(box)
    beats(hub, device_id, key, box, (A, 1), (B, 1), (A, 2))
    hub.call("DELETE", f"/demo/devices/v2/{device_id}/credential")
    again = hub.call("POST", f"/demo/devices/v2/{device_id}/install-ids").json()["installId"]
    key = hub.redeem(again, box).json()["key"]
    assert beats(hub, device_id, key, box, (A, 3), (A, 4)) == [False, False]
    assert "clone" not in hub.device(device_id)
    assert hub.renew(device_id, box, Box()).status_code == 200


def test_sign_is_found_again_after_the_hub_restarted(hub: World, box: Box) -> None:
    """What is on disk is enough to notice it within a few beats; what was flagged stays flagged."""
    device_id, key = hub.enrolled(box)
    beats(hub, device_id, key, box, (A, 1))
    hub.parts.beats.forget(device_id)
    assert beats(hub, device_id, key, box, (B, 1), (A, 2), (B, 2)) == [False, False, True]
    hub.parts.beats.forget(device_id)
    assert beats(hub, device_id, key, box, (B, 3)) == [True]


def test_interleaving_costs_a_write_once_a_minute() -> None:
    """The time is refreshed at most that often, and the boot id is not written each time it changes."""
    boots = Boots(None, None)
    written = [boots.saw(Moment(A if n % 2 else B, n * 60.0, 0.0), n, n * 30_000) for n in range(8)]
    assert written[:3] == [(B, None), (A, None), (B, 60_000)]
    assert [at for _, at in written[3:]] == [None, 120_000, None, 180_000, None]


def test_hub_clock_that_was_set_back_does_not_hide_a_clone() -> None:
    """A sign from the future is replaced by the present one."""
    boots = Boots(None, None)
    steps = [(A, 1, 10**12), (B, 1, 10**12), (A, 2, 10**12), (B, 2, 5)]
    assert [boots.saw(Moment(boot, n, 0.0), n, now_ms)[1] for boot, n, now_ms in steps] == [None, None, 10**12, 5]


def test_many_boots_are_remembered_in_bounds() -> None:
    """A device that restarts for ever costs no more than one that restarted a few times."""
    boots = Boots(None, None)
    for n in range(1000):
        assert boots.saw(Moment(f"{n:032x}", 1.0, 0.0), 1, n) == (f"{n:032x}", None)
    assert boots._former is not None
    assert len(boots._former) == 8


@pytest.mark.parametrize("after_s", [60, -60])
def test_last_will_is_shown_until_the_next_beat(hub: World, box: Box, after_s: int) -> None:
    """A hint beside the status, which it never changes; one that is older than the last beat is not shown."""
    device_id, key = hub.enrolled(box)
    beats(hub, device_id, key, box, (A, 1))
    hub.clock.forward(after_s)
    hub.parts.beats.record_gone("demo", device_id, "nobody")
    hub.parts.beats.record_gone("plain", device_id)
    shown = hub.device(device_id)
    assert shown["status"] == "online"
    assert shown.get("last_will_at") == ("2027-01-15T08:01:00.000Z" if after_s > 0 else None)
    hub.clock.forward(120)
    beats(hub, device_id, key, box, (A, 2))
    assert "last_will_at" not in hub.device(device_id)
