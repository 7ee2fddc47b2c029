"""The demo's road without a network: a printed code, a bad picture of it, a receipt, and a hub that comes later."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.demo_play import BIN, DemoError, Play, agent_status, serve, start_agent, stop, until


class OfflinePlay(Play):
    """A box that is provisioned where nothing can be reached, tells of itself by a receipt, and registers by itself."""

    create_words = ("--type", "ai1", "--offline")

    def acts(self) -> tuple[Callable[[], None], ...]:
        """In their order."""
        return (
            *(self.set_up, self.create, self.pack, self.leave, self.draw, self.spoil),
            *(self.scan, self.live_detached, self.carry_receipt, self.find_network, self.show),
        )

    @property
    def box(self) -> str:
        """The command on the box."""
        return str(self.scene.prefix / "bin" / "firstlight")

    @property
    def stick(self) -> Path:
        """What the technician carries."""
        return self.scene.folder / "stick"

    def create(self) -> None:
        """The operator's part, and the payload in the answer."""
        words = ("device", "create", "Dam camera", "--json", *self.create_words, *self.desk_words)
        made = json.loads(self.scene.run(str(BIN / "firstlight"), *words))
        self.device_id, self.payload = str(made["deviceId"]), str(made["offlineProvisioningQrPayload"])
        self.open_desk()
        sentence = f"The operator created {self.device_id} for a site without a network; its signed payload:"
        self.step("created", sentence)
        self.screen.aside(f"{self.payload[:100]}… ({len(self.payload)} characters)")

    def pack(self) -> None:
        """The agent in one file, and the hub's public key, as a desk puts them on a stick."""
        self.stick.mkdir()
        bundle = next((self.scene.hub_dir / "bundles").glob("firstlight-*.tar"))
        shutil.copy(bundle, self.stick)
        words = (str(BIN / "firstlight-hub"), "release-key", "--dir", str(self.scene.hub_dir))
        (self.stick / "hub.pub").write_text(self.scene.run(*words))
        (self.stick / "payload.txt").write_text(self.payload)
        self.step("packed", f"On a stick: {bundle.name} and the hub's public key.")

    def leave(self) -> None:
        """From here on there is no hub."""
        stop(self.hub)
        self.step("alone", "The hub was stopped. From here on the box can reach nothing.")
        bundle = next(self.stick.glob("*.tar"))
        scene = self.scene
        line = (
            f"tar -xOf {bundle} install.sh | sh -s -- --bundle {bundle} --trust {self.stick / 'hub.pub'} "
            f"--prefix {scene.prefix} --no-service --with-scanning"
        )
        output = scene.run("sh", "-c", line, env=scene.box_env)
        self.step("installed", f"The box was installed from the stick (here into {scene.prefix}, without root):")
        self.screen.aside(output.rstrip())

    def draw(self) -> None:
        """The label."""
        words = (
            "device",
            "qr",
            "--payload-file",
            str(self.stick / "payload.txt"),
            "--png",
            str(self.stick / "label.png"),
        )
        self.scene.run(str(BIN / "firstlight"), *words)
        (self.stick / "payload.txt").unlink()
        self.step("drawn", "The desk drew it as a QR code, to be printed on a label.")

    def spoil(self) -> None:
        """A bad print, seen by a bad camera."""
        from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

        with Image.open(self.stick / "label.png") as drawn:
            picture = drawn.convert("L")
        side = picture.width
        pen = ImageDraw.Draw(picture)
        pen.line((side * 0.45, side * 0.3, side * 0.6, side * 0.75), fill=255, width=max(2, side // 120))
        pen.ellipse((side * 0.7, side * 0.55, side * 0.74, side * 0.59), fill=90)
        picture = picture.rotate(11, expand=True, fillcolor=200).filter(ImageFilter.GaussianBlur(side / 500))
        ImageEnhance.Contrast(picture).enhance(0.35).save(self.stick / "seen.jpg", quality=25)
        self.step("spoiled", "The label was scratched, stained, tilted, blurred and faded: what a cheap camera sees.")

    def scan(self) -> None:
        """The technician's part."""
        words = ("scan", "--image", str(self.stick / "seen.jpg"), "--no-start")
        output = self.scene.run(self.box, *words, env=self.scene.box_env)
        self.step(
            "provisioned", "The box read that picture, checked signature, dates and audience, and is provisioned:"
        )
        self.screen.aside(output.rstrip())

    def live_detached(self) -> None:
        """It beats, for later."""
        self.agent = start_agent(self.scene)
        until("beats are kept", lambda: int(str(agent_status(self.scene).get("spooled") or 0)) >= 1, self.scene)
        found = agent_status(self.scene)
        if found["state"] != "provisioned":
            raise DemoError(f"the box says {found['state']!r}")
        sentence = "The agent runs: provisioned, not yet registered. Its heartbeats are kept on disk."
        self.step("detached", sentence, status=found["state"])

    def carry_receipt(self) -> None:
        """What the technician carries back, while the box still reaches nothing."""
        scene = self.scene
        link = scene.run(self.box, "receipt", "--text", env=scene.box_env).strip().splitlines()[0]
        scene.run(self.box, "receipt", "--png", str(self.stick / "receipt.png"), env=scene.box_env)
        stop(self.agent)
        self.step("receipt", "The box gave a receipt, signed with its key; a phone's camera would open this link:")
        self.screen.aside(f"{link[:100]}… ({len(link)} characters)")
        self.hub, _ = serve(scene)
        words = ("device", "receipt", "--image", str(self.stick / "receipt.png"), *self.desk_words)
        output = scene.run(str(BIN / "firstlight"), *words)
        self.step("imported", "Back at the desk the hub runs again, and a picture of the receipt is imported:")
        self.screen.aside(output.rstrip())
        words = ("device", "list", *self.desk_words)
        self.step("by_hand", "So the list tells of a box that no network has reached yet:")
        self.screen.aside(scene.run(str(BIN / "firstlight"), *words).rstrip())

    def find_network(self) -> None:
        """A network at last; nobody touches the box."""
        self.agent = start_agent(self.scene)
        until("the agent beats", lambda: agent_status(self.scene)["state"] == "online", self.scene)
        until("the device is online", self.is_now("online"), self.scene)
        until("the kept beats are delivered", lambda: not agent_status(self.scene).get("spooled"), self.scene)
        sentence = "The box found the hub: it registered by itself and handed its kept beats over. Online."
        self.step("online", sentence, status="online")
        if left := list((self.scene.prefix / "var").glob("provisioned*")):
            raise DemoError(f"the spent token is still on the disk: {left[0]}")
