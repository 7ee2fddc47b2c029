"""A platform that means no good, or is broken: what the desk shows and keeps of its answers."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from firstlight.cli.desk import Desk, listed
from firstlight.cli.device_batch import _boot_names
from firstlight.cli.device_everywhere import HIDDEN, masked
from firstlight.cli.device_journal import Done
from firstlight.cli.device_run import Item
from firstlight.core.exchange import HttpCall, HttpReply
from firstlight.core.management import Made
from firstlight.core.model import Trust
from firstlight.errors import UnreachableError
from tests.desk.conftest import Operator
from tests.desk.fake_platform import PLACE
from tests.twins.kit.faults import Fault
from tests.twins.qubitro import QubitroTwin


@pytest.mark.parametrize("cursors", [["a", "b"] * 9, ["same"] * 9])
def test_a_list_that_goes_in_circles_has_an_end(cursors: list[str]) -> None:
    """A cursor that was there before is not followed again."""
    following = iter(cursors)
    dialect: Any = SimpleNamespace(
        list_page=lambda place, cursor: HttpCall("GET", f"https://platform.example/{cursor}"),
        read_page=lambda place, reply, now_s, cursor: ([], next(following)),
    )
    desk = Desk("fake", dialect, PLACE, Trust(), lambda call: HttpReply(200, {}, b"{}"))
    with pytest.raises(UnreachableError, match="has no end"):
        list(listed(desk))


def test_what_is_masked() -> None:
    """Lists and numbers under a secret's name are hidden as texts are, and so is what is nested too deeply."""
    deep: object = {"token": "s3cret"}
    for _ in range(20):
        deep = {"inside": deep}
    record = {
        "tokens": ["s3cret"],
        "api_key": 1234,
        "auth": {"secret": {"psk": "s3cret"}},
        "deep": deep,
        "tokenless": True,
    }
    shown = json.dumps(masked(record))
    assert "s3cret" not in shown and "1234" not in shown and HIDDEN in shown
    assert masked({"id": 7, "tokens": None, "tokenless": True}) == {"id": 7, "tokens": None, "tokenless": True}


def test_no_two_boot_files_have_one_name() -> None:
    """Ids that differ in case alone, and serial numbers that are another device's id, do not cost a credential."""
    given = [("", "Abc"), ("", "abc"), ("X1", "d3"), ("", "X1"), ("x2", "d5")]
    items = [Item(line, f"k{line}", "n", serial, {}) for line, (serial, _) in enumerate(given, 2)]
    done = {item.key: Done(Made(given[at][1], "n", {"format": 1}, {})) for at, item in enumerate(items)}
    names = list(_boot_names(items, done).values())
    assert len({name.lower() for name in names}) == len(given)
    assert names[0] == "Abc.json" and names[2] == "X1.json" and names[4] == "x2.json"


def test_a_key_that_is_repeated_is_not_shown(operator: Operator, qubitro_twin: QubitroTwin) -> None:
    """A no that names the operator key and brings control sequences shows neither."""
    operator.knows_twin(qubitro_twin, workspace=qubitro_twin.addresses["project"])
    said = f"\x1b]0;owned\x07no such key: {qubitro_twin.operator_key}"
    qubitro_twin.faults.add(Fault(401, json.dumps({"status": 401, "message": said}).encode()))
    done = operator.device("list", "--platform", "qubitro", "--json")
    text = done.stdout + done.stderr
    assert done.returncode == 78 and "no such key: ***" in text
    assert qubitro_twin.operator_key not in text and "\x1b" not in text and "\x07" not in text
