"""The demo's road with Huawei IoTDA: a twin of it on loopback, devices over MQTT and HTTPS, a gateway, a bootstrap."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from firstlight.platforms.huawei import budget
from tests.demo_play import BIN, DemoError, Play, Scene, Screen, stop, until
from tests.twins.huawei import HuaweiTwin, serve
from tests.twins.huawei.state import Shadow

MEMBER = "member-1"


class HuaweiPlay(Play):
    """A device with a secret: made at the desk, online by its link, told what is desired, lost and removed."""

    twin: HuaweiTwin

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
            *(self.set_up, self.create, self.enroll, self.beat, self.wish, self.tell_children, self.count),
            *(self.fall_silent, self.publish, self.bootstrap, self.remove),
        )

    @property
    def desk_words(self) -> tuple[str, ...]:
        """What every desk verb is told."""
        folder, twin = self.scene.folder, self.twin
        ways = (f"device_broker={twin.mqtt_url}", f"device_endpoint={twin.http_url}", f"device_ca=@{folder}/ca.pem")
        extras = (*ways, f"instance_id={twin.instance_id}", "reports_per_day=17280")  # every 5 s, to be watched
        return (
            *("--platform", "huawei", "--base", twin.http_url, "--workspace", twin.project_id),
            *("--api-key-file", str(self.scene.key_file), "--ca-file", str(folder / "ca.pem")),
            *(word for extra in extras for word in ("--extra", extra)),
        )

    def set_up(self) -> None:
        """The twin, and what the operator has of Huawei: a project's id and a token in a file."""
        self.boot.mkdir()
        (self.scene.folder / "ca.pem").write_text(self.twin.ca_pem)
        self.scene.key_file.touch(mode=0o600)
        self.scene.key_file.write_text(self.twin.operator_key)
        where = f"its API at {self.twin.http_url}, MQTT at {self.twin.mqtt_url}"
        self.screen.step("twin", f"A twin of Huawei IoTDA runs here: {where}.")
        self.screen.aside("(What it enforces, and what was checked against what: docs/platforms/huawei.md.)")

    def create(self) -> None:
        """The operator's part."""
        self.device_id, boot = self.made("gate-1", "transport=mqtt")
        if boot is None:
            raise DemoError("the desk made no boot file")
        self.is_listed("INACTIVE")
        sentence = f"The operator created {self.device_id}; the platform calls it INACTIVE, the list: unknown."
        self.step("created", sentence, status="unknown")
        shown = {**json.loads(boot.read_text()), "secret": "***", "ca": "-----BEGIN CERTIFICATE----- ..."}
        self.screen.aside(f"What its box gets, in a file that only its owner reads:\n{json.dumps(shown, indent=1)}")

    def made(self, node_id: str, *fields: str) -> tuple[str, Path | None]:
        """A new device's id and its boot file, None for one that does not connect itself."""
        given = (f"node_id={node_id}", f"product_id={self.twin.product_id}", *fields)
        words = [word for field in given for word in ("--field", field)]
        said = self.desk_says("create", *words, "--boot", str(self.boot), "--json")
        found = json.loads(said)
        return str(found["deviceId"]), Path(found["files"][0]) if found.get("files") else None

    def desk_says(self, verb: str, *words: str) -> str:
        """``firstlight device VERB``."""
        return self.scene.run(str(BIN / "firstlight"), "device", verb, *words, *self.desk_words)

    def enroll(self) -> None:
        """The technician's part."""
        output = self.taken_in(self.boot / "gate-1.json", self.state_dir)
        self.step("enrolled", "The box took the file in, connected and sent a first report:")
        self.screen.aside(output.rstrip())

    def taken_in(self, boot: Path, state_dir: Path) -> str:
        """``firstlight enroll`` with that file, which is then removed."""
        words = ("enroll", "--file", str(boot), "--state-dir", str(state_dir), "--no-start")
        output = self.scene.run(str(BIN / "firstlight"), *words, env=self.scene.box_env)
        boot.unlink()
        return output

    def beat(self) -> None:
        """Online by its link."""
        self.start()
        self.is_listed("ONLINE")
        sentence = "The agent holds a link (MQTT 3.1.1, a password of this hour): ONLINE, in the list: online."
        self.step("online", sentence, status="online")

    def wish(self) -> None:
        """The shadow's desired properties, for the hooks."""
        with self.twin.state.lock:
            device = self.twin.state.devices[self.device_id]
            device.shadow.setdefault("Firstlight", Shadow()).desired["site"] = "north gate"
            self.twin.devices.tell(device)
        kept = self.state_dir / "desired.json"
        until("the wish is kept", lambda: kept.exists() and "north gate" in kept.read_text(), self.scene)
        until("it was answered", lambda: bool(self.twin.state.answers), self.scene)
        self.step("desired", "The operator set a desired property; the box keeps it for the hooks and answered:")
        self.screen.aside(json.dumps(json.loads(kept.read_text())["desired"]))

    def tell_children(self) -> None:
        """A gateway speaks for what is behind it."""
        child, _ = self.made("meter-1", f"gateway_id={self.device_id}")
        new = self.scene.folder / "children.new"
        new.write_text(json.dumps({"children": [{"device_id": child, "online": True}]}))
        new.rename(self.state_dir / "children.json")
        self.is_listed("ONLINE", child)
        sentence = f"A meter behind the box, {child}, is told by it through children.json: ONLINE."
        self.screen.step("child", sentence, device_id=child, status="online")

    def count(self) -> None:
        """What it costs."""
        usual = budget.day_cost(budget.REPORTS_A_DAY)
        devices = budget.devices_on_free_unit(budget.REPORTS_A_DAY)
        text = f"{usual} messages a device and day; the free unit's {budget.FREE_UNIT_A_DAY} are enough for {devices}."
        self.step("counted", f"With the usual {budget.REPORTS_A_DAY} reports a day that is {text}")

    def fall_silent(self) -> None:
        """Offline with its link, and online again."""
        stop(self.agent)
        self.is_listed("OFFLINE")
        self.step("offline", "The agent was stopped, its link is gone: OFFLINE.", status="offline")
        self.start()
        self.is_listed("ONLINE")
        self.step("online_again", "Started again: ONLINE.", status="online")

    def publish(self) -> None:
        """Another device, over HTTPS."""
        device_id, boot = self.made("tank-1", "transport=http")
        if boot is None:
            raise DemoError("the desk made no boot file")
        self.taken_in(boot, self.scene.folder / "box-http")
        self.is_listed("ONLINE", device_id)
        sentence = f"A second device, {device_id}, traded its secret for a token and reported over HTTPS: ONLINE."
        self.screen.step("https", sentence, device_id=device_id, status="online")

    def bootstrap(self) -> None:
        """A device that nobody created: its group's secret brings it one of its own."""
        twin = self.twin
        group = twin.provisioning.add_group(twin.product_id, twin.project_id)
        boot = self.boot / f"{MEMBER}.json"
        boot.touch(mode=0o600)
        extra = {"scope": group.scope_id, "bootstrap_ca": twin.bootstrap_ca_pem}
        said = {"format": 1, "platform": "huawei", "road": "bootstrap", "deviceId": MEMBER, "secret": group.secret}
        boot.write_text(json.dumps({**said, "broker": twin.bootstrap_url, "ca": twin.ca_pem, "extra": extra}))
        self.taken_in(boot, self.scene.folder / "box-member")
        kept = (self.scene.folder / "box-member" / "registration.json").read_text()
        if group.secret in kept:
            raise DemoError("the group's secret is still on the disk")
        self.is_listed("OFFLINE", MEMBER)
        sentence = f"A third, {MEMBER}, asked the bootstrap server with its group's secret, got an address and a secret"
        self.screen.step("bootstrap", f"{sentence} of its own, and reported there.", device_id=MEMBER)

    def remove(self) -> None:
        """Gone; the box says why it is refused."""
        stop(self.agent)
        self.desk_says("remove", self.device_id)
        self.start()
        until("the box is refused", lambda: self.box_status().get("reason") == "mqtt_bad_login", self.scene)
        self.step("removed", "The operator removed the device; its box is refused, says so, and asks again slowly.")
        self.screen.aside(str(self.box_status()["message"]))

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

    def is_listed(self, raw_status: str, device_id: str = "") -> None:
        """Waits until the desk's list shows the platform's own word for the device. Raises DemoError."""

        def ask() -> bool:
            rows = json.loads(self.desk_says("list", "--json"))["data"]
            return any(row["id"] == (device_id or self.device_id) and row["raw_status"] == raw_status for row in rows)

        until(f"the list shows {raw_status}", ask, self.scene)

    def say_how_to_reach(self) -> None:
        """For --keep: the twin ends with the demo."""
        self.screen.aside("Nothing was kept. A twin that stays: make twin PLATFORM=huawei")
