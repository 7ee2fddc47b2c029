"""``firstlight device list`` tells a heartbeat that a person carried from a live one."""

from firstlight.cli.device_list import table

RECORD: dict[str, object] = {"id": "cam", "name": "Cam", "status": "offline", "last_heartbeat": "2026-11-21T10:00:00Z"}


def test_heartbeat_by_hand_is_told_apart() -> None:
    """The words stand behind the time of the one that came by hand, and nowhere else."""
    by_hand: dict[str, object] = {**RECORD, "id": "door", "by_hand": {"counter": 1}}
    live, carried = list(table([RECORD, by_hand]))[1:]
    assert "2026-11-21T10:00:00Z by hand" in carried
    assert "by hand" not in live
