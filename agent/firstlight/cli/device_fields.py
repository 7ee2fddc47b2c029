"""What is said of a new device: the options of ``device create``, the columns of its table, made-up secrets."""

from __future__ import annotations

import argparse
import json
import secrets
from collections.abc import Mapping, Sequence

from firstlight.cli.desk import Desk
from firstlight.cli.desk_place import pairs, text_of
from firstlight.cli.settings import read_secret_text
from firstlight.core.management import Field
from firstlight.core.model import Secret
from firstlight.core.provision import Audience, Network
from firstlight.errors import UsageError

NAMES = ("name", "device_name")
KEYS = ("node_id", "device_id", "serial_number", "serial", *NAMES)
SERIALS = ("serial", "serial_number", "node_id")
# Options that are fields, where the platform has them: the option -> the names that the field may have.
OPTIONS = {
    "type": ("type", "device_type"),
    "workflow_id": ("workflow_id",),
    "like": ("like", "sourceDeviceId"),
    "transport": ("transport",),
    "credential": ("credential",),
}
OFFLINE = ("offline", "offline_mode")
MOST_DIGITS = 256

Values = dict[str, object]


def add(made: argparse.ArgumentParser) -> None:
    """Options that give any field of any platform."""
    made.add_argument(
        "--field",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a field of the platform, @FILE as VALUE reads a file; may be repeated",
    )
    made.add_argument(
        "--facts",
        metavar="FILE",
        action="append",
        default=[],
        help="make one of what 'firstlight facts --json' printed on its box; may be repeated",
    )


def of(desk: Desk) -> dict[str, Field]:
    """The platform's fields by name."""
    return {field.name: field for field in desk.dialect.FIELDS}


def name_field(fields: Mapping[str, Field]) -> str:
    """Which of them is the name that people call a device by."""
    return next((name for name in NAMES if name in fields), "")


def key_field(desk: Desk) -> tuple[str, ...]:
    """Which fields tell one device of a table from another, the first that has a value: the dialect's ``KEY``."""
    said = getattr(desk.dialect, "KEY", "")
    return (said,) if said else tuple(name for name in KEYS if name in of(desk))


def serial_of(values: Mapping[str, object]) -> str:
    """The serial number in what is said of a device, "" where there is none."""
    found = (values.get(name) for name in SERIALS)
    return next((value for value in found if isinstance(value, str) and value), "")


def one(desk: Desk, fields: Mapping[str, Field], typed: argparse.Namespace) -> Values:
    """What the options say of one device. Raises UsageError."""
    values = shared(desk, fields, typed)
    if typed.name:
        if not (named := name_field(fields)):
            raise UsageError("usage", f"A device of {desk.platform} has no name.", _there(fields))
        if named in values:
            raise UsageError("usage", f"The name is there twice: {typed.name[:40]!r}, and --field {named}.")
        values[named] = typed.name
    if typed.tag:
        values[_need(("tags",), "--tag", desk, fields)] = tuple(typed.tag)
    if typed.serial:
        values[_need(("serial",), "--serial", desk, fields)] = typed.serial
        values["audience"] = Audience(serial=typed.serial)
    return make_up(desk, complete(desk, fields, values))


def shared(desk: Desk, fields: Mapping[str, Field], typed: argparse.Namespace) -> Values:
    """What the options say of every device of a run. Raises UsageError."""
    unknown = f"A device of {desk.platform} has no field"
    values: Values = {
        name: text_of(fields[name], value) for name, value in pairs(typed.field, fields, unknown, "--field").items()
    }
    if typed.offline:
        values[_need(OFFLINE, "--offline", desk, fields)] = True
    for name, names in OPTIONS.items():
        if value := getattr(typed, name):
            values[_need(names, f"--{name.replace('_', '-')}", desk, fields)] = value
    if typed.network:
        _need(OFFLINE[:1], "--network", desk, fields)
        values["network"] = read_network(typed.network)
    return values


def complete(desk: Desk, fields: Mapping[str, Field], values: Values) -> Values:
    """The same, if nothing is missing. Raises UsageError."""
    missing = [field.name for field in fields.values() if field.is_required and not values.get(field.name)]
    if missing:
        raise UsageError("usage", f"A device of {desk.platform} needs: {', '.join(missing)}.", _there(fields))
    return values


def make_up(desk: Desk, values: Values) -> Values:
    """The same with the secrets that the platform leaves to the desk: hex digits, as many as the dialect says."""
    wanted = getattr(desk.dialect, "made_up", None)
    for name, digits in (wanted(values) if wanted else {}).items():
        if not values.get(name):
            values[name] = secrets.token_hex(min(digits, MOST_DIGITS) // 2)
    return values


def _need(names: Sequence[str], option: str, desk: Desk, fields: Mapping[str, Field]) -> str:
    """Which of the names the platform's field has. Raises UsageError: none."""
    found = next((name for name in names if name in fields), "")
    if not found:
        raise UsageError("usage", f"The platform {desk.platform} takes no {option}.", _there(fields))
    return found


def _there(fields: Mapping[str, Field]) -> str:
    return f"Its fields, as --field NAME=VALUE: {', '.join(fields)}."


def read_network(path: str) -> Network:
    """The network in a JSON file, under the names of the hub's API; a secret, so never an argument.

    Raises:
        UsageError: ``settings_unreadable``, ``settings_invalid``.
    """
    try:
        found = json.loads(read_secret_text(path, "the network"))
    except (ValueError, RecursionError):
        found = None
    texts = {"ssid", "passphrase", "security", "address", "gateway"}
    if not isinstance(found, dict) or not found or set(found) - texts - {"hidden", "dns"}:
        raise _unfit(path)
    if not all(isinstance(found[name], str) for name in texts & set(found)):
        raise _unfit(path)
    hidden, dns = found.get("hidden", False), found.get("dns", [])
    if not isinstance(hidden, bool) or not isinstance(dns, list) or not all(isinstance(one, str) for one in dns):
        raise _unfit(path)
    passphrase = found.get("passphrase")
    usual = "wpa" if passphrase or "ssid" not in found else "open"
    return Network(
        ssid=found.get("ssid", ""),
        passphrase=Secret(passphrase) if passphrase else None,
        security=found.get("security", usual),
        is_hidden=hidden,
        address=found.get("address", ""),
        gateway=found.get("gateway", ""),
        dns=tuple(dns),
    )


def _unfit(path: str) -> UsageError:
    return UsageError(
        "settings_invalid",
        f"{path} is no network.",
        'Write it as {"ssid": "…", "passphrase": "…"}, with security, hidden, address, gateway and dns where needed.',
    )
