"""The demo's road with Fleet: a twin of it on loopback, and boxes that are put into the inventory from their facts."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

from tests.demo_play import BIN, DemoError, Play
from tests.twins.fleet import FleetTwin, serve
from tests.twins.kit import faults

BOXES = 3


class FleetPlay(Play):
    """An inventory: facts go in at the desk, in one batch, and in no case twice; no box ever speaks to it."""

    twin: FleetTwin

    def perform(self) -> None:
        """All acts, while the twin runs."""
        with serve() as self.twin:
            super().perform()

    def acts(self) -> tuple[Callable[[], None], ...]:
        """In their order."""
        return self.set_up, self.collect, self.lose_an_answer, self.again, self.be_seen, self.refuse, self.remove

    @property
    def desk_words(self) -> tuple[str, ...]:
        """What every desk verb is told."""
        ca_file = str(self.scene.folder / "ca.pem")
        where = ("--platform", "fleet", "--base", self.twin.http_url, "--ca-file", ca_file)
        return (*where, "--api-key-file", str(self.scene.key_file))

    def device(self, verb: str, *words: str) -> str:
        """A verb of the desk."""
        return self.scene.run(str(BIN / "firstlight"), "device", verb, *words, *self.desk_words)

    def rows(self) -> list[dict[str, object]]:
        """The list."""
        found = json.loads(self.device("list", "--json"))["data"]
        assert isinstance(found, list)
        return found

    def set_up(self) -> None:
        """The twin, and the API secret in a file of the operator's."""
        (self.scene.folder / "ca.pem").write_text(self.twin.ca_pem)
        self.scene.key_file.touch(mode=0o600)
        self.scene.key_file.write_text(self.twin.operator_key)
        self.screen.step("twin", f"A twin of Fleet runs here: its API is at {self.twin.http_url}/platform/v1.")
        self.screen.aside("(What the twin enforces and what it makes up: docs/platforms/fleet.md.)")

    def collect(self) -> None:
        """What a technician brings from the boxes; this machine stands for all of them."""
        told = json.loads(self.scene.run(str(BIN / "firstlight"), "facts", "--json"))
        boxes = [{**told, "hostname": f"dock-{n}", "serial": f"1423-{n}"} for n in range(1, BOXES + 1)]
        for box in boxes:
            (self.scene.folder / f"{box['hostname']}.json").write_text(json.dumps(box))
        self.screen.step("collected", f"{BOXES} boxes told their facts ('firstlight facts --json'; here: this one).")
        self.screen.aside(json.dumps(boxes[-1], indent=1))

    @property
    def create_all(self) -> tuple[str, ...]:
        """The operator's words: what the facts cannot know is the same for all."""
        files = [str(self.scene.folder / f"dock-{number}.json") for number in range(1, BOXES + 1)]
        return (
            *(word for file in files for word in ("--facts", file)),
            *("--field", "type=Edge box", "--field", "category=IoT"),
        )

    def lose_an_answer(self) -> None:
        """The batch is made, and the line breaks before its answer has come."""
        self.twin.faults.add(faults.cut(is_late=True), method="POST")
        output = self.device("create", *self.create_all)
        devices = self.twin.state.devices
        if len(devices) != BOXES:
            raise DemoError(f"Fleet has {len(devices)} devices, not {BOXES}")
        self.device_id = str(devices[0].number)
        posts = len(self.twin.log.find("http", "POST"))
        self.step(
            "created",
            f"All went in one batch ({posts} post), and the line broke before its answer came. The desk looked for "
            "each serial number before posting again, and found them:",
        )
        self.screen.aside(output.rstrip())

    def again(self) -> None:
        """The same command; and with its memory lost."""
        output = self.device("create", *self.create_all)
        for journal in self.scene.folder.glob("*.journal"):
            journal.unlink()
        self.device("create", *self.create_all)
        if len(self.twin.state.devices) != BOXES:
            raise DemoError("the second run made a device twice")
        self.step("again", "The same command, and once more without the run's journal: nothing is made twice.")
        self.screen.aside(output.rstrip())
        self.screen.aside(json.dumps(self.twin.state.devices[0].item, indent=1))

    def be_seen(self) -> None:
        """Only an MDM of Fleet's can say when a device was alive."""
        if {row["status"] for row in self.rows()} != {"unknown"}:
            raise DemoError("a device that nobody saw is not unknown")
        self.step("unknown", "The list shows them: unknown, since nobody has seen one alive.", status="unknown")
        now_s = self.twin.clock.now_s()
        self.twin.state.manage(int(self.device_id), "ENROLLED", now_s - 600)
        self.twin.state.manage(int(self.device_id) + 1, "ENROLLED", now_s - 3 * 86_400)
        found = [row["status"] for row in self.rows()]
        if found != ["online", "offline", "unknown"]:
            raise DemoError(f"the list says {found}")
        self.step("seen", "Fleet's MDM saw the first ten minutes and the second three days ago:", status="online")
        self.screen.aside(self.device("list").rstrip())

    def refuse(self) -> None:
        """No box has any business with the workspace's secret."""
        boot = self.scene.folder / "made-by-hand.json"
        told = {"format": 1, "platform": "fleet", "road": "finished", "deviceId": self.device_id}
        boot.touch(mode=0o600)
        boot.write_text(json.dumps({**told, "endpoint": self.twin.http_url, "secret": "of-the-workspace"}))
        words = (
            str(BIN / "firstlight"),
            "enroll",
            "--file",
            str(boot),
            "--state-dir",
            str(self.scene.folder / "state"),
        )
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=self.scene.box_env)
        if done.returncode == 0 or "inventory" not in done.stderr:
            raise DemoError(f"a box enrolled at Fleet: {done.stdout}{done.stderr}")
        self.step("refused", "A box that is to enroll there says why it does not:")
        self.screen.aside(done.stderr.strip().splitlines()[0])

    def remove(self) -> None:
        """Gone from the list."""
        self.device("remove", self.device_id)
        if len(self.rows()) != BOXES - 1:
            raise DemoError("a device that was removed is still listed")
        self.step("removed", f"Device {self.device_id} was removed; {BOXES - 1} are left.")

    def say_how_to_reach(self) -> None:
        """For --keep: this twin has ended with the demo."""
        self.screen.step("kept", "Nothing was left running. To have a twin to try things on: make twin PLATFORM=fleet")
