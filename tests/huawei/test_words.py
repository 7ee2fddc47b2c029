"""Whatever comes unasked from the platform, the agent stays whole: no fault, no foreign topic, nothing too large."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from firstlight.core.desired import merged
from firstlight.core.exchange import HttpReply, MqttMessage, MqttReply
from firstlight.core.lifecycle import Accepted, Failed, Refused
from firstlight.errors import FirstlightError
from firstlight.platforms.huawei import answers, device, topics
from tests.exchanges.test_huawei_device import ATTEMPT, INVITATIONS, MOMENT, PAIRINGS, REGISTRATION

REQUEST = "request_id=1"
FAMILIES = (
    *(topics.SET + REQUEST, topics.GET + REQUEST, topics.COMMANDS + REQUEST, topics.SHADOW + REQUEST),
    *(topics.EVENTS_DOWN, topics.MESSAGES_DOWN, topics.SET_RESPONSE + REQUEST, topics.COMMANDS_RESPONSE + REQUEST),
)
NAMES = st.sampled_from(
    [
        *("services", "service_id", "properties", "shadow", "desired", "version", "object_device_id", "event_type"),
        *("paras", "command_name", "failed_devices", "device_id"),
        *("device_send_time", "server_recv_time", "server_send_time"),
    ]
)
KINDS = st.sampled_from(["$time_sync", "time_sync_response", "$ota", "version_query", "$sub_device_manager", "box_1"])
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8), KINDS)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(NAMES | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
BODIES = st.one_of(
    st.binary(max_size=64), st.dictionaries(NAMES, VALUES, max_size=4).map(lambda one: json.dumps(one).encode())
)


@given(st.sampled_from(FAMILIES), BODIES)
def test_whatever_is_said_is_heard_without_a_fault(family: str, body: bytes) -> None:
    """Any body on any topic: answers go to this device's own response topics, what is desired can be kept."""
    told = device.heard(REGISTRATION, MqttMessage(f"$oc/devices/box_1/{family}", body), MOMENT)
    if told is None:
        return
    for answer in told.answers:
        assert answer.topic.startswith("$oc/devices/box_1/sys/")
        assert "/response/request_id=1" in answer.topic or answer.topic.endswith("sys/events/up")
        assert isinstance(json.loads(answer.payload), dict) and len(answer.payload) < 4096
    if told.desired is not None:
        assert merged({}, told.desired) == json.loads(told.desired.text)
    assert all(len(note) < 1024 for note in told.notes)


@given(st.text(max_size=64), BODIES)
def test_any_topic_is_heard_without_a_fault(topic: str, body: bytes) -> None:
    """A topic of no family, with or without the device's own prefix."""
    for whole in (topic, f"$oc/devices/box_1/{topic}", f"$oc/devices/box_1/sys/{topic}"):
        device.heard(REGISTRATION, MqttMessage(whole, body), MOMENT)


@given(st.integers(100, 599), BODIES)
def test_any_answer_over_https_is_an_event_or_a_named_error(status: int, body: bytes) -> None:
    """To a report, to the question for a token, and to the desk."""
    reply = HttpReply(status, {}, body)
    assert isinstance(device.read_beat(PAIRINGS["http-secret"], reply), (Accepted, Failed, Refused))
    for read in (lambda: device.read_token(REGISTRATION, reply), lambda: answers.accepted(reply, 200)):
        try:
            read()
        except FirstlightError as error:
            assert error.code and "\n" not in error.message


@given(st.sampled_from(sorted(INVITATIONS)), BODIES)
def test_any_answer_of_the_bootstrap_server_is_a_registration_or_a_named_error(name: str, body: bytes) -> None:
    """Nothing else comes of it, and over TLS nothing without."""
    try:
        kept = device.read_redeemed(INVITATIONS[name], ATTEMPT, MqttReply(0, body))
    except FirstlightError as error:
        assert error.code in ("reply_malformed", "bootstrap_refused", "bootstrap_failed")
    else:
        assert kept.broker is not None and kept.broker.is_secure
