"""``firstlight-hub init``: a new hub."""

from __future__ import annotations

import argparse
import socket
import sys
import time
from contextlib import closing
from datetime import datetime, timezone

from firstlight_hub.cli.key import handing_out, refuse_taken
from firstlight_hub.folder import HubFolder
from firstlight_hub.install_command import WHY_INSECURE_IS_SAFE
from firstlight_hub.renewal import clock_warning
from firstlight_hub.service.access import Access
from firstlight_hub.settings import check_host, check_workspace, parse


def init(arguments: argparse.Namespace) -> None:
    """Makes the folder, prints the operator key once, the pin, and the next command."""
    hosts = tuple(check_host(host) for host in arguments.host) or (socket.gethostname(),)
    workspace, port = check_workspace(arguments.workspace), arguments.port
    settings = parse({"hosts": list(hosts), "port": port, "workspace": {workspace: {}}})
    folder = HubFolder(arguments.dir)
    refuse_taken(arguments.key_file)  # now, while nothing is made; the folder must be there for a key file in it
    folder.create(settings.hosts, port, workspace)
    with handing_out(arguments.key_file) as hand_out:
        with closing(folder.store()) as store:
            access = Access(store, lambda: time.time_ns() // 1_000_000, settings.workspaces)
            _, key = access.create_key(workspace, None, None, "made by init")
        print(f"A new hub in {arguments.dir}, workspace {workspace}, for {', '.join(hosts)}.")
        hand_out("Operator key", key)
    if warning := clock_warning(folder.ca_pem(), datetime.now(timezone.utc)):
        print(f"Warning: {warning}", file=sys.stderr)
    print(f"Pin of its key: {folder.pin()}")
    print(f"Install commands use curl -k with this pin. {WHY_INSECURE_IS_SAFE}")
    folder.finish(settings.hosts, port, workspace)
    print(f"Next: firstlight-hub serve --dir {arguments.dir}")
