"""A pasted command on a box that beats already: what it brings is proved first, whoever the installId is for."""

from __future__ import annotations

import pytest

from tests.system.box import AGENT
from tests.system.conftest import MakeBox
from tests.system.hub_site import Desk

pytestmark = pytest.mark.timeout(300)
# The release in use gets another name, and the one of the hub lies beside it, as after an upgrade that was undone.
RENAMED = f"""cd /opt/firstlight/lib && own=$(ls) && cp -a "$own" 0.2.0-ffffffff
sed -i "s|/lib/$own/|/lib/0.2.0-ffffffff/|" {AGENT} {AGENT}-proven && systemctl restart firstlight && echo "$own"
"""


def test_another_install_id_swaps_nothing_unproved(make_box: MakeBox, desk: Desk) -> None:
    """The release lies there already, the box is another device: it is proved, and then the enrolling refused."""
    box = make_box()
    box.sh(desk.create(box.name).install_command)
    own = box.sh(RENAMED).stdout.strip()
    box.wait_online()
    done = box.sh(desk.create("other").install_command, check=False)
    assert "waiting for the hub to accept its heartbeat" in done.stdout, done.stdout + done.stderr
    assert "already_enrolled" in done.stderr and done.returncode != 0
    box.wait_online()
    assert own in box.read(AGENT) and own in box.read(f"{AGENT}-proven")
