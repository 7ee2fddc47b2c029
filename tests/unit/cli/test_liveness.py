"""Judging a published status, with real processes."""

from __future__ import annotations

import os
import subprocess

import pytest

from firstlight.cli import liveness
from firstlight.cli.status_words import in_words
from firstlight.system.clock import SystemClock

ME = os.getpid()
NOW_S = liveness.now_s()
BOOT_ID = SystemClock().moment().boot_id
PUBLISHED: dict[str, object] = {
    "state": "beating",
    "pid": ME,
    "bootId": BOOT_ID,
    "intervalS": 60,
    "lastAcceptedAt": "2026-11-21T22:26:40Z",
    "nextBeatMonoS": 0.0,
}


@pytest.mark.parametrize(
    ("changed", "holder", "state"),
    [
        ({}, "me", "online"),
        ({"lastAcceptedAt": None}, "me", "starting"),
        ({"bootId": "0" * 32}, "me", "online"),  # a sandbox may hide the boot id: the lock is enough
        ({"pid": 1}, -1, "online"),  # held by one that cannot be seen from here
        ({}, 0, "stopped"),
        ({"unlocked": True}, 0, "online"),  # it could not take the lock: that nobody holds it means nothing
        ({"unlocked": True, "pid": 2**40}, 0, "stopped"),
        ({}, None, "online"),
        ({"bootId": "0" * 32}, None, "stopped"),
        ({"pid": 2**40}, None, "stopped"),
        ({"pid": "x"}, None, "stopped"),
        ({"state": "cut_off"}, "me", "cut_off"),
        ({"lateS": 110}, "me", "online"),
        ({"lateS": 200}, "me", "not_responding"),
        ({"lateS": 200, "state": "cut_off"}, "me", "not_responding"),
        ({"lateS": 200}, None, "not_responding"),
        ({"lateS": 200, "intervalS": 900}, "me", "online"),
        ({"nextBeatMonoS": None}, "me", "online"),
        ({"state": "changing"}, 0, "changing"),  # between two lives nobody holds the lock
        ({"state": "changing", "nextBeatMonoS": None}, "me", "changing"),
        ({"state": "changing", "pid": 2**40}, 0, "stopped"),
    ],
)
def test_states(changed: dict[str, object], holder: int | str | None, state: str) -> None:
    """The lock says who lives, the clock that nobody sets whether the status is of now."""
    late_s = float(str(changed.get("lateS", -60)))
    published = {**PUBLISHED, "nextBeatMonoS": liveness.now_s() - late_s}
    pid = ME if isinstance(holder, str) else holder
    assert liveness.judged({**published, **changed}, pid)["state"] == state


def test_a_status_of_another_process_says_nothing_about_the_one_that_runs() -> None:
    """A new agent that wrote nothing yet is starting, under its own pid; the last one's beats are not its own."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as agent:
        found = liveness.judged(PUBLISHED, agent.pid)
        assert agent.stdin is not None
        agent.stdin.close()

    assert (found["state"], found["pid"]) == ("starting", agent.pid)
    assert "nextBeatMonoS" not in found


def test_a_stopped_agent_has_no_pid_and_no_next_beat() -> None:
    """What only a live one has is left out, so that nobody signals a stranger."""
    found = liveness.judged(PUBLISHED, 0)

    assert not {"pid", "nextBeatMonoS", "nextBeatAt", "nextBeatInS"} & set(found)


@pytest.mark.parametrize(
    ("skew_s", "words"),
    [(1.9, None), (-1.9, None), (2.0, "2 s behind the hub's"), (-10_800, "3 h ahead of the hub's"), (None, None)],
)
def test_skew_in_words(skew_s: float | None, words: str | None) -> None:
    """A clock that is right enough is not mentioned; the sign is a word."""
    assert in_words({"state": "online", "skewS": skew_s}, NOW_S, 0.0).get("clock") == words


@pytest.mark.parametrize(("due_s", "words"), [(42.0, "in 42 s"), (-1.0, "now")])
def test_next_beat_in_words(due_s: float, words: str) -> None:
    """How long until the next beat."""
    assert in_words({"state": "online", "nextBeatMonoS": NOW_S + due_s}, NOW_S, 0.0)["nextBeat"] == words


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"transport": "mqtt", "protocol": "MQTT 5", "credential": "certificate"}, "MQTT 5 with a certificate"),
        ({"transport": "mqtt", "credential": "secret"}, "MQTT with a secret"),
        ({"transport": "http", "protocol": None, "credential": "certificate"}, "HTTP with a certificate"),
    ],
)
def test_the_pairing_in_words(found: dict[str, object], words: str) -> None:
    """Transport and credential as a technician says them."""
    assert in_words({"state": "online", **found}, NOW_S, 0.0)["pairing"] == words


def test_warnings_in_words() -> None:
    """A copied identity and a broker that refuses are told with their codes; without them nothing is."""
    warned = in_words({"state": "online", "clone": True, "brokerRefuses": "mqtt_bad_login"}, NOW_S, 0.0)
    assert "[clone_suspected]" in warned["cloneWarning"] and "[mqtt_bad_login]" in warned["brokerWarning"]

    calm = in_words({"state": "online", "clone": None, "brokerRefuses": None}, NOW_S, 0.0)
    assert not {"cloneWarning", "brokerWarning"} & set(calm)
