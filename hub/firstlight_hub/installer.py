"""Renders ``install.sh.j2``: the script with which a box takes the agent from this hub and enrolls itself.

Every value passes a shell-quoting filter, and an undefined one fails: what a hub or URL holds never becomes a command.
"""

from __future__ import annotations

import re
import shlex
from functools import cache

import jinja2

from firstlight_hub.bundle import AGENT, shipped

TEMPLATE = "install.sh.j2"


def render_install_script(
    *,
    install_id: str,
    device_id: str | None,
    hub_url: str,
    pin: str | None,
    ca_pem: str,
    bundles: dict[str, str],
    agent_version: str,
    refusal: tuple[str, str] | None,
) -> str:
    """The script for one installId.

    Args:
        install_id: as it stood in the address; need not be well-formed when there is a refusal.
        device_id: the device it belongs to, None where there is none.
        hub_url: where the box reaches this hub, without a slash at the end.
        pin: ``sha256//BASE64`` of the hub's key (several: with commas), None to trust ``ca_pem`` or the box's store.
        ca_pem: the hub's own CA in PEM, "" without one; only used where there is no pin.
        bundles: bundle file name -> SHA-256 in hex, as ``Shelf.offered`` returns.
        agent_version: the version whose bundles are offered.
        refusal: why the installId is no good, and the next step: one sentence each; None if it is good.

    Returns:
        POSIX shell text, at most 200 lines.
    """
    of_version = re.compile(rf"{AGENT}-{re.escape(agent_version)}-(cp3\d+t?-[a-z0-9_-]+)\.tar\.gz")
    by_tag = {match[1]: sha256 for name, sha256 in sorted(bundles.items()) if (match := of_version.fullmatch(name))}
    return _template().render(
        install_id=install_id,
        device_id=device_id or "",
        hub_url=hub_url,
        pin=pin or "",
        ca_pem="" if pin else ca_pem.strip().replace("\n", "\\n"),
        bundles=" ".join(f"{tag}={sha256}" for tag, sha256 in by_tag.items()),
        offered=", ".join(by_tag) or "none",
        agent_version=agent_version,
        refusal=refusal[0] if refusal else "",
        hint=refusal[1] if refusal else "",
    )


@cache
def _template() -> jinja2.Template:
    surroundings = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - this is shell, not HTML: the filter below quotes each value
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    surroundings.filters["sh"] = _quoted
    return surroundings.from_string(shipped(TEMPLATE).read_text("utf-8"))


def _quoted(value: str) -> str:
    # One line, and none of the control codes that a terminal would obey: a NUL cannot be in a shell's text at all.
    return shlex.quote("".join(char if char.isprintable() else " " for char in value))
