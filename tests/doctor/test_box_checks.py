"""The machine itself: Python, clock, disk, memory, processor, network cable, camera, readers of codes, light."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from firstlight import BUILT_AT_S
from firstlight.cli.doctor_plan import judged_route
from firstlight.core.diagnosis import FAILURE, NOTE, PASS, WARNING, WITHOUT_NETWORK, blocked, skipped
from firstlight.system import checks_box, checks_hardware, checks_route
from tests.doctor.findings import check

MB = 1 << 20


def put(path: Path, text: str = "") -> Path:
    """A file with that text, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def installed(prefix: Path, python: str, release: str = "0.2.0-0123abcd") -> Path:
    """An agent as the install script leaves it; the file that its launcher leads to."""
    put(prefix / ".firstlight")
    launcher = put(
        prefix / "bin/firstlight",
        f'#!{python} -I\nimport sys\nsys.path.insert(0, "{prefix}/lib/{release}/lib")\n'
        'from firstlight.cli.main import main\nsys.exit(main(config="/etc/firstlight/agent.toml"))\n',
    )
    launcher.chmod(0o755)
    return put(prefix / f"lib/{release}/lib/firstlight/cli/main.py")


# -- python ----------------------------------------------------------------------------------------------------------
def test_python_that_was_tested_is_well(tmp_path: Path) -> None:
    """A tested Python, with a launcher that leads to a whole release, passes."""
    installed(tmp_path, "/bin/sh")
    check(checks_box.python(str(tmp_path), (3, 11, 2)), "python", PASS, "Python 3.11.2", str(tmp_path))
    check(checks_box.python("", (3, 13, 0)), "python", PASS, "Python 3.13.0")


def test_python_too_old_and_too_new() -> None:
    """One that is too old fails; one newer than any tested is worth a note."""
    check(checks_box.python("", (3, 9, 2)), "python", FAILURE, "too old")
    check(checks_box.python("", (3, 15, 0)), "python", NOTE, "newer")


@pytest.mark.parametrize("damage", ["no launcher", "no python", "no release"])
def test_installed_program_that_is_not_whole(tmp_path: Path, damage: str) -> None:
    """A launcher that is gone, names an interpreter that is gone, or a release that is gone, is named."""
    main = installed(tmp_path, "/nowhere/python3" if damage == "no python" else "/bin/sh")
    if damage == "no launcher":
        (tmp_path / "bin/firstlight").unlink()
    if damage == "no release":
        main.unlink()
    check(checks_box.python(str(tmp_path)), "python", FAILURE, "Paste the install command again")


# -- clock -----------------------------------------------------------------------------------------------------------
def test_clock_in_the_past_fails() -> None:
    """A clock before the day this agent was made, or the latest time a hub told, cannot be right."""
    check(checks_box.clock(0.0, BUILT_AT_S, synchronised=False), "clock", FAILURE, "1970-01-01", "timedatectl")
    later_s = BUILT_AT_S + 90 * 86_400
    check(checks_box.clock(BUILT_AT_S, later_s, synchronised=True), "clock", FAILURE)


def test_clock_that_can_be_right() -> None:
    """One that a time service sets passes; one that nobody sets is worth a note."""
    check(checks_box.clock(BUILT_AT_S + 5, BUILT_AT_S, synchronised=True), "clock", PASS)
    check(checks_box.clock(BUILT_AT_S + 5, BUILT_AT_S, synchronised=False), "clock", NOTE, "no time service")


# -- disk ------------------------------------------------------------------------------------------------------------
def disk_of(free_mb: int, *, files: int = 10_000, flag: int = 0) -> Callable[[str], os.statvfs_result]:
    """A disk as statvfs(3) tells it."""
    return lambda path: os.statvfs_result((4096, 4096, 10**6, 0, free_mb * MB // 4096, 10**5, files, files, flag, 255))


def test_disk_with_room(tmp_path: Path) -> None:
    """The real disk of a state directory that is not there yet is the one it would be made on."""
    check(checks_box.disk(str(tmp_path / "not/there"), disk_of(500)), "disk", PASS, "500 MB free", str(tmp_path))
    assert checks_box.disk(str(tmp_path)).detail["freeBytes"]


@pytest.mark.parametrize(
    ("disk", "severity", "says"),
    [
        (disk_of(1), FAILURE, "is full"),
        (disk_of(500, files=3), FAILURE, "no more files"),
        (disk_of(500, flag=os.ST_RDONLY), FAILURE, "can only be read"),
        (disk_of(40), WARNING, "nearly full"),
        (disk_of(500, files=100), WARNING, "100 files"),
    ],
)
def test_disk_without_room(disk: Callable[[str], os.statvfs_result], severity: str, says: str, tmp_path: Path) -> None:
    """A full disk, one without room for files, one that is read-only, and one that soon will be full."""
    check(checks_box.disk(str(tmp_path), disk), "disk", severity, says)


def test_disk_that_does_not_answer(tmp_path: Path) -> None:
    """A disk that fails is a failure of its own."""

    def failing(path: str) -> os.statvfs_result:
        raise OSError(5, "Input/output error")

    check(checks_box.disk(str(tmp_path), failing), "disk", FAILURE, "Input/output error")


# -- memory and processor --------------------------------------------------------------------------------------------
def machine(top: Path, *, available_kb: int = 500_000, load1: float = 0.5, degrees: int = 45) -> str:
    """A machine of one gigabyte."""
    put(top / "proc/meminfo", f"MemTotal: 1000000 kB\nMemFree: 1 kB\nMemAvailable: {available_kb} kB\n")
    put(top / "proc/loadavg", f"{load1} 0.1 0.1 1/100 1\n")
    put(top / "sys/class/thermal/thermal_zone0/temp", f"{degrees}000\n")
    return str(top)


def test_memory(tmp_path: Path) -> None:
    """Memory that is nearly all taken is a warning."""
    check(checks_box.memory(machine(tmp_path)), "memory", PASS, "50%")
    check(checks_box.memory(machine(tmp_path, available_kb=9_000)), "memory", WARNING, "99%")
    check(checks_box.memory(str(tmp_path / "none")), "memory", NOTE)


def test_load(tmp_path: Path) -> None:
    """Too many programs at once and too much heat are warnings."""
    check(checks_box.load(machine(tmp_path), 2), "load", PASS, "45 °C")
    check(checks_box.load(machine(tmp_path, load1=20.0), 2), "load", WARNING, "20 programs")
    check(checks_box.load(machine(tmp_path, degrees=91), 2), "load", WARNING, "too hot: 91 °C")
    check(checks_box.load(str(tmp_path / "none")), "load", NOTE)


# -- cable and route -------------------------------------------------------------------------------------------------
ROUTES = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
DEFAULT = "eth0 00000000 0100A8C0 0003 0 0 0 00000000 0 0 0\n"
NEAR = "eth0 0000A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n"
DEFAULT_6 = f"{'0' * 32} 00 {'0' * 32} 00 fd{'0' * 29}1 00000400 00000003 00000000 00000003 wlan0\n"


def network(top: Path, routes: str = ROUTES + NEAR + DEFAULT, routes6: str = "", **states: str) -> str:
    """Interfaces by name and state, and the kernel's routes."""
    for name, operstate in {"lo": "unknown", **states}.items():
        put(top / f"sys/class/net/{name}/operstate", operstate + "\n")
    put(top / "proc/net/route", routes)
    put(top / "proc/net/ipv6_route", routes6)
    return str(top)


def test_route_out(tmp_path: Path) -> None:
    """A cable and a default route pass, with the gateway named; so does IPv6 alone."""
    check(checks_route.route("hub.example", network(tmp_path, eth0="up")), "route", PASS, "eth0 (gateway 192.168.0.1)")
    other = network(tmp_path / "6", ROUTES, DEFAULT_6, wlan0="up")
    check(checks_route.route("hub.example", other), "route", PASS, "wlan0 (IPv6)")


def test_route_without_a_cable(tmp_path: Path) -> None:
    """Where no interface is connected each is told with its state; a hub on this machine needs none."""
    top = network(tmp_path, ROUTES, eth0="down", wlan0="dormant")
    check(checks_route.route("hub.example", top), "route", FAILURE, "eth0 down, wlan0 dormant", "cable")
    check(checks_route.route("127.0.0.1", top), "route", PASS)
    check(checks_route.route("", str(tmp_path / "none")), "route", FAILURE, "there is none")


def test_route_of_a_box_for_a_site_without_a_network(tmp_path: Path) -> None:
    """Provisioned and not yet registered, a box without a cable is as it should be, and what needs one is left out."""
    top = network(tmp_path, eth0="down")
    found = judged_route(checks_route.route("hub.example", top), is_provisioned=True)
    check(found, "route", NOTE, "registers by itself")
    told = {"route": found}
    for name in ("dns", "port", "hub"):
        why = blocked(name, told)
        assert why == WITHOUT_NETWORK, name
        told[name] = skipped(name, why)
    assert judged_route(checks_route.route("hub.example", top), is_provisioned=False).severity == FAILURE


def test_route_without_a_gateway(tmp_path: Path) -> None:
    """Without a default route a hub in the same network is reached, another address is not, and a name may be."""
    top = network(tmp_path, ROUTES + NEAR, eth0="up")
    check(checks_route.route("192.168.0.7", top), "route", PASS, "in one network with the platform")
    check(checks_route.route("10.1.2.3", top), "route", WARNING, "no default route")
    check(checks_route.route("hub.example", top), "route", NOTE, "no default route")


# -- camera, readers, light ------------------------------------------------------------------------------------------
def test_camera(tmp_path: Path) -> None:
    """A camera is named; one that may not be used is a warning with the group's name; none is a note."""
    put(tmp_path / "dev/video0")
    put(tmp_path / "sys/class/video4linux/video0/name", "HD Webcam\n")
    check(checks_hardware.camera(str(tmp_path)), "camera", PASS, "HD Webcam (/dev/video0)")
    refused = checks_hardware.camera(str(tmp_path), lambda path, mode: False)
    check(refused, "camera", WARNING, "HD Webcam: you may not use it", "usermod -aG video")
    check(checks_hardware.camera(str(tmp_path / "none")), "camera", NOTE, "no camera")


def test_scan() -> None:
    """One reader of codes with pillow is enough; without any, or without pillow, the box cannot read codes."""

    def having(*modules: str) -> Callable[[str], object]:
        def load(module: str) -> object:
            if module not in modules:
                raise ImportError(module)
            return object()

        return load

    check(checks_hardware.scan(having("PIL.Image", "zxingcpp")), "scan", PASS, "zxing-cpp")
    check(checks_hardware.scan(having("PIL.Image")), "scan", NOTE, "libzbar0")
    check(checks_hardware.scan(having("zxingcpp")), "scan", NOTE, "pillow")


def test_led(tmp_path: Path) -> None:
    """A light that may be switched passes; one that only root may switch, and none, are notes."""
    put(tmp_path / "ACT/brightness", "0\n")
    put(tmp_path / "ACT/trigger", "[none] timer\n")
    check(checks_hardware.led("", str(tmp_path)), "led", PASS, "ACT")
    check(checks_hardware.led("", str(tmp_path), lambda path, mode: False), "led", NOTE, "only root")
    check(checks_hardware.led("", str(tmp_path / "none")), "led", NOTE, "no light")
