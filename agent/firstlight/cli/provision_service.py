"""``firstlight provision``: waits for a code by camera, USB stick or hand scanner, and answers without a screen.

firstlight-provision.service runs it while a box has neither been provisioned nor enrolled. One thread and one wait hold
everything: what may hang or break (a camera, a stick, a picture, the text of a stranger) is in a child of its own.
When the box is provisioned it ends, and systemd starts the agent.
"""

from __future__ import annotations

import os
import select
import sys
import time

from firstlight.cli import options
from firstlight.cli.provision_sources import OFF, CameraEar, ScannerEar
from firstlight.cli.provision_sticks import Mounts, MountTable, StickEar
from firstlight.cli.provision_taking import Reception
from firstlight.cli.settings import Settings
from firstlight.core import answers
from firstlight.core.answers import Answer, Answers
from firstlight.daemon.notify import ServiceNotifier, service_notifier
from firstlight.daemon.stop import StopSignals
from firstlight.system import console, leds, signs
from firstlight.system.arrivals import Arrivals
from firstlight.system.beep import Bell, Buzzer
from firstlight.system.leds import Led
from firstlight.system.signs import Rhythm, Signs
from firstlight.system.store import BACKUP, REGISTRATION

DESCRIPTION = (
    "Wait for this box's code: a camera, a USB stick and hand scanners are watched at once, and an LED, a beeper, the "
    "screen and RESULT.txt on the stick answer. Ends when the box is provisioned. Its service runs this."
)
LOOKING = Answer(answers.LOOKING, "This box waits for its code: show it to the camera, scan it, or put in a USB stick.")
ELSEWHERE = Answer(answers.DONE, "This box is provisioned or enrolled; nothing waits for a code any more.")
PROVISIONED = "provisioned.json"
ENDINGS = (REGISTRATION, BACKUP, PROVISIONED)
# All that is told by the kernel is looked at anew now and then, in case an event was lost.
LOOK_S = 30.0
UNTOLD_LOOK_S = 2.0
# A device has its rights and names a moment after its file.
SETTLE_S = 1.0
# How long "done" is shown before the service ends, the LED is given back and the agent starts. Whoever put a stick in
# stands on a ladder, looks at the port and comes down before looking up: ten seconds, and as many again to be sure.
DONE_S = 20.0
INTERESTING = ("video", "ttyACM", "ttyUSB", "serial", "input", "event", "usb-", "by-", "media", "v4l")


def verb(words: list[str], config: str | None) -> int:
    """Returns 0 when this box is provisioned, or a stop was asked for. Raises FirstlightError."""
    made = options.parser("provision", DESCRIPTION)
    options.add_state(made)
    made.add_argument("--led", metavar="NAME", help="the LED that answers, of /sys/class/leds; none = no LED")
    typed = made.parse_args(words)
    return serve(options.load(typed, config))


def serve(settings: Settings, mounts: Mounts | None = None, done_s: float = DONE_S) -> int:
    """Runs the service, and gives the LED back.

    Args:
        settings: of this box.
        mounts: the sticks that are mounted, None = as the kernel tells.
        done_s: how long "done" is shown.

    Returns:
        0 when this box is provisioned, or a stop was asked for.
    """
    stop = StopSignals()
    light, shown = _signs(settings)
    try:
        Service(settings, shown, service_notifier(os.environ), stop.wake_fd, mounts, done_s).run(stop)
    finally:
        if light:
            light.give_back()
    return 0


def _signs(settings: Settings) -> tuple[Led | None, Signs]:
    """What this box answers with; the LED, if there is one, is to be given back."""
    path = leds.find(settings.led)
    light = Led(path) if path else None
    if settings.led and settings.led != OFF and not light:
        _tell(f"there is no LED {settings.led}: no light answers")
    screen = console.screen()
    tone = Buzzer(settings.beeper) if settings.beeper and settings.beeper != OFF else Bell(console.bell())
    rhythms = [Rhythm(light, signs.LIGHT, repeats=True)] if light else []
    rhythms += [Rhythm(tone, signs.TONE, repeats=False)] if settings.beeper != OFF else []
    return light, Signs(rhythms, [console.Console(_print, screen)])


def _tell(line: str) -> None:
    """One line for the journal alone."""
    print(f"<6>{line}", file=sys.stderr, flush=True)


def _print(line: str) -> None:
    """One line for the journal and the console."""
    print(line, flush=True)


class Service:
    """The one loop.

    Args:
        settings: of this box.
        shown: answers.
        notifier: the service manager.
        wake_fd: readable when a stop is asked for, -1 = none is listened to.
        mounts: the sticks that are mounted, None = as the kernel tells.
        done_s: how long "done" is shown.
    """

    def __init__(
        self,
        settings: Settings,
        shown: Signs,
        notifier: ServiceNotifier,
        wake_fd: int = -1,
        mounts: Mounts | None = None,
        done_s: float = DONE_S,
    ) -> None:
        self._settings, self._signs, self._notifier, self._wake_fd = settings, shown, notifier, wake_fd
        self._answers = Answers(LOOKING)
        self.reception = Reception(settings, _tell)
        self._mounts = mounts or MountTable()
        self._sticks = StickEar(settings, self.reception, self.give, _tell, self._mounts)
        camera = CameraEar(settings, self.reception, self._answers, self.give)
        self._sources = (self._sticks, ScannerEar(settings, self.reception, self.give, _tell), camera)
        self._parts = (self.reception, *self._sources)
        self._arrivals = Arrivals(("/dev", "/dev/serial/by-id", "/dev/input", "/dev/input/by-id", settings.state_dir))
        # Whoever runs many containers may have used up what the kernel gives of this (fs.inotify.max_user_instances).
        is_told = self._arrivals.fd >= 0 and self._mounts.fd >= 0
        self._look_every_s = LOOK_S if is_told else UNTOLD_LOOK_S
        if not is_told:
            _tell(f"the kernel does not tell what is plugged in; it is looked at every {UNTOLD_LOOK_S:.0f} s")
        self._look_s, self._done_s = 0.0, done_s
        self._end_s: float | None = None

    def give(self, answer: Answer) -> None:
        """Shows an answer, unless a weightier one stands."""
        if self._answers.give(time.monotonic(), answer):
            self._show(answer)

    def _show(self, answer: Answer) -> None:
        self._signs.show(answer.state, answer.line)
        self._notifier.status(answer.line)

    def run(self, stop: StopSignals) -> None:
        """Until the box is provisioned, or a stop is asked for."""
        self._notifier.ready(LOOKING.line)
        self._signs.show(LOOKING.state, LOOKING.line)
        try:
            while not stop.is_asked and not self._turn():
                self._notifier.alive()
                self._wait()
        finally:
            self._notifier.stopping()
            now_s = time.monotonic()
            for each in self._parts:
                each.end(now_s)
            self._arrivals.close()

    def _turn(self) -> bool:
        """Everything that is due; True when it is over."""
        now_s = time.monotonic()
        if now_s >= self._look_s:
            self._look_s = now_s + self._look_every_s
            for each in self._sources:
                each.look(now_s)
        for part in self._parts:
            part.turn(now_s)
        if self._answers.is_over(now_s):
            self._show(LOOKING)
        self._signs.tick(now_s)
        if self._end_s is None and self._is_done():
            self.give(ELSEWHERE) if self._answers.shown.state != answers.DONE else None
            self._end_s = now_s + self._done_s
            self._signs.tick(now_s)
        return self._end_s is not None and now_s >= self._end_s

    def _is_done(self) -> bool:
        """Whether the box is provisioned, and everybody who waits for an answer has it."""
        if self.reception.is_busy or self._sticks.is_busy:
            return False
        folder = self._settings.state_dir
        return any(os.path.lexists(f"{folder}/{name}") for name in ENDINGS)

    # -- waiting -----------------------------------------------------------------------------------------------------
    def _wait(self) -> None:
        """The one wait: until something comes or is due."""
        now_s = time.monotonic()
        poll = select.poll()
        for fd in [fd for part in self._parts for fd in part.fds() if fd >= 0]:
            poll.register(fd, select.POLLIN)
        for fd in (self._wake_fd, self._arrivals.fd):
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        if self._mounts.fd >= 0:
            poll.register(self._mounts.fd, self._mounts.event)
        ready = {fd for fd, _ in poll.poll(int(self._due_s(now_s) * 1000) + 1)}
        if self._mounts.fd in ready:
            self._look_s = 0.0
        if self._arrivals.fd in ready:
            self._hear_arrivals(now_s)

    def _due_s(self, now_s: float) -> float:
        waits = [part.wait_s(now_s) for part in (*self._parts, self._answers, self._signs)]
        waits += [self._look_s - now_s, None if self._end_s is None else self._end_s - now_s]
        longest = (self._notifier.watchdog_s or 2 * LOOK_S) / 2
        return max(0.0, min([longest, *(wait for wait in waits if wait is not None)]))

    def _hear_arrivals(self, now_s: float) -> None:
        """A device came: looked at now, and once more when udev has given it its rights."""
        names = {path.rpartition("/")[2] for path in self._arrivals.read()}
        if any(name.startswith(INTERESTING) for name in names):
            for folder in ("/dev/serial/by-id", "/dev/input", "/dev/input/by-id"):
                self._arrivals.watch(folder)
            for each in self._sources:
                each.look(now_s)
            self._look_s = min(self._look_s, now_s + SETTLE_S)
