"""The desk verbs on every platform, each against its twin: one device, many, what breaks on the way, and the list."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.desk.conftest import Operator, ok
from tests.e2e.conftest import Hub
from tests.twins.fleet import FleetTwin
from tests.twins.huawei import HuaweiTwin
from tests.twins.kit.faults import broken, busy, cut
from tests.twins.qubitro import QubitroTwin
from tests.twins.qubitro.state import Device

QUBITRO = ("--platform", "qubitro")
HUAWEI = ("--platform", "huawei", "--field", "product_id=twinproduct")
FLEET = ("--platform", "fleet", "--field", "type=Camera", "--field", "category=IoT")


def knows_huawei(operator: Operator, twin: HuaweiTwin) -> None:
    """Its table, with what goes into boot files."""
    ca = operator.folder / "device-ca.pem"
    ca.write_text(twin.ca_pem)
    operator.knows_twin(
        twin, workspace=twin.project_id, instance_id=twin.instance_id, device_broker=twin.mqtt_url, device_ca=f"@{ca}"
    )


def knows_qubitro(operator: Operator, twin: QubitroTwin) -> None:
    """Its table."""
    operator.knows_twin(twin, workspace=twin.addresses["project"])


def made_in(twin: QubitroTwin) -> list[Device]:
    """The devices of its project."""
    return list(twin.state.projects[twin.addresses["project"]].values())


def rows(report: Path) -> list[dict[str, str]]:
    """The lines of a report in JSON."""
    found = json.loads(report.read_text())
    assert isinstance(found, list)
    return found


def test_one_device_and_its_boot_file(operator: Operator, qubitro_twin: QubitroTwin) -> None:
    """The name and the fields go out, the token goes into a private file and nowhere else; shown, it is masked."""
    knows_qubitro(operator, qubitro_twin)
    out = ok(operator.device("create", "Pump", *QUBITRO, "--field", "description=north", "--boot", "."))
    (device,) = made_in(qubitro_twin)
    boot = operator.folder / f"{device.id}.json"
    assert device.token not in out and f"written: {boot.name}" in out and boot.stat().st_mode & 0o777 == 0o600
    said = json.loads(boot.read_text())
    assert (said["platform"], said["deviceId"], said["secret"]) == ("qubitro", device.id, device.token)
    shown = json.loads(ok(operator.device("show", device.id, *QUBITRO)))
    assert shown["name"] == "Pump" and shown["status"] == "unknown" and device.token not in json.dumps(shown)
    assert ok(operator.device("remove", device.id, *QUBITRO)) == f"{device.id}: removed\n"
    assert not made_in(qubitro_twin)


def test_without_a_folder_the_secret_is_kept_all_the_same(operator: Operator, qubitro_twin: QubitroTwin) -> None:
    """Only this answer has it: into the present folder, or with --json onto the screen."""
    knows_qubitro(operator, qubitro_twin)
    ok(operator.device("create", "A", *QUBITRO, "--field", "description=x"))
    (device,) = made_in(qubitro_twin)
    assert json.loads((operator.folder / f"{device.id}.json").read_text())["secret"] == device.token
    told = json.loads(ok(operator.device("create", "B", *QUBITRO, "--field", "description=x", "--json")))
    assert told["platform"] == "qubitro" and told["bootFile"]["deviceId"] == told["deviceId"]
    assert not (operator.folder / f"{told['deviceId']}.json").exists()


def test_a_secret_is_made_up_where_the_platform_wants_one(operator: Operator, huawei_twin: HuaweiTwin) -> None:
    """Each device has another one, sent and in its boot file; none is printed."""
    knows_huawei(operator, huawei_twin)
    table = operator.table("node_id,device_name\nSN1,one\nSN2,two\n")
    out = ok(operator.device("create", "--csv", table, *HUAWEI, "--boot", "."))
    boots = [json.loads((operator.folder / f"SN{n}.json").read_text()) for n in (1, 2)]
    secrets = [str(one["secret"]) for one in boots]
    assert len(set(secrets)) == 2 and all(len(one) == 32 and one not in out for one in secrets)
    assert boots[0]["broker"].startswith("mqtts://") and "CERTIFICATE" in boots[0]["ca"]
    again = ok(operator.device("create", "--csv", table, *HUAWEI, "--boot", "."))
    assert again.count("(made earlier)") == 2 and len(huawei_twin.state.devices) == 2


def test_a_secret_is_never_typed(operator: Operator, huawei_twin: HuaweiTwin) -> None:
    """As an argument it is refused before anything is asked; from a private file it is taken."""
    knows_huawei(operator, huawei_twin)
    words = ("create", "one", *HUAWEI, "--field", "node_id=S1", "--field")
    typed = operator.device(*words, "secret=0123456789abcdef")
    assert typed.returncode == 2 and "secret=@FILE" in typed.stderr and not huawei_twin.state.devices
    file = Path(operator.key("s", "0123456789abcdef\n"))
    file.chmod(0o644)
    assert "chmod 600" in operator.device(*words, f"secret=@{file}").stderr
    file.chmod(0o600)
    ok(operator.device(*words, f"secret=@{file}", "--boot", "."))
    (boot,) = operator.folder.glob("*.json")
    assert json.loads(boot.read_text())["secret"] == "0123456789abcdef"


def test_a_fingerprint_is_forgotten(operator: Operator, huawei_twin: HuaweiTwin) -> None:
    """Where the platform can; another one says that it cannot."""
    knows_huawei(operator, huawei_twin)
    words = ("--field", "node_id=S1", "--field", "auth_type=CERTIFICATES", "--field", f"fingerprint={'ab' * 20}")
    told = json.loads(ok(operator.device("create", "one", *HUAWEI, *words, "--json")))
    assert "bootFile" not in told
    done = ok(operator.device("reset-fingerprint", told["deviceId"], "--platform", "huawei"))
    assert "forgotten" in done
    assert not next(iter(huawei_twin.state.devices.values())).fingerprint
    other = operator.device("reset-fingerprint", "1", "--platform", "fleet", "--api-key-file", operator.key("k", "x"))
    assert other.returncode == 2 and "The platform fleet has no 'reset-fingerprint'" in other.stderr


@pytest.mark.parametrize("fault", [broken(503), busy(1), cut(is_late=True)], ids=["503", "429", "answer lost"])
def test_trouble_in_the_middle_makes_nothing_twice(
    operator: Operator, qubitro_twin: QubitroTwin, fault: object
) -> None:
    """Waited for and asked again, the device looked for first; a token that nobody heard is fetched."""
    knows_qubitro(operator, qubitro_twin)
    qubitro_twin.faults.add(fault, method="POST", path="/devices")  # type: ignore[arg-type]
    table = operator.table("name,description\nA,x\nB,x\nC,x\n")
    done = operator.device("create", "--csv", table, *QUBITRO, "--boot", ".", "--report", "r.json")
    ok(done)
    devices = {device.name: device for device in made_in(qubitro_twin)}
    assert sorted(devices) == ["A", "B", "C"] and len(made_in(qubitro_twin)) == 3
    assert "waiting" in done.stderr
    for one in rows(operator.folder / "r.json"):
        boot = json.loads((operator.folder / one["boot_file"]).read_text())
        assert boot["secret"] == devices[one["name"]].token


def test_one_device_whose_answer_was_lost(operator: Operator, qubitro_twin: QubitroTwin) -> None:
    """Nobody knows whether it was made: said so, and where to look."""
    knows_qubitro(operator, qubitro_twin)
    qubitro_twin.faults.add(cut(is_late=True), method="POST", path="/devices")
    words = ("create", "A", *QUBITRO, "--field", "description=x", "--boot", ".")
    done = operator.device(*words)
    assert done.returncode == 69 and "may have been made all the same; see: " in done.stderr
    assert len(made_in(qubitro_twin)) == 1


def test_a_key_that_ends_in_the_middle(operator: Operator, huawei_twin: HuaweiTwin) -> None:
    """The run ends with what to do; with a new key the same command makes the rest, the secrets as they were."""
    knows_huawei(operator, huawei_twin)
    huawei_twin.faults.add(broken(401, error_code="IOTDA.000003", error_msg="Token expired."), method="POST")
    table = operator.table("node_id\nS1\nS2\n")
    words = ("create", "--csv", table, *HUAWEI, "--boot", ".", "--report", "r.json")
    done = operator.device(*words)
    assert done.returncode == 78 and "[unauthorized]" in done.stderr
    assert "not good any more: put a new one in its place. Run the same command again" in done.stderr
    assert [(one["outcome"], one["code"]) for one in rows(operator.folder / "r.json")] == [
        ("failed", "unauthorized"),
        ("not made", ""),
    ]
    intended = json.loads(Path(f"{table}.journal").read_text().splitlines()[1])["will"]["node_id=S1"]["secret"]
    ok(operator.device(*words))
    assert json.loads((operator.folder / "S1.json").read_text())["secret"] == intended
    assert Counter(one["outcome"] for one in rows(operator.folder / "r.json")) == {"made": 2}


def test_batches_with_a_bad_one_in_them(operator: Operator, fleet_twin: FleetTwin) -> None:
    """Twenty at a time; where one of a batch is refused, the others are made and that one is named."""
    operator.knows_twin(fleet_twin, batch="20")
    lines = [f"Cam {n},S{n},{'' if n != 25 else 4711}\n" for n in range(45)]
    table = operator.table("name,serial_number,user_id\n" + "".join(lines))
    fleet_twin.state.limit = None
    done = operator.device("create", "--csv", table, *FLEET, "--report", "r.csv")
    assert (
        done.returncode == 78 and "could not make Cam 25 (line 27)" in done.stderr and "Correct line 27" in done.stderr
    )
    operator.table("name,serial_number,user_id\n" + "".join(line.replace("4711", "1") for line in lines))
    ok(operator.device("create", "--csv", table, *FLEET, "--report", "r.csv"))
    serials = [str(device.item["serial_number"]) for device in fleet_twin.state.devices]
    assert Counter(serials) == Counter(f"S{n}" for n in range(45))
    assert len(fleet_twin.log.find("http", "POST")) < 45


def test_what_is_there_already_is_left_alone(operator: Operator, fleet_twin: FleetTwin) -> None:
    """By its serial number, in any case of letters; facts of boxes fill the fields."""
    operator.knows_twin(fleet_twin)
    fleet_twin.state.limit = None
    ok(operator.device("create", "Old", *FLEET, "--field", "serial_number=abc-1"))
    for name, serial in (("one", "ABC-1"), ("two", "ABC-2")):
        facts = {"hostname": name, "serial": serial, "hardware": {"total_memory_mb": 7800}}
        (operator.folder / f"{name}.json").write_text(json.dumps(facts))
    done = operator.device("create", "--facts", "one.json", "--facts", "two.json", *FLEET)
    ok(done)
    assert "1 of 2 were there already, the first one (line 1)" in done.stderr
    items = {str(device.item["name"]): device.item for device in fleet_twin.state.devices}
    assert set(items) == {"Old", "two"} and items["two"]["ram"] == "8 GB" and items["two"]["serial_number"] == "ABC-2"
    none = operator.device("create", "--facts", "one.json", "--platform", "hub", "--hub", "http://127.0.0.1:9")
    assert none.returncode == 2


def test_one_list_of_all(operator: Operator, hub: Hub, qubitro_twin: QubitroTwin, huawei_twin: HuaweiTwin) -> None:
    """One table and one JSON; a platform that is out of reach is named, and hides no other."""
    created = hub.create("In the list")
    flat = f'hub = "{hub.url}"\npin = "{hub.pin}"\nworkspace = "demo"\napi_key_file = "{hub.key_file}"\n'
    operator.settings.write_text(flat)
    knows_qubitro(operator, qubitro_twin)
    knows_huawei(operator, huawei_twin)
    ok(operator.device("create", "Pump", *QUBITRO, "--field", "description=x", "--boot", "."))
    ok(operator.device("create", "Gate", *HUAWEI, "--field", "node_id=S1", "--boot", "."))
    told = json.loads(ok(operator.device("list", "--platform", "all", "--json")))
    found = {one["name"]: one for one in told["data"]}
    assert found["In the list"]["id"] == created.device_id and told["errors"] == []
    assert {found[name]["platform"] for name in ("In the list", "Pump", "Gate")} == {"hub", "qubitro", "huawei"}
    assert found["Gate"]["raw_status"] == "INACTIVE" and found["Gate"]["status"] == "unknown"
    assert set(found["Gate"]) == {"id", "name", "platform", "status", "last_heartbeat", "raw_status"}

    huawei_twin.faults.add(broken(401, error_code="IOTDA.000003", error_msg="Token expired."), times=2)
    done = operator.device("list", "--platform", "huawei,qubitro,hub")
    assert done.returncode == 78 and "huawei could not be asked" in done.stderr and "[unauthorized]" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["ID", "NAME", "PLATFORM", "STATUS", "LAST", "HEARTBEAT", "RAW", "STATUS"]
    assert any("Pump" in line for line in lines) and not any("Gate" in line for line in lines)
    partly = operator.device("list", "--platform", "huawei,qubitro", "--json")
    assert [one["code"] for one in json.loads(partly.stdout)["errors"]] == ["unauthorized"]


def test_the_hubs_key_goes_nowhere_else(operator: Operator, qubitro_twin: QubitroTwin, hub: Hub) -> None:
    """Settings outside of a platform's table, and the environment, are the hub's alone."""
    operator.settings.write_text(f'workspace = "demo"\napi_key_file = "{hub.key_file}"\n')
    words = ("list", *QUBITRO, "--base", qubitro_twin.http_url)
    done = operator.device(*words, env={"FIRSTLIGHT_API_KEY_FILE": str(hub.key_file)})
    assert done.returncode == 2 and "[api_key_missing]" in done.stderr
    assert not qubitro_twin.log.entries


def test_the_key_from_standard_input(operator: Operator, qubitro_twin: QubitroTwin) -> None:
    """Its first line is the key; an empty one is said as such, and the table cannot come from there too."""
    ca = operator.folder / "ca.pem"
    ca.write_text(qubitro_twin.ca_pem)
    to = (*QUBITRO, "--base", qubitro_twin.http_url, "--workspace", qubitro_twin.addresses["project"])
    words = (*to, "--ca-file", str(ca), "--api-key-file", "-")
    assert "0 devices" in ok(operator.device("list", *words, stdin=f"{qubitro_twin.operator_key}\n"))
    assert "[api_key_missing]" in operator.device("list", *words, stdin="\n").stderr
    assert operator.device("create", "--csv", "-", *words, stdin="x\n").returncode == 2


def test_the_public_api_of_the_seeds(operator: Operator, hub: Hub) -> None:
    """Roboflow's own dialect against our hub, which speaks the same: the options of old are fields of that name too."""
    operator.knows("roboflow", base=hub.url, pin=hub.pin, workspace="demo", api_key_file=str(hub.key_file))
    out = ok(operator.device("create", "Public", "--platform", "roboflow", "--type", "edge", "--tag", "roof"))
    assert re.search(r"^installId +[a-z0-9]{16,}$", out, re.MULTILINE)
    (record,) = [one for one in hub.devices().values() if one["name"] == "Public"]
    assert record["tags"] == ["roof"]
    stick = ("--stick", ".", "--platform", "roboflow")
    told = ok(operator.device("create", "Offline", *stick))
    payload = json.loads((operator.folder / "device.json").read_text())["payload"]
    assert "written: device.json" in told and payload.startswith("FL1:") and payload not in told
    table = operator.table("device_name\nPublic\nMore\n")
    refused = operator.device("create", "--csv", table, "--platform", "roboflow")
    assert refused.returncode == 2 and "named 'Public' (line 2) already; nothing was made" in refused.stderr
