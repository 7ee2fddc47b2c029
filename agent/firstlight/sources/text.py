"""An installId from an argument, a file or standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from firstlight.core.model import Secret, parse_install_id
from firstlight.errors import InvitationError

MAX_BYTES = 4096


def read_install_id(given: str) -> Secret:
    """The installId that the argument holds or points to.

    Args:
        given: the installId itself, ``-`` for standard input, or ``@PATH`` for a file.

    Raises:
        InvitationError: ``install_id_malformed``, ``source_unreadable``.
    """
    if given == "-":
        if sys.stdin.isatty():
            sys.stderr.write("installId: ")
            sys.stderr.flush()
            return parse_install_id(sys.stdin.readline(MAX_BYTES))
        return parse_install_id(_decoded(sys.stdin.buffer.read(MAX_BYTES)))
    if given.startswith("@"):
        try:
            with Path(given[1:]).open("rb") as file:
                return parse_install_id(_decoded(file.read(MAX_BYTES)))
        except OSError as error:
            raise InvitationError("source_unreadable", f"{given[1:]} cannot be read: {error.strerror}.") from None
    return parse_install_id(given)


def _decoded(body: bytes) -> str:
    # Text saved on Windows begins with a byte order mark.
    return body.decode("utf-8-sig", "replace")
