"""Dialects: how each platform wants to be spoken to. Pure; no sockets, no files.

A new platform is one folder with the halves it has (``device.py``, ``management.py``), one line here and one golden
folder in ``tests/exchanges``. The table holds strings, so that a platform costs nothing until it is used.
"""

from __future__ import annotations

from firstlight.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

PLATFORMS = {
    "hub": "firstlight.platforms.hub",
    "huawei": "firstlight.platforms.huawei",
    "qubitro": "firstlight.platforms.qubitro",
    "fleet": "firstlight.platforms.fleet",
    "roboflow": "firstlight.platforms.roboflow",
}


def has_half(platform: str, name: str) -> bool:
    """Whether a platform has that module; loads it."""
    try:
        half(platform, name)
    except UsageError:
        return False
    return True


def half(platform: str, name: str) -> ModuleType:
    """A platform's module.

    Args:
        platform: key of ``PLATFORMS``.
        name: ``device`` or ``management``.

    Raises:
        UsageError: there is no such platform, or it has no such half.
    """
    if platform not in PLATFORMS:
        raise UsageError("usage", f"There is no platform {platform!r}; there are: {', '.join(sorted(PLATFORMS))}.")
    folder = PLATFORMS[platform]
    full = f"{folder}.{name}"
    try:
        # __import__ rather than importlib: it is there already, and the beating process counts its modules.
        module: ModuleType = __import__(full, fromlist=["_"])
    except ModuleNotFoundError as error:
        if error.name not in (folder, full):
            raise
        # A platform may say why: its package, without that half, can be loaded on its own.
        why = getattr(__import__(folder, fromlist=["_"]), "WITHOUT", {}).get(name) if error.name == full else None
        raise UsageError("usage", why or f"The platform {platform} has no {name} half.") from None
    return module
