"""Fleet at the operator's desk: the real program against the twin, and runs that break in every place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firstlight.cli.desk import Desk
from firstlight.cli.device_journal import Journal
from firstlight.cli.device_run import Item, Run, Seams, key_of
from firstlight.errors import RefusedError
from firstlight.platforms.fleet import management
from firstlight.transports.http_calls import HttpCalls
from tests.fleet.conftest import CAMERA, Operator
from tests.twins.kit import faults

WORDS = ("--field", "type=Edge box", "--field", "category=IoT")


def test_facts_become_devices(operator: Operator) -> None:
    """Files of many boxes and a hub's list, in one batch; a second run makes nothing."""
    state = operator.twin.state
    names = [operator.facts(f"S{number}") for number in range(3)]
    several = json.loads((operator.folder / names[0]).read_text())
    listed = [{**several, "serial": "H1", "name": "From the hub"}, {**several, "serial": "H2"}]
    (operator.folder / "hub.json").write_text(json.dumps({"data": listed}))
    words = [word for name in (*names, "hub.json") for word in ("--facts", name)]

    done = operator.device("create", *words, *WORDS)
    assert done.returncode == 0, done.stderr
    assert len(operator.twin.log.find("http", "POST")) == 1
    assert [device.item["name"] for device in state.devices] == ["box-S0", "box-S1", "box-S2", "From the hub", "box-S0"]
    item = state.devices[0].item
    assert (item["serial_number"], item["brand"], item["ram"], item["storage"]) == ("S0", "NVIDIA", "8 GB", "58 GB")
    assert (item["type"], item["category"], item["graphic"]) == ("Edge box", "IoT", "Orin")

    for journal in operator.folder.glob("*.journal"):
        journal.unlink()
    again = operator.device("create", *words, *WORDS)
    assert again.returncode == 0, again.stderr
    assert len(state.devices) == 5


def test_one_device_is_not_posted_twice(operator: Operator) -> None:
    """The serial number is looked for first; the one that is there is named."""
    words = ("create", "Dock", *WORDS, "--field", "serial_number=A1")
    assert operator.device(*words).returncode == 0
    again = operator.device(*words)
    assert again.returncode == 2
    assert "[device_exists]" in again.stderr
    assert len(operator.twin.log.find("http", "POST")) == 1


def test_a_table_has_every_field(operator: Operator) -> None:
    """Texts of a table become what the seed wants, mixed-case names and labels among them."""
    head = "name,type,category,user_id,is_rented,has_webcam,client_warranty_endDate,compliance,keyboard_layout"
    (operator.folder / "t.csv").write_text(f"{head}\nDesk,Laptop,IT,1,false,null,2029-01-31,CE;FCC,FRENCH_AZERTY\n")
    done = operator.device("create", "--csv", "t.csv")
    assert done.returncode == 0, done.stderr
    item = operator.twin.state.devices[0].item
    assert (item["user_id"], item["is_rented"], item["has_webcam"]) == (1, False, None)
    assert (item["client_warranty_endDate"], item["compliance"]) == ("2029-01-31", ["CE", "FCC"])


def test_the_list_tells_what_the_mdm_saw(operator: Operator) -> None:
    """Seen today is online, seen before that offline, without an MDM nobody knows; the raw words stand beside it."""
    state, now_s = operator.twin.state, operator.twin.clock.now_s()
    numbers = [state.add(state.companies[0], {**CAMERA, "name": f"cam {n}"}).number for n in range(3)]
    state.manage(numbers[0], "ENROLLED", now_s - 3600)
    state.manage(numbers[1], "ENROLLED", now_s - 90_000)
    state.place(numbers[2], "SHIPPED")
    rows = json.loads(operator.device("list", "--json").stdout)["data"]
    assert [row["status"] for row in rows] == ["online", "offline", "unknown"]
    assert [row["raw_status"] for row in rows] == ["AVAILABLE, MDM ENROLLED", "AVAILABLE, MDM ENROLLED", "SHIPPED"]
    told = json.loads(operator.device("list", "--json", "--extra", "seen_hours=48").stdout)["data"]
    assert told[1]["status"] == "online"


def test_a_device_goes(operator: Operator) -> None:
    """Shown, removed, not there any more; Fleet's own stays."""
    state = operator.twin.state
    number = state.add(state.companies[0], CAMERA).number
    assert json.loads(operator.device("show", str(number)).stdout)["record"]["name"] == "Dock camera"
    assert operator.device("remove", str(number)).returncode == 0
    assert "[not_found]" in operator.device("show", str(number)).stderr
    rental = state.add(state.companies[0], CAMERA, is_fleets=True).number
    assert "[fleet_protected]" in operator.device("remove", str(rental)).stderr


def test_a_secret_that_only_reads(operator: Operator) -> None:
    """Lists, and is told at create what it lacks."""
    state = operator.twin.state
    operator.key_file.write_text(state.add_secret(state.companies[0], frozenset({"READ"})))
    assert operator.device("list").returncode == 0
    refused = operator.device("create", "Dock", *WORDS)
    assert refused.returncode == 78
    assert "INSUFFICIENT_SCOPE" in refused.stderr
    assert "WRITE" in refused.stderr


def test_a_box_is_told_that_it_has_no_business_here(operator: Operator) -> None:
    """No boot file is made for it, and one that somebody wrote is not taken in; the answer is one sentence."""
    (operator.folder / "boot").mkdir()
    assert operator.device("create", "Dock", *WORDS, "--boot", "boot").returncode == 0
    assert list((operator.folder / "boot").iterdir()) == []


# ---- runs that break ----------------------------------------------------------------------------------------------


def items(count: int) -> list[Item]:
    """Rows of a table."""
    found = []
    for number in range(count):
        serial = f"SN-{number:03}"
        values = {**CAMERA, "name": f"cam {number}", "serial_number": serial}
        found.append(Item(number + 2, key_of("serial_number", serial), f"cam {number}", serial, values))
    return found


class Runner:
    """Runs a table, as often as one likes; waiting moves the twin's clock."""

    def __init__(self, operator: Operator, batch: int = 5) -> None:
        self.operator, self.waited_s, self.waits = operator, 0.0, 0
        self.place = operator.place._replace(extra=(("batch", str(batch)),))

    def sleep(self, seconds: float) -> None:
        """Time passes at the twin."""
        self.waited_s += seconds
        self.waits += 1
        self.operator.twin.clock.advance(seconds)

    def run(self, rows: list[Item]) -> dict[str, str]:
        """One run; what became of each."""
        with HttpCalls(self.operator.trust) as calls:
            desk = Desk("fleet", management, self.place, self.operator.trust, lambda call: calls.exchange(call, 20))
            journal = Journal(self.operator.folder / "run.journal", "fleet", self.place)
            try:
                seams = Seams(lambda item, outcome, device_id: None, lambda why, wait_s: None, self.sleep)
                run = Run(desk, journal, seams)
                run.perform(rows)
                return run.outcomes
            finally:
                journal.close()

    def serials(self) -> list[str]:
        """What the twin has, sorted: each once, or the run has failed."""
        return sorted(device.item["serial_number"] for device in self.operator.twin.state.devices)


def all_of(rows: list[Item]) -> list[str]:
    """Their serial numbers."""
    return [row.serial for row in rows]


def test_batches_are_as_large_as_said(operator: Operator) -> None:
    """Twelve devices in batches of five are three posts."""
    runner, rows = Runner(operator), items(12)
    assert set(runner.run(rows).values()) == {"made"}
    assert runner.serials() == all_of(rows)
    assert len(operator.twin.log.find("http", "POST")) == 3


@pytest.mark.parametrize("fault", [faults.cut(is_late=True), faults.html(502), faults.broken(500, error="oops")])
def test_an_answer_that_was_lost_makes_nothing_twice(operator: Operator, fault: faults.Fault) -> None:
    """Whether the batch was made or not, each is looked for before it is posted again."""
    runner, rows = Runner(operator), items(7)
    operator.twin.faults.add(fault, method="POST")
    runner.run(rows)
    assert runner.serials() == all_of(rows)


def test_a_batch_that_broke_off_is_taken_up(operator: Operator) -> None:
    """DEVICE_PROVISIONING_FAILED after two of five: those two are found, the others made."""
    runner, rows = Runner(operator), items(5)
    operator.twin.state.makes_at_most = 2
    outcomes = runner.run(rows)
    assert runner.serials() == all_of(rows)
    assert list(outcomes.values()).count("found") == 2


def test_a_batch_that_is_partly_made_is_completed(operator: Operator) -> None:
    """Where Fleet makes the good ones of a batch, the bad one is asked for alone and named."""
    runner, rows = Runner(operator), items(5)
    operator.twin.state.is_partial = True
    rows[2] = rows[2]._replace(values={**rows[2].values, "user_id": 7})
    with pytest.raises(RefusedError) as caught:
        runner.run(rows)
    assert caught.value.code == "fleet_user"
    rows[2] = rows[2]._replace(values={**rows[2].values, "user_id": 1})
    runner.run(rows)
    assert runner.serials() == all_of(rows)


def test_a_bad_device_does_not_take_the_others_with_it(operator: Operator) -> None:
    """A batch that is refused whole is asked for one by one: those before the bad one are made, and it is named."""
    runner, rows = Runner(operator), items(5)
    rows[3] = rows[3]._replace(values={**rows[3].values, "user_id": 7})
    with pytest.raises(RefusedError) as caught:
        runner.run(rows)
    assert caught.value.code == "fleet_user"
    assert runner.serials() == all_of(rows[:3])
    rows[3] = rows[3]._replace(values={**rows[3].values, "user_id": 1})
    runner.run(rows)
    assert runner.serials() == all_of(rows)


def test_a_storm_of_429_is_waited_out(operator: Operator) -> None:
    """As long as the platform says, and no longer."""
    runner, rows = Runner(operator), items(3)
    operator.twin.faults.add(faults.busy(30, error="Too many requests"), 6)
    runner.run(rows)
    assert runner.serials() == all_of(rows)
    assert runner.waited_s >= 180


def test_the_last_call_of_a_minute_is_known(operator: Operator) -> None:
    """With ten calls a minute, forty devices one by one come through without a single 429."""
    operator.twin.state.limit = 10
    runner, rows = Runner(operator, batch=1), items(40)
    runner.run(rows)
    assert runner.serials() == all_of(rows)
    assert not [seen for seen in operator.twin.log.find("http") if seen.code == 429]
    assert runner.waits >= 4


def test_a_journal_holds_no_secret(operator: Operator) -> None:
    """The workspace's secret is in no file that a run leaves."""
    runner = Runner(operator)
    runner.run(items(2))
    for path in Path(operator.folder).iterdir():
        if path.is_file() and path != operator.key_file:
            assert operator.twin.operator_key.encode() not in path.read_bytes()
