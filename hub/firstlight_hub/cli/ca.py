"""``firstlight-hub ca new | switch | list``."""

from __future__ import annotations

import argparse
from datetime import datetime, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from firstlight_hub.folder import HubFolder


def new(arguments: argparse.Namespace) -> None:
    """Makes a successor of the hub's CA."""
    folder = HubFolder(arguments.dir)
    folder.settings()
    print(f"A successor of the hub's CA: {_described(folder.ca_files.begin(datetime.now(timezone.utc)))}.")
    print("The serving hub tells its boxes from now on; each tries it out before it lets go of the present CA.")
    print("You may switch at once: boxes that trust either get in.")
    print(f"Next: firstlight-hub ca switch --dir {arguments.dir}")


def switch(arguments: argparse.Namespace) -> None:
    """Makes the successor the present CA."""
    folder = HubFolder(arguments.dir)
    folder.settings()
    print(f"The hub's CA is now: {_described(folder.ca_files.switch())}.")
    print("Boxes that trust the one before it are still served and told, until that one ends.")


def show(arguments: argparse.Namespace) -> None:
    """Lists the CAs, one a line, below a line that names the columns."""
    folder = HubFolder(arguments.dir)
    folder.settings()
    known = folder.authorities()
    rows = [("present", known.present.certificate)]
    rows += [("next", known.successor.certificate)] if known.successor else []
    rows += [("former", one.certificate) for one in known.formers] + [("accepted", one) for one in known.others]
    print(f"{'STATE':8}  {'FINGERPRINT':16}  {'FROM':10}  {'UNTIL':10}  NAME")
    for state, one in rows:
        dates = f"{one.not_valid_before_utc:%Y-%m-%d}  {one.not_valid_after_utc:%Y-%m-%d}"
        print(f"{state:8}  {_fingerprint(one)}  {dates}  {one.subject.rfc4514_string()}")


def _described(certificate: x509.Certificate) -> str:
    return f"{_fingerprint(certificate)}, until {certificate.not_valid_after_utc:%Y-%m-%d}"


def _fingerprint(certificate: x509.Certificate) -> str:
    """The first sixteen hex digits of its SHA-256: the name of all CAs of one hub is the same."""
    return certificate.fingerprint(hashes.SHA256()).hex()[:16]
