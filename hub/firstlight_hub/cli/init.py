"""``firstlight-hub init``: a new hub."""

from __future__ import annotations

import argparse
import socket
import time

from firstlight_hub.cli.key import hand_out
from firstlight_hub.folder import HubFolder
from firstlight_hub.install_command import WHY_INSECURE_IS_SAFE
from firstlight_hub.service.access import Access
from firstlight_hub.settings import check_host, check_workspace, parse


def init(arguments: argparse.Namespace) -> None:
    """Makes the folder, prints the operator key once, the pin, and the next command."""
    hosts = tuple(check_host(host) for host in arguments.host) or (socket.gethostname(),)
    workspace, port = check_workspace(arguments.workspace), arguments.port
    settings = parse({"hosts": list(hosts), "port": port, "workspace": {workspace: {}}})
    folder = HubFolder(arguments.dir)
    folder.create(settings.hosts, port, workspace)
    store = folder.store()
    try:
        access = Access(store, lambda: time.time_ns() // 1_000_000, settings.workspaces)
        _, key = access.create_key(workspace, None, None, "made by init")
    finally:
        store.close()
    print(f"A new hub in {arguments.dir}, workspace {workspace}, for {', '.join(hosts)}.")
    hand_out("Operator key", key, arguments.key_file)
    print(f"Pin of its key: {folder.pin()}")
    print(f"Install commands use curl -k with this pin. {WHY_INSECURE_IS_SAFE}")
    folder.finish(settings.hosts, port, workspace)
    print(f"Next: firstlight-hub serve --dir {arguments.dir}")
