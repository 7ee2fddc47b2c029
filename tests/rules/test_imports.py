"""The picture of design section 2: imports point inward, and the pure rooms touch nothing outside."""

import ast
import sys
from collections.abc import Sequence

import pytest

from tests.rules.sources import Module, imports, modules

# Room -> what of firstlight it may name, beside itself and the bare package (for its version).
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "core": {"errors"},
    "wire": {"errors", "core"},
    "platforms": {"errors", "core"},
    "transports": {"errors", "core"},
    "sources": {"errors", "core"},
    "system": {"errors", "core"},
    "daemon": {"errors", "core"},
    "cli": {"errors", "core", "wire", "platforms", "transports", "sources", "system", "daemon"},
    "__main__": {"cli"},
}

SESSIONS = {"transports.http_session", "transports.mqtt_session", "transports.proxy"}

# A few places may name more than their room does: the nearest name counts.
MORE: dict[str, set[str]] = {
    # The hub's dialect is one half of the contract with the hub.
    "firstlight.platforms.hub": {"wire"},
    # JSON from outside has one door.
    "firstlight.platforms.qubitro": {"wire.bounded"},
    "firstlight.platforms.huawei": {"wire.bounded"},
    "firstlight.platforms.fleet": {"wire.bounded"},
    "firstlight.platforms.roboflow": {"wire.bounded"},
    "firstlight.platforms.desk_replies": {"wire.bounded"},
    # The composition root of the process that stays, and what it is handed.
    "firstlight.daemon.run_file": {"system", "transports.proxy"},
    "firstlight.daemon.sessions": {"system", *SESSIONS},
    "firstlight.daemon.detached_main": {"wire", "system", "transports.connect"},
    "firstlight.daemon.main": {
        "wire",
        "system",
        "platforms",
        "transports.tls",
    },
}

HUB_MAY_NAME = ("firstlight.wire", "firstlight.core", "firstlight.errors")

PURE_ROOMS = ("core", "wire", "platforms")
OUTSIDE_WORLD = {
    *("os", "io", "pathlib", "shutil", "tempfile", "subprocess", "platform"),
    *("socket", "select", "selectors", "ssl", "http", "urllib.request"),
    *("time", "random", "secrets", "uuid", "threading", "asyncio", "logging"),
    *("httpx", "psutil"),
}
# The payload, the receipt and a move are CBOR and signatures; nothing else pure needs a library.
LIBRARIES = {
    "firstlight.wire.bundle": {"cryptography"},
    "firstlight.wire.move": {"cryptography"},
    "firstlight.wire.payload": {"base45", "cryptography"},
    "firstlight.wire.payload_cbor": {"cbor2"},
    "firstlight.wire.receipt": {"cbor2", "cryptography"},
}
DOORS_TO_OUTSIDE = {"open", "print", "input", "exec", "eval", "__import__"}
TABLE_OF_PLATFORMS = "firstlight.platforms"  # turns the name of a platform into its module, so it may __import__

AGENT = modules("firstlight")
HUB = modules("firstlight_hub")
PURE = {name: module for name, module in AGENT.items() if name.split(".")[1:2] and name.split(".")[1] in PURE_ROOMS}


def covers(allowed: str, name: str) -> bool:
    """Whether a dotted name is the allowed one or lies below it."""
    return name == allowed or name.startswith(f"{allowed}.")


def lines(module: Module, wrong: Sequence[tuple[str, int]]) -> list[str]:
    """What a failing rule shows: file, line, name."""
    return [f"{module.path}:{line}: {name}" for name, line in wrong]


@pytest.mark.parametrize("name", AGENT)
def test_agent_module_names_only_rooms_inward_of_its_own(name: str) -> None:
    """Each agent module imports only the rooms that design section 2 draws inward of its own."""
    if name == "firstlight":
        assert not list(imports(AGENT[name])), "firstlight/__init__.py holds the version and imports nothing"
        return
    room = name.split(".")[1]
    assert room in ROOMS, f"{name}: a new room needs a place in the picture: design section 2 and ROOMS here"
    allowed = (
        {room} | ROOMS[room] | {extra for place, extras in MORE.items() if covers(place, name) for extra in extras}
    )
    wrong = [
        found
        for found in imports(AGENT[name])
        if covers("firstlight", found.name)
        and found.name != "firstlight"
        and not any(covers(f"firstlight.{inward}", found.name) for inward in allowed)
    ]
    assert not wrong, lines(AGENT[name], wrong)


@pytest.mark.parametrize("name", AGENT)
def test_agent_never_imports_the_hub(name: str) -> None:
    """No agent module names firstlight_hub, not even for a type."""
    wrong = [found for found in imports(AGENT[name]) if covers("firstlight_hub", found.name)]
    assert not wrong, lines(AGENT[name], wrong)


@pytest.mark.parametrize("name", HUB)
def test_hub_names_only_the_contract_of_the_agent(name: str) -> None:
    """Each hub module imports of the agent only wire, and the values that wire speaks in."""
    wrong = [
        found
        for found in imports(HUB[name])
        if covers("firstlight", found.name)
        and found.name != "firstlight"
        and not any(covers(allowed, found.name) for allowed in HUB_MAY_NAME)
    ]
    assert not wrong, lines(HUB[name], wrong)


@pytest.mark.parametrize("name", PURE)
def test_pure_module_imports_nothing_that_touches_the_world(name: str) -> None:
    """Core, wire and platforms import no module that reaches files, network, clock, chance or processes."""
    wrong = [
        found
        for found in imports(PURE[name], for_types=False)
        if any(covers(outside, found.name) for outside in OUTSIDE_WORLD)
    ]
    assert not wrong, lines(PURE[name], wrong)


@pytest.mark.parametrize("name", PURE)
def test_pure_module_lives_on_the_standard_library(name: str) -> None:
    """Core, wire and platforms need no library, but for CBOR and signatures in the offline payload."""
    at_home = {"firstlight", *sys.stdlib_module_names}
    at_home |= {library for place, libraries in LIBRARIES.items() if covers(place, name) for library in libraries}
    wrong = [found for found in imports(PURE[name], for_types=False) if found.name.partition(".")[0] not in at_home]
    assert not wrong, lines(PURE[name], wrong)


@pytest.mark.parametrize("name", PURE)
def test_pure_module_opens_no_door(name: str) -> None:
    """Core, wire and platforms call no built-in that reads, writes or runs something."""
    doors = DOORS_TO_OUTSIDE - ({"__import__"} if name == TABLE_OF_PLATFORMS else set())
    wrong = [
        (node.func.id, node.lineno)
        for node in ast.walk(PURE[name].tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in doors
    ]
    assert not wrong, lines(PURE[name], wrong)
