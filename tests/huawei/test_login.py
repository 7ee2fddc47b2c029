"""How a Huawei device begins: the device file, the login of each connection, and that of the bootstrap server."""

import json
from typing import Any

import pytest

from firstlight.core.model import Beat, Child, Invitation, Metrics, Moment, Secret, parse_broker
from firstlight.errors import HINTS, FirstlightError, InvitationError
from firstlight.platforms.huawei import credentials, device
from tests.exchanges.test_huawei_device import (
    ATTEMPT,
    FACTS,
    GROUP,
    INVITATION,
    INVITATIONS,
    MOMENT,
    PAIRINGS,
    REGISTRATION,
)

STAMP = "2025112111"
FINISHED = INVITATION._replace(road="finished", extra=())


def refused(invitation: Invitation) -> FirstlightError:
    """Why a device file is not taken."""
    with pytest.raises(InvitationError) as caught:
        device.finished(invitation, ATTEMPT, 5.0)
    assert caught.value.hint
    assert caught.value.code in HINTS
    return caught.value


def test_a_login_is_made_of_the_hour() -> None:
    """MQTT 3.1.1, no will, keepalive 120, one attempt a minute; client id and password of this hour."""
    login = device.login(REGISTRATION, MOMENT, knows_time=False)
    assert login is not None
    assert (login.client_id, login.user_name) == (f"box_1_0_0_{STAMP}", "box_1")
    assert login.password == Secret(credentials.password("device-key", STAMP))
    assert (login.protocol, login.will, login.keep_alive_s, login.least_gap_s) == (4, None, 120, 60.0)
    assert all(one.startswith("$oc/devices/box_1/sys/") for one in login.listens_to)
    assert "device-key" not in repr(login) and login.password.reveal() not in repr(login)


def test_the_next_hour_has_another_password() -> None:
    """A login is made anew for each connection."""
    later = MOMENT._replace(wall_s=MOMENT.wall_s + 3600)
    first, second = (device.login(REGISTRATION, at, knows_time=False) for at in (MOMENT, later))
    assert first is not None and second is not None
    assert first.client_id != second.client_id and first.password != second.password


def test_a_certificate_needs_no_password() -> None:
    """User name and client id are the same, the proof is in TLS."""
    login = device.login(PAIRINGS["mqtt-certificate"], MOMENT, knows_time=True)
    assert login is not None and login.password is None
    assert (login.client_id, login.user_name) == (f"box_1_0_0_{STAMP}", "box_1")


def test_over_https_there_is_no_login_and_over_mqtt_no_token() -> None:
    """Each way has its own beginning."""
    assert device.login(PAIRINGS["http-secret"], MOMENT, knows_time=True) is None
    assert device.token_call(REGISTRATION, MOMENT, knows_time=True) is None


@pytest.mark.parametrize(("knows_time", "sign"), [(True, 1), (False, 0)])
def test_sign_1_waits_for_the_time(knows_time: bool, sign: int) -> None:
    """A wrong clock (a box without a battery) is not shown to a platform that compares it, on either way."""
    extra = (("sign", "1"),)
    login = device.login(REGISTRATION._replace(extra=extra), MOMENT, knows_time=knows_time)
    call = device.token_call(PAIRINGS["http-secret"]._replace(extra=extra), MOMENT, knows_time=knows_time)
    assert login is not None and login.client_id == f"box_1_0_{sign}_{STAMP}"
    assert call is not None and json.loads(call.body or b"")["sign_type"] == sign


def test_a_box_whose_clock_says_1970_still_logs_in() -> None:
    """With sign type 0 the hour is only a key."""
    login = device.login(REGISTRATION, Moment("a" * 32, 5.0, 7.0), knows_time=False)
    assert login is not None and login.client_id == "box_1_0_0_1970010100"


@pytest.mark.parametrize(
    ("name", "client_id"),
    [
        ("bootstrap-secret", f"box_1_0_0_{STAMP}"),
        ("bootstrap-certificate", f"box_1_0_0_{STAMP}"),
        ("group-secret", f"box_1_0_scope-1_0_{STAMP}"),
        ("group-certificate", "box_1_0_scope-1"),
    ],
)
def test_who_a_device_is_at_the_bootstrap_server(name: str, client_id: str) -> None:
    """The four identities of the protocol page, section 5."""
    invitation = INVITATIONS[name]
    login = device.redeem_login(invitation, MOMENT, knows_time=True)
    assert login is not None
    assert (login.client_id, login.user_name, login.protocol) == (client_id, "box_1", 4)
    assert (login.password is None) == name.endswith("certificate")
    assert login.listens_to == ("$oc/devices/box_1/sys/bootstrap/down",)
    call = device.redeem(invitation, ATTEMPT, FACTS, MOMENT)
    assert login.listens_to == (getattr(call, "answer_topic", ""),)


def test_a_bootstrapped_group_device_logs_in_with_its_own_secret() -> None:
    """The group's secret is used once: what the server answers takes its place."""
    from firstlight.core.exchange import MqttReply

    answer = MqttReply(0, b'{"address": "iot.example:8883", "deviceSecret": "its-own-secret"}')
    kept = device.read_redeemed(GROUP, ATTEMPT, answer)
    login = device.login(kept, MOMENT, knows_time=True)
    assert login is not None
    assert login.password == Secret(credentials.password("its-own-secret", STAMP))
    assert login.broker == parse_broker("mqtts://iot.example")
    assert "MDEyMzQ1" not in repr(kept) and not any("MDEyMzQ1" in value for _, value in kept.extra)


def test_a_bootstrap_over_plain_loopback_leads_to_plain_loopback_only() -> None:
    """Without TLS nothing leaves this machine."""
    from firstlight.core.exchange import MqttReply

    here = INVITATION._replace(broker=parse_broker("mqtt://127.0.0.1:1883"))
    for address, wanted in (
        ("127.0.0.1:1884", "mqtt://127.0.0.1:1884"),
        ("iot.example:1883", "mqtts://iot.example:1883"),
    ):
        kept = device.read_redeemed(here, ATTEMPT, MqttReply(0, json.dumps({"address": address}).encode()))
        assert kept.broker is not None and kept.broker.url == wanted
    kept = device.read_redeemed(INVITATION, ATTEMPT, MqttReply(0, b'{"address": "127.0.0.1:1884"}'))
    assert kept.broker is not None and kept.broker.is_secure


def test_a_device_file_becomes_a_registration() -> None:
    """What is kept: credential, broker, interval, and of the extras those that count later."""
    extra = (("bootstrap_ca", "CA"), ("reports_per_day", "24"), ("service", "Box"), ("sign", "1"))
    kept = device.finished(FINISHED._replace(extra=extra), ATTEMPT, 5.0)
    assert (kept.device_id, kept.transport, kept.interval_s) == ("box_1", "mqtt", 3600)
    assert kept.credential.secret == Secret("device-key")
    assert kept.extra == (("service", "Box"), ("sign", "1"))


def test_without_a_broker_a_device_speaks_https() -> None:
    """And where both are there, the file may ask for it."""
    assert device.finished(FINISHED._replace(broker=None), ATTEMPT, 5.0).transport == "http"
    assert device.finished(FINISHED._replace(transport="http"), ATTEMPT, 5.0).transport == "http"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"extra": (("colour", "red"),)}, "extra.colour"),
        ({"extra": (("sign", "2"),)}, "extra.sign"),
        ({"extra": (("service", "x" * 33),)}, "extra.service"),
        ({"extra": (("service", "a\nb"),)}, "extra.service"),
        ({"extra": (("reports_per_day", "0"),)}, "reports_per_day"),
        ({"device_id": ""}, "deviceId"),
        ({"broker": None, "transport": "mqtt"}, "broker"),
        ({"certificate_pem": "PEM", "transport": "http"}, "HTTPS"),
        ({"certificate_pem": "PEM", "broker": None}, "HTTPS"),
    ],
)
def test_what_is_wrong_in_a_device_file_is_named(change: dict[str, Any], named: str) -> None:
    """Each in one sentence that says which name to correct."""
    assert named in refused(FINISHED._replace(**change)).message


def test_the_longest_service_id_is_taken() -> None:
    """32 characters are the product model's limit."""
    assert device.finished(FINISHED._replace(extra=(("service", "x" * 32),)), ATTEMPT, 5.0).extra


def test_there_is_no_other_road() -> None:
    """Nothing is redeemed here with an installId."""
    with pytest.raises(InvitationError) as caught:
        device.redeem(FINISHED._replace(road="redeem"), ATTEMPT, FACTS, MOMENT)
    assert caught.value.code == "road_unsupported"


def test_children_are_told_a_hundred_at_a_time_and_over_mqtt_only() -> None:
    """Their status goes as an event; over HTTPS there is no such call."""
    children = tuple(Child(f"c{number}", number == 0) for number in range(101))
    beat = Beat(1, MOMENT, Metrics(), "1", None, "0" * 16, children=children)
    first, second = device.also(REGISTRATION, beat)
    told = json.loads(first.payload)["services"][0]
    assert (told["service_id"], told["event_type"]) == ("$sub_device_manager", "sub_device_update_status")
    statuses = told["paras"]["device_statuses"]
    assert statuses[:2] == [{"device_id": "c0", "status": "ONLINE"}, {"device_id": "c1", "status": "OFFLINE"}]
    assert len(statuses) == 100 and len(json.loads(second.payload)["services"][0]["paras"]["device_statuses"]) == 1
    assert device.also(PAIRINGS["http-secret"], beat) == ()
