"""Hubs and boxes for the benches: the real programs, in scratch folders, on loopback."""

from __future__ import annotations

import json
import os
import re
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from firstlight.core.management import Place
from firstlight.core.model import Facts, Registration, Secret, Trust, parse_endpoint
from firstlight.platforms.hub import management
from firstlight.system.store import StateDirectory
from firstlight.transports.http_calls import HttpCalls
from firstlight.wire.facts import facts_hash
from firstlight_hub.model import BeatRow, Device, digest
from firstlight_hub.service.issuing import Issuing
from firstlight_hub.store.sqlite import SqliteStore
from tests.bench.processes import BenchError, run_once
from tests.demo_play import boxed

BIN = Path(sys.executable).parent
WORKSPACE = "demo"
FACTS = Facts(
    hostname="box",
    platform="Linux",
    platform_release="5.15.136-tegra",
    platform_version="#1 SMP PREEMPT",
    architecture="aarch64",
    type="jetson",
)
READY_WITHIN_S, STOP_WITHIN_S = 60.0, 20.0
AT_ONCE = 5000
WATCHDOG_S = 180


class Stage:
    """The scratch folder of one run of the benches, and every process in it.

    Attributes:
        python: the interpreter of the boxes, the same version as this one.
        env: the environment of what runs on a box.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shared_memory = Path("/dev/shm")
        self._in_memory = Path(tempfile.mkdtemp(prefix="firstlight-bench-", dir=_first_writable(shared_memory, folder)))
        self._running: list[subprocess.Popen[bytes]] = []
        self._installed: Path | None = None
        # With nothing beside it: .pth files of this machine's Python may load things at every start.
        base = os.path.realpath(sys.executable)
        self.env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(folder)}
        run_once([base, "-m", "venv", "--without-pip", str(folder / "python")], self.env)
        self.python = str(folder / "python" / "bin" / "python3")
        self.env["PATH"] = f"{folder / 'python' / 'bin'}:{self.env['PATH']}"

    def room(self, name: str) -> Path:
        """A new folder."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))

    def memory(self, name: str) -> Path:
        """A new folder that lies in memory where this machine has such a place."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._in_memory))

    def start(self, words: list[str], log: Path, env: dict[str, str] | None = None, *fds: int) -> int:
        """Starts a program that ``stop`` ends; its process id."""
        with log.open("ab") as file:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=env or self.env, pass_fds=fds
            )
        self._running.append(process)
        return process.pid

    def stop(self) -> None:
        """Ends every process that is still there, the last one first."""
        while self._running:
            _end(self._running.pop())

    def stop_one(self, pid: int) -> None:
        """Ends one of them."""
        for process in [one for one in self._running if one.pid == pid]:
            self._running.remove(process)
            _end(process)

    def clear(self) -> None:
        """Ends every process and forgets what lies in memory."""
        self.stop()
        shutil.rmtree(self._in_memory, ignore_errors=True)

    def installed(self) -> Path:
        """The agent as ``install.sh`` puts it on a box: the prefix. Installed once, from a hub of its own."""
        if self._installed is None:
            prefix = self.room("box")
            hub = Hub(self, heartbeat_interval_s=60)
            command = boxed(hub.create().install_command, prefix)
            run_once(["sh", "-c", command], self.env)
            self._installed = prefix
        return self._installed

    @property
    def agent(self) -> list[str]:
        """The launcher that ``install.sh`` made, on a Python of the same version with nothing beside it."""
        return [self.python, "-I", str(self.installed() / "bin" / "firstlight")]

    @property
    def libraries(self) -> str:
        """Where that installation's packages are: the agent's and what it depends on, byte-compiled, nothing else."""
        return str(next(self.installed().glob("lib/*/lib")))


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_WITHIN_S)
    if process.poll() is None:
        process.kill()
        process.wait()


class Hub:
    """A hub of its own: ``init``, its settings changed, filled if wanted, served.

    Args:
        stage: where it lives.
        is_plain: HTTP without TLS, on loopback.
        devices: so many are put into its database before it serves; see ``keys``.
        heartbeat_interval_s: as in ``hub.toml``.
        settings: more changes to ``hub.toml``.
        is_served: False leaves it to a later ``start``.
    """

    def __init__(
        self,
        stage: Stage,
        *,
        is_plain: bool = False,
        devices: int = 0,
        heartbeat_interval_s: int = 60,
        settings: Mapping[str, int | str] = MappingProxyType({}),
        is_served: bool = True,
    ) -> None:
        self._stage = stage
        room = stage.room("hub")
        self.folder, self.log = room / "hub", room / "hub.log"
        program, key_file = str(BIN / "firstlight-hub"), room / "operator.key"
        hosts = [word for last in range(1, 5) for word in ("--host", f"127.0.0.{last}")]
        named = ["--dir", str(self.folder), *hosts, "--port", str(free_port()), "--workspace", WORKSPACE]
        run_once([program, "init", *named, "--key-file", str(key_file)], stage.env)
        self.api_key = Secret(key_file.read_text().strip())
        self.change({"heartbeat_interval_s": heartbeat_interval_s, **settings})
        # Byte-compiling the bundle takes seconds: all hubs of a stage share one.
        (stage.folder / "bundles").mkdir(exist_ok=True)
        (self.folder / "bundles").symlink_to(stage.folder / "bundles")
        self.keys = self._fill(devices) if devices else []
        self._words = [program, "serve", "--dir", str(self.folder), *(["--plain-http-on-loopback"] if is_plain else [])]
        if is_served:
            self.start()

    def start(self) -> None:
        """Serves; returns when it listens."""
        came, told = os.pipe()
        self.pid = self._stage.start([*self._words, "--ready-fd", str(told)], self.log, None, told)
        os.close(told)
        ready = read_line(came)
        if not ready:
            raise BenchError(f"the hub did not start:\n{self.log.read_text()}")
        said = json.loads(ready)
        self.endpoint, self.pin = parse_endpoint(said["url"]), said["pin"] or ""

    def stop(self) -> None:
        """Ends it; beats that came in are on disk then."""
        self._stage.stop_one(self.pid)

    def change(self, settings: Mapping[str, int | str]) -> None:
        """Changes ``hub.toml``; counts from the next ``start``."""
        file = self.folder / "hub.toml"
        text = file.read_text()
        for name, value in settings.items():
            text, found = re.subn(rf"(?m)^{name} = .*$", f"{name} = {json.dumps(value)}", text)
            if found != 1:
                raise BenchError(f"hub.toml has no setting {name}")
        file.write_text(text)

    def _fill(self, count: int) -> list[tuple[str, str]]:
        """Devices with keys and facts, each seen once; (device id, key) of each."""
        store = SqliteStore(self.folder / "hub.sqlite3")
        now_ms = time.time_ns() // 1_000_000
        hashed = facts_hash(FACTS)
        issuing = Issuing(lambda: now_ms, (self.folder / "secret").read_bytes())
        made, rows = [], []
        with store.writing() as transaction:
            for number in range(1, count + 1):
                device_id, fingerprint = f"device-{secrets.token_hex(6)}", f"sha256:{secrets.token_hex(32)}"
                key = issuing.device_key(WORKSPACE, device_id, fingerprint, 1).reveal()
                bare = Device(0, WORKSPACE, device_id, f"Camera {number}", None, None, ("roof",), False, now_ms)
                transaction.add_device(bare)
                stored = transaction.device(device_id)
                assert stored is not None
                bound = stored._replace(
                    key_fingerprint=fingerprint,
                    key_hash=digest(key),
                    key_generation=1,
                    transport="mqtt",
                    credential="secret",
                    facts=FACTS,
                    facts_hash=hashed,
                )
                transaction.put_device(bound)
                made.append((device_id, key))
                rows.append(BeatRow(stored.number, digest(key), now_ms, 0, "0.1.0", None, hashed, ()))
        for first in range(0, count, AT_ONCE):
            store.write_beats(rows[first : first + AT_ONCE])
        store.close()
        return made

    def create(self) -> management.Created:
        """Creates a device through the public API."""
        with HttpCalls(Trust(pins=(self.pin,))) as calls:
            call = management.create(Place(self.endpoint, WORKSPACE, self.api_key), management.NewDevice("Roof camera"))
            return management.read_invited(calls.exchange(call, 10))

    @property
    def ca_file(self) -> str:
        """The hub's own CA."""
        return str(self.folder / "ca.pem")


class Box:
    """A box that is enrolled at a hub, with a socket to notify and a runtime directory, as systemd gives them.

    The runtime directory lies in memory, as /run does.

    Args:
        stage, hub: where.
        wishes: more words for ``firstlight enroll``.

    Attributes:
        state_dir, log: its state directory, and what its agent says.
        feedings: how often the watchdog was fed, as far as ``hear`` has listened.
    """

    def __init__(self, stage: Stage, hub: Hub, *wishes: str) -> None:
        self._stage, self.hub = stage, hub
        self.room, self._runtime_dir = stage.room("box"), stage.memory("run")
        self.state_dir, self.log = self.room / "state", self.room / "log"
        self.enrolled = enroll(stage, stage.agent, hub, self.state_dir, *wishes)
        self._ears = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ears.bind(str(self.room / "notify"))
        self._ears.setblocking(False)
        self.env = {
            **stage.env,
            "NOTIFY_SOCKET": str(self.room / "notify"),
            "WATCHDOG_USEC": str(WATCHDOG_S * 1_000_000),
            "RUNTIME_DIRECTORY": str(self._runtime_dir),
        }
        self.feedings = 0

    @property
    def registration(self) -> Registration:
        """What enrolling left."""
        found = StateDirectory(str(self.state_dir)).load_registration()
        assert found is not None
        return found

    def move(self, url: str) -> None:
        """Lets the agent reach its hub at another address."""
        changed = self.registration._replace(endpoint=parse_endpoint(url))
        StateDirectory(str(self.state_dir)).save_registration(changed)

    def run_agent(self) -> int:
        """``firstlight run`` of the installed agent, as systemd starts it; the process id of what then beats."""
        return self._stage.start([*self._stage.agent, "run", "--state-dir", str(self.state_dir)], self.log, self.env)

    def run_hastily(self, haste: float) -> int:
        """The beating process as ``firstlight run`` starts it, but with every wait so many times shorter."""
        run_file = self.state_dir / "bench.json"
        run_file.write_text(
            json.dumps(
                {
                    "stateDir": str(self.state_dir),
                    "runtimeDir": str(self._runtime_dir),
                    "haste": haste,
                    "logLevel": 4,
                }
            )
        )
        run_file.chmod(0o600)
        start = f"import sys; sys.path.insert(0, {self._stage.libraries!r}); from firstlight.daemon.main import main"
        words = [self._stage.python, "-I", "-S", "-c", f"{start}; sys.exit(main({str(run_file)!r}))"]
        return self._stage.start(words, self.log, self.env)

    def beats(self) -> int:
        """How many beats of the running agent the hub has accepted, by the agent's own status."""
        path = self._runtime_dir / "status.json"
        return int(json.loads(path.read_text())["beats"]) if path.exists() else 0

    def hear(self, seconds: float = 0) -> None:
        """Takes what was told to the service manager, as it would; waits so long for something to hear."""
        select.select([self._ears], [], [], seconds)
        with suppress(BlockingIOError):
            while heard := self._ears.recv(4096):
                self.feedings += b"WATCHDOG=1" in heard


def enroll(stage: Stage, agent: list[str], hub: Hub, state_dir: Path, *wishes: str) -> tuple[float, float]:
    """``firstlight enroll`` of a new device; seconds until its first beat was accepted, and CPU seconds in all."""
    install_id = hub.create().install_id.reveal()
    words = [*agent, "enroll", "-", "--hub", hub.endpoint.url, "--pin", hub.pin, "--state-dir", str(state_dir), *wishes]
    cost = run_once(words, stage.env, stdin=install_id, until="first heartbeat accepted")
    return cost.wall_s, cost.cpu_s


def read_line(descriptor: int) -> str:
    """One line from a pipe, "" if it ends or says nothing for a minute; closes it."""
    with os.fdopen(descriptor, "rb") as file:
        return file.readline().decode() if select.select([file], [], [], READY_WITHIN_S)[0] else ""


def _first_writable(*folders: Path) -> Path:
    return next(folder for folder in folders if folder.is_dir() and os.access(folder, os.W_OK))


def free_port() -> int:
    """A port that nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
