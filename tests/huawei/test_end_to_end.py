"""From the desk to a heartbeat and back, through the real ``firstlight`` program, against the twin of Huawei IoTDA."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.contract.http_transports.certificates import Identity
from tests.e2e.conftest import wait_until
from tests.huawei.conftest import Box, Desk
from tests.twins.huawei import HuaweiTwin
from tests.twins.kit.faults import busy, cut, html

EVERY_SECOND = "86400"
MakeBox = Callable[[], Box]


def raw_status(desk: Desk, device_id: object) -> str:
    """The platform's own word for a device."""
    return str(json.loads(desk.run("show", "--json", str(device_id)).stdout)["raw_status"])


def until_status(desk: Desk, device_id: object, wanted: str) -> None:
    """Waits until the platform tells it so."""
    wait_until(f"{device_id} is {wanted}", lambda: raw_status(desk, device_id) == wanted)


def certified(boot_file: dict[str, object], identity: Identity) -> dict[str, object]:
    """The same boot file with a certificate in place of the secret."""
    key = identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return {**boot_file, "certificate": identity.pem, "key": key}


# -- a device's life ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("transport", ["mqtt", "http"])
def test_a_device_with_a_secret_lives(desk: Desk, make_box: MakeBox, transport: str) -> None:
    """Created, enrolled, online in the list as the platform says it, and removed; over MQTT offline with its link."""
    boot = desk.create(f"life-{transport}", "--transport", transport)
    device_id = boot["deviceId"]
    assert raw_status(desk, device_id) == "INACTIVE"
    box = make_box()
    assert "first heartbeat accepted" in box.enroll(boot).stdout
    box.run()
    wait_until("the agent is online", lambda: box.status()["state"] == "online")
    until_status(desk, device_id, "ONLINE")
    listed = json.loads(desk.run("list", "--json").stdout)["data"]
    assert [(one["status"], one["raw_status"]) for one in listed if one["id"] == device_id] == [("online", "ONLINE")]
    box.stop()
    if transport == "mqtt":
        until_status(desk, device_id, "OFFLINE")
    desk.run("remove", str(device_id))
    assert "IOTDA.014000" in desk.run("show", str(device_id), check=False).stderr


def test_no_secret_is_left_anywhere(desk: Desk, make_box: MakeBox) -> None:
    """Neither the device's secret nor a password is in what is printed, logged or world-readable."""
    boot = desk.create("quiet")
    box = make_box()
    done = box.enroll(boot)
    box.run()
    wait_until("the agent is online", lambda: box.status()["state"] == "online")
    secret = str(boot["secret"])
    assert secret not in done.stdout + done.stderr + box.log + json.dumps(box.status())
    holders = [
        path for path in box.state_dir.rglob("*") if path.is_file() and secret in path.read_text(errors="replace")
    ]
    assert holders and all(path.stat().st_mode & 0o077 == 0 for path in holders)


def test_the_first_certificate_is_pinned_and_the_pin_can_be_reset(
    desk: Desk, make_box: MakeBox, twin: HuaweiTwin
) -> None:
    """First use pins; another certificate is refused by name; after a reset the next one counts."""
    made = desk.run(
        *("create", "--json", "--field", "node_id=pinned", "--field", f"product_id={twin.product_id}"),
        *("--field", "auth_type=CERTIFICATES"),
    )
    device_id = json.loads(made.stdout)["deviceId"]
    boot: dict[str, object] = {
        **{"format": 1, "platform": "huawei", "road": "finished", "deviceId": device_id},
        **{"broker": twin.mqtt_url, "ca": twin.ca_pem},
    }
    first, second = (twin.device_ca.issue(title="box") for _ in range(2))
    assert "first heartbeat accepted" in make_box().enroll(certified(boot, first)).stdout
    stranger = make_box()
    refused = stranger.enroll(certified(boot, second), check=False)
    assert refused.returncode == 78
    assert "mqtt_not_authorized" in refused.stderr and "certificate unknown" in refused.stderr
    assert "forgotten" in desk.run("reset-fingerprint", device_id).stdout
    assert "first heartbeat accepted" in stranger.enroll(certified(boot, second)).stdout


# -- bootstrap ---------------------------------------------------------------------------------------------------------
def bootstrap_file(twin: HuaweiTwin, device_id: str, **more: object) -> dict[str, object]:
    """A boot file that leads to the bootstrap server, each of the two with its own authority."""
    extra = {"bootstrap_ca": twin.bootstrap_ca_pem, "reports_per_day": "1440"}
    boot: dict[str, object] = {"format": 1, "platform": "huawei", "road": "bootstrap", "deviceId": device_id}
    return {**boot, "broker": twin.bootstrap_url, "ca": twin.ca_pem, "extra": extra, **more}


def test_a_fixed_device_is_sent_to_where_it_belongs(twin: HuaweiTwin, make_box: MakeBox) -> None:
    """With a secret of its own: address from the bootstrap server, heartbeat at the platform."""
    twin.provisioning.add_device("fixed-1", twin.product_id, twin.project_id, secret="its-own-secret-1")
    box = make_box()
    done = box.enroll(bootstrap_file(twin, "fixed-1", secret="its-own-secret-1"))
    assert "first heartbeat accepted" in done.stdout
    assert box.status()["broker"] == twin.mqtt_url


def test_a_fixed_device_with_a_certificate(twin: HuaweiTwin, make_box: MakeBox) -> None:
    """The same with a certificate, at both servers."""
    twin.provisioning.add_device("fixed-2", twin.product_id, twin.project_id)
    identity = twin.device_ca.issue(title="fixed-2")
    done = make_box().enroll(certified(bootstrap_file(twin, "fixed-2"), identity))
    assert "first heartbeat accepted" in done.stdout


@pytest.mark.parametrize("kind", ["secret", "certificate"])
def test_a_member_of_a_group_is_made(twin: HuaweiTwin, make_box: MakeBox, desk: Desk, kind: str) -> None:
    """A group's secret is traded for the device's own; a certificate is shown at both servers."""
    group = twin.provisioning.add_group(twin.product_id, twin.project_id, with_secret=kind == "secret")
    device_id = f"member-{kind}"
    boot = bootstrap_file(twin, device_id)
    boot["extra"] = {"bootstrap_ca": twin.bootstrap_ca_pem, "scope": group.scope_id, "reports_per_day": "1440"}
    if kind == "secret":
        boot["secret"] = group.secret
    else:
        boot = certified(boot, twin.device_ca.issue(title=device_id))
    box = make_box()
    assert "first heartbeat accepted" in box.enroll(boot).stdout
    kept = (box.state_dir / "registration.json").read_text()
    assert not group.secret or group.secret not in kept
    box.run()
    until_status(desk, device_id, "ONLINE")


def test_an_error_of_the_bootstrap_server_is_named(twin: HuaweiTwin, make_box: MakeBox) -> None:
    """Its code and sentence reach the technician, at once; mended at the desk, the same file works."""
    twin.provisioning.add_device("fixed-3", twin.product_id, twin.project_id, secret="its-own-secret-3")
    twin.provisioning.failures.append(100414)
    box, boot = make_box(), bootstrap_file(twin, "fixed-3", secret="its-own-secret-3")
    done = box.enroll(boot, check=False)
    assert done.returncode == 78
    assert "errorCode 100414" in done.stderr and "[bootstrap_refused]" in done.stderr
    assert "first heartbeat accepted" in box.enroll(boot).stdout


def test_the_two_authorities_are_kept_apart(twin: HuaweiTwin, make_box: MakeBox) -> None:
    """The platform's CA does not vouch for the bootstrap server."""
    twin.provisioning.add_device("fixed-4", twin.product_id, twin.project_id, secret="its-own-secret-4")
    boot = bootstrap_file(twin, "fixed-4", secret="its-own-secret-4")
    done = make_box().enroll({**boot, "extra": {}}, check=False)
    assert done.returncode == 69 and "tls_untrusted" in done.stderr


# -- bad input ---------------------------------------------------------------------------------------------------------
def test_a_wrong_secret_is_a_refusal(desk: Desk, make_box: MakeBox) -> None:
    """CONNACK 4: exit 78 with the platform's name, nothing tried again; the right file takes its place."""
    boot = desk.create("typo")
    box = make_box()
    done = box.enroll({**boot, "secret": "another-secret"}, check=False)
    assert done.returncode == 78
    assert "mqtt_bad_login" in done.stderr and "Huawei IoTDA refuses" in done.stderr
    assert "first heartbeat accepted" in box.enroll(boot).stdout


def test_a_wrong_secret_over_https_is_a_refusal(desk: Desk, make_box: MakeBox) -> None:
    """IOTDA.000002 of the token's call."""
    boot = {**desk.create("typo-http", "--transport", "http"), "secret": "another-secret"}
    done = make_box().enroll(boot, check=False)
    assert done.returncode == 78 and "huawei_secret_refused" in done.stderr


def test_a_wrong_clock_does_not_matter_unless_it_is_compared(
    own_twin: HuaweiTwin, own_desk: Desk, make_box: MakeBox
) -> None:
    """A box ten hours off gets in where sign 1 is wanted: it does not know the time, so it does not sign with it."""
    boot = own_desk.create("clock", "--extra", "sign=1")
    own_twin.clock.advance(36_000)
    box = make_box()
    assert "first heartbeat accepted" in box.enroll(boot).stdout
    box.run()
    wait_until("the box has heard the time", lambda: abs(float(str(box.status().get("skewS") or 0))) > 35_000)
    box.stop()
    # What it heard does not make its own clock right: the next connection does not sign with it either.
    again = len(own_twin.log.find("connect"))
    box.run()
    own_twin.log.wait_for("connect", times=again + 1)
    assert all(one.who.startswith(f"{boot['deviceId']}_0_0_") for one in own_twin.log.find("connect"))


def test_a_platform_that_is_down_is_tried_again(own_twin: HuaweiTwin, own_desk: Desk, make_box: MakeBox) -> None:
    """CONNACK 3 is no refusal: the registration is kept, and the same command goes on."""
    boot = own_desk.create("down")
    own_twin.state.is_down = True
    box = make_box()
    done = box.enroll(boot, check=False)
    assert "mqtt_unavailable" in done.stdout + done.stderr and done.returncode != 78
    own_twin.state.is_down = False
    assert box.enroll(boot).returncode == 0


def test_a_token_that_ends_in_mid_run_is_asked_for_anew(
    own_twin: HuaweiTwin, own_desk: Desk, make_box: MakeBox
) -> None:
    """The platform says 403 IOTDA.000004; the same beat goes out with a new token, and nobody notices."""
    boot = own_desk.create("token", "--transport", "http", reports=EVERY_SECOND)
    box = make_box()
    box.enroll(boot)
    box.run()
    asked = len(own_twin.log.wait_for("http", "POST /v5/device-auth", times=2))
    own_twin.log.wait_for("http", "properties/report", times=3)
    assert own_twin.device_http is not None
    own_twin.device_http.end_tokens(str(boot["deviceId"]))
    own_twin.log.wait_for("http", "POST /v5/device-auth", times=asked + 1)
    seen = len(own_twin.log.find("http", "properties/report"))
    own_twin.log.wait_for("http", "properties/report", times=seen + 2)
    assert {one.code for one in own_twin.log.find("http", "properties/report")[-2:]} == {200}
    wait_until("the agent is online", lambda: box.status()["state"] == "online")
    assert "token_spent" not in box.log


def test_a_storm_of_429_is_waited_for(own_twin: HuaweiTwin, own_desk: Desk, make_box: MakeBox) -> None:
    """A device that is limited keeps its beats and hands them over afterwards."""
    boot = own_desk.create("storm", "--transport", "http", reports=EVERY_SECOND)
    box = make_box()
    box.enroll(boot)
    own_twin.faults.add(busy(1, error_code="IOTDA.021101", error_msg="Too many requests."), 2, path="properties/report")
    box.run()
    box.until_log("platform_busy")
    wait_until("it beats again", lambda: "accepts beats again" in box.log, 60.0)
    wait_until("none is left", lambda: box.status().get("spooled") == 0 and box.status()["state"] == "online")


def test_a_busy_platform_is_named_at_the_desk(own_twin: HuaweiTwin, own_desk: Desk) -> None:
    """429 and a portal's page in place of the application interface: exit 69, one sentence."""
    own_twin.faults.add(html(200), 1, method="GET")
    done = own_desk.run("list", check=False)
    assert done.returncode == 69 and "reply_malformed" in done.stderr


def test_an_operator_s_token_that_has_ended_is_named(own_twin: HuaweiTwin, own_desk: Desk) -> None:
    """401 at the desk: exit 78."""
    own_twin.clock.advance(8 * 86_400)
    done = own_desk.run("list", check=False)
    assert done.returncode == 78 and "unauthorized" in done.stderr


def test_a_foreign_project_is_named(own_twin: HuaweiTwin, own_desk: Desk) -> None:
    """403 at the desk: exit 78."""
    own_desk.key_file.write_text(own_twin.state.add_token("f" * 32))
    done = own_desk.run("list", check=False)
    assert done.returncode == 78 and "forbidden" in done.stderr


def test_an_id_that_is_taken_is_named(desk: Desk) -> None:
    """IOTDA.014031: the other device is not touched."""
    boot = desk.create("taken")
    words = ("create", "--field", "node_id=another", "--field", f"product_id={desk.twin.product_id}")
    broker = ("--extra", f"device_broker={desk.twin.mqtt_url}")
    done = desk.run(*words, "--field", f"device_id={boot['deviceId']}", *broker, check=False)
    assert done.returncode == 78 and "IOTDA.014031" in done.stderr and "device_exists" in done.stderr


def test_a_create_whose_answer_was_lost_is_gone_on_with(
    own_twin: HuaweiTwin, own_desk: Desk, make_box: MakeBox
) -> None:
    """The device is found by its node id and gets the secret at hand: one device, and a boot file that works."""
    table, folder = own_desk.folder / "boxes.csv", own_desk.folder / "boot"
    table.write_text(f"node_id,product_id\nlost-1,{own_twin.product_id}\n")
    folder.mkdir()
    ways = ("--extra", f"device_broker={own_twin.mqtt_url}", "--extra", f"device_ca=@{own_desk.ca_file}")
    words = ("create", "--csv", str(table), "--boot", str(folder), *ways)
    own_twin.faults.add(cut(is_late=True), 1, method="POST", path="/devices")
    if own_desk.run(*words, check=False).returncode:
        own_desk.run(*words)
    assert len(own_twin.state.devices) == 1
    assert own_twin.log.find("http", "/action")
    boot = json.loads((folder / "lost-1.json").read_text())
    assert "first heartbeat accepted" in make_box().enroll(boot).stdout


# -- what the platform wants -------------------------------------------------------------------------------------------
def desire(twin: HuaweiTwin, device_id: object, service: str, wanted: dict[str, object]) -> None:
    """An operator sets desired properties at the console."""
    from tests.twins.huawei.state import Shadow

    with twin.state.lock:
        device = twin.state.devices[str(device_id)]
        device.shadow.setdefault(service, Shadow()).desired.update(wanted)
        twin.devices.tell(device)


def answered(twin: HuaweiTwin) -> list[dict[str, object]]:
    """What devices answered so far."""
    with twin.state.lock:
        return [answer for answer in twin.state.answers.values() if isinstance(answer, dict)]


def test_what_is_desired_is_kept_and_answered(own_twin: HuaweiTwin, own_desk: Desk, make_box: MakeBox) -> None:
    """Desired before the first connection, and set while the link stands: both are on the disk, the latter answered."""
    boot = own_desk.create("wish", reports="1")
    desire(own_twin, boot["deviceId"], "Firstlight", {"site": "roof"})
    box = make_box()
    box.enroll(boot)
    box.run()

    def kept() -> object:
        file = box.state_dir / "desired.json"
        return json.loads(file.read_text()).get("desired") if file.exists() else None

    wait_until("the shadow is kept", lambda: kept() == {"Firstlight": {"site": "roof"}})
    desire(own_twin, boot["deviceId"], "Firstlight", {"interval": 30})
    wait_until("the new one is kept", lambda: kept() == {"Firstlight": {"site": "roof", "interval": 30}})
    wait_until("it was answered", lambda: {"result_code": 0, "result_desc": "success"} in answered(own_twin))


def test_a_desired_value_of_the_wrong_type_is_refused_by_name(
    own_twin: HuaweiTwin, own_desk: Desk, make_box: MakeBox
) -> None:
    """The platform hears which property it is; what was desired before stands."""
    boot = own_desk.create("nested", reports="1")
    box = make_box()
    box.enroll(boot)
    box.run()
    wait_until("the agent is online", lambda: box.status()["state"] == "online")
    desire(own_twin, boot["deviceId"], "Firstlight", {"site": {"floor": 1}})
    wait_until("it was refused", lambda: any(answer.get("result_code") == 1 for answer in answered(own_twin)))
    (why,) = {str(answer["result_desc"]) for answer in answered(own_twin) if answer.get("result_code") == 1}
    assert why.startswith("Firstlight.site is an object")
    assert "floor" not in json.dumps([path.read_text() for path in box.state_dir.glob("desired.json")])


def test_a_command_is_refused_in_the_platform_s_words(own_twin: HuaweiTwin, own_desk: Desk, make_box: MakeBox) -> None:
    """result_code 1 with the reason, under the request's own id."""
    boot = own_desk.create("ordered", reports="1")
    box = make_box()
    box.enroll(boot)
    box.run()
    wait_until("the agent is online", lambda: box.status()["state"] == "online")
    request_id = own_twin.devices.command(str(boot["deviceId"]), "Firstlight", "REBOOT", {})
    assert request_id
    wait_until("it was answered", lambda: request_id in own_twin.state.answers)
    said = own_twin.state.answers[request_id]
    wanted = {"result_code": 1, "response_name": "REBOOT", "paras": {"reason": "this device takes no commands"}}
    assert said == wanted


# -- a gateway ---------------------------------------------------------------------------------------------------------
def test_a_gateway_tells_how_its_children_are(own_twin: HuaweiTwin, own_desk: Desk, make_box: MakeBox) -> None:
    """Its own child's status arrives; that of another gateway's child is refused there and named in the log."""
    boot, other = own_desk.create("gateway", reports=EVERY_SECOND), own_desk.create("other-gateway")

    def child(name: str, gateway: object) -> str:
        words = ("--field", f"node_id={name}", "--field", f"product_id={own_twin.product_id}")
        parent = ("--field", f"gateway_id={gateway}")
        return str(json.loads(own_desk.run("create", "--json", *words, *parent).stdout)["deviceId"])

    own, foreign = child("child", boot["deviceId"]), child("foreign", other["deviceId"])
    box = make_box()
    box.enroll(boot)
    box.run()
    wait_until("the agent is online", lambda: box.status()["state"] == "online")
    new = box.folder / "new.json"
    told = [{"device_id": own, "online": True}, {"device_id": foreign, "online": True}]
    new.write_text(json.dumps({"children": told}))
    new.rename(box.state_dir / "children.json")
    until_status(own_desk, own, "ONLINE")
    box.until_log(f"did not take the status of child {foreign}")
    assert raw_status(own_desk, foreign) == "INACTIVE"
    events = [event for event in own_twin.state.events if event[2] == "sub_device_update_status"]
    assert len(events) == 1  # told once, as nothing has changed since


# -- the budget --------------------------------------------------------------------------------------------------------
def test_a_day_costs_what_the_budget_says(own_twin: HuaweiTwin, own_desk: Desk, make_box: MakeBox) -> None:
    """The uplinks that the twin counts of enrolling and a first connection are those of budget.py."""
    from firstlight.platforms.huawei import budget

    boot = own_desk.create("budget", reports="1")
    box = make_box()
    box.enroll(boot)
    box.run()
    wait_until("the agent is online", lambda: box.status()["state"] == "online")
    up = 2 * (budget.connection_cost() - budget.ANSWERS)  # one connection to prove the registration, one to stay
    assert own_twin.state.said_today(str(boot["deviceId"])) == up
    assert own_twin.state.problems == []
