"""Complaints about messages: counted always, said at most once a minute for each kind."""

from __future__ import annotations

import logging

import pytest

from firstlight_hub.ingest.complaints import Complaints


def test_each_kind_is_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """The next line says how many there were meanwhile."""
    now_s = 5.0
    complaints = Complaints(lambda: now_s)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            complaints.say("one", "This of %s.", "cam")
        complaints.say("other", "That.")
        now_s = 65.0
        complaints.say("one", "This of %s.", "door")
    assert [record.getMessage() for record in caplog.records] == [
        "MQTT: This of cam. (one, 1 so far)",
        "MQTT: That. (other, 1 so far)",
        "MQTT: This of door. (one, 4 so far)",
    ]
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    assert complaints.counted == {"one": 4, "other": 1}
