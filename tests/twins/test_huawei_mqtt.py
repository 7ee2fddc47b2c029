"""The Huawei twin over MQTT: who is let in, the topics, the status, and the day's budget."""

import json
from typing import Any

import pytest

from tests.twins.client import Client
from tests.twins.conftest import SECRET, Desk
from tests.twins.kit.clock import TwinClock
from tests.twins.kit.tls import Identity


def code(desk: Desk, *words: Any, identity: Identity | None = None, **more: Any) -> int:
    """The CONNACK code of one try over TLS."""
    with desk.link(identity) as client:
        return client.connect(*words, **more)


def up(desk: Desk, device_id: str, name: str) -> str:
    """A topic of a device."""
    return f"$oc/devices/{device_id}/{name}"


def report(**properties: Any) -> dict[str, Any]:
    """The body of a report."""
    return {"services": [{"service_id": "Firstlight", "properties": properties}]}


def test_a_life(desk: Desk) -> None:
    """Inactive, online with the link, and offline without it; activated once, with times that tell it."""
    device_id = desk.made()
    assert desk.status(device_id) == "INACTIVE"
    with desk.online(device_id) as client:
        record = desk.ask("GET", f"/{device_id}").json()
        assert (record["status"], record["active_time"]) == ("ONLINE", "2019-03-03T08:10:11.000Z")
        desk.clock.advance(10)
        client.leave()
        assert client.is_cut()
    desk.twin.log.wait_for("gone", "disconnect")
    record = desk.ask("GET", f"/{device_id}").json()
    assert record["status"] == "OFFLINE"
    assert record["connection_status_update_time"] == "2019-03-03T08:10:21.000Z"
    assert record["active_time"] == "2019-03-03T08:10:11.000Z"


@pytest.mark.parametrize(
    "client_id",
    ["{}", "{}_0_0", "{}_1_0_{}", "{}_0_2_{}", "{}_0_0_2019", "{}_0_0_{}0", "{}_0_0_2019o3o3o8", "_0_0_{}", "x" * 257],
)
def test_client_ids(desk: Desk, client_id: str) -> None:
    """A client id of another shape is refused with 2."""
    device_id = desk.made()
    _, user, password = desk.login(device_id)
    assert code(desk, client_id.format(device_id, desk.stamp()), user, password) == 2


@pytest.mark.parametrize(("keep_s", "expected"), [(0, 2), (29, 2), (30, 0), (1200, 0), (1201, 2)])
def test_keepalive(desk: Desk, keep_s: int, expected: int) -> None:
    """The keepalive lies between 30 and 1200 seconds."""
    assert code(desk, *desk.login(desk.made()), keep_s) == expected


def test_passwords(desk: Desk) -> None:
    """A wrong secret, another user, no password and an unknown device are refused with 4."""
    device_id = desk.made()
    client_id, user, password = desk.login(device_id)
    for words in (
        desk.login(device_id, "another-secret"),
        (client_id, "another", password),
        (client_id, user, None),
        (client_id, user, password.upper()),
        desk.login("unknown"),
    ):
        assert code(desk, *words) == 4
    assert password not in repr(desk.twin.log.entries)


@pytest.mark.parametrize(("sign", "hours", "expected"), [("0", -9000, 0), ("1", -2, 4), ("1", -1, 0), ("1", 1, 0)])
def test_the_clock_of_a_device(desk: Desk, sign: str, hours: int, expected: int) -> None:
    """With sign type 0 any hour is a key; with 1 it must be the platform's or one beside it."""
    assert code(desk, *desk.login(desk.made(), sign=sign, hours=hours)) == expected


def test_hours_that_are_none(desk: Desk) -> None:
    """With sign type 1 a timestamp that is no hour is refused with 4."""
    device_id = desk.made()
    assert code(desk, f"{device_id}_0_1_2019139999", device_id, "x") == 4


def test_the_first_certificate_is_pinned(desk: Desk) -> None:
    """The first certificate is the device's from then on, until its fingerprint is reset."""
    device_id = desk.made(auth_type="CERTIFICATES")
    first, second = (desk.twin.device_ca.issue(title=device_id) for _ in range(2))
    client_id, user, _ = desk.login(device_id)
    assert code(desk, client_id, user) == 5
    assert code(desk, client_id, user, identity=first) == 0
    assert code(desk, client_id, user, identity=second) == 5
    assert code(desk, client_id, user, desk.login(device_id)[2]) == 5
    assert desk.ask("POST", f"/{device_id}/reset-fingerprint", json={}).status_code == 200
    assert code(desk, client_id, user, identity=second) == 0
    assert code(desk, client_id, user, identity=first) == 5


def test_two_fingerprints(desk: Desk) -> None:
    """Of a first and a second fingerprint, of 40 or 64 digits, each lets its certificate in."""
    import hashlib

    one, two = (desk.twin.device_ca.issue(title="box") for _ in range(2))
    device_id = desk.made(auth_type="CERTIFICATES", fingerprint=hashlib.sha1(one.der).hexdigest())  # noqa: S324
    body = {"fingerprint": hashlib.sha256(two.der).hexdigest().upper(), "fingerprint_type": "SECONDARY"}
    assert desk.ask("POST", f"/{device_id}/reset-fingerprint", json=body).status_code == 200
    for identity in (one, two):
        assert code(desk, *desk.login(device_id)[:2], identity=identity) == 0


def test_what_is_not_let_in(desk: Desk) -> None:
    """A will, a child that is not connected directly and, where it must be secure, a plain link are refused."""
    device_id = desk.made()
    assert code(desk, *desk.login(device_id), will=True) == 5
    child = desk.create("child", gateway_id=device_id, auth_info={"secret": SECRET}).json()["device_id"]
    assert code(desk, *desk.login(child)) == 4
    insecure = desk.made("insecure", secret=SECRET, secure_access=False)
    for each, expected in ((device_id, 5), (insecure, 0)):
        with Client(desk.twin.mqtt_plain_url) as client:
            assert client.connect(*desk.login(each)) == expected


def test_a_platform_that_is_down_and_one_that_is_rushed(desk: Desk) -> None:
    """Down is 3; and 3 is what a second connect within the minute gets, where the twin counts them."""
    device_id = desk.made()
    desk.twin.state.is_down = True
    assert code(desk, *desk.login(device_id)) == 3
    desk.twin.state.is_down, desk.twin.state.least_gap_s = False, 60.0
    assert [code(desk, *desk.login(device_id)) for _ in range(2)] == [0, 3]
    desk.clock.advance(60)
    assert code(desk, *desk.login(device_id)) == 0


def test_a_newer_link_evicts_the_older(desk: Desk) -> None:
    """One link for each device, also where the hour, and so the client id, has changed meanwhile."""
    device_id = desk.made()
    with desk.online(device_id) as older:
        desk.clock.advance(60)
        with desk.online(device_id, hours=1) as newer:
            assert older.is_cut()
            desk.twin.log.wait_for("gone", "evicted")
            assert newer.ping()
            assert desk.status(device_id) == "ONLINE"


def test_silence(desk: Desk) -> None:
    """One and a half times the keepalive without a word is the end of the link."""
    device_id = desk.made()
    with desk.online(device_id) as client:
        desk.clock.advance(91)
        assert client.is_cut()
    desk.twin.log.wait_for("gone", "keepalive")
    assert desk.status(device_id) == "OFFLINE"


def test_reports_and_the_shadow(desk: Desk) -> None:
    """A report is acknowledged, kept, and given back with what is desired when the shadow is asked for."""
    shadow = [{"service_id": "Firstlight", "desired": {"interval": 60}}]
    device_id = desk.create(shadow=shadow, auth_info={"secret": SECRET}).json()["device_id"]
    with desk.online(device_id) as client:
        assert client.subscribe(up(desk, device_id, "sys/shadow/get/response/#")) == 1
        assert client.publish(up(desk, device_id, "sys/properties/report"), report(load1=0.5))
        assert client.publish(up(desk, device_id, "sys/shadow/get/request_id=7"), {"service_id": "Firstlight"})
        topic, body = client.hear()
    assert topic.endswith("/sys/shadow/get/response/request_id=7")
    (part,) = body["shadow"]
    assert body["object_device_id"] == device_id
    assert part["desired"]["properties"] == {"interval": 60}
    assert part["reported"] == {"properties": {"load1": 0.5}, "event_time": "20190303T081011Z"}


def test_desired_values_reach_the_device(desk: Desk) -> None:
    """What is desired comes once the device listens, at once where it is linked, and its answer is kept."""
    device_id = desk.made()
    path, wanted = f"/{device_id}/shadow", {"shadow": [{"service_id": "Firstlight", "desired": {"site": "a"}}]}
    assert desk.ask("PUT", path, json=wanted).status_code == 200
    with desk.online(device_id) as client:
        assert client.subscribe(up(desk, device_id, "sys/properties/set/#")) == 1
        assert client.hear("set/request_id=")[1]["services"] == [
            {"service_id": "Firstlight", "properties": {"site": "a"}}
        ]
        wanted["shadow"][0]["desired"] = {"site": "b"}
        assert desk.ask("PUT", path, json=wanted).status_code == 200
        topic, body = client.hear("set/request_id=")
        assert body["services"][0]["properties"] == {"site": "b"}
        request_id = topic.partition("request_id=")[2]
        answer = up(desk, device_id, f"sys/properties/set/response/request_id={request_id}")
        assert client.publish(answer, {"result_code": 0, "result_desc": "success"})
        assert desk.twin.state.answers[request_id] == {"result_code": 0, "result_desc": "success"}
        assert client.publish(up(desk, device_id, "sys/properties/report?request_id=1"), report(site="b"))
        assert client.ping()
    bad = {"shadow": [{"service_id": "Firstlight", "desired": {"unknown": 1}}]}
    assert desk.ask("PUT", path, json=bad).json()["error_code"] == "IOTDA.000006"


def test_time_and_versions(desk: Desk) -> None:
    """The platform tells its time, and keeps the versions that the device tells."""
    device_id = desk.made()
    events = [
        {"service_id": "$time_sync", "event_type": "time_sync_request", "paras": {"device_send_time": 5}},
        {"service_id": "$sdk_info", "event_type": "sdk_info_report", "paras": {"sw_version": "0.2.0"}},
    ]
    with desk.online(device_id) as client:
        assert client.subscribe(up(desk, device_id, "sys/events/down")) == 1
        assert client.publish(up(desk, device_id, "sys/events/up"), {"services": events})
        (event,) = client.hear()[1]["services"]
    assert event["event_type"] == "time_sync_response"
    assert event["paras"]["device_send_time"] == 5
    assert event["paras"]["server_recv_time"] == int(desk.clock.now_s() * 1000)
    assert desk.ask("GET", f"/{device_id}").json()["sw_version"] == "0.2.0"


def test_a_gateway_tells_of_its_children(desk: Desk) -> None:
    """A child becomes online by its gateway's word; of a foreign child and a strange status it is told so."""
    gateway = desk.made("gateway")
    child = desk.create("child", gateway_id=gateway).json()["device_id"]
    foreign = desk.made("foreign")
    statuses = [
        {"device_id": child, "status": "ONLINE"},
        {"device_id": foreign, "status": "ONLINE"},
        {"device_id": child, "status": "ASLEEP"},
    ]
    event = {"service_id": "$sub_device_manager", "event_type": "sub_device_update_status"}
    with desk.online(gateway) as client:
        assert client.subscribe(up(desk, gateway, "sys/events/down")) == 1
        body = {"services": [event | {"paras": {"device_statuses": statuses}}]}
        assert client.publish(up(desk, gateway, "sys/events/up"), body)
        paras = client.hear()[1]["services"][0]["paras"]
        assert paras["successful_devices"] == [{"device_id": child, "status": "ONLINE"}]
        assert [each["error_code"] for each in paras["failed_devices"]] == ["IOTDA.014000", "IOTDA.000006"]
        topic = up(desk, gateway, "sys/gateway/sub_devices/properties/report")
        assert client.publish(topic, {"devices": [{"device_id": foreign, **report(site="x")}]})
    assert [desk.status(each) for each in (child, foreign)] == ["ONLINE", "INACTIVE"]
    assert not desk.twin.state.devices[foreign].shadow


def test_commands(desk: Desk) -> None:
    """A command reaches a device that listens for some, and its answer is kept."""
    device_id = desk.made()
    assert desk.twin.devices.command(device_id, "Firstlight", "blink", {}) == ""
    with desk.online(device_id) as client:
        assert client.subscribe(up(desk, device_id, "sys/commands/#")) == 1
        request_id = desk.twin.devices.command(device_id, "Firstlight", "blink", {"times": 3})
        assert client.hear()[1]["paras"] == {"times": 3}
        answer = up(desk, device_id, f"sys/commands/response/request_id={request_id}")
        assert client.publish(answer, {"result_code": 0})
    assert desk.twin.state.answers[request_id] == {"result_code": 0}


@pytest.mark.parametrize(
    ("qos", "retain", "topic"), [(2, False, "own"), (1, True, "own"), (1, False, "foreign"), (0, False, "foreign")]
)
def test_what_costs_the_link(desk: Desk, qos: int, retain: bool, topic: str) -> None:
    """QoS 2, a retained message and another device's topic cost the link."""
    device_id = desk.made()
    with desk.online(device_id) as client:
        name = up(desk, device_id if topic == "own" else "foreign", "sys/properties/report")
        if qos:
            assert not client.publish(name, report(a=1), qos, retain=retain)
        else:
            client.publish(name, report(a=1), 0)
        assert client.is_cut()
    assert len(desk.twin.state.problems) == 1


def test_what_may_be_subscribed_to(desk: Desk) -> None:
    """Only a device's own topics, at most 50 of them, and not with QoS 2."""
    device_id = desk.made()
    with desk.online(device_id) as client:
        for topic_filter in ("#", "$oc/#", "$oc/devices/other/sys/#", "$oc/devices/+/sys/#"):
            assert client.subscribe(topic_filter) == 0x80
        assert client.subscribe(up(desk, device_id, "sys/#"), 2) == 0x80
        granted = [client.subscribe(up(desk, device_id, f"user/{number}")) for number in range(51)]
    assert granted == [1] * 50 + [0x80]


@pytest.mark.parametrize("body", [b"{", b"[]", {}, {"services": []}, {"services": [{"service_id": "Firstlight"}]}])
def test_bad_reports(desk: Desk, body: Any) -> None:
    """A report of another shape is acknowledged and is nothing but a problem."""
    device_id = desk.made()
    with desk.online(device_id) as client:
        assert client.publish(up(desk, device_id, "sys/properties/report"), body)
        assert client.publish(up(desk, device_id, "sys/events/up"), body or b"{")
    assert len(desk.twin.state.problems) >= 1
    assert not desk.twin.state.devices[device_id].shadow


NASTY: list[Any] = [None, 1, "x", [], {}, [1], [None], {"a": 1}, [[1]], True, "\ud800"]


@pytest.mark.parametrize("key", ["services", "devices", "service_id", "paras", "device_statuses"])
def test_nothing_that_a_device_says_breaks_the_twin(desk: Desk, key: str) -> None:
    """Whatever stands in a message's fields, it is acknowledged, and the twin goes on."""
    gateway = desk.made("gateway")
    event = {"service_id": "$sub_device_manager", "event_type": "sub_device_update_status"}
    with desk.online(gateway) as client:
        for value in NASTY:
            for name in (
                "events/up",
                "properties/report",
                "gateway/sub_devices/properties/report",
                "shadow/get/request_id=1",
            ):
                bodies = [{key: value}, {"services": [{**event, key: value}]}, {"devices": [{key: value}]}]
                bodies.append({"services": [{**event, "paras": {key: value}}]})
                bodies.append({"devices": [{"device_id": value, "services": value}]})
                for body in bodies:
                    assert client.publish(up(desk, gateway, f"sys/{name}"), body), body
        assert client.ping()


def test_the_budget_of_a_day(desk: Desk) -> None:
    """Messages are counted by day; beyond the budget they are acknowledged and lost, and tomorrow is another day."""
    device_id, other = desk.made("one"), desk.made("two")
    desk.twin.state.messages_per_day = 3
    topic = up(desk, device_id, "sys/properties/report")
    with desk.online(device_id) as client, desk.online(other) as second:
        assert second.publish(up(desk, other, "sys/properties/report"), report(load1=0))
        for number in range(3):
            assert client.publish(topic, report(load1=number))
        assert (desk.twin.state.said_today(), desk.twin.state.said_today(device_id)) == (4, 3)
        assert desk.twin.state.lost == 1
        assert desk.twin.state.devices[device_id].shadow["Firstlight"].reported == {"load1": 1}
    desk.clock.advance(86_400)
    assert desk.twin.state.said_today() == 0


def test_a_plain_twin() -> None:
    """Without certificates a plain link counts as secure, so that a first try needs none."""
    from tests.twins.huawei import serve

    clock = TwinClock(runs=False)
    with serve(clock=clock, is_plain=True) as twin:
        assert twin.http_url.startswith("http://")
        assert twin.mqtt_url.startswith("mqtt://")
        assert json.dumps(twin.addresses)
