"""Every code that must be refused, through each source of the headless service: what the LED shows, and the disk."""

from __future__ import annotations

import io
import json
import os
import select
import shlex
import sys
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image, ImageFilter

from firstlight.cli.provision_service import Service
from firstlight.cli.provision_sources import CameraEar
from firstlight.cli.provision_taking import Reception
from firstlight.cli.settings import Settings
from firstlight.core import answers
from firstlight.core.answers import Answer, Answers
from firstlight.daemon.notify import ServiceNotifier
from firstlight.sources import camera
from firstlight.system.signs import LIGHT, TONE, Signs
from tests.detached.labels import Signer, everything, payload
from tests.provision.bad_codes import BAD, used
from tests.provision.run_service import FolderMounts
from tests.scan.label import beside, picture
from tests.scan.test_bad_codes import bomb

PATIENCE_S = 40.0


class Shown:
    """Implements ``system.signs.Sign``: what LED, beeper and screen are told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def show(self, state: str, sentence: str) -> None:
        """Remembers it."""
        self.told.append((state, sentence))


class Headless:
    """The service, turned by the test."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.signer, self.shown = folder, Signer(), Shown()
        self.settings = Settings(**{"camera_command": "none", "scanner_device": "none", **used(folder, self.signer)})
        self.sticks = folder / "sticks"
        self.sticks.mkdir()
        self._service: Service | None = None

    def watch(self, **settings: str) -> None:
        """Begins."""
        made = self.settings._replace(**settings)
        signs = Signs([], [self.shown])
        self._service = Service(made, signs, ServiceNotifier(lambda said: None, None), -1, FolderMounts(self.sticks))
        self._service._turn()

    def until(self, what: Callable[[], object]) -> None:
        """Turns until that is so."""
        assert self._service is not None
        until_s = time.monotonic() + PATIENCE_S
        while not what():
            assert time.monotonic() < until_s, self.shown.told
            self._service._wait()
            self._service._turn()

    def answered(self, state: str, code: str) -> None:
        """Until that is shown."""
        self.until(lambda: any(told == state and f"[{code}]" in line for told, line in self.shown.told))

    def put_in(self, **files: bytes) -> Path:
        """A stick; ``device_json`` is ``device.json``."""
        aside = self.folder / "aside"
        aside.mkdir()
        for name, body in files.items():
            (aside / name.replace("_", ".")).write_bytes(body)
        return aside.rename(self.sticks / "stick")

    def end(self) -> None:
        """Ends it."""
        if self._service is not None:
            for each in self._service._parts:
                each.end(time.monotonic())
            self._service._arrivals.close()


@pytest.fixture
def headless(tmp_path: Path) -> Iterator[Headless]:
    """A box; not watching yet."""
    one = Headless(tmp_path)
    yield one
    one.end()


def on_a_stick(headless: Headless, texts: list[str]) -> None:
    """As the file from the desk, or with one part a line."""
    if len(texts) == 1:
        headless.put_in(device_json=json.dumps({"format": 1, "payload": texts[0]}).encode())
    else:
        headless.put_in(firstlight_txt="\n".join(texts).encode())
    headless.watch()


def from_a_scanner(headless: Headless, texts: list[str]) -> None:
    """A pseudo terminal stands for the serial line."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    headless.watch(scanner_device=os.ttyname(theirs))
    for number, text in enumerate(texts):
        os.write(ours, text.encode() + b"\r\n")
        headless.until(lambda number=number: len(headless.shown.told) > number)  # type: ignore[misc]


def before_the_camera(headless: Headless, texts: list[str]) -> None:
    """A program in the place of a camera shows each for a while."""
    names = []
    for number, text in enumerate(texts):
        names.append(str(headless.folder / f"{number}.jpg"))
        picture(text).save(names[-1])
    headless.watch(camera_command=showing(headless.folder, names))


def showing(folder: Path, names: list[str]) -> str:
    """A camera's command that shows these, over and over."""
    program = folder / "camera.py"
    program.write_text(
        "import select, sys\nwhile True:\n for name in sys.argv[1:]:\n"
        "  sys.stdout.buffer.write(open(name, 'rb').read())\n  sys.stdout.flush()\n  select.select([], [], [], 0.05)\n"
    )
    return shlex.join([sys.executable, str(program), *names])


SOURCES = {"stick": on_a_stick, "scanner": from_a_scanner, "camera": before_the_camera}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", BAD)
def test_refused(headless: Headless, name: str, source: str) -> None:
    """One sentence with its code, a state with a light and a tone of its own, and nothing different on the disk."""
    bad, before = BAD[name], everything(headless.folder / "state")
    SOURCES[source](headless, bad.texts(headless.signer))
    headless.answered(bad.state, bad.code)
    assert bad.state in LIGHT and bad.state in TONE
    assert everything(headless.folder / "state") == before
    if source == "stick":
        word = headless.sticks / "stick" / "RESULT.txt"
        headless.until(lambda: word.exists() and f"[{bad.code}]" in word.read_text())


def png(text: str, *others: str) -> bytes:
    """A picture of these codes."""
    body = io.BytesIO()
    beside(*[picture(each) for each in (text, *others)]).save(body, "PNG")
    return body.getvalue()


def test_two_codes_in_one_picture(headless: Headless) -> None:
    """Which one is meant cannot be told: neither is taken, from a stick or before the camera."""
    before = everything(headless.folder / "state")
    body = png(*[headless.signer.label(payload(device_id=name)) for name in ("dev-1", "dev-2")])
    headless.put_in(both_png=body)
    (headless.folder / "both.png").write_bytes(body)
    headless.watch()
    headless.answered(answers.REFUSED, "codes_several")
    assert everything(headless.folder / "state") == before


def test_two_codes_before_the_camera(headless: Headless) -> None:
    """The same where a camera sees them."""
    before = everything(headless.folder / "state")
    body = png(*[headless.signer.label(payload(device_id=name)) for name in ("dev-1", "dev-2")])
    path = headless.folder / "both.jpg"
    with Image.open(io.BytesIO(body)) as opened:
        opened.save(path)
    headless.watch(camera_command=showing(headless.folder, [str(path)]))
    headless.answered(answers.REFUSED, "codes_several")
    assert everything(headless.folder / "state") == before


@pytest.mark.parametrize("state", [answers.BLURRED, answers.FAR])
def test_a_code_that_is_seen_and_not_read(headless: Headless, state: str) -> None:
    """Spoiled before the camera, or too small in a large picture: told apart, each with a light of its own."""
    sharp = picture("FL1:" + "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ" * 11, 6)
    shown = sharp.filter(ImageFilter.MedianFilter(9))
    if state == answers.FAR:
        shown = Image.new("L", (1400, 1400), 200)
        shown.paste(sharp.resize((sharp.width // 5, sharp.height // 5), Image.Resampling.BOX), (500, 500))
        shown = shown.filter(ImageFilter.GaussianBlur(0.6))
    path = headless.folder / "seen.jpg"
    shown.save(path, quality=95)
    headless.watch(camera_command=showing(headless.folder, [str(path)]))
    headless.until(lambda: any(told == state for told, _ in headless.shown.told))
    assert state in LIGHT and not (headless.folder / "state" / "provisioned.json").exists()


@pytest.mark.parametrize("code", [camera.BUSY, camera.GONE, camera.FORBIDDEN])
def test_a_camera_that_cannot_be_used(tmp_path: Path, code: str) -> None:
    """Busy, pulled, forbidden: told once as an answer, tried again later; that there is none is nothing to blink at."""
    shown: list[Answer] = []
    said = [code]

    def watch(device: str, command: str, say: Callable[[dict[str, object]], None]) -> None:
        say({"code": said[0], "problem": "It is so."})

    settings = Settings(state_dir=str(tmp_path), camera_command="program")
    for each in (code, camera.MISSING):
        said[0] = each
        shown.clear()
        reception = Reception(settings, lambda line: None)
        ear = CameraEar(settings, reception, Answers(Answer(answers.LOOKING, "")), shown.append, watch)
        now_s = 0.0
        for now_s in (0.0, 100.0):  # the second time it is tried again
            ear.turn(now_s)
            while ear.fds():
                select.select(ear.fds(), [], [], PATIENCE_S)
                ear.turn(now_s)
            wait = ear.wait_s(now_s)
            assert wait is not None and wait >= 5
        ear.end(now_s)
        assert [(one.state, one.code) for one in shown] == ([(answers.REFUSED, code)] if each == code else [])


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"code_png": bomb()}, "picture_too_large"),
        ({"code_png": b"no picture"}, "picture_unreadable"),
        ({"code_png": b""}, "picture_unreadable"),
        ({"device_json": b'{"format": 1, "payload": "' + b"FL1:" + b"A" * 10_000_000 + b'"}'}, "stick_unreadable"),
        ({"firstlight_txt": b"FL1:" + b"A" * 10_000_000}, "stick_unreadable"),
        ({"firstlight_txt": b"FL1:" + b"A" * 40_000}, "invitation_malformed"),
        ({"device_json": b"[" * 60_000}, "stick_malformed"),
    ],
    ids=["a bomb", "no picture", "an empty picture", "10 MB of device.json", "10 MB of text", "40 KB", "nested JSON"],
)
def test_files_that_are_too_much(headless: Headless, files: dict[str, bytes], code: str) -> None:
    """Each is told by name on LED and stick, and the box is as it was."""
    before = everything(headless.folder / "state")
    headless.put_in(**files)
    headless.watch()
    headless.until(lambda: (headless.sticks / "stick" / "RESULT.txt").exists())
    headless.until(lambda: f"[{code}]" in (headless.sticks / "stick" / "RESULT.txt").read_text())
    assert headless.shown.told[-1][0] in (answers.REFUSED, answers.WRONG_KIND)
    assert everything(headless.folder / "state") == before


def test_ten_megabytes_from_a_scanner(headless: Headless) -> None:
    """A line that does not stop is closed, with an answer."""
    before = everything(headless.folder / "state")
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    headless.watch(scanner_device=os.ttyname(theirs))
    left = memoryview(b"FL1:" + b"A" * 10_000_000)

    def send() -> bool:
        nonlocal left
        with suppress(BlockingIOError):
            left = left[os.write(ours, left) :]
        return any("[scanner_unusable]" in line for _, line in headless.shown.told)

    headless.until(send)
    assert headless.shown.told[-1][0] == answers.WRONG_KIND
    assert everything(headless.folder / "state") == before
    os.close(ours)
    os.close(theirs)
