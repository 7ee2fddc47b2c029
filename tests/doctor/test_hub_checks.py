"""The hub and its broker as doctor asks them, the clocks' difference, and settings that say too little or too much."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from firstlight.cli import doctor_plan, doctor_run
from firstlight.cli.doctor_case import Case, Hub
from firstlight.cli.settings import Settings
from firstlight.core.diagnosis import FAILURE, NOTE, PASS, SKIPPED, WARNING, Finding
from firstlight.core.exchange import MqttCall, MqttLogin
from firstlight.core.model import Invitation, Moment, Secret, Trust, parse_broker, parse_endpoint
from firstlight.core.provision import Provision
from firstlight.errors import UsageError
from firstlight.system import provision_file
from firstlight.system.provision_file import Kept
from firstlight.system.store import RUNNING, StateDirectory
from firstlight.transports import checks_broker
from firstlight.wire.health import encode_health
from tests.contract.http_transports.certificates import Identity
from tests.contract.http_transports.servers import Peer, Server, answering, proxying, reply
from tests.contract.mqtt.broker import Heard, Talk, good, playing
from tests.doctor.conftest import SECRET, Enrolled, Serve
from tests.doctor.findings import check
from tests.doctor.test_way_checks import free_port
from tests.e2e.conftest import wait_until


def health(ahead_s: float = 0.0) -> bytes:
    """A hub's answer; its clock goes ahead of this box's."""
    return reply(encode_health("0.9.1", time.time() + ahead_s))


def made(case: Case, *wanted: str) -> dict[str, Finding]:
    """The checks of that case."""
    return doctor_run.perform(doctor_plan.plan(case), wanted)


def at_hub(server: Server, ca: Identity, state: Path, **settings: str) -> Case:
    """A box that is not enrolled, asked about that server."""
    hub = Hub(parse_endpoint(server.url("")), Trust(ca.pem), "what was typed")
    return Case(Settings(state_dir=str(state), **settings), None, hub)


# -- hub and skew ----------------------------------------------------------------------------------------------------
def test_hub_that_is_well(serve: Serve, ca: Identity, hub_identity: Identity, state: Path) -> None:
    """A hub that answers passes with its version; clocks that agree pass too."""
    found = made(at_hub(serve(answering(health()), hub_identity), ca, state), "hub", "skew")
    check(found["hub"], "hub", PASS, "version 0.9.1")
    check(found["skew"], "skew", PASS)


@pytest.mark.parametrize(("ahead_s", "side"), [(7200.0, "behind"), (-7200.0, "ahead of")])
def test_clock_that_differs(
    serve: Serve, ca: Identity, hub_identity: Identity, state: Path, ahead_s: float, side: str
) -> None:
    """A clock two hours off is a warning that says to which side."""
    found = made(at_hub(serve(answering(health(ahead_s)), hub_identity), ca, state), "skew")
    check(found["skew"], "skew", WARNING, f"2 h {side} the platform's")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (reply(b"busy", "503 Service Unavailable"), "hub_busy"),
        (reply(b"oh", "500 Internal Server Error"), "hub_error"),
        (reply(b"<html>hello</html>"), "not_the_hub"),
        (reply(b"", "302 Found", "Location: https://elsewhere.example/"), "redirected"),
    ],
)
def test_hub_that_is_not_well(
    serve: Serve, ca: Identity, hub_identity: Identity, state: Path, answer: bytes, code: str
) -> None:
    """An overloaded, a broken, and something other than a hub is told by its code; nothing is said of clocks then."""
    found = made(at_hub(serve(answering(answer), hub_identity), ca, state), "hub", "skew")
    check(found["hub"], "hub", FAILURE, f"[{code}]")
    check(found["skew"], "skew", SKIPPED, "because hub failed")


def test_one_cause_is_told_once(serve: Serve, ca: Identity, interceptor: Identity, state: Path) -> None:
    """Behind an interceptor only TLS fails: pin, hub and clock are left out because of it."""
    found = made(at_hub(serve(answering(health()), interceptor), ca, state), "pin", "hub", "skew", "portal")
    assert [name for name, each in found.items() if each.severity == FAILURE] == ["tls"]
    for name in ("pin", "hub", "skew"):
        assert found[name].message == "because tls failed"
    check(found["portal"], "portal", PASS, "Nothing answers")


def test_proxy_stands_in_the_way(serve: Serve, ca: Identity, hub_identity: Identity, state: Path) -> None:
    """With a proxy in the settings, loopback stays direct; its password file that anybody can read is a failure."""
    proxy = serve(proxying())
    password = state / "proxy.password"
    password.write_text("user:pass")
    password.chmod(0o644)
    case = at_hub(
        serve(answering(health()), hub_identity),
        ca,
        state,
        proxy=f"http://127.0.0.1:{proxy.port}",
        proxy_auth_file=str(password),
    )
    found = made(case, "proxy", "hub", "permissions")
    check(found["proxy"], "proxy", PASS, "this machine's own address needs none")
    check(found["hub"], "hub", PASS)
    check(found["permissions"], "permissions", FAILURE, str(password))
    assert proxy.connections == 0


def test_environment_names_a_proxy(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the shell is used and told, since the service does not see it; no_proxy is told as well."""
    case = Case(Settings(state_dir=str(state)), None, Hub(parse_endpoint("https://hub.example"), Trust(), "typed"))
    assert case.proxy_set_by() == "none is set"
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{free_port()}")
    check(made(case, "proxy")["proxy"], "proxy", FAILURE, "the service does not see that", "[proxy_failed]")
    monkeypatch.setenv("no_proxy", "example")
    assert "no_proxy" in case.proxy_set_by()


# -- settings --------------------------------------------------------------------------------------------------------
def test_settings(state: Path) -> None:
    """Settings that can be used pass and name the hub; wrong ones fail, whoever notices it."""
    good_ones = Settings(state_dir=str(state), hub="https://hub.example:8443")
    check(made(Case(good_ones), "settings")["settings"], "settings", PASS, "https://hub.example:8443")
    error = UsageError("settings_invalid", "agent.toml has an unknown setting 'hup'.")
    check(made(Case(good_ones, error), "settings")["settings"], "settings", FAILURE, "'hup'")
    for wrong in (good_ones._replace(hub="hub"), good_ones._replace(proxy="ftp://x"), good_ones._replace(pin="x")):
        check(made(Case(wrong), "settings")["settings"], "settings", FAILURE)


def test_nothing_known_of_a_hub(state: Path) -> None:
    """Without any hub the way is left out, and says how to name one."""
    found = made(Case(Settings(state_dir=str(state))), "hub")
    check(found["hub"], "hub", SKIPPED, "give --hub and --pin")


def test_offline_speaks_to_nobody(serve: Serve, ca: Identity, hub_identity: Identity, state: Path) -> None:
    """With --offline no connection is opened; the network's checks say why they are missing."""
    server = serve(answering(health()), hub_identity)
    found = doctor_run.perform(doctor_plan.plan(at_hub(server, ca, state)), is_offline=True)
    assert server.connections == 0
    assert {name for name, each in found.items() if each.message == "because of --offline"} == {
        *("dns", "proxy", "port", "tls", "pin", "portal", "hub", "skew", "broker")
    }


# -- broker ----------------------------------------------------------------------------------------------------------
def over_mqtt(enrolled: Enrolled, ca: Identity, server: Server) -> None:
    """Enrolls the box with that broker; its hub is on this machine too."""
    broker = parse_broker(f"mqtts://127.0.0.1:{server.port}")
    enrolled("https://127.0.0.1:1", Trust(ca.pem), transport="mqtt", broker=broker)


def test_broker_lets_the_device_in(
    serve: Serve, ca: Identity, hub_identity: Identity, state: Path, enrolled: Enrolled
) -> None:
    """While no agent runs doctor logs in as the device, leaves no last will, publishes nothing and says goodbye."""
    heard = Heard()
    over_mqtt(enrolled, ca, serve(playing(good, heard), hub_identity))
    check(made(Case(Settings(state_dir=str(state))), "broker")["broker"], "broker", PASS, "MQTT 5")
    login = heard.logins.get(timeout=5)
    assert (login.client_id, login.password, login.will) == ("dev-1", SECRET, None)
    assert heard.ends.get(timeout=5) == "disconnect"
    assert heard.messages.empty()
    assert heard.filters.empty()


def test_broker_refuses(serve: Serve, ca: Identity, hub_identity: Identity, state: Path, enrolled: Enrolled) -> None:
    """The reason in the broker's answer is told."""

    def refusing(talk: Talk) -> None:
        talk.login()
        talk.connack(0x87)

    over_mqtt(enrolled, ca, serve(playing(refusing, Heard()), hub_identity))
    found = made(Case(Settings(state_dir=str(state))), "broker")["broker"]
    check(found, "broker", FAILURE, "not authorized", "[mqtt_not_authorized]")


def test_broker_behind_an_interceptor(
    serve: Serve, ca: Identity, interceptor: Identity, state: Path, enrolled: Enrolled
) -> None:
    """TLS to the broker is judged as TLS to the hub is."""
    over_mqtt(enrolled, ca, serve(playing(good, Heard()), interceptor))
    found = made(Case(Settings(state_dir=str(state))), "broker")["broker"]
    check(found, "broker", FAILURE, "Corporate TLS Inspection")


def test_broker_of_a_running_agent(
    serve: Serve, ca: Identity, hub_identity: Identity, state: Path, enrolled: Enrolled
) -> None:
    """While the agent runs nobody logs in a second time: the line is looked at, and the agent's word is told."""
    heard = Heard()

    def listening(peer: Peer) -> None:
        playing(good, heard)(peer)

    server = serve(listening, hub_identity)
    over_mqtt(enrolled, ca, server)
    pid = os.fork()
    if pid == 0:  # a lock of one's own does not show
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        with StateDirectory(str(state)).lock(RUNNING):
            signal.sigwait([signal.SIGTERM])
        os._exit(0)
    try:
        store = StateDirectory(str(state))
        wait_until("the agent's lock is held", lambda: store.holder(RUNNING))
        found = made(Case(Settings(state_dir=str(state))), "broker")["broker"]
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    check(found, "broker", PASS, "the running agent")
    server.wait_until_left()
    assert heard.logins.empty()


def test_word_of_the_agent_about_its_broker(serve: Serve, ca: Identity, hub_identity: Identity) -> None:
    """A broker that refuses while the hub accepts is a warning with the agent's reason."""
    server = serve(playing(good, Heard()), hub_identity)
    broker = parse_broker(f"mqtts://127.0.0.1:{server.port}")
    for name in ("brokerRefuses", "brokerOutOfReach"):
        said: dict[str, object] = {name: "mqtt_bad_login"}
        found = checks_broker.line(broker, Trust(ca.pem), None, said, check_dates=True)
        check(found, "broker", WARNING, "[mqtt_bad_login]")


def test_box_that_beats_over_http(state: Path, enrolled: Enrolled) -> None:
    """A box without a broker has none to be asked."""
    enrolled("https://127.0.0.1:1")
    check(made(Case(Settings(state_dir=str(state))), "broker")["broker"], "broker", SKIPPED, "over HTTP")


def test_broker_that_is_silent(serve: Serve, ca: Identity, hub_identity: Identity) -> None:
    """Something that takes the connection and is no broker is told in time."""

    def silent(peer: Peer) -> None:
        peer.wait_for_end()

    server = serve(silent, hub_identity)
    broker = parse_broker(f"mqtts://127.0.0.1:{server.port}")
    login = MqttLogin(broker, "dev-1", "dev-1", Secret(SECRET), 60, ("f/+",), MqttCall("f/gone", b"{}"))
    found = checks_broker.login(login, Trust(ca.pem), None, check_dates=True, identity=None, deadline_s=0.5)
    check(found, "broker", FAILURE, "[mqtt_silent]")


def test_box_that_is_provisioned(
    serve: Serve, ca: Identity, hub_identity: Identity, state: Path, enrolled: Enrolled
) -> None:
    """Provisioned and not yet registered: the way is that of its invitation, and the agent must run to register."""
    server = serve(answering(health()), hub_identity)
    invitation = Invitation("hub", parse_endpoint(server.url("")), Trust(ca.pem), Secret("0" * 16))
    taken = Provision(invitation, "dev-1", "acme", "box", "0" * 64, "camera", Moment("0" * 32, 1.0, 1.0), "sha256:00")
    provision_file.save(StateDirectory(str(state)), Kept(taken, b"n" * 16))
    found = made(Case(Settings(state_dir=str(state))), "state", "beats", "refusal", "credential", "hub")
    check(found["state"], "state", NOTE, "not yet registered", "Give it a network")
    check(found["beats"], "beats", FAILURE, "does not run", "systemctl start")
    check(found["refusal"], "refusal", NOTE)
    check(found["credential"], "credential", SKIPPED, "not registered yet")
    check(found["hub"], "hub", PASS, "answers")
