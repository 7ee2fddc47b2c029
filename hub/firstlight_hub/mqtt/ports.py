"""Whether mosquitto will get its ports, which it says itself without naming the port."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Mapping

from firstlight.errors import StateError

WITHIN_S, AGAIN_S = 3.0, 0.1  # the mosquitto of a hub that was killed ends a moment after it


def check_free(address: str, ports: Mapping[str, int], within_s: float = WITHIN_S) -> None:
    """Binds each port for a moment.

    Args:
        address: to listen on.
        ports: by the name of its setting; 0 = none.
        within_s: how long to wait for those that are in use.

    Raises:
        StateError: ``broker_failed``; the sentence names the setting and the port.
    """
    ends_s = time.monotonic() + within_s
    for name, port in ports.items():
        while port and not _is_free(address, name, port, is_last=time.monotonic() >= ends_s):
            time.sleep(AGAIN_S)


def _is_free(address: str, name: str, port: int, is_last: bool) -> bool:
    try:
        family, kind, _, _, place = socket.getaddrinfo(address or None, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as mosquitto does
            one.bind(place)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and not is_last:
            return False
        raise _named(error, address, name, port) from None
    return True


def _named(error: OSError, address: str, name: str, port: int) -> StateError:
    if error.errno == errno.EADDRINUSE:
        hint = f"Stop what listens there, or choose another {name} in hub.toml."
        return StateError("broker_failed", f"{name} {port} is in use.", hint)
    if error.errno in (errno.EACCES, errno.EPERM):
        hint = f"Change {name} in hub.toml."
        return StateError("broker_failed", f"{name} {port} needs root: choose one from 1024 on.", hint)
    said = f"{name}: port {port} of {address} cannot be used: {error.strerror}."
    return StateError("broker_failed", said, "Check listen in hub.toml: it is an address of this machine.")
