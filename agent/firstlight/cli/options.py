"""Options that several verbs share, and what they make of them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from firstlight.cli import next_step
from firstlight.cli import settings as settings_file
from firstlight.cli.settings import Settings
from firstlight.core.model import Endpoint, Trust, parse_endpoint, parse_pin
from firstlight.errors import InvitationError, UnreachableError, UsageError

PEM_MARK = "-----BEGIN CERTIFICATE-----"


class Parser(argparse.ArgumentParser):
    """argparse whose complaints go the way of every other error: one sentence, a hint, a code."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raises UsageError instead of printing and exiting."""
        raise UsageError("usage", f"{message[:1].upper()}{message[1:]}.", f"Run: {self.prog} --help")


def parser(verb: str, description: str) -> Parser:
    """A parser with the options every verb has."""
    made = Parser(prog=f"firstlight {verb}", description=description, allow_abbrev=False)
    made.add_argument("--config", metavar="FILE", help="settings file (TOML)")
    return made


def add_state(made: argparse.ArgumentParser) -> None:
    """Options of the verbs that touch this box's state."""
    made.add_argument("--state-dir", metavar="DIR", help="where registration and key live")
    made.add_argument("--runtime-dir", metavar="DIR", help="where the running agent writes its status")


def add_hub(made: argparse.ArgumentParser) -> None:
    """Options that say where a hub is and how it is recognised."""
    made.add_argument("--hub", metavar="URL", help="address of the hub, https://HOST:PORT")
    made.add_argument("--pin", metavar="PIN", help="pin of the hub's key, sha256//BASE64 (several: comma-separated)")
    made.add_argument("--ca-file", metavar="FILE", help="PEM file with the hub's CA")
    add_proxy(made)


def add_proxy(made: argparse.ArgumentParser) -> None:
    """Options for the way out."""
    made.add_argument(
        "--proxy", metavar="URL", help="HTTP proxy on the way to the hub and its broker, http://HOST:PORT"
    )
    made.add_argument("--proxy-auth-file", metavar="FILE", help="file with USER:PASSWORD for the proxy")


def add_pairing(made: argparse.ArgumentParser) -> None:
    """Options that ask for a transport and a kind of credential."""
    made.add_argument(
        "--transport", choices=("http", "mqtt", "websocket"), help="how heartbeats travel (else as the operator chose)"
    )
    made.add_argument(
        "--credential",
        choices=("secret", "certificate"),
        help="how the box proves who it is (else as the operator chose)",
    )


def load(typed: argparse.Namespace, config: str | None) -> Settings:
    """File, environment and what was typed, joined. Raises UsageError."""
    flags = {name: getattr(typed, name, None) for name in settings_file.SETTINGS}
    settings = settings_file.load(typed.config or config, flags)
    usual = settings_file.load(typed.config or config, {**flags, "state_dir": None}) if flags["state_dir"] else settings
    next_step.remember(settings.state_dir if settings.state_dir != usual.state_dir else "")
    return settings


def hub_of(settings: Settings) -> tuple[Endpoint, Trust]:
    """Where the hub is and how it is recognised.

    Raises:
        UsageError: no hub was given, or the CA file cannot be used.
        InvitationError: address or pin are malformed.
    """
    if not settings.hub:
        raise UsageError(
            "usage", "The hub's address is missing.", "Give --hub https://HOST:PORT, or set FIRSTLIGHT_HUB."
        )
    return parse_endpoint(settings.hub), trust_of(settings)


def trust_of(settings: Settings) -> Trust:
    """How a platform is recognised, by ``pin`` and ``ca_file``. Raises as ``hub_of``."""
    pins = tuple(parse_pin(part) for part in settings.pin.split(",") if part.strip())
    ca_pem = ""
    if settings.ca_file:
        try:
            body = settings_file.read_bounded(Path(settings.ca_file), 65_536)
        except OSError as error:
            raise settings_file.unreadable(settings.ca_file, error) from None
        ca_pem = body.decode("ascii", "replace")
        if PEM_MARK not in ca_pem:
            raise InvitationError("ca_malformed", f"{settings.ca_file} holds no PEM certificate.")
    return Trust(ca_pem, pins)


@contextmanager
def advice(endpoint: Endpoint, trust: Trust) -> Iterator[None]:
    """Gives an error of the ``with`` block the next step that fits what was typed, where that is what went wrong."""
    try:
        yield
    except UnreachableError as error:
        if error.code == "tls_untrusted" and not trust.pins and not trust.ca_pem:
            error.hint = (
                "No public authority vouches for this server. Give the hub's --pin (ask its operator) or --ca-file."
            )
        elif error.code in ("reply_cut", "reply_malformed") and endpoint.url.startswith("http://"):
            error.hint = f"If that port speaks HTTPS, use https://{endpoint.url.removeprefix('http://')}."
        raise
