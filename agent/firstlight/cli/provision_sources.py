"""The sources that the headless service watches: the camera and the hand scanners, each as a part of one loop.

Every part has ``fds`` to listen to, ``wait_s`` until something is due, ``turn`` to go on, ``look`` for what has come or
gone, and ``end``. None of them waits.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from firstlight.cli.provision_taking import Heard, Reception, Taken, question, refused
from firstlight.cli.settings import Settings
from firstlight.core import answers
from firstlight.core.answers import Answer, Answers
from firstlight.errors import InvitationError
from firstlight.sources import camera, kinds, serial_scanner
from firstlight.sources.key_scanner import KeyScanner
from firstlight.sources.serial_scanner import SerialScanner
from firstlight.system.side_job import SideJob

Give = Callable[[Answer], None]

OFF = "none"
QUIET_S = 30.0  # a camera finds its exposure, a driver resets it; more silence than that is a hang
AGAIN_S = {camera.BUSY: 5.0, camera.GONE: 5.0}
LATER_S = 60.0
SEEN = {
    answers.BLURRED: "There is a code, but it is blurred: hold it still, and mind shadow and glare.",
    answers.FAR: "There is a code, but it is too far away: come nearer.",
}


class CameraEar:
    """The camera, watched by a child process.

    Args:
        settings: ``camera_command`` is used where it is set.
        reception: takes texts in.
        known: answers that were given already.
        give: shows an answer.
        watch: what the child does; a seam for tests.
        folder: where video devices are looked for.
    """

    def __init__(
        self,
        settings: Settings,
        reception: Reception,
        known: Answers,
        give: Give,
        watch: Callable[..., None] | None = None,
        folder: str = "/dev",
    ) -> None:
        self._command, self._folder = settings.camera_command, folder
        self._reception, self._known, self._give, self._watch = reception, known, give, watch or _watch
        self._job: SideJob | None = None
        self._leaving: list[SideJob] = []
        self._again_s = 0.0
        self._trouble, self._said = "", ""
        self._asked = ""

    def look(self, now_s: float) -> None:
        """Something came or went: a camera that failed is tried again soon."""
        if not self._job:
            self._again_s = min(self._again_s, now_s)

    def fds(self) -> list[int]:
        """What to listen to."""
        return [self._job.fd] if self._job else []

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until something is due."""
        if self._job:
            return self._job.wait_s(now_s)
        return max(0.0, self._again_s - now_s) if self._trouble and self._may_open() else None

    def _may_open(self) -> bool:
        if self._command == OFF:
            return False
        return bool(self._command or camera.nodes(self._folder))

    def turn(self, now_s: float) -> None:
        """Hears the child, and starts one where there is a camera and none watches it."""
        # A child that hangs in a driver holds the camera: no second one is sent after it.
        self._leaving = [job for job in self._leaving if not job.is_gone(now_s)]
        if self._job:
            self._hear(self._job, now_s)
        elif now_s >= self._again_s and not self._leaving and self._may_open():
            command = self._command
            self._job = SideJob(lambda say: self._watch("", command, say), now_s, QUIET_S)
            self._trouble = ""

    def _hear(self, job: SideJob, now_s: float) -> None:
        for told in job.collect(now_s):
            if "problem" in told:
                self._fail(str(told.get("code")), str(told["problem"]), now_s)
                continue
            self._trouble = self._said = ""
            texts = told.get("texts")
            if isinstance(texts, list) and texts:
                self._texts([str(text) for text in texts], now_s)
            elif told.get("seen") in SEEN:
                state = str(told["seen"])
                self._give(Answer(state, SEEN[state]))
        if job.is_over:
            self._leaving.append(job)
            self._job = None
            if not self._trouble:
                self._fail(camera.GONE, "The camera does not answer any more.", now_s)

    def _fail(self, code: str, sentence: str, now_s: float) -> None:
        self._trouble = code
        self._again_s = now_s + AGAIN_S.get(code, LATER_S)
        # That a box has no camera, or a video device is none, is nothing to blink about; the rest is said once.
        if code not in (camera.MISSING, camera.UNSUPPORTED) and sentence != self._said:
            self._said = sentence
            self._give(refused(InvitationError(code, sentence)))

    def _texts(self, texts: list[str], now_s: float) -> None:
        try:
            for text in kinds.chosen(texts):
                self._text(text, now_s)
        except InvitationError as error:
            self._give(refused(error))

    def _text(self, text: str, now_s: float) -> None:
        name = question(text)
        if found := self._known.known(now_s, name):
            self._give(found)
        elif name != self._asked or not self._reception.is_busy:
            self._asked = name
            self._reception.hear(Heard(text, "camera", lambda taken: self._answered(name, taken, now_s)))

    def _answered(self, name: str, taken: Taken, now_s: float) -> None:
        self._known.remember(now_s, name, taken.answer)
        self._give(taken.answer)

    def end(self, now_s: float) -> None:
        """Gives the camera back."""
        if self._job:
            self._job.stop(now_s)


def _watch(device: str, command: str, say: Callable[[dict[str, object]], None]) -> None:
    """Loads what reads pictures only in the child."""
    from firstlight.sources import camera_watch

    camera_watch.watch(device, command, say)


class ScannerEar:
    """Every hand scanner that is there.

    Args:
        settings: ``scanner_device``: paths with commas between, "none", or "" = every serial USB line.
        reception: takes texts in.
        give: shows an answer.
        tell: takes a line for the journal.
        folder: takes the place of /dev.
    """

    def __init__(
        self,
        settings: Settings,
        reception: Reception,
        give: Give,
        tell: Callable[[str], None],
        folder: str = "/dev",
    ) -> None:
        self._named = [path.strip() for path in settings.scanner_device.split(",") if path.strip()]
        self._reception, self._give, self._tell, self._folder = reception, give, tell, folder
        self._open: dict[str, SerialScanner | KeyScanner] = {}
        self._left_alone: set[str] = set()
        self._failed: dict[str, str] = {}

    def look(self, now_s: float) -> None:
        """Opens what has come."""
        there = [path for path in self._named or serial_scanner.lines(self._folder) if Path(path).exists()]
        self._left_alone &= set(there)
        self._failed = {path: why for path, why in self._failed.items() if path in there}
        if self._named == [OFF]:
            return
        for path in there:
            if path not in self._open and path not in self._left_alone:
                self._try(path)

    def _try(self, path: str) -> None:
        try:
            self._open[path] = KeyScanner(path) if path.startswith("/dev/input/") else SerialScanner(path)
            self._failed.pop(path, None)
        except InvitationError as error:
            # A device has no rights yet in its first moments: said when it fails the second time, and once.
            if self._failed.get(path, error.message) == error.message and path in self._failed:
                self._tell(error.message)
                self._failed[path] = ""
            else:
                self._failed.setdefault(path, error.message)

    def fds(self) -> list[int]:
        """What to listen to."""
        return [each.fd for each in self._open.values() if each.fd >= 0]

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until a text is whole."""
        waits = [wait for wait in (each.wait_s(now_s) for each in self._open.values()) if wait is not None]
        return min(waits) if waits else None

    def turn(self, now_s: float) -> None:
        """Takes what has come."""
        for path, scanner in list(self._open.items()):
            scanner.take(now_s)
            try:
                for text in scanner.texts(now_s):
                    self._text(text, scanner)
            except InvitationError as error:
                scanner.was_strange()
                self._give(refused(error))
            if scanner.fd < 0:
                del self._open[path]
                self._tell(scanner.problem)
                if Path(path).exists():
                    self._left_alone.add(path)
                    self._give(Answer(answers.WRONG_KIND, scanner.problem, "scanner_unusable"))

    def _text(self, text: str, scanner: SerialScanner | KeyScanner) -> None:
        if kinds.kind_of(text).is_taken:
            scanner.was_ours()
        elif not scanner.was_strange():
            return
        self._reception.hear(Heard(text, "serial scanner", lambda taken: self._give(taken.answer)))

    def end(self, now_s: float) -> None:
        """Gives them back."""
        for each in self._open.values():
            each.close()
