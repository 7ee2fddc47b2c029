"""The boot file of a device: what its box takes in with ``firstlight enroll --file``. It holds secrets: 0600."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path

from firstlight.cli import device_fields, output_file
from firstlight.cli.desk import Desk
from firstlight.cli.device_list import printable
from firstlight.core.management import Made
from firstlight.errors import UsageError

IN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\Z")
HERE = "."
PAYLOAD = "offlineProvisioningQrPayload"


def add(made: argparse.ArgumentParser) -> None:
    """The option that asks for boot files."""
    made.add_argument("--boot", metavar="DIR", help="write a boot file for each box, which its enroll takes in")


def check(folder: str | None) -> None:
    """Raises UsageError: the folder is not there. Found out before a device is made for it."""
    if folder and not Path(folder).is_dir():
        raise UsageError("usage", f"{folder} is not a folder.", "Make it first, or mount the stick.")


def content(desk: Desk, boot_file: Mapping[str, object]) -> dict[str, object]:
    """The boot file with what the desk knows and the dialect does not: how its own platform's address is recognised."""
    found = dict(boot_file)
    if found.get("endpoint") == desk.place.endpoint.url:
        if desk.trust.ca_pem and not found.get("ca"):
            found["ca"] = desk.trust.ca_pem
        if desk.trust.pins and not found.get("pins"):
            found["pins"] = list(desk.trust.pins)
    return found


def file_name(serial: str, device_id: str) -> str:
    """``SERIAL.json``, or the device's id where there is no serial number that makes a file name."""
    if IN_NAME.match(serial):
        return f"{serial}.json"
    if IN_NAME.match(device_id):
        return f"{device_id}.json"
    return re.sub(r"[^A-Za-z0-9_-]", "-", f"device{device_id[:200]}") + ".json"


def write(folder: str, files: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Writes boot files by their names; the paths. Raises StateError ``output_unwritable``."""
    output_file.write_all(folder, {name: body(boot_file) for name, boot_file in files.items()})
    return [str(Path(folder, name)) for name in files]


def body(boot_file: Mapping[str, object]) -> bytes:
    """As it stands in the file."""
    return json.dumps(boot_file, indent=1).encode() + b"\n"


def write_one(folder: str | None, desk: Desk, made: Made, values: Mapping[str, object]) -> list[str]:
    """The file of one device; its path, if there is one."""
    if not folder or made.boot_file is None:
        return []
    name = file_name(device_fields.serial_of(values), made.device_id)
    return write(folder, {name: content(desk, made.boot_file)})


def conclude(desk: Desk, made: Made, typed: argparse.Namespace, files: list[str]) -> int:
    """Says what was made. What only this answer holds is never lost: it goes to the screen with --json, else to a file.

    Returns 0; raises StateError ``output_unwritable``.
    """
    if typed.json:
        told = described(desk, made) | handed(desk, made)
        print(json.dumps(told | ({"files": files} if files else for_the_box(desk, made))))
        return 0
    print(f"device      {printable(made.device_id)}")
    if made.name:
        print(f"name        {printable(made.name)}")
    for name, text in handed(desk, made).items():
        if name != PAYLOAD or not files:
            print(f"{name:<11} {printable(text)}")
    if made.boot_file is not None and not files:
        files = write(HERE, {file_name("", made.device_id): content(desk, made.boot_file)})
    for name in files:
        print(f"written: {name}")
    if files and made.boot_file is not None:
        print(f"On its box: firstlight enroll --file {Path(files[0]).name}")
    return 0


def described(desk: Desk, made: Made) -> dict[str, object]:
    """What --json says of a new device, without secrets."""
    return {"platform": desk.platform, "deviceId": made.device_id, "name": made.name or None}


def handed(desk: Desk, made: Made) -> dict[str, str]:
    """What the operator carries to the box by hand, where a platform makes no boot file: told this once."""
    told: dict[str, str] = desk.dialect.handed(desk.place, made) if hasattr(desk.dialect, "handed") else {}
    return told


def for_the_box(desk: Desk, made: Made) -> dict[str, object]:
    """The boot file as --json has it where no file does."""
    return {} if made.boot_file is None else {"bootFile": content(desk, made.boot_file)}
