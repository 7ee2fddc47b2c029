"""Where a desk verb works: the platform's address, the operator's key and what else the platform needs to know.

What was typed wins over the table ``[desk.NAME]`` of the settings file. The settings outside of such a table, and the
environment, speak of the hub alone: the hub's key must not go to another platform because a line was forgotten.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from firstlight.cli import options
from firstlight.cli.settings import (
    MAX_FILE_BYTES,
    MAX_SECRET_BYTES,
    Settings,
    read_bounded,
    read_secret_file,
    read_secret_text,
    unreadable,
)
from firstlight.core.management import Field, Place
from firstlight.core.model import Endpoint, Secret, Trust, parse_endpoint
from firstlight.errors import UsageError
from firstlight.platforms import PLATFORMS

HUB = "hub"
STANDARD_INPUT = "-"
IN_TABLE = ("base", "workspace", "api_key_file", "api_key_keyring", "pin", "ca_file")
KEYRING_SERVICE = "firstlight"

Table = Mapping[str, str]


def add_options(made: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Options that say where a desk verb works; ``several``: on more than one platform."""
    which = (
        "platforms to ask, comma-separated, or all that are configured"
        if several
        else f"platform to speak to: {', '.join(sorted(PLATFORMS))}"
    )
    made.add_argument("--platform", metavar="NAME", default=HUB, help=f"{which} ({HUB})")
    options.add_hub(made)
    made.add_argument(
        "--base", metavar="URL", help="address of the platform's interface (its usual one); a hub's: --hub"
    )
    made.add_argument("--workspace", metavar="NAME", help="workspace or project on the platform")
    made.add_argument(
        "--api-key-file", "--key-file", metavar="FILE", help="file with the operator key; '-' = standard input"
    )
    made.add_argument("--api-key-keyring", action="store_true", help="take the operator key from this user's keyring")
    made.add_argument(
        "--extra",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="another setting of the platform, @FILE as VALUE reads a file; may be repeated",
    )


def placed(
    platform: str, dialect: ModuleType, typed: argparse.Namespace, settings: Settings, table: Table
) -> tuple[Place, Trust]:
    """Where that platform is, and how it is recognised.

    Args:
        platform: its name.
        dialect: its management half.
        typed: with the options of ``add_options``.
        settings: they count for the hub only.
        table: of this platform in the settings file.

    Raises:
        UsageError: something is missing, not known, or cannot be read.
        InvitationError: address, pin or CA are malformed.
    """
    known = {*IN_TABLE, *(field.name for field in dialect.EXTRAS)}
    if unknown := next((name for name in table if name not in known), None):
        raise UsageError(
            "settings_invalid",
            f"[desk.{platform}] has an unknown name {unknown!r}; there are: {', '.join(sorted(known))}.",
        )
    if platform == HUB:
        given = settings._replace(
            hub=typed.base or settings.hub or table.get("base", ""),
            **{
                name: getattr(settings, name) or table.get(name, "")
                for name in ("workspace", "api_key_file", "pin", "ca_file")
            },
        )
        endpoint, trust = options.hub_of(given)
    else:
        if typed.hub:
            raise UsageError("usage", f"--hub is a hub's address; for {platform} it is --base URL.")
        said = {
            name: getattr(typed, name, None) or table.get(name, "") for name in IN_TABLE if name != "api_key_keyring"
        }
        given = Settings(**{name: value for name, value in said.items() if name != "base"}, hub=said["base"])
        endpoint = _base(platform, said["base"] or dialect.BASE)
        trust = options.trust_of(given)
    key = _key(platform, typed, given, table)
    if not given.workspace and dialect.WORKSPACE:
        variable = ", or set FIRSTLIGHT_WORKSPACE" if platform == HUB else f", or workspace in [desk.{platform}]"
        raise UsageError("usage", f"The {dialect.WORKSPACE} is missing.", f"Give --workspace NAME{variable}.")
    extra = _extras(platform, dialect.EXTRAS, typed.extra, table)
    return Place(endpoint, given.workspace, key, tuple(extra.items())), trust


def _base(platform: str, text: str) -> Endpoint:
    if not text:
        raise UsageError(
            "usage", f"The address of {platform} is missing.", f"Give --base URL, or base in [desk.{platform}]."
        )
    return parse_endpoint(text)


def is_configured(platform: str, settings: Settings, table: Table | None) -> bool:
    """Whether the settings say enough of a platform to ask it when all are asked."""
    return table is not None or (platform == HUB and bool(settings.hub and settings.api_key_file))


def _key(platform: str, typed: argparse.Namespace, given: Settings, table: Table) -> Secret:
    what = "the operator key"
    if typed.api_key_keyring:
        if typed.api_key_file:
            raise UsageError("usage", "Give the operator key from a file or from the keyring, not from both.")
        return _from_keyring(platform, given.workspace)
    if given.api_key_file == STANDARD_INPUT:
        text = sys.stdin.buffer.readline(MAX_SECRET_BYTES + 1).decode("utf-8", "replace").strip()
        if not text or len(text) > MAX_SECRET_BYTES:
            raise UsageError("api_key_missing", f"Standard input does not hold {what} on its first line.")
        return Secret(text)
    if given.api_key_file:
        return read_secret_file(given.api_key_file, what)
    if table.get("api_key_keyring") == "yes":
        return _from_keyring(platform, given.workspace)
    hint = "" if platform == HUB else f"Give a file with --api-key-file, or api_key_file in [desk.{platform}]."
    raise UsageError("api_key_missing", "The operator key is missing.", hint)


def _from_keyring(platform: str, workspace: str) -> Secret:
    """From the entry of the workspace, or else of the platform. Raises UsageError."""
    from importlib import import_module

    try:
        keyring, failures = import_module("keyring"), import_module("keyring.errors")
    except ImportError:
        raise UsageError(
            "keyring_missing", "Keyrings cannot be read here: the library keyring is not installed."
        ) from None
    try:
        for name in filter(None, (f"{platform}/{workspace}" if workspace else "", platform)):
            if found := keyring.get_password(KEYRING_SERVICE, name):
                return Secret(found)
    except failures.KeyringError as error:
        raise UsageError("keyring_unreadable", f"The keyring cannot be read: {type(error).__name__}.") from None
    raise UsageError(
        "api_key_missing",
        f"The keyring has no entry for {platform}.",
        f"Put the operator key into it: keyring set {KEYRING_SERVICE} {platform}",
    )


def _extras(platform: str, known: tuple[Field, ...], typed: list[str], table: Table) -> dict[str, str]:
    fields = {field.name: field for field in known}
    found = {name: value for name, value in table.items() if name in fields}
    found |= pairs(typed, fields, f"The platform {platform} has no extra setting", "--extra")
    return {name: text_of(fields[name], value) for name, value in found.items()}


def pairs(words: list[str], fields: Mapping[str, Field], unknown: str, option: str) -> dict[str, str]:
    """``NAME=VALUE`` words -> by name. Raises UsageError: no '=', a name twice, or one that is not in ``fields``."""
    found: dict[str, str] = {}
    for word in words:
        name, is_pair, value = word.partition("=")
        if not is_pair or name in found:
            why = "is there twice" if is_pair else "is not NAME=VALUE"
            raise UsageError("usage", f"{option} {name[:40]!r} {why}.")
        if name not in fields:
            there = f"There are: {', '.join(fields)}." if fields else f"It takes no {option}."
            raise UsageError("usage", f"{unknown} {name[:40]!r}.", there)
        found[name] = value
    return found


def text_of(field: Field, value: str) -> str:
    """A value as typed -> its text: ``@FILE`` is the file's. Raises UsageError: a typed secret, or the file."""
    if field.is_secret:
        if not value.startswith("@"):
            raise UsageError(
                "usage",
                f"{field.name} is a secret, which is never typed.",
                f"Put it into a file that only you may read, and give {field.name}=@FILE.",
            )
        return read_secret_text(value[1:], field.name)
    if not value.startswith("@"):
        return value
    try:
        return read_bounded(Path(value[1:]), MAX_FILE_BYTES).decode("utf-8").strip()
    except OSError as error:
        raise unreadable(value[1:], error) from None
    except UnicodeDecodeError:
        raise UsageError("settings_invalid", f"{value[1:]} is not text.") from None
