"""The process that waits for a network may wait for a year: it loads what the beating process may, and no more."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import sysconfig
from contextlib import closing
from pathlib import Path

from firstlight.cli import registering
from firstlight.cli.provisioning import provision
from firstlight.core.detached import Tried
from firstlight.daemon.detached_main import Handed
from firstlight.system import provision_file
from firstlight.system.store import StateDirectory
from tests.detached.labels import Signer, payload, settings_of
from tests.e2e.conftest import wait_until
from tests.rules.test_lean import START, TOO_HEAVY, allowed, covers

MOST_KB = 9_000  # the budget of the beating process


def test_it_loads_only_what_the_allow_list_names(tmp_path: Path) -> None:
    """After beats, knocks and changes of state; its private memory is within the budget of the beating process."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    signer = Signer()
    settings = settings_of(tmp_path, signer)
    made = provision(
        settings, signer.label(payload(f"https://127.0.0.1:{port}")), "test", lambda line: None, start=lambda path: ""
    )
    store = StateDirectory(settings.state_dir)
    mark = provision_file.mark(store)
    handed = Handed("127.0.0.1", port, False, mark, Tried("dns_failed", "No name."), registering.about(made), 1)
    run_file = Path(store.path, "run.json")
    run_file.write_text(json.dumps({"stateDir": store.path, "haste": 1000.0, "detached": handed.to_json()}))
    command = [sys.executable, "-I", "-S", "-c", START, sysconfig.get_path("purelib"), str(run_file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until("it has beaten", lambda: (store.read_status() or {}).get("spooled", 0) > 5)  # type: ignore[operator]
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        finally:
            process.send_signal(signal.SIGTERM)
        said, logged = process.communicate(timeout=30)
    assert process.returncode == 0, logged
    status = store.read_status() or {}
    assert (status["state"], status["reason"]) == ("provisioned", "connect_refused")
    loaded = json.loads(said)
    names = allowed("http")
    assert not [name for name in loaded if not any(covers(one, name) or covers(name, one) for one in names)]
    assert not [name for name in loaded if any(covers(one, name) for one in TOO_HEAVY)]
    private = [int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_Dirty")]
    assert private[0] < MOST_KB, private
