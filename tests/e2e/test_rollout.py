"""A roll-out from a real hub to real agents, as an ordinary user: the root side of each box is played by the test."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Box, Hub, wait_until
from tests.e2e.rollout_stage import VERSION, Watched, put_release, rollout, shown

Make = Callable[[Hub], Box]
PATIENCE_S = 60.0


def enrolled(hub: Hub, make_box: Make) -> Watched:
    """A box of that hub; its agent does not run yet."""
    created, box = hub.create(), make_box(hub)
    box.enroll(created.install_id.reveal())
    return Watched(box, created.device_id)


def codes(hub: Hub) -> list[str]:
    """By which codes boxes failed."""
    failed = shown(hub)["failed"]
    assert isinstance(failed, list)
    return [one["code"] for one in failed]


@pytest.fixture
def bare_hub(tmp_path: Path) -> Iterator[Hub]:
    """One that wants a beat every second and takes nobody for silent, however busy this machine is."""
    one = Hub(tmp_path, heartbeat_interval_s=1, online_window_s=120)
    yield one
    one.stop()


@pytest.fixture
def hub(bare_hub: Hub) -> Hub:
    """The same with a signed release on its shelf, put there while it serves."""
    put_release(bare_hub)
    return bare_hub


def test_a_rollout_reaches_boxes_and_halts_where_they_fail(hub: Hub, make_box: Make) -> None:
    """Each box finds one wish; what its unit leaves is counted at the hub; after two failures no box is offered it."""
    first, second, third = boxes = [enrolled(hub, make_box) for _ in range(3)]
    for one in boxes:
        one.start()
    wait_until("all are online", lambda: all(hub.status(one.device_id) == "online" for one in boxes), PATIENCE_S)
    said = rollout(hub, "start", "--version", VERSION, "--percent", "100", "--halt-after", "2").stdout
    assert "3 boxes: 3 to go, 0 run it already." in said

    wait_until("every box has its wish", lambda: all(one.wish for one in boxes), PATIENCE_S)
    wish = first.wish
    assert wish is not None and (wish.version, wish.attempt) == (VERSION, 1)
    assert wish == second.wish and f"/bundles/firstlight-{VERSION}-" in wish.path
    assert first.box.status()["upgrade"] == {"wished": VERSION}

    first.unit_ends("upgrade_not_proved", "No beat of it was accepted.")
    wait_until("the hub counts it", lambda: codes(hub), PATIENCE_S)
    assert shown(hub)["state"] == "running"
    second.unit_ends("")
    wait_until("the hub counts that too", lambda: shown(hub)["done"] == 1, PATIENCE_S)
    third.unit_ends("upgrade_crashed", "It ended three times.")
    wait_until("it halts", lambda: shown(hub)["state"] == "halted", PATIENCE_S)

    late = enrolled(hub, make_box)
    late.start()
    wait_until("a box that comes later has beaten on", lambda: late.beats > 4, PATIENCE_S)
    assert late.wish is None and first.wish is None
    found = shown(hub)
    assert str(found["reason"]).startswith("2 of 3 devices")
    failed = {one["device"]: (one["code"], one["message"]) for one in found["failed"]}  # type: ignore[attr-defined]
    assert failed == {
        first.device_id: ("upgrade_not_proved", "No beat of it was accepted."),
        third.device_id: ("upgrade_crashed", "It ended three times."),
    }
    text = rollout(hub, "show").stdout
    assert f"{third.device_id}: It ended three times. [upgrade_crashed]" in text and "halted by itself" in text
    record = hub.devices()[first.device_id]["upgrade"]
    assert isinstance(record, dict) and (record["state"], record["code"]) == ("failed", "upgrade_not_proved")
    upgrade = first.box.status()["upgrade"]
    assert isinstance(upgrade, dict) and upgrade["code"] == "upgrade_not_proved"


def test_a_result_left_while_the_agent_was_down_arrives(hub: Hub, make_box: Make) -> None:
    """The unit ends while the agent is stopped, and the hub is restarted: the next agent tells it, and it counts."""
    one = enrolled(hub, make_box)
    process = one.start()
    wait_until("it is online", lambda: hub.status(one.device_id) == "online", PATIENCE_S)
    rollout(hub, "start", "--version", VERSION, "--device", one.device_id)
    wait_until("the wish is there", lambda: one.wish, PATIENCE_S)
    process.terminate()
    process.wait(20)
    one.unit_ends("upgrade_no_space", "There is no room.")
    hub.stop()
    hub.serve()

    one.start()
    wait_until("the hub has heard", lambda: codes(hub) == ["upgrade_no_space"], PATIENCE_S)
    assert one.wish is None


def test_boxes_without_a_unit_say_so(hub: Hub, make_box: Make) -> None:
    """The plain agent of an ordinary user: no wish lies about, and the hub counts it apart and goes on."""
    one = enrolled(hub, make_box)
    one.box.run()
    wait_until("it is online", lambda: hub.status(one.device_id) == "online", PATIENCE_S)
    rollout(hub, "start", "--version", VERSION, "--percent", "100")

    apart = {"upgrade_managed": 0, "upgrade_unattended": 1}
    wait_until("the hub has heard", lambda: shown(hub)["apart"] == apart, PATIENCE_S)
    assert one.wish is None and shown(hub)["state"] == "running"
    assert "upgrade_unattended" in json.dumps(one.box.status()["upgrade"])
    record = hub.devices()[one.device_id]["upgrade"]
    assert isinstance(record, dict) and record["state"] == "not_from_here"


def test_an_unsigned_release_goes_nowhere(bare_hub: Hub) -> None:
    """A bundle that no key of the hub's signed cannot be rolled out, and the operator hears how to sign it."""
    put_release(bare_hub, is_signed=False)
    done = rollout(bare_hub, "start", "--version", VERSION, "--percent", "100", check=False)
    assert done.returncode == 2 and "bundle_missing" in done.stderr and "firstlight-hub sign" in done.stderr
    assert rollout(bare_hub, "show").stdout == "There is no roll-out.\n"
