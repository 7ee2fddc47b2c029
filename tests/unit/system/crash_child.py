"""Saves a second registration over a first one, retires it, and kills itself before the step it is given by number.

Prints each thing that is promised to be on disk, as soon as it is.
"""

import os
import signal
import sys

sys.path[:0] = [sys.argv[1]]

from firstlight.core.model import Credential, Registration, Secret, Trust, parse_endpoint  # noqa: E402
from firstlight.system.store import StateDirectory  # noqa: E402

directory, deadly = sys.argv[2], int(sys.argv[3])
steps = 0


def on_step(name: str) -> None:
    """Counts, and ends the process at its step without any clean-up, as kill -9 or a crash would."""
    global steps
    steps += 1
    if steps == deadly:
        os.kill(os.getpid(), signal.SIGKILL)


def promise(word: str) -> None:
    """Says what must be found from now on."""
    os.write(1, f"{word}\n".encode())


def registration(device_id: str) -> Registration:
    """One that can be told from another by its device id."""
    return Registration(
        "hub", parse_endpoint("https://hub.example"), Trust(), "acme", device_id,
        Credential("secret", Secret("k" * 43)), 60, "sha256:" + "ab" * 32, "csr", 1.0,
    )  # fmt: skip


store = StateDirectory(directory, on_step)
store.prepare()
store.write_text("device.key", "second key")
promise("key")
store.save_registration(registration("second"))
promise("saved")
store.retire("device_removed")
promise("retired")
store.save_registration(registration("third"))
promise("again")
