"""``firstlight-hub sign`` and ``firstlight-hub release-key``: what makes boxes take a release as an upgrade."""

from __future__ import annotations

import argparse
import sys

from firstlight.errors import StateError
from firstlight_hub import release_keys
from firstlight_hub.bundle_file import add_signatures
from firstlight_hub.folder import HubFolder


def sign(arguments: argparse.Namespace) -> None:
    """Adds this hub's signatures to bundles; one that has them stays as it is."""
    folder = HubFolder(arguments.dir)
    keys = folder.release_keys(folder.settings())
    for path in arguments.file:
        try:
            found = add_signatures(path, keys.sign)
        except OSError as error:
            raise StateError("state_unwritable", f"{path} cannot be signed: {error.strerror}.", "Check it.") from None
        print(
            f"{path}: release {found.manifest.version}, id {found.id}, signed by {', '.join(sorted(found.signatures))}"
        )


def key(arguments: argparse.Namespace) -> None:
    """Prints the public keys whose releases boxes of this hub take; with --new makes a new key first."""
    folder = HubFolder(arguments.dir)
    settings = folder.settings()
    if arguments.new:
        made = release_keys.renew(folder.path)
        print(
            f"The new release key {made} signs from the next start of serve, and so does the former one.",
            file=sys.stderr,
        )
        print("Delete release-former-*.key when every box was upgraded once more.", file=sys.stderr)
    for pem in folder.release_keys(settings).public.values():
        print(pem.decode("ascii"), end="")
