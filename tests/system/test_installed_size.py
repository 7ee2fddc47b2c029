"""What a release takes on a box's disk, byte code included: the goals of the README hold on each userland."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

from tests.bench.size import CORE_MB, MB, SCAN_MB
from tests.system.box import Box
from tests.system.conftest import MakeBox, on_each_userland


def installed_bytes(box: Box) -> int:
    """The files that the installer put there, without what /etc holds."""
    return sum(size for _, _, size, _ in box.files("/opt/firstlight").values())


@on_each_userland
def test_sizes(userland: str, make_box: MakeBox, bundles: list[Path]) -> None:
    """The agent with its libraries at most 26 MB, with scanning at most 55; all modules have their byte code."""
    box = make_box(userland=userland)
    bundle = next(path for path in bundles if path.name.endswith(f"-{platform.machine()}.tar"))
    stick = f"/srv/{bundle.name}"
    shutil.copy(bundle, box.path(stick))
    command = f"tar -xOf {stick} install.sh | sh -s -- --bundle {stick}"

    box.sh(command)
    core_mb = installed_bytes(box) / MB
    names = [name for name in box.files("/opt/firstlight") if "/lib/" in name]
    sources, compiled = (sum(name.endswith(end) for name in names) for end in (".py", ".pyc"))
    assert sources == compiled > 100, f"{sources} modules, {compiled} with byte code"
    assert 10 < core_mb <= CORE_MB, f"the agent takes {core_mb:.2f} MB; the goal is {CORE_MB}"

    box.sh(f"{command} --with-scanning")
    all_mb = installed_bytes(box) / MB
    assert core_mb + 5 < all_mb <= SCAN_MB, (
        f"with scanning {all_mb:.2f} MB ({core_mb:.2f} without); the goal is {SCAN_MB}"
    )
    print(f"{userland}: {core_mb:.2f} MB, with scanning {all_mb:.2f} MB")  # noqa: T201 - the figures
