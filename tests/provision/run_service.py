"""Runs the headless service with a folder in the place of USB sticks: each folder in it is one that is put in."""

from __future__ import annotations

import select
import sys
from pathlib import Path

from firstlight.cli import settings
from firstlight.cli.provision_service import serve
from firstlight.sources.stick import Stick
from firstlight.system.arrivals import Arrivals


class FolderMounts:
    """Implements ``cli.provision_sticks.Mounts``."""

    event = select.POLLIN

    def __init__(self, folder: Path, *, is_told: bool = True) -> None:
        self._folder = folder
        self._arrivals = Arrivals((str(folder),) if is_told else ())
        if not is_told:
            self._arrivals.close()
        self.fd = self._arrivals.fd

    def sticks(self) -> list[Stick]:
        """Those that are there."""
        self._arrivals.read()
        found = [each for each in self._folder.iterdir() if each.is_dir()]
        return [Stick(f"{each.stat().st_ino} {each}", str(each), is_ours=True) for each in sorted(found)]


if __name__ == "__main__":
    sys.exit(
        serve(settings.load(None, {}), FolderMounts(Path(sys.argv[1]), is_told="untold" not in sys.argv), done_s=0.5)
    )
