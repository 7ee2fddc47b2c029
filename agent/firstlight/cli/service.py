"""Starting the service ``firstlight`` once this box is enrolled, and the one that waits for its code before."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress

from firstlight.cli import next_step
from firstlight.errors import StateError
from firstlight.system.store import RUNNING, StateDirectory

UNIT, WAITING = "firstlight", "firstlight-provision"
# Starting takes a second; the unit itself gives up after 60 s.
MAY_TAKE_S = 90


def start(state_dir: str) -> str:
    """Starts the service, where root asks, systemd runs here and the service is switched on.

    Args:
        state_dir: where root has just written; systemd gives all of it to the service's user.

    Returns:
        one sentence about what was done or what stands in the way; "" where there is no service to start.
    """
    if os.geteuid() != 0 or not next_step.has_service() or _systemctl("is-active", "--quiet", UNIT):
        return ""
    if not _systemctl("is-enabled", "--quiet", UNIT):
        return f"The service {UNIT} is switched off. To switch it on: systemctl enable --now {UNIT}"
    hand_over(state_dir)
    if _systemctl("start", UNIT):
        return f"The service {UNIT} was started; it runs after each boot. See: {next_step.typed('firstlight status')}"
    return f"The service {UNIT} does not start. See why: journalctl -u {UNIT} -n 20"


def wait_for_code(state_dir: str) -> str:
    """Starts the service that waits for this box's code, where it is installed and switched on, and root asks.

    Args:
        state_dir: as for ``start``.

    Returns:
        one sentence, "" where there is no such service, or it is switched off.
    """
    if not next_step.has_service() or not _systemctl("is-enabled", "--quiet", WAITING):
        return ""
    if os.geteuid() != 0:
        return f"To have this box wait for a code again: sudo systemctl start {WAITING}"
    hand_over(state_dir)
    if _systemctl("start", "--no-block", WAITING):
        return f"This box waits for a code again: the service {WAITING} was started."
    return f"The service {WAITING} does not start. See why: journalctl -u {WAITING} -n 20"


def wake(state_dir: str) -> None:
    """Has a running agent look at once what has become of registration and provision. Best effort."""
    store = StateDirectory(state_dir)
    holder = store.holder(RUNNING)
    if holder and holder > 0:
        with suppress(OSError):
            os.kill(holder, signal.SIGHUP)


def hand_over(state_dir: str) -> None:
    """Gives the directory itself to root: seeing another owner, systemd hands it over with all that is in it.

    Only while the service does not run: it could not write there any more.
    """
    # Through the link that systemd put there: above the directory everything is root's.
    fd = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fchown(fd, 0, 0)
    finally:
        os.close(fd)


def is_this() -> bool:
    """Whether this process is the service."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def explain(error: StateError, state_dir: str) -> StateError:
    """Gives what is wrong with the state directory the next step that fits, where this process is the service.

    Args:
        error: what the state directory said.
        state_dir: its path.
    """
    if not is_this():
        return error
    if "STATE_DIRECTORY" not in os.environ:
        error.hint = f"A drop-in takes StateDirectory={UNIT} away from the service. See: systemctl cat {UNIT}"
    elif error.code == "state_unreadable":
        error.hint = f"Hand it over to the service again: chown root: {state_dir}/. && systemctl restart {UNIT}"
    elif error.code == "state_unwritable" and os.statvfs(state_dir).f_flag & os.ST_RDONLY:
        error.hint = f"Its disk, or a drop-in of the service, makes it read-only. See: systemctl cat {UNIT}"
    return error


def _systemctl(*words: str) -> bool:
    """Whether ``systemctl`` says yes."""
    try:
        done = subprocess.run(  # noqa: S603 - our own words
            ["systemctl", *words],  # noqa: S607 - where it is differs from system to system
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=MAY_TAKE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
