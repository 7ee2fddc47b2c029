"""A box from an image: the agent is on it, its services are switched on, and it was never enrolled."""

from __future__ import annotations

from pathlib import Path

from tests.system.box import Box
from tests.system.conftest import MakeBox

FIRST_BOOT = "firstlight-firstboot.service"
INSTALLED = "/opt/firstlight /etc/firstlight /usr/local/bin /etc/systemd/system"

_images: dict[str, bytes] = {}  # userland -> what the offline installer put on its disk


def imaged(make_box: MakeBox, bundles: list[Path], userland: str = "bookworm") -> Box:
    """A box with a disk made from an image; it is still switched off.

    Args:
        make_box: makes boxes.
        bundles: the agent for them.
        userland: as for ``make_box``.
    """
    if userland not in _images:
        _images[userland] = _image(make_box(userland=userland, binds={bundles[0].parent: "/srv/bundles"}), bundles[0])
    box = make_box(boot=False, userland=userland)
    archive = box.path("/srv/image.tar")
    archive.write_bytes(_images[userland])
    done = box.sh_without_systemd("tar -xf /srv/image.tar -C / && rm /srv/image.tar")
    assert done.returncode == 0, done.stderr
    return box


def _image(master: Box, bundle: Path) -> bytes:
    """Installs the agent as on the machine from which images are made."""
    there = f"/srv/bundles/{bundle.name}"
    master.sh(f"tar -xOf {there} install.sh | sh -s -- --bundle {there}")
    master.sh(f"tar -cf /srv/image.tar {INSTALLED} 2>/dev/null")
    return master.path("/srv/image.tar").read_bytes()
