"""Checks of what scanning needs: a camera, the libraries that read codes, a light to answer with."""

from __future__ import annotations

import importlib
import os
import pwd

from firstlight.core.diagnosis import Finding, noted, passed, warned
from firstlight.system import leds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MAX_NAMES = 64
READERS = {"pyzbar": "pyzbar.pyzbar", "zxing-cpp": "zxingcpp"}


def camera(top: str = "/", may: Callable[[str, int], bool] = os.access) -> Finding:
    """The video devices, by name, and whether this user may use them.

    Args:
        top: takes the place of ``/``.
        may: access(2).
    """
    folder = os.path.join(top, "dev")
    names = [name for name in _listed(folder) if name.startswith("video") and name[5:].isdigit()]
    if not names:
        return noted("camera", "There is no camera. Without one, codes come from a picture, a stick or a scanner.")
    titles = {name: _line(os.path.join(top, "sys/class/video4linux", name, "name")) or name for name in names}
    said = ", ".join(dict.fromkeys(titles.values()))
    if not any(may(os.path.join(folder, name), os.R_OK | os.W_OK) for name in names):
        fix = f"Run it with sudo, or: sudo usermod -aG video {_user()} (counts from the next login)."
        return warned("camera", f"{said}: you may not use it.", fix, devices=names)
    return passed("camera", f"{said} (/dev/{names[0]}).", devices=names)


def scan(load: Callable[[str], object] = importlib.import_module) -> Finding:
    """Which readers of codes can be loaded; ``load`` imports a module or raises ImportError."""
    found: dict[str, bool] = {}
    for name, module in {"pillow": "PIL.Image", **READERS}.items():
        try:
            load(module)
        except (ImportError, OSError):  # pyzbar without libzbar is an ImportError too
            found[name] = False
        else:
            found[name] = True
    there = [name for name in READERS if found[name]]
    detail: dict[str, object] = {"libraries": found}
    if not found["pillow"] or not there:
        missing = "pillow" if not found["pillow"] else "both pyzbar (with libzbar) and zxing-cpp"
        fix = "Install them: sudo apt-get install libzbar0, or pip install 'firstlight[scan]'."
        return noted("scan", f"This box cannot read QR codes: it lacks {missing}.", fix, detail=detail)
    return passed("scan", f"QR codes are read with {' and '.join(there)}.", detail=detail)


def led(wanted: str = "", folder: str = leds.FOLDER, may: Callable[[str, int], bool] = os.access) -> Finding:
    """The light that answers, and whether this user may switch it.

    Args:
        wanted: as for ``leds.find``.
        folder: takes the place of ``/sys/class/leds``.
        may: access(2).
    """
    path = leds.find(wanted, folder)
    name = os.path.basename(path)
    if not path:
        asked = f" (the setting says {wanted!r})" if wanted else ""
        return noted("led", f"There is no light that the agent could switch{asked}.")
    if not may(os.path.join(path, "brightness"), os.W_OK):
        return noted("led", f"The light {name} is there; only root may switch it.", "Run it with sudo.", light=name)
    return passed("led", f"The light {name} can be switched.", light=name)


def _listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder), key=lambda name: (len(name), name))[:MAX_NAMES]
    except OSError:
        return []


def _line(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            text = os.read(fd, 256).decode("utf-8", "replace").strip()
        finally:
            os.close(fd)
    except OSError:
        return ""
    return text if text.isprintable() else ""


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return "USER"
