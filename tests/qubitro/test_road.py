"""The whole road of a Qubitro device through the real program: create, enroll, alive, status, command, gone."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import wait_until
from tests.platforms.site import Site
from tests.twins.kit import faults
from tests.twins.qubitro import QubitroTwin, serve
from tests.twins.qubitro.state import Device


class QubitroSite(Site):
    """An operator's desk and one box at a twin of Qubitro.

    Args:
        folder: of both, empty.
        twin: where the devices are.
    """

    def __init__(self, folder: Path, twin: QubitroTwin) -> None:
        self.twin = twin
        extra = {"device_broker": twin.mqtt_url, "device_endpoint": twin.http_url, "device_ca": f"@{folder}/ca.pem"}
        super().__init__(
            folder, "qubitro", twin.http_url, twin.addresses["project"], twin.operator_key, twin.ca_pem, extra
        )

    def create(self, source: str, name: str = "Pump 1") -> Device:
        """Creates a device with a boot file, as the operator does."""
        words = ("--field", "description=In the cellar", "--field", f"source={source}", "--boot", str(self.boot))
        made = json.loads(self.desk("create", name, *words, "--json"))
        device = self.twin.state.device(made["deviceId"])
        assert device is not None and made["files"] == [str(self.boot_file(device))]
        assert device.token not in json.dumps(made)
        return device

    def boot_file(self, device: Device) -> Path:
        """What its box takes in."""
        return self.boot / f"{device.id}.json"

    def take_in(self, device: Device, *words: str, status: int | None = 0) -> str:
        """The box takes the boot file in; what it printed, in which there is no token."""
        said = self.enroll(self.boot_file(device), *words, status=status)
        assert device.token not in said
        return said


@pytest.fixture
def site(twin: QubitroTwin, tmp_path: Path) -> Iterator[QubitroSite]:
    """A desk and a box; its agents end with the test."""
    one = QubitroSite(tmp_path, twin)
    yield one
    one.stop()


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[[QubitroTwin], QubitroSite]]:
    """The same for a twin of the test's own."""
    made: list[QubitroSite] = []

    def make(twin: QubitroTwin) -> QubitroSite:
        made.append(QubitroSite(tmp_path, twin))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.mark.parametrize(("source", "dialect"), [("mqtt", "newer"), ("http", "seed")])
def test_a_device_from_create_to_gone(
    source: str, dialect: str, tmp_path: Path, make_site: Callable[[QubitroTwin], QubitroSite]
) -> None:
    """Unknown, then online by its first beats, offline when they stay away; then removed."""
    with serve(dialect=dialect) as twin:
        site = make_site(twin)
        device = site.create(source)
        assert site.told(device.id) == "unknown"
        site.take_in(device)
        site.boot_file(device).unlink()
        site.run()
        wait_until("the agent beats", lambda: site.status()["state"] == "online")
        assert site.told(device.id) == "online"
        with twin.state.lock:
            last = device.rows[-1]
            assert last["firstlight"] and not any(isinstance(value, (dict, list)) for value in last.values())
            assert "hostname" in last and not twin.state.refused
        found = site.status()
        assert (found["platform"], found["deviceId"], found["transport"]) == ("qubitro", device.id, source)
        assert device.token not in site.stop() + json.dumps(found)
        with twin.state.lock:
            device.seen_s = twin.clock.now_s() - 301
        assert site.told(device.id) == "offline"
        assert device.token not in site.desk("show", device.id)
        site.desk("remove", device.id)
        assert json.loads(site.desk("list", "--json"))["data"] == []


def test_a_command_reaches_the_hooks_and_own_echoes_do_not(site: QubitroSite) -> None:
    """One topic both ways: the box hears its own beats, and takes for a command only what is none of them."""
    device = site.create("mqtt")
    site.take_in(device)
    site.run()
    wait_until("the agent beats", lambda: site.status()["state"] == "online")
    wait_until("the agent listens", lambda: site.twin.state.command(device.id, {"period": 5, "on": True}))
    kept = site.state_dir / "desired.json"
    wait_until("the command is kept", kept.exists)
    assert json.loads(kept.read_text())["desired"] == {"command": {"on": True, "period": 5}}
    event = json.loads((site.state_dir / "hook-config-changed.json").read_text())
    assert event["desired"] == {"command": {"on": True, "period": 5}} and event["platform"] == "qubitro"
    assert device.token not in json.dumps(event)
    assert len(device.rows) >= 2  # the beat of enroll, and those of the agent: each came back as an echo
    assert "otherwise" in site.stop()


@pytest.mark.parametrize("source", ["mqtt", "http"])
def test_a_removed_device_is_refused_and_kept(source: str, site: QubitroSite) -> None:
    """A token that is not taken parks the agent with the reason; the registration stays where it is."""
    device = site.create(source)
    site.take_in(device)
    site.desk("remove", device.id)
    site.run()
    wait_until("the agent is refused", lambda: site.status().get("reason") == "qubitro_token_refused")
    assert site.status()["state"] == "parked" and (site.state_dir / "registration.json").exists()
    assert "Qubitro portal" in site.stop()


def test_a_file_with_a_wrong_token_says_so_at_once(site: QubitroSite) -> None:
    """The technician hears of it while standing at the box."""
    device = site.create("mqtt")
    with site.twin.state.lock:
        device.token = "another"
    said = site.take_in(device, status=None)
    assert "qubitro_token_refused" in said


def test_what_qubitro_has_not_is_a_wrong_word(site: QubitroSite) -> None:
    """A client certificate, at the desk and at the box: exit status 2, and nothing is made."""
    words = ("--field", "description=x", "--credential", "certificate")
    assert "usage" in site.desk("create", "Pump 1", *words, status=2)
    assert not site.twin.log.find("http", "POST")
    device = site.create("mqtt")
    assert "certificate" in site.take_in(device, "--credential", "certificate", status=2)
    assert not (site.state_dir / "registration.json").exists()


def test_a_table_whose_answer_was_lost_is_finished_without_a_second_device(site: QubitroSite) -> None:
    """The device whose answer was cut is found again, with its credentials, and no name is there twice."""
    table = site.folder / "pumps.csv"
    table.write_text("name,description,source,tags\n" + "".join(f"Pump {n},Cellar,mqtt,north\n" for n in range(4)))
    site.twin.faults.add(faults.cut(is_late=True), 1, method="POST", path="/devices")
    words = ("create", "--csv", str(table), "--boot", str(site.boot))
    site.desk(*words, status=None)
    site.desk(*words)
    with site.twin.state.lock:
        found = site.twin.state.projects[site.twin.addresses["project"]]
        assert sorted(device.name for device in found.values()) == [f"Pump {n}" for n in range(4)]
        tokens = {device.token for device in found.values()}
    assert {json.loads(path.read_text())["secret"] for path in site.boot.iterdir()} == tokens


def test_an_answer_with_a_body_is_as_good_as_one_without(site: QubitroSite) -> None:
    """Over HTTPS: nobody has written down what Qubitro answers."""
    site.twin.state.publish_body = b'{"success": true, "status": 200}'
    device = site.create("http")
    site.take_in(device)
    assert len(device.rows) == 1


def test_a_portals_page_is_no_heartbeat(site: QubitroSite) -> None:
    """200 and HTML: the box says what stands in the way, and is not online."""
    device = site.create("http")
    site.twin.faults.add(faults.html(), 100, path="/integrations")
    site.take_in(device, "--patience", "1", status=None)
    site.run()
    wait_until("the box knows why", lambda: site.status().get("reason") == "not_the_platform")
    site.twin.faults.clear()


@pytest.mark.parametrize("trouble", ["busy", "broken", "cut"])
def test_what_passes_is_waited_out(trouble: str, site: QubitroSite) -> None:
    """429 with Retry-After, 500, an answer cut short: the agent goes on until its beat is taken."""
    device = site.create("http")
    site.take_in(device)
    fault = {"busy": faults.busy(1), "broken": faults.broken(500), "cut": faults.cut(is_late=False)}[trouble]
    site.twin.faults.add(fault, 1, path="/integrations")
    site.run()
    # That of enroll, the one in trouble, and one that is taken.
    wait_until("it beat again", lambda: len(site.twin.log.find("http", "/integrations")) >= 3, patience_s=60)
    wait_until("the agent beats", lambda: site.status()["state"] == "online")
    assert len(device.rows) == 2
