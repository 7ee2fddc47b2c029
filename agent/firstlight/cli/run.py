"""``firstlight run``: reads the settings, makes a rotation or a move that is due, then becomes the process that beats.

The door may be rich; what stays for months may not. So this process writes what the daemon needs as one JSON file and
replaces itself (``execv``): same pid, same service, all memory given back. For the next change the daemon replaces
itself by this process again.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import firstlight
from firstlight.cli import change_now, options, registering, service, upgraded_by
from firstlight.cli.settings import Settings, proxy_address, proxy_of
from firstlight.core.model import Registration
from firstlight.daemon.run_file import kept
from firstlight.errors import HINTS, NotEnrolledError, StateError
from firstlight.system import changes, provision_file, sandbox
from firstlight.system.facts import read_facts
from firstlight.system.journal import WARNING, Journal
from firstlight.system.store import RUNNING, StateDirectory, agent_running
from firstlight.wire.facts import facts_object

DESCRIPTION = (
    "Send heartbeats until stopped; on a box that is only provisioned, keep them and register as soon as there is a "
    "network. systemd runs this; by hand, Ctrl-C ends it."
)
RUN_FILE, WEAKENED = "run.json", "sandbox_weakened"
ROTATE_MAY_TAKE_S, POLL_S = 60.0, 0.1
PIPE_BYTES = 60_000  # a pipe holds 65 536 without a reader, pipe(7)


def verb(words: list[str], config: str | None) -> int:
    """Never returns when all is well. Raises NotEnrolledError, StateError, UsageError."""
    made = options.parser("run", DESCRIPTION)
    options.add_state(made)
    options.add_proxy(made)
    typed = made.parse_args(words)
    settings = options.load(typed, config)
    store = StateDirectory(settings.state_dir)
    # "Look now" of 'firstlight rotate' waits until the beating process can hear it. SIGTERM ends this one at once, and
    # nothing is lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    try:
        pid = _holder(store)
        registration = store.load_registration() if store.is_there() else None
    except StateError as error:
        raise service.explain(error, settings.state_dir) from None
    if pid and (registration or store.has(provision_file.NAME)):
        raise agent_running(pid)
    log = Journal(stream=os.environ.get("JOURNAL_STREAM", "")).write
    if registration is None:
        registration = _registered(settings, store, log)
    registering.tidy(store, log)
    change_now.at_start(settings, store, registration, log)
    registration = store.load_registration() or registration
    run_file = run_file_of(settings, store, registration)
    if weakened := run_file["weakened"]:
        log(WARNING, f"{weakened} [{WEAKENED}] {HINTS[WEAKENED]}")
    place = hand_over(store, settings.runtime_dir, run_file)
    for sentence in store.repairs:
        log(WARNING, sentence)
    become_daemon(place)
    raise AssertionError("execv returned")


def _registered(settings: Settings, store: StateDirectory, log: registering.Log) -> Registration:
    """Of a box that was provisioned without a network; becomes the process that waits for one where there is none.

    Raises:
        NotEnrolledError: it is neither registered nor provisioned.
        FirstlightError: as ``registering.register``.
    """
    try:
        found = registering.register(settings, store, log) if store.is_there() else None
    except StateError as error:
        raise service.explain(error, settings.state_dir) from None
    if found is None:
        raise NotEnrolledError("not_enrolled", f"There is no registration in {settings.state_dir}.")
    if isinstance(found, Registration):
        return found
    become_daemon(hand_over(store, settings.runtime_dir, {**_base(settings, store), "detached": found.to_json()}))
    raise AssertionError("execv returned")


def run_file_of(settings: Settings, store: StateDirectory, registration: Registration) -> dict[str, object]:
    """What the daemon is handed over; see ``daemon/run_file.py``.

    Raises:
        UsageError: the proxy's setting cannot be used.
    """
    run_file = _base(settings, store)
    # no_proxy and loopback are judged for hub and broker each by its own name.
    hosts = [place.host for place in (registration.endpoint, registration.broker) if place]
    proxied = {host: proxy_address(settings, host) for host in hosts if proxy_of(settings, host)}
    if proxied:
        address = next(iter(proxied.values()))
        run_file["proxy"] = {"url": address, "authFile": settings.proxy_auth_file, "hosts": list(proxied)}
    return run_file


def _base(settings: Settings, store: StateDirectory) -> dict[str, object]:
    """What every run file has."""
    package_root = Path(firstlight.__file__).resolve().parent.parent
    run_file: dict[str, object] = {
        "stateDir": settings.state_dir,
        "runtimeDir": settings.runtime_dir,
        "upgrades": upgraded_by.who_upgrades(package_root, settings.state_dir),
        "release": upgraded_by.release_of(package_root),
        "weakened": _weakened(),
        "again": [sys.executable, *sys.orig_argv[1:]],
    }
    with suppress(StateError):
        run_file.update(kept(store.read_json(RUN_FILE) or {}))
    return run_file


def _weakened() -> str:
    """What protects the service less than its unit says; "" for nothing, and for an agent that is no service."""
    missing = sandbox.missing() if service.is_this() else []
    return f"The service is protected less than it should be, without {', '.join(missing)}." if missing else ""


def _holder(store: StateDirectory) -> int | None:
    """Who runs already. An agent that gave way for a change waits for a 'firstlight rotate' that came in between."""
    try:
        patience_s = ROTATE_MAY_TAKE_S if changes.load(store).begun else 0.0
    except StateError:
        patience_s = 0.0
    deadline_s = time.monotonic() + patience_s
    while (pid := store.holder(RUNNING)) and time.monotonic() < deadline_s:
        select.select([], [], [], POLL_S)
    return pid


def hand_over(store: StateDirectory, runtime_dir: str, run_file: dict[str, object]) -> str:
    """Puts the run file where the daemon finds it. A full disk is no reason to stay offline: then it needs none.

    Returns:
        its path: in the state directory, else in the runtime directory, else a pipe that stays open, /dev/fd/NUMBER.

    Raises:
        StateError: nothing takes it, which needs settings of more than 60 KB.
    """
    try:
        store.prepare()
        store.write_json("facts.json", facts_object(read_facts()), durable=False)
        store.write_json(RUN_FILE, run_file, durable=False)
        return str(Path(store.path) / RUN_FILE)
    except StateError as error:
        print(f"firstlight: {error} {service.explain(error, store.path).hint} Starting all the same.", file=sys.stderr)
        refusal = error
    if runtime_dir:
        with suppress(StateError):
            StateDirectory(runtime_dir).write_json(RUN_FILE, run_file, durable=False)
            return str(Path(runtime_dir) / RUN_FILE)
    body = json.dumps(run_file).encode()
    if len(body) > PIPE_BYTES:
        raise refusal
    read_fd, write_fd = os.pipe()
    os.write(write_fd, body)
    os.close(write_fd)
    os.set_inheritable(read_fd, True)
    return f"/dev/fd/{read_fd}"


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
