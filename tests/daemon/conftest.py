from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firstlight.core.model import Registration
from tests.daemon.box import Box
from tests.daemon.platform_server import PlatformServer, accepted


@pytest.fixture
def server() -> Iterator[PlatformServer]:
    """A platform that accepts every beat, until a test says otherwise."""
    made = PlatformServer(lambda request: accepted())
    made.start()
    yield made
    made.stop()


@pytest.fixture
def make_box(tmp_path: Path, server: PlatformServer) -> Iterator[Callable[..., Box]]:
    """Makes an enrolled box whose agent waits so many times shorter."""
    boxes: list[Box] = []

    def make(haste: float = 1.0, change: Callable[[Registration], Registration] = lambda one: one) -> Box:
        folder = tmp_path / f"box{len(boxes)}"
        folder.mkdir()
        boxes.append(Box(folder, server, haste, change))
        return boxes[-1]

    yield make
    for box in boxes:
        box.close()
