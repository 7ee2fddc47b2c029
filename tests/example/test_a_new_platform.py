"""A new platform is one folder, one line in the table and one golden folder: walked end to end with the real program.

Its golden folder is ``tests/exchanges/tally``, played by the driver of all device halves.
"""

from __future__ import annotations

import json

from cryptography.hazmat.primitives import serialization

from tests.contract.http_transports.certificates import Identity
from tests.e2e.conftest import wait_until
from tests.example.conftest import Agent
from tests.example.server import DEVICE, OWN_SECRET, SECRET, Site


def key_of(mine: Identity) -> str:
    """The private key of a certificate, as a device file has it."""
    return mine.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def test_a_finished_credential_over_mqtt(agent: Agent, site: Site) -> None:
    """Enrolled with no call but the first beat; alive; the status names platform and broker; once is enough."""
    made = json.loads(agent("enroll", "--file", "-", "--json", given=site.file()))
    assert (made["platform"], made["deviceId"], made["transport"]) == ("tally", DEVICE, "mqtt")
    assert (made["broker"], made["notBeating"], made["wasThere"]) == (site.mqtt.url, None, False)
    assert site.counter.topics() == ["hello", "count"]
    (event,) = agent.state.glob("hook-enrolled-*.json")
    assert json.loads(event.read_text())["deviceId"] == DEVICE

    agent.run()
    site.wait_counts(3)
    agent.wait_state("online")
    assert "also" in site.counter.topics()
    shown = agent("status")
    assert "MQTT 3.1.1 with a secret" in shown
    assert site.mqtt.url in shown
    assert "tally" in shown
    assert agent.status()["skewS"] is None

    assert "already enrolled as box-1: nothing to do" in agent("enroll", "--file", "-", given=site.file())
    other = agent("enroll", "--file", "-", given=site.file(secret=OWN_SECRET), want=2)
    assert "already_enrolled" in other


def test_what_it_is_to_be_is_kept_answered_and_left_for_the_hooks(agent: Agent, site: Site) -> None:
    """A desired value is on the disk before it is answered, adds to what was desired, and becomes one event."""
    agent("enroll", "--file", "-", given=site.file())
    agent.run()
    site.wait_counts(2)
    desired, event = agent.state / "desired.json", agent.state / "hook-config-changed.json"
    for number, wish in ((1, {"camera": {"fps": 5, "on": True}}), (2, {"camera": {"fps": 7}})):
        assert site.mqtt.send(DEVICE, f"tally/{DEVICE}/want/{number}", json.dumps(wish).encode(), 1)
        site.wait_said(f"did/{number}")
    kept = {"camera": {"fps": 7, "on": True}}
    assert json.loads(desired.read_text()) == {"format": 1, "version": 2, "desired": kept}
    assert desired.stat().st_mode & 0o777 == 0o600
    assert json.loads(event.read_text())["desired"] == kept
    assert site.mqtt.send(DEVICE, f"tally/{DEVICE}/time", b'{"now": 1795300000}')
    wait_until("it knows the time", lambda: agent.status()["skewS"] is not None)


def test_a_token_over_http(agent: Agent, site: Site) -> None:
    """Beats over HTTP carry a token: kept while it lasts, asked for anew before its end and where it is spent."""
    agent("enroll", "--file", "-", given=site.over_http())
    assert (site.tokens, site.counter.counts) == (["t0"], ["http"])
    agent.run()
    site.wait_counts(4)
    assert site.tokens == ["t0", "t1"], "one for the first beat, one for the agent"
    site.tokens.append("spent")
    site.wait_counts(6)
    assert len(site.tokens) == 4
    site.token_lasts_s = 0.0
    site.tokens.append("spent too")
    before = len(site.tokens)
    site.wait_counts(len(site.counter.counts) + 3)
    assert len(site.tokens) >= before + 3
    agent.wait_state("online")


def test_a_greeter_says_where_it_belongs(agent: Agent, site: Site) -> None:
    """Bootstrap: asked once, believed by an authority of its own; then the counter, by the other one."""
    agent("enroll", "--file", "-", given=site.at_greeter())
    assert (site.greeter.asked, site.counter.counts) == (1, ["mqtt"])
    kept = json.loads((agent.state / "registration.json").read_text())["registration"]
    assert kept["credential"]["secret"] == OWN_SECRET
    assert "nothing to do" in agent("enroll", "--file", "-", given=site.at_greeter())
    assert site.greeter.asked == 1


def test_a_greeter_that_refuses(agent: Agent, site: Site) -> None:
    """Its no ends the attempt; a wrong secret is told at once and changes nothing."""
    site.greeter.answer = {"no": "no such group"}
    assert "no such group" in agent("enroll", "--file", "-", given=site.at_greeter(), want=78)
    assert agent.status()["state"] == "not_enrolled"
    wrong = {**site.at_greeter(), "secret": "pl4nted-wrong"}
    assert "mqtt_bad_login" in agent("enroll", "--file", "-", given=wrong, want=69)
    assert site.greeter.asked == 1


def test_a_refused_credential_gives_way_to_a_better_one(agent: Agent, site: Site) -> None:
    """The platform's no to the first beat is an error; the same file tries again, another one takes its place."""
    wrong = site.file(secret="pl4nted-wrong")
    for _ in range(2):
        assert "unauthorized" in agent("enroll", "--file", "-", given=wrong, want=78)
    agent("enroll", "--file", "-", given=site.file())
    assert site.counter.counts == ["mqtt"]


def test_a_broker_that_says_no_parks_the_agent(agent: Agent, site: Site) -> None:
    """Where the platform's broker means its no, the box asks again slowly, says why, and leaves it for the hooks."""
    agent("enroll", "--file", "-", given=site.file())
    site.counter.secrets = ()
    agent.run()
    agent.wait_state("parked")
    assert agent.status()["reason"] == "unauthorized"
    (event,) = agent.state.glob("hook-refused-*.json")
    assert json.loads(event.read_text())["code"] == "unauthorized"


def test_a_certificate_and_its_key(agent: Agent, site: Site) -> None:
    """The key goes into the key store, private; the certificate opens the session, and is never due for renewal."""
    mine = site.ca.issue(title=DEVICE)
    file = site.file(secret=None, certificate=mine.pem, key=key_of(mine))
    agent("enroll", "--file", "-", given=file)
    registration = json.loads((agent.state / "registration.json").read_text())["registration"]
    (key,) = agent.state.glob("device-*.key")
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.stem.removeprefix("device-") in registration["keyFingerprint"]
    assert registration["renewAtS"] == 0.0
    agent.run()
    site.wait_counts(3)
    agent.wait_state("online")

    other = site.ca.issue(title=DEVICE)
    foreign = site.file(secret=None, certificate=mine.pem, key=key_of(other))
    assert "not for the key" in agent(
        "enroll", "--file", "-", "--state-dir", str(agent.folder / "other"), given=foreign, want=65
    )


def test_at_first_boot(agent: Agent, site: Site) -> None:
    """The file on the boot partition enrolls the box and is taken away."""
    top = agent.folder / "top"
    (top / "boot").mkdir(parents=True)
    (top / "boot" / "firstlight.txt").write_text(json.dumps(site.file()))
    said = agent("firstboot", "--top", str(top))
    assert "enrolled as box-1" in said
    assert not (top / "boot" / "firstlight.txt").exists()
    assert site.counter.counts == ["mqtt"]


def test_what_the_platform_has_no_call_for(agent: Agent, site: Site) -> None:
    """What the platform has no call for is said in one sentence."""
    agent("enroll", "--file", "-", given=site.file())
    assert "[no_renewal]" in agent("rotate", want=2)
    redeem = {
        "format": 1,
        "platform": "tally",
        "road": "redeem",
        "endpoint": site.url,
        "secret": SECRET + "-0123456789",
    }
    fresh = str(agent.folder / "fresh")
    assert "[road_unsupported]" in agent("enroll", "--file", "-", "--state-dir", fresh, given=redeem, want=65)
    unknown = {**site.file(), "platform": "abacus"}
    assert "There is no platform 'abacus'" in agent(
        "enroll", "--file", "-", "--state-dir", fresh, given=unknown, want=2
    )
