"""The uninstall script, run by hand as its first lines and the documents say."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_pattern_that_finds_two_releases(tmp_path: Path) -> None:
    """``sh PREFIX/lib/*/share/uninstall.sh yes`` removes all, also where an upgrade left the release before."""
    prefix = tmp_path / "firstlight"
    for release in ("0.1.9-01234567", "0.2.0-89abcdef"):
        (prefix / "lib" / release / "share").mkdir(parents=True)
        shutil.copy(ROOT / "systemd/uninstall.sh", prefix / "lib" / release / "share")
    (prefix / ".firstlight").touch()
    done = subprocess.run(
        ["sh", "-c", f"sh {prefix}/lib/*/share/uninstall.sh yes"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "firstlight: removed." in done.stdout
    assert not prefix.exists()
