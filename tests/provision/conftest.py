"""A box that waits for its code: the service as a process; LED and sticks are folders, a scanner is a pty."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from firstlight.core.provision import Payload
from tests.detached.labels import Signer, payload
from tests.e2e.conftest import wait_until

RUN = Path(__file__).with_name("run_service.py")
TRIGGERS = "[none] timer heartbeat default-on\n"


def led_folder(folder: Path, name: str = "act", trigger: str = TRIGGERS) -> Path:
    """An LED as the kernel shows it; a test's own folder keeps what is written last."""
    place = folder / name
    place.mkdir(parents=True)
    for file, text in (("brightness", "0\n"), ("max_brightness", "255\n"), ("trigger", trigger)):
        (place / file).write_text(text)
    return place


class Waiting:
    """One box.

    Args:
        folder: an own, empty one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.signer = folder, Signer()
        self.state, self.sticks = folder / "state", folder / "sticks"
        self.sticks.mkdir()
        self.led = led_folder(folder / "leds")
        self.master, slave = os.openpty()
        tty.setraw(slave)
        self.scanner = os.ttyname(slave)
        self.said: list[str] = []
        self.process: subprocess.Popen[str] | None = None
        self._slave = slave

    def start(self, *words: str, **settings: str) -> None:
        """Starts the service; the word "untold": on a kernel that does not tell of sticks."""
        given = {
            "state_dir": str(self.state),
            "trust_dir": str(self.signer.trusted_in(self.folder)),
            "led": str(self.led),
            "scanner_device": self.scanner,
            "camera_command": "none",
            "serial": "SN-7",
            **settings,
        }
        env = {**os.environ, **{f"FIRSTLIGHT_{name.upper()}": value for name, value in given.items()}}
        self.process = subprocess.Popen(
            [sys.executable, str(RUN), str(self.sticks), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            env=env,
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self.hears("This box waits for its code")

    def _listen(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)

    def hears(self, words: str) -> None:
        """Until the service has said that."""
        wait_until(f"it says {words!r}; it said {self.said}", lambda: any(words in line for line in self.said))

    def label(self, **changes: object) -> str:
        """A good label for this box."""
        return self.signer.label(self.claims(**changes))

    @staticmethod
    def claims(**changes: object) -> Payload:
        """What a label says."""
        return payload(**changes)  # type: ignore[arg-type]

    def put_in(self, name: str, **files: str | bytes) -> Path:
        """Puts a stick in; ``device_json`` is ``device.json``."""
        aside = self.folder / f"aside-{name}"
        aside.mkdir()
        for file, text in files.items():
            stem, _, end = file.rpartition("_")
            body = text.encode() if isinstance(text, str) else text
            (aside / f"{stem.replace('__', '-')}.{end}").write_bytes(body)
        return aside.rename(self.sticks / name)

    def result(self, name: str) -> str:
        """The stick's answer, once it is there."""
        path = self.sticks / name / "RESULT.txt"
        wait_until(f"there is an answer; it said {self.said}", lambda: path.exists() and path.stat().st_size > 0)
        return path.read_bytes().decode()

    def scan(self, text: str) -> None:
        """Scans a code with the hand scanner."""
        os.write(self.master, text.encode() + b"\r\n")

    def status(self) -> int:
        """The service's end."""
        assert self.process is not None
        return self.process.wait(20)

    def end(self) -> None:
        """Ends it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self._listener.join(20)
            assert self.process.stdout is not None
            self.process.stdout.close()
        os.close(self.master)
        os.close(self._slave)


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Waiting]:
    """A box; not started yet."""
    one = Waiting(tmp_path)
    yield one
    one.end()
