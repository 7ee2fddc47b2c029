"""The demo's road over MQTT with a certificate, and the life of that certificate."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

from tests.demo_play import BIN, DemoError, Play, agent_status, free_port, until


class MqttPlay(Play):
    """The same road over MQTT with a certificate, and the life of that certificate."""

    create_words = ("--transport", "mqtt", "--credential", "certificate")

    def acts(self) -> tuple[Callable[[], None], ...]:
        """Two more at the end."""
        return (*super().acts(), self.rotate, self.remove)

    def more_settings(self) -> dict[str, int | str]:
        """A mosquitto of the hub's own."""
        if not shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"):
            raise DemoError("there is no mosquitto on this machine (Debian: sudo apt-get install mosquitto)")
        return {"mqtt": "mosquitto", "mqtt_port": free_port(), "mqtt_certificate_port": free_port()}

    def set_up(self) -> None:
        """A hub with a broker."""
        super().set_up()
        self.screen.aside(
            "It runs a mosquitto as its child, with a port for secrets and one for certificates, all in TLS."
        )

    def come_and_go(self) -> None:
        """As always, and how the agent is connected."""
        super().come_and_go()
        found = agent_status(self.scene)
        how = f"{found['protocol']} with a {found['credential']}"
        self.step("connected", f"The box itself says: {how}, broker {found['broker']}.")

    def rotate(self) -> None:
        """A new key and a new certificate, while it beats."""
        before = agent_status(self.scene)
        output = self.scene.run(str(self.scene.prefix / "bin" / "firstlight"), "rotate", env=self.scene.box_env)
        until("the agent beats again", lambda: agent_status(self.scene)["state"] == "online", self.scene)
        after = agent_status(self.scene)
        if before["keyFingerprint"] == after["keyFingerprint"]:
            raise DemoError("the device still has its old key")
        self.step("rotated", "The box replaced its key and certificate, proved the new ones, and beats on:")
        self.screen.aside(output.rstrip())

    def remove(self) -> None:
        """The operator removes the device; its certificate is worth nothing from then on."""
        self.scene.run(str(BIN / "firstlight"), "device", "remove", self.device_id, *self.desk_words)
        until("the agent has ended", lambda: self.agent.poll() is not None, self.scene)
        until("the box knows", lambda: agent_status(self.scene)["state"] == "retired", self.scene)
        self.step(
            "removed", "The operator removed the device: certificate revoked, the agent has set it aside and ended."
        )
