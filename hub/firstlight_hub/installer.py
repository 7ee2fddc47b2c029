"""Renders the install scripts: with one a box takes the agent from this hub and enrolls itself, one is in each bundle.

Both hold the same part that looks at the box, ``systemd/box.sh``.
Every value passes a shell-quoting filter, and an undefined one fails: what a hub or URL holds never becomes a command.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType

import jinja2

from firstlight_hub.bundle_contents import shipped
from firstlight_hub.shelf import Offered

TEMPLATE = "install.sh.j2"
IN_BUNDLES = "systemd/install.sh.j2"
NO_KEYS: Mapping[str, bytes] = MappingProxyType({})
PEM = re.compile(r"-----BEGIN PUBLIC KEY-----\s+([A-Za-z0-9+/=]{60})\s+-----END PUBLIC KEY-----\s*")


def render_install_script(
    *,
    install_id: str,
    device_id: str | None,
    hub_url: str,
    pin: str | None,
    ca_pem: str,
    bundles: Sequence[Offered],
    agent_version: str,
    refusal: tuple[str, str] | None,
    release_keys: Mapping[str, bytes] = NO_KEYS,
) -> str:
    """The script for one installId.

    Args:
        install_id: as it stood in the address; need not be well-formed when there is a refusal.
        device_id: the device it belongs to, None where there is none.
        hub_url: where the box reaches this hub, without a slash at the end.
        pin: ``sha256//BASE64`` of the hub's key (several: with commas), None to trust ``ca_pem`` or the box's store.
        ca_pem: the hub's own CA in PEM, "" without one; only used where there is no pin.
        bundles: what the hub has of this version, as ``Shelf.of_this_version`` returns it.
        agent_version: the version whose bundles are offered.
        refusal: why the installId is no good, and the next step: one sentence each; None if it is good.
        release_keys: key id -> PEM, whose releases the box is to take as upgrades from now on.

    Returns:
        POSIX shell text, at most 200 lines.
    """
    fitting = [one for one in bundles if one.version == agent_version]
    keys = {name: PEM.fullmatch(pem.decode("ascii", "replace")) for name, pem in release_keys.items()}
    return _template(TEMPLATE).render(
        install_id=install_id,
        device_id=device_id or "",
        hub_url=hub_url,
        pin=pin or "",
        ca_pem="" if pin else ca_pem.strip().replace("\n", "\\n"),
        bundles=" ".join(f"{one.arch}={one.id}={','.join(one.pythons)}" for one in fitting),
        offered="; ".join(f"{one.arch} with Python {', '.join(one.pythons)}" for one in fitting) or "none",
        release_keys=" ".join(f"{name}:{match[1]}" for name, match in keys.items() if match),
        agent_version=agent_version,
        refusal=refusal[0] if refusal else "",
        hint=refusal[1] if refusal else "",
    )


def render_bundle_installer() -> bytes:
    """``install.sh`` of a bundle: it installs from the file that holds it, and does the hub's script's inner work."""
    return _template(IN_BUNDLES).render().encode()


@cache
def _template(name: str) -> jinja2.Template:
    surroundings = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda asked: shipped(asked).read_text("utf-8")),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - this is shell, not HTML: the filter below quotes each value
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    surroundings.filters["sh"] = _quoted
    return surroundings.get_template(name)


def _quoted(value: str) -> str:
    # One line, and none of the control codes that a terminal would obey: a NUL cannot be in a shell's text at all.
    return shlex.quote("".join(char if char.isprintable() else " " for char in value))
