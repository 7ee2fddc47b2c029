"""``firstlight firstboot``: takes the invitation that waits on this box, enrolls with it and takes it away.

firstlight-firstboot.service runs it at each boot at which an invitation waits. Without a network, which is how a first
boot begins, it goes on for ever; a no from the hub is final for that invitation. What is written down about each
(``firstboot_notes``) outlives a reset: no invitation is used twice.
"""

from __future__ import annotations

import os
import random
import select
import sys
from pathlib import Path
from typing import NamedTuple

from firstlight.cli import enroll, firstboot_notes, next_step, options, provisioning, service
from firstlight.cli.enrolling import Enrolled
from firstlight.cli.firstboot_notes import NOT_NEEDED, REFUSED, USED, WRONG
from firstlight.cli.settings import Settings
from firstlight.core import backoff
from firstlight.core.model import Invitation, Secret
from firstlight.errors import FirstlightError, InvitationError, RefusedError, StateError
from firstlight.sources import device_file, first_boot
from firstlight.sources.first_boot import Source
from firstlight.sources.invitation import decoded, read_invitation
from firstlight.system import provision_file
from firstlight.system.store import StateDirectory

DESCRIPTION = (
    "Enroll or provision this box with the invitation that waits on it: a file firstlight.txt on the boot partition, a "
    "systemd credential, or firstlight.invitation= on the kernel's command line. Its service runs this at boot."
)
ENROLLED, PROVISIONED = "enrolled", "provisioned"
# Waiting mends these: a full disk, another command at work.
PASSING = frozenset({"state_unwritable", "state_locked", "agent_running"})


class Ending(NamedTuple):
    """How it went with one invitation: a sentence, its code (``ENROLLED``, ``PROVISIONED`` = done), the next step."""

    code: str
    message: str
    hint: str = ""
    exit_status: int = 0

    @property
    def text(self) -> str:
        """As lines for a person."""
        return f"{self.message} [{self.code}]\n" + (f"{self.hint}\n" if self.hint else "")


def verb(words: list[str], config: str | None) -> int:
    """Returns 0 when this box is enrolled or nothing waits, else the exit status of the last thing that went wrong."""
    made = options.parser("firstboot", DESCRIPTION)
    options.add_state(made)
    options.add_proxy(made)
    made.add_argument("--top", metavar="DIR", default="/", help="look below this folder instead of /")
    made.add_argument("--kernel-line", metavar="FILE", help="the kernel's command line, else that of /proc")
    typed = made.parse_args(words)
    settings = options.load(typed, config)
    credentials = os.environ.get("CREDENTIALS_DIRECTORY", "")
    sources = list(first_boot.waiting(typed.top, credentials, typed.kernel_line or _kernel_line()))
    exit_status = 0
    for source in sources:
        ending = _FirstBoot(settings, source).perform()
        if ending.code in (ENROLLED, PROVISIONED):
            return 0
        exit_status = exit_status or ending.exit_status
    if not sources:
        print("No invitation waits on this box.", file=sys.stderr)
    return exit_status


def _starts_nothing(state_dir: str) -> str:
    """The service is started once the source was taken away."""
    return ""


def _kernel_line() -> str:
    """In a container /proc/cmdline is that of another machine."""
    return "" if Path("/run/systemd/container").exists() else "/proc/cmdline"


class _FirstBoot:
    """One invitation, from its text to its end."""

    def __init__(self, settings: Settings, source: Source) -> None:
        self._settings, self._source = settings, source
        self._store = StateDirectory(settings.state_dir)
        self._said: set[str] = set()

    def perform(self) -> Ending:
        """Enrolls with it, or says why not."""
        known = self._known()
        if known is not None:
            return known
        fate = WRONG
        try:
            ending = self._take_in(first_boot.checked(self._source))
            fate = USED
        except FirstlightError as error:
            ending = Ending(error.code, error.message, next_step.typed(error.hint), error.exit_status)
            if isinstance(error, RefusedError):
                fate = REFUSED
            elif isinstance(error, InvitationError):
                ending = ending._replace(message=f"{self._source.where}: {error.message}")
            elif error.code == "already_enrolled":
                fate = NOT_NEEDED
                ending = Ending(error.code, f"{error.message} {self._source.where} was not used.", ending.hint)
        self._show(ending)
        self._note(ending, fate)
        return ending

    def _take_in(self, body: bytes) -> Ending:
        """By what it is. Raises FirstlightError."""
        if device_file.is_device_file(body):
            found = device_file.read_device_file(body)
            return self._enroll(found.invitation, found.key)
        text = decoded(body)
        return self._provision(text) if provisioning.is_offline(text) else self._enroll(read_invitation(text))

    def _enroll(self, invitation: Invitation, key: Secret | None = None) -> Ending:
        """Raises FirstlightError where waiting is useless."""
        done = self._patiently(invitation, key)
        registration = done.registration
        inside = f" in workspace {registration.workspace}" if registration.workspace else ""
        message = f"This box is enrolled as {registration.device_id}{inside}."
        hint = f"Its first heartbeat was not accepted yet: {done.not_beating}" if done.not_beating else ""
        # On the disk before the source goes: a crash in between must not make it look unused.
        self._note(Ending(ENROLLED, message), USED)
        message = f"{message} {first_boot.take_away(self._source)}"
        started = service.start(self._settings.state_dir)
        return Ending(ENROLLED, message, "\n".join(filter(None, (hint, started))))

    def _provision(self, text: str) -> Ending:
        """A code that needs no network. Raises FirstlightError."""
        made = provisioning.provision(self._settings, text, self._source.kind, self._tell, start=_starts_nothing)
        name = f" as {made.device_id}" if made.device_id else ""
        message = f"This box is provisioned{name}; it registers by itself as soon as it reaches the hub."
        self._note(Ending(PROVISIONED, message), USED)
        message = f"{message} {first_boot.take_away(self._source)}"
        return Ending(PROVISIONED, message, service.start(self._settings.state_dir))

    def _patiently(self, invitation: Invitation, key: Secret | None) -> Enrolled:
        """Goes on for ever while waiting may help. Raises FirstlightError where it does not."""
        failures = 0
        while True:
            try:
                return enroll.perform(self._settings.state_dir, invitation, self._settings, 0.0, self._tell, key=key)
            except FirstlightError as error:
                if error.is_permanent or (isinstance(error, StateError) and error.code not in PASSING):
                    raise
                failures += 1
                wait_s = backoff.retry_wait_s(failures, random.random(), getattr(error, "retry_after_s", None))  # noqa: S311
                again = f"This box goes on trying by itself. {next_step.typed(error.hint)}"
                self._show(Ending(error.code, f"Not enrolled yet: {error.message}", again))
            select.select([], [], [], wait_s)

    # -- what is said and written down -------------------------------------------------------------------------------
    def _tell(self, line: str) -> None:
        """Progress, each line once however often it is tried."""
        if line and line not in self._said:
            self._said.add(line)
            print(line, file=sys.stderr, flush=True)

    def _show(self, ending: Ending) -> None:
        """For the journal and the screen, and beside the file; each ending once."""
        if ending.text in self._said:
            return
        self._said.add(ending.text)
        print(f"firstlight: {ending.text}", end="", flush=True)
        if problem := first_boot.leave_word(self._source, ending.text):
            self._tell(problem)

    def _known(self) -> Ending | None:
        """What is left to do with an invitation that is over; None for one that is new or was not finished."""
        found = firstboot_notes.read(self._store).get(self._source.fingerprint)
        if not isinstance(found, dict):
            return None
        fate, code, message = found.get("fate"), str(found.get("code", "")), str(found.get("message", ""))
        if fate == USED:
            if self._source.files:  # a crash came before it was taken away, or somebody put it back
                self._tell(
                    f"{self._source.where}: its invitation was used before. {first_boot.take_away(self._source)}"
                )
                self._tell(service.start(self._settings.state_dir) if self._is_started() else "")
            return Ending(USED, message)
        if fate == NOT_NEEDED and self._is_enrolled():
            return Ending(code, message)
        if fate == REFUSED:
            self._tell(f"{self._source.where}: the platform refused this invitation before: {message} [{code}]")
            return Ending(code, message, exit_status=RefusedError.exit_status)
        return None

    def _is_started(self) -> bool:
        return self._store.has(provision_file.NAME) or self._is_enrolled()

    def _is_enrolled(self) -> bool:
        return self._store.load_registration() is not None

    def _note(self, ending: Ending, fate: str) -> None:
        """Keeps how it went. A disk that refuses is said: then this invitation is tried at the next boot again."""
        try:
            firstboot_notes.write(self._store, self._source.fingerprint, fate, ending.code, ending.message)
        except StateError as error:
            self._tell(f"{error}")
