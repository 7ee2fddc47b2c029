"""Who runs the agent on this box, and so how a new release is started for its proof: systemd, a person, or nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Protocol

from firstlight.cli import next_step
from firstlight.cli.settings import Settings
from firstlight.cli.upgrade_units import Units
from firstlight.core.upgrade import Evidence
from firstlight.errors import UpgradeError
from firstlight.system import provision_file
from firstlight.system.releases import ACTIVE, Releases
from firstlight.system.store import RUNNING, StateDirectory

UNIT = "firstlight.service"
UNITS = Path("/etc/systemd/system")
RULES = Path("/etc/udev/rules.d")
IS_BOOTED = Path("/run/systemd/system")
STOP_S, ASK_S, END_S = 120.0, 30.0, 30.0
RUNNING_STATES = ("active", "activating", "reloading", "deactivating", "failed")


def _systemctl(timeout_s: float, *words: str) -> str:
    """What it prints; that it fails or hangs is seen by what comes of it."""
    line = ["systemctl", "--no-ask-password", "--no-pager", *words]
    try:
        return subprocess.run(  # noqa: S603 - a fixed command of the system
            line, capture_output=True, text=True, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


class Agent(Protocol):
    """Whoever runs the agent."""

    proves: bool  # whether there is anything to prove a release with

    def was_running(self) -> bool:
        """Whether it runs by itself now, and is to run afterwards."""
        ...

    def put_units(self, release: str, *, is_proved: bool) -> None:
        """The service as that release describes it; what upgrades the box only once the release is proved."""
        ...

    def begin(self) -> None:
        """Starts the agent anew, as the release that the launcher names now."""
        ...

    def seen(self) -> Evidence:
        """How its process fares; nothing about beats."""
        ...

    def end(self, is_to_run: bool) -> None:
        """The proof is over."""
        ...

    def begin_again(self, is_to_run: bool) -> None:
        """The launcher names the old release again."""
        ...


class Service:
    """systemd runs it."""

    proves = True

    def __init__(
        self,
        releases: Releases,
        config: str,
        units: Path = UNITS,
        rules: Path = RULES,
        do: Callable[..., object] | None = None,
    ) -> None:
        self._releases, self._config, self._units, self._rules = releases, config, units, rules
        self._do = do or partial(_systemctl, ASK_S)

    def was_running(self) -> bool:
        """As ``Agent.was_running``."""
        return _shown("ActiveState").get("ActiveState") in RUNNING_STATES

    def put_units(self, release: str, *, is_proved: bool) -> None:
        """As ``upgrade_units.Units.put``."""
        Units(self._releases, self._config, self._units, self._rules, self._do).put(release, is_proved=is_proved)

    def begin(self) -> None:
        """As ``Agent.begin``."""
        _systemctl(STOP_S, "stop", UNIT)
        _systemctl(ASK_S, "reset-failed", UNIT)  # and with that the count of restarts
        # Not waiting for it: an agent that never gets ready is started again and again, and all that is one job.
        _systemctl(ASK_S, "start", "--no-block", UNIT)

    def seen(self) -> Evidence:
        """As ``Agent.seen``."""
        shown = _shown("ActiveState", "NRestarts", "ExecMainStatus", "Job")
        ended = shown.get("ActiveState") in ("failed", "inactive") and shown.get("Job", "0") in ("", "0")
        restarts = shown.get("NRestarts", "")
        status = shown.get("ExecMainStatus", "")
        return Evidence(
            restarts=int(restarts) if restarts.isdecimal() else 0,
            exit_status=(int(status) if status.isdecimal() else 1) if ended else None,
        )

    def end(self, is_to_run: bool) -> None:
        """As ``Agent.end``."""
        if not is_to_run:
            _systemctl(STOP_S, "stop", UNIT)

    def begin_again(self, is_to_run: bool) -> None:
        """As ``Agent.begin_again``."""
        if is_to_run:
            self.begin()
        else:
            _systemctl(STOP_S, "stop", UNIT)


class ByHand:
    """Somebody started it: it is theirs to be ended and started."""

    proves = True

    def __init__(self, store: StateDirectory, tell: Callable[[str], None]) -> None:
        self._store, self._tell = store, tell

    def was_running(self) -> bool:
        """As ``Agent.was_running``."""
        return True

    def put_units(self, release: str, *, is_proved: bool) -> None:
        """There are none."""

    def begin(self) -> None:
        """As ``Agent.begin``."""
        self._ask("Restart the agent now, as the new release")

    def seen(self) -> Evidence:
        """As ``Agent.seen``."""
        return Evidence()

    def end(self, is_to_run: bool) -> None:
        """It runs on."""

    def begin_again(self, is_to_run: bool) -> None:
        """As ``Agent.begin_again``."""
        if self._store.holder(RUNNING):
            self._ask("Restart the agent, as the old release")

    def _ask(self, what: str) -> None:
        pid = self._store.holder(RUNNING)
        stop = f"kill {pid}" if pid and pid > 0 else "end it"
        self._tell(f"{what}: {stop}, then {next_step.typed('firstlight run')}")


class Trial:
    """Nobody runs it: the new release runs as a child for as long as its proof takes."""

    proves = True

    def __init__(self, releases: Releases, settings: Settings) -> None:
        self._line = [releases.path_of(ACTIVE), "run", "--state-dir", settings.state_dir]
        self._child: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None

    def was_running(self) -> bool:
        """As ``Agent.was_running``."""
        return False

    def put_units(self, release: str, *, is_proved: bool) -> None:
        """There are none."""

    def begin(self) -> None:
        """As ``Agent.begin``."""
        self.end(is_to_run=False)
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed in end()
        try:
            self._child = subprocess.Popen(  # noqa: S603 - our own launcher
                self._line,
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                preexec_fn=partial(_end_with, os.getpid()),
            )
        except OSError as error:
            raise UpgradeError("upgrade_crashed", f"The agent cannot be started: {error.strerror}.") from None

    def seen(self) -> Evidence:
        """As ``Agent.seen``."""
        status = self._child.poll() if self._child else 1
        if status is None or self._said is None:
            return Evidence(exit_status=status)
        self._said.seek(max(0, self._said.seek(0, os.SEEK_END) - 300))
        lines = self._said.read().decode("utf-8", "replace").strip().splitlines()
        return Evidence(exit_status=status, reason=lines[-1] if lines else "")

    def end(self, is_to_run: bool) -> None:
        """As ``Agent.end``."""
        child, self._child = self._child, None
        if child is not None and child.poll() is None:
            child.terminate()
            try:
                child.wait(END_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if self._said is not None:
            self._said.close()
            self._said = None

    def begin_again(self, is_to_run: bool) -> None:
        """As ``Agent.begin_again``."""
        self.end(is_to_run)


class NotEnrolled:
    """Nothing can beat here, neither registered nor provisioned: a release is as good as its trial start."""

    proves = False

    def was_running(self) -> bool:
        """As ``Agent.was_running``."""
        return False

    def put_units(self, release: str, *, is_proved: bool) -> None:
        """They are put when the box is enrolled."""

    def begin(self) -> None:
        """Nothing is started."""

    def seen(self) -> Evidence:
        """As ``Agent.seen``."""
        return Evidence()

    def end(self, is_to_run: bool) -> None:
        """Nothing was started."""

    def begin_again(self, is_to_run: bool) -> None:
        """Nothing was started."""


def agent_of(
    releases: Releases, store: StateDirectory, settings: Settings, config: str, tell: Callable[[str], None]
) -> Agent:
    """Who runs the agent of this PREFIX. Raises StateError: the registration, or the provision, cannot be read."""
    if not store.is_there() or (store.load_registration() is None and provision_file.load(store) is None):
        return NotEnrolled()
    if os.geteuid() == 0 and IS_BOOTED.is_dir():
        shown = _shown("LoadState", "ExecStart")
        if shown.get("LoadState") == "loaded" and f"path={releases.path_of(ACTIVE)} " in shown.get("ExecStart", ""):
            return Service(releases, config)
    if store.holder(RUNNING):
        return ByHand(store, tell)
    return Trial(releases, settings)


def _shown(*names: str) -> dict[str, str]:
    done = _systemctl(ASK_S, "show", UNIT, f"--property={','.join(names)}")
    return dict(line.split("=", 1) for line in done.splitlines() if "=" in line)


def _end_with(parent: int) -> None:
    """The kernel ends the child when this process is gone, also by a kill: nobody would stop it otherwise."""
    import ctypes  # here: a sandbox that allows no writable code may refuse it, and no service needs it

    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # which ended before that was said
        os._exit(1)
