"""Clock, keys, facts, metrics and journal against this machine and against made-up ones."""

import os
import re
import stat
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st

from firstlight import BUILT_AT_S
from firstlight.core.model import Facts, Metrics
from firstlight.errors import StateError
from firstlight.system.clock import AHEAD_S, SystemClock, clock_floor_s
from firstlight.system.facts import clean, read_facts
from firstlight.system.journal import ERROR, INFO, Journal, escaped
from firstlight.system.keys import KeyFile
from firstlight.system.metrics import ProcMetrics
from firstlight.system.store import KEY, StateDirectory
from firstlight.wire.facts import facts_object
from firstlight.wire.facts import read_facts as facts_from_json


@pytest.fixture
def store(tmp_path: Path) -> StateDirectory:
    """A prepared directory."""
    made = StateDirectory(str(tmp_path / "state"))
    made.prepare()
    return made


# -- clock -----------------------------------------------------------------------------------------------------------
def test_moment_has_all_three_clocks() -> None:
    """Boot id without dashes, seconds since boot, and the wall clock."""
    moment = SystemClock().moment()

    assert re.fullmatch("[0-9a-f]{32}", moment.boot_id)
    assert moment.boot_id == SystemClock().moment().boot_id
    assert abs(moment.monotonic_s - time.clock_gettime(time.CLOCK_BOOTTIME)) < 5
    assert abs(moment.wall_s - time.time()) < 5


def test_waiting_ends_at_its_time_or_at_a_sign() -> None:
    """Without a sign the whole time passes; with one the wait is over at once, now and ever after."""
    ears, mouth = os.pipe()
    clock = SystemClock(wake_fd=ears)
    started_s = time.monotonic()
    assert not clock.wait(0.05)
    assert time.monotonic() - started_s >= 0.05
    os.write(mouth, b"x")
    started_s = time.monotonic()
    assert clock.wait(60) and clock.wait(60)
    assert time.monotonic() - started_s < 5
    os.close(ears)
    os.close(mouth)


def test_clocks_that_cannot_be_right_are_told(store: StateDirectory) -> None:
    """A clock before what a platform told, or more than a week after it, is not trusted; one in between is."""
    now_s = time.time()
    assert now_s > BUILT_AT_S, "this agent was made after now"
    for seen_s, expected in ((now_s, True), (now_s - 6 * 86_400, True), (now_s - AHEAD_S - 10, False)):
        store.save_seen(seen_s)
        clock = SystemClock(clock_floor_s(store))
        assert (clock.is_trustworthy(), clock.is_before_floor()) == (expected, False)
    store.save_seen(now_s + 3 * 86_400)
    clock = SystemClock(clock_floor_s(store))
    assert (clock.is_trustworthy(), clock.is_before_floor()) == (False, True)


def test_a_clock_learns_from_the_platform() -> None:
    """A platform that tells a later time makes the clock suspect; one that tells this time makes it right again."""
    clock = SystemClock()
    for off_s in (30 * 86_400, -2 * 365 * 86_400, 7200, -7200):
        clock.saw(time.time() + off_s)
        assert not clock.is_trustworthy()
    clock.saw(time.time() + 5)
    assert clock.is_trustworthy()


# -- keys ------------------------------------------------------------------------------------------------------------
def test_key_is_made_once_and_fits_its_request(store: StateDirectory) -> None:
    """The key is on disk, private, stays the same, and request and fingerprint are its own."""
    first, second = KeyFile().make_or_load(store), KeyFile().make_or_load(store)

    path = Path(store.path) / KEY
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = load_pem_private_key(path.read_bytes(), None)
    request = x509.load_pem_x509_csr(first.csr_pem.encode())
    assert request.is_signature_valid
    assert request.subject.rfc4514_string() == "CN=firstlight"
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert request.public_key().public_bytes(*form) == key.public_key().public_bytes(*form)
    assert first.key_fingerprint == second.key_fingerprint
    assert re.fullmatch("sha256:[0-9a-f]{64}", first.key_fingerprint)


@pytest.mark.parametrize("text", ["", "junk", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_damaged_key_is_named_and_kept(store: StateDirectory, text: str) -> None:
    """A key file that cannot be read is never replaced by a new key: the hub knows the old one."""
    store.write_text(KEY, text)

    with pytest.raises(StateError) as caught:
        KeyFile().make_or_load(store)

    assert caught.value.code == "state_corrupt" and KEY in caught.value.message
    assert store.read_text(KEY) == text


# -- facts -----------------------------------------------------------------------------------------------------------
def test_facts_of_this_machine_fit_the_wire() -> None:
    """What is read here has the names of uname, and survives the contract's own reader."""
    facts = read_facts()

    assert (facts.platform, facts.architecture) == (os.uname().sysname, os.uname().machine)
    assert facts.hardware.total_memory_mb and facts.hardware.total_disk_space_mb
    assert facts_from_json(facts_object(facts)) == facts


@pytest.mark.parametrize(
    ("model", "compatible", "kind", "gpu"),
    [
        ("NVIDIA Jetson Orin Nano Developer Kit", "nvidia,p3768-0000+p3767-0005\0nvidia,tegra234", "jetson", "Orin"),
        ("Quark Carrier", "connecttech,quark\0nvidia,tegra194", "jetson", "Xavier"),
        ("Raspberry Pi 5 Model B Rev 1.0", "raspberrypi,5-model-b\0brcm,bcm2712", "raspberry_pi", None),
        ("Some Board", "vendor,board", None, None),
    ],
)
def test_boards_are_recognised_by_their_device_tree(
    tmp_path: Path, model: str, compatible: str, kind: str | None, gpu: str | None
) -> None:
    """Model and chip of a made-up device tree give type, processor and graphics unit."""
    tree = tmp_path / "proc" / "device-tree"
    tree.mkdir(parents=True)
    (tree / "model").write_bytes(model.encode() + b"\0")
    (tree / "compatible").write_bytes(compatible.encode() + b"\0")
    facts = read_facts(str(tmp_path))

    assert (facts.type, facts.hardware.processor) == (kind, model)
    assert facts.hardware.gpu is None if gpu is None else gpu in str(facts.hardware.gpu)


def test_an_empty_machine_and_a_hanging_one_give_no_facts(tmp_path: Path) -> None:
    """Nothing to read, and pipes without a writer, leave fields empty at once."""
    (tmp_path / "proc" / "device-tree").mkdir(parents=True)
    os.mkfifo(tmp_path / "proc" / "device-tree" / "model")
    os.mkfifo(tmp_path / "proc" / "cpuinfo")
    facts = read_facts(str(tmp_path))

    assert (facts.type, facts.hardware.processor, facts.hardware.gpu) == (None, None, None)


def test_graphics_card_is_read_from_its_driver(tmp_path: Path) -> None:
    """A discrete NVIDIA card tells its name."""
    card = tmp_path / "proc" / "driver" / "nvidia" / "gpus" / "0000:01:00.0"
    card.mkdir(parents=True)
    (card / "information").write_text("Model: \t\t NVIDIA RTX A2000\nIRQ:   \t\t 127\n")

    assert read_facts(str(tmp_path)).hardware.gpu == "NVIDIA RTX A2000"


@given(st.text(max_size=2000))
def test_any_text_is_made_fit(text: str) -> None:
    """Whatever firmware says, the wire takes it."""
    found = clean(text)

    assert found is None or facts_from_json({"hostname": found}).hostname == found


# -- metrics ---------------------------------------------------------------------------------------------------------
def test_metrics_of_this_machine_are_plausible() -> None:
    """Load, memory and disk of this machine are within their bounds."""
    found = ProcMetrics("/").metrics()

    assert found.load1 is not None and found.load1 >= 0
    assert found.memory_used is not None and 0 < found.memory_used < 1
    assert found.disk_used is not None and 0 <= found.disk_used <= 1


def machine(folder: Path, **content: str) -> ProcMetrics:
    """A made-up machine: file name -> content."""
    for name, text in {"loadavg": "", "meminfo": "", **content}.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return ProcMetrics(str(folder / "none"), str(folder), str(folder))


def test_metrics_are_read_as_the_kernel_writes_them(tmp_path: Path) -> None:
    """Load, memory share and the hottest zone; zones that are off or absurd do not count."""
    found = machine(
        tmp_path,
        loadavg="0.42 0.35 0.30 1/123 4567\n",
        meminfo="MemTotal:        1000 kB\nMemFree:          100 kB\nMemAvailable:     250 kB\n",
        class__thermal__thermal_zone0__temp="41500\n",
        class__thermal__thermal_zone1__temp="47250\n",
        class__thermal__thermal_zone2__temp="-256000\n",
        class__thermal__cooling_device0__temp="99000\n",
    ).metrics()

    assert found == Metrics(load1=0.42, memory_used=0.75, disk_used=None, temperature_c=47.2)


@given(st.text(max_size=50))
def test_junk_is_no_metric_and_never_raises(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever the files hold, metrics come back, within bounds or None."""
    folder = tmp_path_factory.mktemp("proc")
    for name in ("loadavg", "meminfo"):
        (folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    found = ProcMetrics(str(folder), str(folder), str(folder)).metrics()

    assert found.load1 is None or 0 <= found.load1 <= 1e6
    assert found.memory_used is None


def test_facts_while_running_follow_name_and_kernel() -> None:
    """What the door read stays, except for what can change while the agent runs."""
    facts = ProcMetrics("/", facts=Facts(hostname="old", type="jetson", platform_release="old")).facts()

    assert facts == Facts(hostname=os.uname().nodename, type="jetson", platform_release=os.uname().release)


# -- journal ---------------------------------------------------------------------------------------------------------
def lines_of(journal_stream: bool, *texts: str, level: int = INFO) -> list[str]:
    """What comes out of a journal on a real pipe."""
    ears, mouth = os.pipe()
    found = os.fstat(mouth)
    journal = Journal(mouth, f"{found.st_dev}:{found.st_ino}" if journal_stream else "8:1", level)
    for text in texts:
        journal.write(INFO, text)
    journal.write(ERROR, "last")
    os.close(mouth)
    with os.fdopen(ears, encoding="utf-8") as file:
        return file.read().splitlines()


def test_journald_gets_priorities_and_people_get_times() -> None:
    """On the journal's own stream a line begins with its priority; elsewhere with the time and a word."""
    assert lines_of(True, "Überall gut") == ["<6>Überall gut", "<3>last"]
    first, last = lines_of(False, "fine")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ info: fine", first) and last.endswith("error: last")
    assert len(lines_of(False, "fine", level=ERROR)) == 1


@given(st.text(max_size=300))
def test_no_text_can_forge_a_line(text: str) -> None:
    """Whatever comes from outside stays on its one line."""
    assert len(lines_of(True, text)) == 2
    assert escaped(text).isprintable()


def test_a_closed_log_is_no_reason_to_stop() -> None:
    """Writing to a pipe that nobody reads does not raise."""
    ears, mouth = os.pipe()
    os.close(ears)
    Journal(mouth).write(INFO, "into the void")
    os.close(mouth)
