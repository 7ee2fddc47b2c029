"""A hub as its own process, on loopback, as its operator starts it."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import sys
from pathlib import Path
from types import TracebackType

import httpx

import firstlight
import firstlight_hub
from tests.hub.hub_world import JSON, Box

# The very code that this test process imports, installed or not.
ROOTS = dict.fromkeys(str(Path(str(package.__file__)).parents[1]) for package in (firstlight, firstlight_hub))
PATIENCE_S = 30


def environment() -> dict[str, str]:
    """What a child process of ours is given."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(ROOTS)}


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs ``firstlight-hub`` to its end."""
    line = [sys.executable, "-m", "firstlight_hub", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE_S, env=environment(), check=False)


def make(folder: Path, *words: str) -> str:
    """``init`` for 127.0.0.1 -> the operator's key."""
    key_file = folder.with_name(folder.name + ".key")
    done = command("init", "--dir", folder, "--host", "127.0.0.1", "--port", "0", "--key-file", key_file, *words)
    assert done.returncode == 0, done.stderr
    return key_file.read_text().strip()


def change(folder: Path, **settings: object) -> None:
    """Changes settings in ``hub.toml``."""
    text = (folder / "hub.toml").read_text()
    for name, value in settings.items():
        text, found = re.subn(rf"(?m)^{name} = .*$", f"{name} = {json.dumps(value)}", text)
        assert found == 1, name
    (folder / "hub.toml").write_text(text)


class Served:
    """A running hub; a context manager that ends it.

    Args:
        folder: made by ``make``.
        key: the operator's key.
        words: further arguments of ``serve``.
        files: how many file descriptors the process may have, or None for what is usual.
    """

    def __init__(self, folder: Path, key: str, *words: str, files: int | None = None) -> None:
        self.folder = folder
        self.key = key
        reading, writing = os.pipe()
        line = [sys.executable, "-m", "firstlight_hub", "serve", "--dir", str(folder), "--host", "127.0.0.1"]
        if files is not None:
            line = ["sh", "-c", 'ulimit -n "$0" && exec "$@"', str(files), *line]
        self.process = subprocess.Popen(
            [*line, "--ready-fd", str(writing), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(),
            pass_fds=[writing],
        )
        os.close(writing)
        with os.fdopen(reading) as ready:
            told = ready.read()  # ends when the hub listens, or is gone
        assert told, self.process.communicate(timeout=PATIENCE_S)[0]
        self.told = json.loads(told)
        self.url: str = self.told["url"]
        self.client = self.connect()

    def connect(self) -> httpx.Client:
        """A client of its own, which trusts the hub's CA and nothing else."""
        if self.url.startswith("http:"):
            return httpx.Client(base_url=self.url, timeout=PATIENCE_S)
        trust = ssl.create_default_context(cafile=self.folder / "ca.pem")
        return httpx.Client(base_url=self.url, verify=trust, timeout=PATIENCE_S)

    def __enter__(self) -> Served:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=PATIENCE_S)

    def stop(self) -> tuple[int, str]:
        """Asks it to stop -> exit status and everything it printed."""
        self.process.send_signal(signal.SIGTERM)
        output, _ = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, output

    def kill(self) -> None:
        """Ends it as a power cut would."""
        self.process.kill()
        self.process.communicate(timeout=PATIENCE_S)

    def create(self) -> tuple[str, str, str]:
        """Creates a device -> (device id, installId, install command)."""
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = self.client.post("/demo/devices/v2", json={"device_name": "cam"}, headers=headers)
        assert answer.status_code == 201, answer.text
        body = answer.json()
        return body["deviceId"], body["installId"], body["installCommand"]

    def redeem(self, install_id: str, box: Box) -> httpx.Response:
        """Redeems an installId."""
        return self.client.post(f"/devices/v2/{install_id}/redeem", content=box.redeem_body(), headers=JSON)

    def beat(self, device_id: str, key: str, body: bytes, client: httpx.Client | None = None) -> int:
        """Sends a beat -> status."""
        headers = {**JSON, "Authorization": f"Bearer {key}"}
        path = f"/demo/devices/v2/{device_id}/heartbeat"
        return (client or self.client).post(path, content=body, headers=headers).status_code
