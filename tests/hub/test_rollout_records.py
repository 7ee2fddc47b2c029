"""What the API says of a device's upgrade, and that a beat's word of it is stored over the real app."""

from __future__ import annotations

import json

import pytest

from firstlight_hub.rollout import Upgrade
from tests.hub.hub_world import BOOT, START_MS, Box, World

ID = "5eed" * 16
OFFERED = Upgrade("0.9.0", ID, 1, "/bundles/firstlight-0.9.0-x86_64.tar", 1)
AT = "2027-01-15T08:00:00.000Z"


@pytest.mark.parametrize(
    ("upgrade", "said"),
    [
        (OFFERED, None),
        (OFFERED._replace(told_at_ms=START_MS), {"version": "0.9.0", "state": "offered", "at": AT}),
        (OFFERED._replace(told_at_ms=1, rollout=None), None),
        (OFFERED._replace(told_at_ms=1, ended_at_ms=START_MS, code=""), None),
        (
            OFFERED._replace(told_at_ms=1, ended_at_ms=START_MS, code="upgrade_crashed", message="It ended."),
            {"version": "0.9.0", "state": "failed", "at": AT, "code": "upgrade_crashed", "message": "It ended."},
        ),
        (
            OFFERED._replace(told_at_ms=1, ended_at_ms=START_MS, code="upgrade_managed"),
            {"version": "0.9.0", "state": "not_from_here", "at": AT, "code": "upgrade_managed"},
        ),
        (OFFERED._replace(version="0.1.0", told_at_ms=1, ended_at_ms=2, code="upgrade_crashed"), None),
    ],
)
def test_a_record_says_of_an_upgrade_what_there_is_to_say(
    hub: World, box: Box, upgrade: Upgrade, said: dict[str, str] | None
) -> None:
    """Offered, failed, or not from here; of one that is done, or was never told, there is nothing to say."""
    device_id, key = hub.enrolled(box)
    hub.beat(device_id, key, box.beat_body())
    with hub.store.writing() as transaction:
        found = transaction.device(device_id)
        assert found is not None
        transaction.put_upgrade(found.number, upgrade)

    record = hub.device(device_id)
    assert record.get("upgrade") == said and record["rfdm_version"] == "0.1.0"
    (listed,) = json.loads(hub.call("GET", "/demo/devices/v2").content)["data"]
    assert listed == record


def test_a_beat_that_says_how_it_went_is_stored(hub: World, box: Box) -> None:
    """Over HTTP, with a plain answer; a word that cannot be read costs the beat, as any other field does."""
    device_id, key = hub.enrolled(box)
    said = {"version": "0.9.0", "id": ID, "attempt": 1, "code": "upgrade_crashed", "message": "It ended."}
    body = json.loads(box.beat_body())
    assert hub.beat(device_id, key, json.dumps({**body, "upgraded": said}).encode()).status_code == 200
    assert hub.device(device_id)["upgrade"] == {
        "version": "0.9.0",
        "state": "failed",
        "at": AT,
        "code": "upgrade_crashed",
        "message": "It ended.",
    }
    wrongs: tuple[object, ...] = (
        {**said, "id": "x"},
        {**said, "message": "a" * 257},
        {**said, "attempt": -1},
        "done",
        [],
    )
    for wrong in wrongs:
        body = {**json.loads(box.beat_body()), "bootId": BOOT, "upgraded": wrong}
        assert hub.beat(device_id, key, json.dumps(body).encode()).status_code == 400
