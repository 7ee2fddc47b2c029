"""One contract for every platform, transport and credential: create, enroll, alive, its status as it tells it, gone."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.conftest import wait_until
from tests.platforms import grounds, table
from tests.platforms.conftest import IntoTable
from tests.platforms.grounds import OWN, TWIN, Ground, Open
from tests.platforms.table import Line

PATIENCE_S = 40.0
NAMELESS = "none"


class Walk(NamedTuple):
    """A line of the table, and the ground it is played on."""

    platform: str
    transport: str
    credential: str
    against: str
    opened: Open


HUAWEI, BOOTSTRAP = "Huawei IoTDA", "MQTT, by bootstrap"
ROBOFLOW = "our hub in its place; its own SDK and CLI create, list and get on that hub"
KINDS = ("secret", "certificate")
WALKS = [
    *(Walk("hub", "HTTPS", kind, OWN, grounds.on_hub("http", kind)) for kind in KINDS),
    Walk("Roboflow", NAMELESS, NAMELESS, ROBOFLOW, grounds.as_roboflow),
    *(Walk(HUAWEI, "MQTT", kind, TWIN, grounds.on_huawei("mqtt", kind)) for kind in KINDS),
    Walk(HUAWEI, "HTTPS", "secret", TWIN, grounds.on_huawei("http", "secret")),
    *(
        Walk(HUAWEI, BOOTSTRAP, f"{kind} of a {of}", TWIN, grounds.on_bootstrap(of, kind))
        for of in ("device", "group")
        for kind in KINDS
    ),
    *(
        Walk("Qubitro", name, "token", TWIN, grounds.on_qubitro(source))
        for name, source in (("MQTT", "mqtt"), ("HTTPS", "http"))
    ),
    Walk("Fleet", NAMELESS, NAMELESS, TWIN, grounds.on_fleet),
]
WITH_MOSQUITTO = [Walk("hub", "MQTT", kind, OWN, grounds.on_hub("mqtt", kind)) for kind in KINDS]


def name_of(walk: Walk) -> str:
    """As tests are named."""
    return "-".join(walk[:3]).replace(" ", "_")


@pytest.mark.parametrize("walk", WALKS, ids=name_of)
def test_walk(walk: Walk, tmp_path: Path, into_table: IntoTable) -> None:
    """A device comes, is unknown, online, offline and gone, as far as its platform has that; so says the table."""
    with walk.opened(tmp_path) as ground:
        try:
            done = walked(ground)
        finally:
            said = ground.site.stop()
    assert "Traceback" not in said
    into_table(Line(walk.platform, walk.transport, walk.credential, frozenset(done), walk.against))


@pytest.mark.system
@pytest.mark.parametrize("walk", WITH_MOSQUITTO, ids=name_of)
def test_walk_with_mosquitto(walk: Walk, tmp_path: Path, into_table: IntoTable) -> None:
    """The same where the platform needs a broker of the distribution."""
    test_walk(walk, tmp_path, into_table)


def walked(ground: Ground) -> set[str]:
    """Plays all of it; the steps that this platform has."""
    site, done = ground.site, {"create"}
    device_id, boot_file = ground.create()
    assert site.told(device_id) == ("unknown" if ground.is_known else "gone")
    if boot_file is not None:
        site.enroll(boot_file)
        boot_file.unlink()
        site.run()
        wait_until("the box says that it is online", lambda: site.status()["state"] == "online", PATIENCE_S)
        assert site.status()["deviceId"] == device_id
        done |= {"enroll", "alive"}
    elif ground.appears is not None:
        ground.appears(device_id)
    if boot_file is not None or ground.appears is not None:
        wait_until("the platform says so too", lambda: site.told(device_id) == "online", PATIENCE_S)
        site.stop()
        if ground.silence is not None:
            ground.silence(device_id)
        wait_until("it misses the box", lambda: site.told(device_id) == "offline", PATIENCE_S)
    done.add("status")
    if ground.can_remove:
        site.desk("remove", device_id)
        assert site.told(device_id) == "gone"
        done.add("gone")
    else:
        assert "not_offered" in site.desk("remove", device_id, status=2)
    return done


def test_table_has_a_line_for_each_walk_and_no_other() -> None:
    """What is not played is not claimed."""
    assert len(table.lines()) == len(WALKS) + len(WITH_MOSQUITTO)
