"""The Huawei twin's bootstrap server: where a device belongs, and members of registration groups."""

from typing import Any

import pytest

from tests.twins.client import Client
from tests.twins.conftest import SECRET, Desk
from tests.twins.huawei import logins
from tests.twins.huawei.bootstrap import FUNCTION_FAILED, Group
from tests.twins.kit.tls import Identity


def link(desk: Desk, identity: Identity | None = None) -> Client:
    """A connection to the bootstrap server, by its own authority."""
    return Client(desk.twin.bootstrap_url, desk.twin.bootstrap_ca_pem, identity)


def ask(client: Client, device_id: str, body: Any = b"") -> Any:
    """What comes down for what went up."""
    assert client.subscribe(f"$oc/devices/{device_id}/sys/bootstrap/down", 0) == 0
    client.publish(f"$oc/devices/{device_id}/sys/bootstrap/up", body, 0)
    return client.hear("bootstrap/down")[1]


def member(desk: Desk, group: Group, device_id: str, secret: str = "") -> tuple[str, str, str]:
    """Client id, user name and password of a group's member."""
    own = logins.group_secret_of(secret or group.secret, device_id)
    return (
        f"{device_id}_0_{group.scope_id}_0_{desk.stamp()}",
        device_id,
        logins.password_of(own, desk.stamp()),
    )


def group_of(desk: Desk, **words: Any) -> Group:
    """A registration group."""
    return desk.twin.provisioning.add_group(desk.twin.product_id, desk.twin.project_id, **words)


def fixed(desk: Desk, device_id: str, **words: Any) -> None:
    """Registers a device beforehand."""
    desk.twin.provisioning.add_device(device_id, desk.twin.product_id, desk.twin.project_id, **words)


def test_a_fixed_device_with_a_secret(desk: Desk) -> None:
    """It hears the address, its configuration and no secret, and is let in there with the secret that it has."""
    fixed(desk, "box-1", secret=SECRET, config="site=a")
    with link(desk) as client:
        assert client.connect(*desk.login("box-1")) == 0
        answer = ask(client, "box-1")
    assert answer == {"address": desk.twin.mqtt_url.partition("://")[2], "initConfig": "site=a"}
    with desk.online("box-1"):
        assert desk.status("box-1") == "ONLINE"


def test_a_fixed_device_with_a_certificate(desk: Desk) -> None:
    """Its first certificate is pinned at the bootstrap server and counts at the platform."""
    fixed(desk, "box-1")
    own, foreign = (desk.twin.device_ca.issue(title="box-1") for _ in range(2))
    with link(desk, own) as client:
        assert client.connect(*desk.login("box-1")[:2]) == 0
        assert set(ask(client, "box-1")) == {"address"}
    for identity, code in ((own, 0), (foreign, 5)):
        with desk.link(identity) as client:
            assert client.connect(*desk.login("box-1")[:2]) == code
    with link(desk) as client:
        assert client.connect(*desk.login("box-1")[:2]) == 5


def test_a_group_with_a_secret(desk: Desk) -> None:
    """A member is made, gets a secret of its own, and asked again gets the same."""
    group = group_of(desk)
    answers = []
    for _ in range(2):
        with link(desk) as client:
            assert client.connect(*member(desk, group, "box-1")) == 0
            answers.append(ask(client, "box-1", {}))
    assert answers[0] == answers[1]
    assert answers[0]["deviceSecret"] not in (group.secret, "")
    desk.online("box-1", secret=answers[0]["deviceSecret"]).close()
    assert group.secret not in repr(desk.twin.log.entries)


def test_a_group_with_certificates(desk: Desk) -> None:
    """A certificate of a known authority makes a member, whose certificate is pinned at the platform."""
    group = group_of(desk, with_secret=False)
    own = desk.twin.device_ca.issue(title="box-1")
    with link(desk) as client:
        assert client.connect(f"box-1_0_{group.scope_id}", "box-1") == 5
    with link(desk, own) as client:
        assert client.connect(f"box-1_0_{group.scope_id}", "box-1") == 0
        assert set(ask(client, "box-1")) == {"address"}
    with desk.link(own) as client:
        assert client.connect(*desk.login("box-1")[:2]) == 0


def test_who_is_not_let_in(desk: Desk) -> None:
    """A wrong group secret, an unknown device or group, a closed group, junk, a keepalive out of range, a will."""
    group, closed = group_of(desk), group_of(desk)
    closed.is_open = False
    fixed(desk, "box-1", secret=SECRET)
    cases = [
        (member(desk, group, "box-2", "d3Jvbmc="), 4),
        (member(desk, closed, "box-2"), 4),
        (("box-2_0_unknownscope_0_" + desk.stamp(), "box-2", "x"), 4),
        (desk.login("unknown"), 4),
        (desk.login("box-1", "another-secret"), 4),
        (("box-1", "box-1", "x"), 2),
        ((desk.login("box-1")[0], "another", "x"), 4),
    ]
    for words, code in cases:
        with link(desk) as client:
            assert client.connect(*words) == code, words
    with link(desk) as client:
        assert client.connect(*desk.login("box-1"), will=True) == 5
    with link(desk) as client:
        assert client.connect(*desk.login("box-1"), 29) == 2


@pytest.mark.parametrize("code", [FUNCTION_FAILED, 100499])
def test_errors(desk: Desk, code: int) -> None:
    """A refusal comes down as an error code with a text, and the next question is answered."""
    fixed(desk, "box-1", secret=SECRET)
    desk.twin.provisioning.failures.append(code)
    with link(desk) as client:
        assert client.connect(*desk.login("box-1")) == 0
        answer = ask(client, "box-1")
        assert answer["errorCode"] == str(code)
        assert answer["errorMsg"]
        assert "address" in ask(client, "box-1")


def test_strategies(desk: Desk) -> None:
    """A static strategy goes by what the device says, by its keyword or by its name; where none fits: 100414."""
    desk.twin.provisioning.strategies = {"north": "127.0.0.1:1", "south": "127.0.0.1:2"}
    fixed(desk, "north-1", secret=SECRET)
    fixed(desk, "box-1", secret=SECRET, keyword="south")
    fixed(desk, "box-2", secret=SECRET)
    found = {}
    for device_id, body in (
        ("north-1", b""),
        ("box-1", b""),
        ("box-2", b""),
        ("box-2", {"baseStrategyKeyword": "north"}),
    ):
        with link(desk) as client:
            assert client.connect(*desk.login(device_id)) == 0
            found[device_id, bool(body)] = ask(client, device_id, body)
    assert found["north-1", False]["address"] == found["box-2", True]["address"] == "127.0.0.1:1"
    assert found["box-1", False]["address"] == "127.0.0.1:2"
    assert found["box-2", False]["errorCode"] == "100414"


def test_names_with_an_underscore(desk: Desk) -> None:
    """A member whose id has an underscore must begin with a product that is there."""
    group = group_of(desk)
    for device_id, key in ((f"{desk.twin.product_id}_box", "address"), ("other_box", "errorCode")):
        with link(desk) as client:
            assert client.connect(*member(desk, group, device_id)) == 0
            assert key in ask(client, device_id)


def test_other_topics(desk: Desk) -> None:
    """There is one topic each way; junk on it is an error code."""
    fixed(desk, "box-1", secret=SECRET)
    with link(desk) as client:
        assert client.connect(*desk.login("box-1")) == 0
        assert client.subscribe("$oc/devices/other/sys/bootstrap/down") == 0x80
        assert "errorCode" in ask(client, "box-1", b"{")
        assert not client.publish("$oc/devices/box-1/sys/properties/report", {})
