"""The whole main road on this machine's loopback, for people to watch: ``make demo``.

A throw-away hub, a device created through the public API, the printed install command run into a scratch prefix, and
the device's status as everybody sees it: unknown, online, offline, online; then the hub killed and back. Every step is
the real program that a user would run; nothing is left behind. ``--json`` prints a JSON line for each step, ``--keep``
leaves hub and device running and says how to reach them.

``--road mqtt`` (``make demo ROAD=mqtt``) does the same with a device that beats over MQTT with a certificate, and more:
the certificate is replaced while it beats, and a removed device is thrown out. It needs mosquitto on this machine.

``--road offline`` (``make demo ROAD=offline``) provisions a box that reaches nothing: a QR code is drawn, damaged and
read back, a receipt is carried to the desk, and when the hub comes back the box registers by itself.

``--road huawei`` walks with a twin of Huawei IoTDA: MQTT, HTTPS, a gateway's child, desired properties, a bootstrap.

``--road qubitro`` walks with a twin of Qubitro: devices over MQTT and HTTPS, a command, and one that is removed.

``--road fleet`` walks with a twin of Fleet: boxes are put into the inventory from their facts, and never twice.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from firstlight.errors import FirstlightError


def main() -> int:
    """Plays the demo; 0, or 1 and the reason."""
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from tests.demo_fleet import FleetPlay
    from tests.demo_huawei import HuaweiPlay
    from tests.demo_mqtt import MqttPlay
    from tests.demo_offline import OfflinePlay
    from tests.demo_play import DemoError, Play, Screen, stage
    from tests.demo_qubitro import QubitroPlay

    roads: dict[str, type[Play]] = {
        "http": Play,
        "mqtt": MqttPlay,
        "offline": OfflinePlay,
        "huawei": HuaweiPlay,
        "qubitro": QubitroPlay,
        "fleet": FleetPlay,
    }
    parser = argparse.ArgumentParser(description="The whole main road on loopback.")
    parser.add_argument("--json", action="store_true", help="a JSON line for each step")
    parser.add_argument("--road", choices=roads, default="http", help="which road the device takes")
    parser.add_argument("--keep", action="store_true", help="leave hub and device running")
    typed = parser.parse_args()
    screen = Screen(typed.json)
    try:
        with stage(typed.keep) as scene:
            try:
                play = roads[typed.road](scene, screen)
                play.perform()
                if typed.keep:
                    play.say_how_to_reach()
            except (DemoError, FirstlightError, subprocess.TimeoutExpired) as error:
                print(f"demo failed after step {screen.number}: {error}\n{scene.log_tails()}", file=sys.stderr)
                return 1
    except KeyboardInterrupt:
        return 130
    screen.step("done", "Done. Next: README.md, 'Install on a box'.")
    return 0


if __name__ == "__main__":
    try:
        code = main()
    except BrokenPipeError:  # whoever looked has seen enough, as with "| head"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)
