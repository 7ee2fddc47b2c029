"""What the demo is made of: the screen, the scene with its folders and programs, and the road act by act."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from firstlight.core.management import Place
from firstlight.core.model import Endpoint, Secret, Trust, parse_endpoint
from firstlight.errors import FirstlightError
from firstlight.platforms.hub import management
from firstlight.transports.http_calls import HttpCalls

BIN = Path(sys.executable).parent
INTERVAL_S, WINDOW_S = 1, 4
PATIENCE_S = 20.0


class DemoError(Exception):
    """A step of the demo did not come out as it must; the text says how."""


class Screen:
    """One line a step, for people or as JSON."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.started_s = time.monotonic()
        self.number = 0

    def step(self, step: str, sentence: str, **details: object) -> None:
        """Says that a step is done."""
        self.number += 1
        elapsed_s = round(time.monotonic() - self.started_s, 1)
        if self.as_json:
            line: dict[str, object] = {
                "step": step,
                "device_id": None,
                "status": None,
                **details,
                "elapsed_s": elapsed_s,
            }
            print(json.dumps(line), flush=True)
        else:
            print(f"{self.number:2}. {sentence}", flush=True)

    def aside(self, text: str) -> None:
        """More about the step, for people only."""
        if not self.as_json:
            print("".join(f"      {line}\n" for line in text.splitlines()), end="", flush=True)


class Scene:
    """The folders and processes of one demo."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hub_dir = folder / "hub"
        self.prefix = folder / "box"
        self.key_file = folder / "operator.key"
        self.logs = folder / "logs"
        self.logs.mkdir()
        self.running: list[subprocess.Popen[bytes]] = []
        # The box is a place of its own: a PATH with the interpreter that this environment was made from.
        tools = folder / "path"
        tools.mkdir()
        (tools / "python3").symlink_to(os.path.realpath(sys.executable))
        self.box_env = {"PATH": f"{tools}:{os.environ.get('PATH', '/usr/bin:/bin')}", "HOME": str(folder)}

    def start(self, name: str, *words: str, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Starts a program whose output goes to a log file; ``stop_all`` ends it."""
        with (self.logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env)
        self.running.append(process)
        return process

    def run(self, *words: str, env: dict[str, str] | None = None) -> str:
        """Runs a program to its end; its standard output. Raises DemoError when it fails."""
        done = subprocess.run(words, capture_output=True, text=True, env=env, stdin=subprocess.DEVNULL, timeout=60)
        if done.returncode:
            raise DemoError(
                f"{Path(words[0]).name} {words[1]} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def stop_all(self) -> None:
        """Ends every program that is still running."""
        for process in self.running:
            if process.poll() is None:
                process.terminate()
        for process in self.running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            if process.poll() is None:
                process.kill()
                process.wait()

    def log_tails(self) -> str:
        """The last lines of every log, for when a step failed."""
        tails = []
        for log in sorted(self.logs.iterdir()):
            tails.append(f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:]))
        return "\n".join(tails)


def free_port() -> int:
    """A port that nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(what: str, ask: Callable[[], object], scene: Scene) -> object:
    """Asks again and again until the answer is truthy; DemoError when patience ends or a program died."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(FirstlightError, OSError, ValueError):
            if answer := ask():
                return answer
        if time.monotonic() > deadline_s:
            raise DemoError(f"waited {PATIENCE_S:.0f} s in vain until {what}")
        # A status is a thing of the clock: nothing announces that a window has passed.
        with contextlib.suppress(subprocess.TimeoutExpired):
            if scene.running:
                scene.running[-1].wait(0.1)


class Desk:
    """The operator's view: the public devices API."""

    def __init__(self, endpoint: Endpoint, pin: str, key: Secret) -> None:
        self.endpoint, self.key = endpoint, key
        self.calls = HttpCalls(Trust(pins=(pin,)))

    def listed(self, device_id: str) -> dict[str, object]:
        """The device's record in the list."""
        call = management.list_page(place := Place(self.endpoint, "demo", self.key), "")
        listed, _ = management.read_page(place, self.calls.exchange(call, 5.0), 0.0, "")
        return next(one.record for one in listed if one.device_id == device_id)


def serve(scene: Scene) -> tuple[subprocess.Popen[bytes], dict[str, object]]:
    """Starts the hub; returns it and what it says of itself once it listens."""
    where = scene.hub_dir / "hub.json"
    where.unlink(missing_ok=True)
    process = scene.start("hub", str(BIN / "firstlight-hub"), "serve", "--dir", str(scene.hub_dir))

    def said() -> object:
        if process.poll() is not None:
            raise DemoError(f"the hub ended with {process.returncode}")
        return where.exists() and json.loads(where.read_text())

    found = until("the hub listens", said, scene)
    assert isinstance(found, dict)
    return process, found


class Play:
    """The road, act by act; each act takes up where the one before ended."""

    create_words: tuple[str, ...] = ()

    def __init__(self, scene: Scene, screen: Screen) -> None:
        self.scene, self.screen = scene, screen
        self.url = self.pin = self.device_id = self.command = ""
        self.hub: subprocess.Popen[bytes]
        self.agent: subprocess.Popen[bytes]
        self.desk: Desk

    def perform(self) -> None:
        """All acts in order."""
        for act in self.acts():
            act()

    def acts(self) -> tuple[Callable[[], None], ...]:
        """In their order."""
        return self.set_up, self.create, self.install, self.come_and_go, self.lose_the_hub, self.show

    def more_settings(self) -> dict[str, int | str]:
        """What this road changes in ``hub.toml``."""
        return {}

    @property
    def desk_words(self) -> tuple[str, ...]:
        """What every desk verb is told."""
        key_file = str(self.scene.key_file)
        return ("--hub", self.url, "--pin", self.pin, "--workspace", "demo", "--api-key-file", key_file)

    def step(self, step: str, sentence: str, **details: object) -> None:
        """One line on the screen, about this device."""
        self.screen.step(step, sentence, device_id=self.device_id, **details)

    def is_now(self, status: str) -> Callable[[], object]:
        """Whether the list shows the device so."""
        return lambda: self.desk.listed(self.device_id)["status"] == status

    def set_up(self) -> None:
        """A hub with settings for impatient watchers."""
        scene = self.scene
        scene.run(
            str(BIN / "firstlight-hub"), "init", "--dir", str(scene.hub_dir), "--host", "127.0.0.1",
            "--port", str(free_port()), "--workspace", "demo", "--key-file", str(scene.key_file),
        )  # fmt: skip
        settings = scene.hub_dir / "hub.toml"
        text = settings.read_text()
        wanted = {"heartbeat_interval_s": INTERVAL_S, "online_window_s": WINDOW_S, **self.more_settings()}
        for name, value in wanted.items():
            text = re.sub(rf"(?m)^{name} = .*$", f"{name} = {json.dumps(value)}", text)
        settings.write_text(text)
        self.hub, said = serve(scene)
        self.url, self.pin = str(said["url"]), str(said["pin"])
        self.screen.step("hub", f"A hub of our own listens on {self.url}, with a CA and a key made just now.")
        self.screen.aside(
            f"(For the demo a device counts as offline after {WINDOW_S} s of silence, not the real 300 s,\n"
            f"and it beats every {INTERVAL_S} s, not every 60 s.)"
        )

    def create(self) -> None:
        """The operator's part."""
        words = ("device", "create", "Roof camera", "--tag", "roof", "--json", *self.create_words, *self.desk_words)
        made = json.loads(self.scene.run(str(BIN / "firstlight"), *words))
        self.device_id, self.command = str(made["deviceId"]), str(made["installCommand"])
        self.open_desk()
        self.step("created", f"The operator created the device {self.device_id} and got the command for the box:")
        self.screen.aside(self.command)
        until("the new device is unknown", self.is_now("unknown"), self.scene)
        self.step("unknown", "The list shows it: unknown. No heartbeat yet.", status="unknown")

    def open_desk(self) -> None:
        """The list, as an operator's program sees it."""
        self.desk = Desk(parse_endpoint(self.url), self.pin, Secret(self.scene.key_file.read_text().strip()))

    def install(self) -> None:
        """The technician's part."""
        scene = self.scene
        output = scene.run("sh", "-c", boxed(self.command, scene.prefix), env=scene.box_env)
        self.step("installed", f"The box ran the command (here into {scene.prefix}, without root):")
        self.screen.aside(output.rstrip())

    def come_and_go(self) -> None:
        """Unknown or online -> online -> offline -> online."""
        self.agent = start_agent(self.scene)
        until("the agent beats", lambda: agent_status(self.scene)["state"] == "online", self.scene)
        until("the device is online", self.is_now("online"), self.scene)
        self.step("online", "The agent beats; the list shows: online.", status="online")
        stop(self.agent)
        self.step("stopped", "The agent was stopped.")
        until("the device is offline", self.is_now("offline"), self.scene)
        self.step("offline", f"{WINDOW_S} s of silence later the list shows: offline.", status="offline")
        self.agent = start_agent(self.scene)
        until("the device is online again", self.is_now("online"), self.scene)
        self.step("online_again", "Started again: online.", status="online")

    def lose_the_hub(self) -> None:
        """SIGKILL and back; what the hub had said yes to must still be there."""
        scene = self.scene
        before = self.desk.listed(self.device_id)
        self.hub.kill()
        self.hub.wait()
        until("the agent notices", lambda: agent_status(scene)["state"] == "cut_off", scene)
        self.step("hub_killed", "The hub was killed (SIGKILL). The agent keeps its beats on disk and tries again.")
        self.hub, _ = serve(scene)
        seen = str(before["last_heartbeat"])
        until("beats come again", lambda: str(self.desk.listed(self.device_id)["last_heartbeat"]) > seen, scene)
        until("the kept beats are delivered", lambda: not agent_status(scene).get("spooled"), scene)
        after = self.desk.listed(self.device_id)
        for name in ("id", "name", "created_at", "tags"):
            if before[name] != after[name]:
                raise DemoError(f"{name} changed over the hub's death: {before[name]!r} became {after[name]!r}")
        sentence = "The hub is back, nothing was lost, the kept beats were handed over: online."
        self.step("hub_back", sentence, status=after["status"])

    def show(self) -> None:
        """What everybody can see of the device."""
        words = ("device", "show", self.device_id, "--json", *self.desk_words)
        shown = json.loads(self.scene.run(str(BIN / "firstlight"), *words))
        self.step("shown", "The device, as the API shows it:", status=shown["status"], device=shown)
        self.screen.aside(json.dumps(shown, indent=2))

    def say_how_to_reach(self) -> None:
        """For --keep."""
        pids = [process.pid for process in self.scene.running if process.poll() is None]
        key_file = str(self.scene.key_file)
        key = (
            self.scene.key_file.read_text().strip()
        )  # of a hub that lives on this loopback for as long as you look at it
        self.step("kept", "Left running:", hub=self.url, pin=self.pin, api_key=key, api_key_file=key_file, pids=pids)
        self.screen.aside(f"hub {self.url}, pin {self.pin}\noperator key {key}, also in {key_file}")
        self.screen.aside(f"to end it: kill {' '.join(map(str, pids))}; rm -r {self.scene.folder}")


def boxed(command: str, prefix: Path) -> str:
    """The printed command, as it is, but into a prefix and without root: only its last call is replaced."""
    plain = re.sub(r"sudo sh$", f"sh -s -- --prefix {prefix} --no-service", command)
    if plain == command:
        raise DemoError(f"the install command has another form than the demo knows: {command}")
    return plain


def start_agent(scene: Scene) -> subprocess.Popen[bytes]:
    """Runs the installed agent."""
    return scene.start("agent", str(scene.prefix / "bin" / "firstlight"), "run", env=scene.box_env)


def agent_status(scene: Scene) -> dict[str, object]:
    """What ``firstlight status --json`` says on the box."""
    words = [str(scene.prefix / "bin" / "firstlight"), "status", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, env=scene.box_env, timeout=20)
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def stop(process: subprocess.Popen[bytes]) -> None:
    """Asks a program to end and checks that it does so promptly and well."""
    process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(10)
    except subprocess.TimeoutExpired:
        raise DemoError("the agent did not end within 10 s of SIGTERM") from None
    if code != 0:
        raise DemoError(f"the agent ended with {code} after SIGTERM")


@contextlib.contextmanager
def stage(keep: bool) -> Iterator[Scene]:
    """A scene whose programs and folders are gone afterwards, unless they are to be kept."""
    folder = Path(tempfile.mkdtemp(prefix="firstlight-demo-"))
    scene = Scene(folder)
    kept = False
    try:
        yield scene
        kept = keep
    finally:
        if not kept:
            scene.stop_all()
            shutil.rmtree(folder, ignore_errors=True)
