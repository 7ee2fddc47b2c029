"""``firstlight run``: reads the settings, then becomes the lean process that beats.

The door may be rich; what stays for months may not. So this process writes what the daemon needs as one JSON file and
replaces itself (``execv``): same pid, same service, all memory given back.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import firstlight
from firstlight.cli import options
from firstlight.cli.settings import proxy_address, proxy_of
from firstlight.errors import NotEnrolledError, StateError
from firstlight.system.facts import read_facts
from firstlight.system.store import StateDirectory
from firstlight.wire.facts import facts_object

DESCRIPTION = "Send heartbeats until stopped. systemd runs this; by hand, Ctrl-C ends it."
RUN_FILE = "run.json"


def verb(words: list[str], config: str | None) -> int:
    """Never returns when all is well. Raises NotEnrolledError, StateError, UsageError."""
    made = options.parser("run", DESCRIPTION)
    options.add_state(made)
    made.add_argument("--proxy", metavar="URL", help="HTTP proxy on the way to the hub, http://HOST:PORT")
    made.add_argument("--proxy-auth-file", metavar="FILE", help="file with USER:PASSWORD for the proxy")
    typed = made.parse_args(words)
    settings = options.load(typed, config)
    store = StateDirectory(settings.state_dir)
    registration = store.load_registration() if Path(settings.state_dir).is_dir() else None
    if registration is None:
        raise NotEnrolledError("not_enrolled", f"There is no registration in {settings.state_dir}.")
    run_file: dict[str, object] = {"stateDir": settings.state_dir, "runtimeDir": settings.runtime_dir}
    if proxy_of(settings, registration.endpoint) is not None:
        run_file["proxy"] = {
            "url": proxy_address(settings, registration.endpoint),
            "authFile": settings.proxy_auth_file,
        }
    path = Path(settings.state_dir) / RUN_FILE
    try:
        store.prepare()
        store.write_json("facts.json", facts_object(read_facts()), durable=False)
        store.write_json(RUN_FILE, run_file, durable=False)
    except StateError as error:
        if not path.is_file():
            raise
        # A full disk is no reason to go offline: what the last start wrote will do.
        print(f"firstlight: {error} Going on with the settings of the last start.", file=sys.stderr)
    become_daemon(str(path))
    raise AssertionError("execv returned")


def become_daemon(run_file: str) -> None:
    """Replaces this process by the lean one; isolated from environment and folder (-I), no .pth files (-S)."""
    package_root = str(Path(firstlight.__file__).parent.parent)
    start = (
        f"import sys; sys.path.insert(0, {package_root!r})\n"
        f"from firstlight.daemon.main import main\n"
        f"sys.exit(main({run_file!r}))"
    )
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", start])  # noqa: S606 - no shell wanted: same pid, same service
