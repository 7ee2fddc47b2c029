"""What every hand scanner is to the box: a device that is open until it is closed or pulled out."""

from __future__ import annotations

import os
from contextlib import suppress


class ScannerDevice:
    """One device.

    Args:
        path: what was opened.

    Attributes:
        fd: becomes readable when something came, -1 once it is closed.
        problem: why it was closed, "" = it was not.
    """

    def __init__(self, path: str) -> None:
        self.path, self.problem, self.fd = path, "", -1

    def unplugged(self) -> None:
        """Nothing comes from it any more."""
        self.problem = f"The scanner {self.path} was unplugged."
        self.close()

    def close(self) -> None:
        """Ends listening, and gives it back."""
        if self.fd >= 0:
            with suppress(OSError):
                os.close(self.fd)
            self.fd = -1
