"""The demo's road with Qubitro: a twin of it on loopback, and devices that come and go over MQTT and HTTPS."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.demo_play import BIN, DemoError, Play, Scene, Screen, stop, until
from tests.twins.qubitro import QubitroTwin, serve

WINDOW_S = 300


class QubitroPlay(Play):
    """A device with a token: made at the desk, carried to its box in a file, commanded, lost and removed."""

    twin: QubitroTwin
    token: str

    def __init__(self, scene: Scene, screen: Screen) -> None:
        super().__init__(scene, screen)
        self.boot = scene.folder / "boot"
        self.state_dir = scene.folder / "box-mqtt"

    def perform(self) -> None:
        """All acts, while the twin runs."""
        with serve() as self.twin:
            try:
                super().perform()
            finally:
                self.scene.stop_all()

    def acts(self) -> tuple[Callable[[], None], ...]:
        """In their order."""
        return (
            self.set_up,
            self.create,
            self.enroll,
            self.beat,
            self.order,
            self.fall_silent,
            self.publish,
            self.remove,
        )

    @property
    def desk_words(self) -> tuple[str, ...]:
        """What every desk verb is told."""
        folder, twin = self.scene.folder, self.twin
        extras = (f"device_broker={twin.mqtt_url}", f"device_endpoint={twin.http_url}", f"device_ca=@{folder}/ca.pem")
        return (
            *("--platform", "qubitro", "--base", twin.http_url, "--workspace", twin.addresses["project"]),
            *("--api-key-file", str(self.scene.key_file), "--ca-file", str(folder / "ca.pem")),
            *(word for extra in extras for word in ("--extra", extra)),
        )

    def set_up(self) -> None:
        """The twin, and what the operator has of Qubitro: a project's id and an API key in a file."""
        self.boot.mkdir()
        (self.scene.folder / "ca.pem").write_text(self.twin.ca_pem)
        self.scene.key_file.touch(mode=0o600)
        self.scene.key_file.write_text(self.twin.operator_key)
        self.screen.step(
            "twin", f"A twin of Qubitro runs here: its API at {self.twin.http_url}, MQTT at {self.twin.mqtt_url}."
        )
        self.screen.aside("(What the twin enforces and what it makes up: docs/platforms/qubitro.md.)")

    def create(self) -> None:
        """The operator's part."""
        boot = self.made("Pump 1", "mqtt")
        self.device_id = boot.stem
        self.is_listed("unknown")
        self.step("created", f"The operator created {self.device_id}; the list shows it: unknown.", status="unknown")
        shown = {**json.loads(boot.read_text()), "secret": "***", "ca": "-----BEGIN CERTIFICATE----- ..."}
        self.screen.aside(f"What its box gets, in a file that only its owner reads:\n{json.dumps(shown, indent=1)}")

    def made(self, name: str, source: str) -> Path:
        """A new device's boot file."""
        words = ("--field", "description=In the cellar", "--field", f"source={source}", "--boot", str(self.boot))
        said = self.scene.run(str(BIN / "firstlight"), "device", "create", name, *words, "--json", *self.desk_words)
        return Path(json.loads(said)["files"][0])

    def enroll(self) -> None:
        """The technician's part."""
        output = self.taken_in(self.boot / f"{self.device_id}.json", self.state_dir)
        self.step("enrolled", "The box took the file in and sent a first heartbeat:")
        self.screen.aside(output.rstrip())

    def taken_in(self, boot: Path, state_dir: Path) -> str:
        """``firstlight enroll`` with that file, which is then removed."""
        words = ("enroll", "--file", str(boot), "--state-dir", str(state_dir), "--no-start")
        output = self.scene.run(str(BIN / "firstlight"), *words, env=self.scene.box_env)
        boot.unlink()
        return output

    def beat(self) -> None:
        """Online."""
        self.start()
        self.is_listed("online")
        with self.twin.state.lock:
            device = self.twin.state.device(self.device_id)
            row = device.rows[-1] if device else {}
        self.step("online", "The agent beats over MQTT; the list shows: online.", status="online")
        self.screen.aside(f"What Qubitro got, flat as it wants it: {json.dumps(row)}")

    def order(self) -> None:
        """Something for the hooks."""
        wish: dict[str, object] = {"period": 5, "light": True}
        until("the agent listens", lambda: self.twin.state.command(self.device_id, wish), self.scene)
        kept = self.state_dir / "desired.json"
        until("the command is kept", kept.exists, self.scene)
        self.step("commanded", "A command came over the same topic; the box told it from its own echo, for the hooks:")
        self.screen.aside(json.dumps(json.loads(kept.read_text())["desired"]))

    def fall_silent(self) -> None:
        """Offline, and online again."""
        stop(self.agent)
        with self.twin.state.lock:
            device = self.twin.state.device(self.device_id)
            if device is None or device.seen_s is None:
                raise DemoError("the twin has lost the device")
            device.seen_s -= WINDOW_S + 1
        self.is_listed("offline")
        sentence = f"The agent was stopped; more than {WINDOW_S} s later (the twin's time was moved): offline."
        self.step("offline", sentence, status="offline")
        self.start()
        self.is_listed("online")
        self.step("online_again", "Started again: online.", status="online")

    def publish(self) -> None:
        """Another device, over HTTPS."""
        boot = self.made("Pump 2", "http")
        self.taken_in(boot, self.scene.folder / "box-http")
        self.is_listed("online", boot.stem)
        self.screen.step(
            "https",
            f"A second device, {boot.stem}, publishes over HTTPS: online.",
            device_id=boot.stem,
            status="online",
        )

    def remove(self) -> None:
        """Gone; the box says why it is refused."""
        stop(self.agent)
        self.scene.run(str(BIN / "firstlight"), "device", "remove", self.device_id, *self.desk_words)
        self.start()
        until("the box is refused", lambda: self.box_status().get("reason") == "qubitro_token_refused", self.scene)
        self.step(
            "removed", "The operator removed the device; its box is refused, says so, and asks again now and then."
        )

    def start(self) -> None:
        """Runs the agent."""
        words = (str(BIN / "firstlight"), "run", "--state-dir", str(self.state_dir))
        self.agent = self.scene.start("agent", *words, env=self.scene.box_env)

    def box_status(self) -> dict[str, object]:
        """What the box says of itself."""
        words = [str(BIN / "firstlight"), "status", "--json", "--state-dir", str(self.state_dir)]
        done = subprocess.run(words, capture_output=True, text=True, env=self.scene.box_env, timeout=30)
        found = json.loads(done.stdout)
        assert isinstance(found, dict)
        return found

    def is_listed(self, status: str, device_id: str = "") -> None:
        """Waits until the desk's list shows the device so. Raises DemoError."""

        def ask() -> bool:
            words = ("device", "list", "--json", *self.desk_words)
            rows = json.loads(self.scene.run(str(BIN / "firstlight"), *words))["data"]
            return any(row["id"] == (device_id or self.device_id) and row["status"] == status for row in rows)

        until(f"the list shows {status}", ask, self.scene)

    def say_how_to_reach(self) -> None:
        """For --keep: the twin ends with the demo."""
        self.screen.aside("Nothing was kept. A twin that stays: make twin PLATFORM=qubitro")
