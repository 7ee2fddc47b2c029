"""What goes into a bundle: the agent, what it needs, what reads codes, units and scripts; and what is left out."""

from __future__ import annotations

import importlib.metadata
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath

import firstlight
from firstlight.errors import FirstlightError
from firstlight.wire.bundle import ARCHITECTURES
from firstlight_hub import closure

AGENT = "firstlight"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
SCAN = "scan"  # the extra whose distributions make the layer for reading codes
# Of systemd/, the only copies; those that a later issue brings travel from the day they are there.
ON_THE_BOX = (
    *("firstlight.service", "firstlight-upgrade.service", "firstlight-upgrade.path", "firstlight-firstboot.service"),
    *("firstlight-network.service", "firstlight-network.path"),
    *("firstlight-hooks.service", "firstlight-hooks.path"),
    *("firstlight-provision.service", "firstlight-stick.service", "70-firstlight-stick.rules"),
    *("firstlight-restart.conf", "setup.sh", "start-service.sh", "uninstall.sh"),
)
# Sources of compiled modules, types and tests: nothing of it is read on a box.
UNUSED_SUFFIXES = (".pyi", ".typed", ".pyx", ".pxd", ".c", ".h", ".rs", ".pyc", ".cfg")
UNUSED_FOLDERS = ("tests", "test", "__pycache__")
KEPT_OF_METADATA = re.compile(r"METADATA$|licenses/|(LICEN[CS]E|COPYING|NOTICE|AUTHORS)", re.IGNORECASE)
# Never imported on a box: cffi's compiler (cryptography needs its compiled part only) and what that reads C with; anyio
# and what it alone needs (httpcore goes without it where nothing is asynchronous; 1.5 MB); other systems' halves,
# commands and plug-ins of libraries, AVIF pictures (5 MB) and windows.
NEVER_IMPORTED = re.compile(
    r"pycparser[/-]|cffi/|anyio[/-]|exceptiongroup[/-]|typing_extensions[.-]"
    r"|httpx/_main\.py$|httpcore/_backends/(anyio|trio)\.py$"
    r"|psutil/_ps(windows|bsd|sunos|aix|osx)\.py$|qrcode/(console_scripts|release)\.py$|pyzbar/scripts/"
    r"|PIL/(_avif\.|_imagingtk\.|_tkinter_finder|ImageTk|ImageQt|ImageGrab)|pillow\.libs/libavif-"
)

Files = dict[str, "Path | bytes"]  # name in the payload -> where it is, or what it holds
Requires = Callable[[str], "Iterable[str] | None"]


class BundleError(FirstlightError):
    """A bundle that cannot be made from what is there."""

    exit_status = 70
    is_permanent = True


def shipped(name: str) -> Path:
    """A file that travels inside this package, or lies at the root of the source tree it runs from."""
    inside = Path(__file__).parent / name
    return inside if inside.exists() else Path(__file__).parents[2] / name


def own_python() -> str:
    """The running interpreter's version, as ``3.11``."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def own_arch() -> str:
    """The architecture whose boxes can run what is installed beside this very interpreter; "" = none that is known.

    From the interpreter's binary interface, so that a 32-bit Python under a 64-bit kernel, a free-threaded one and
    one on musl count as unknown. The install script asks the box's Python the same way.
    """
    parts = str(sysconfig.get_config_var("SOABI")).split("-")
    if sys.platform != "linux" or len(parts) != 5 or own_python() not in PYTHONS:
        return ""
    return parts[2] if parts[1].isdigit() and parts[2] in ARCHITECTURES and parts[4] == "gnu" else ""


def is_kept(name: str) -> bool:
    """Whether a file of a distribution belongs into a bundle; ``name`` is relative to site-packages."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or set(path.parts[:-1]) & set(UNUSED_FOLDERS):
        return False
    if NEVER_IMPORTED.match(name):
        return False
    if path.parts[0].endswith((".dist-info", ".egg-info")):
        return bool(KEPT_OF_METADATA.match("/".join(path.parts[1:])))
    # Loose .pth files act on a site-packages directory only; a bundle is none.
    return path.suffix not in UNUSED_SUFFIXES and path.suffix != ".pth"


def layers(requires: Requires, where: closure.Environment, *, is_strict: bool = True) -> tuple[list[str], list[str]]:
    """The distributions of ``lib/``, and those that ``scan/`` has on top: none where none of them is there.

    Args:
        requires: what a distribution needs, None for one that is not there.
        where: the box.
        is_strict: whether a part of what ``scan/`` needs is an error. Beside a hub it may be there for other reasons.

    Raises:
        RequirementError: one that is needed is missing, or cannot be understood.
    """
    core = closure.closure(AGENT, requires, where)
    asked = [closure.needed(line, {**where, "extra": SCAN}) for line in requires(AGENT) or ()]
    wanted = [name for name in asked if name and name not in core]
    missing = [name for name in wanted if requires(name) is None]
    if missing == wanted or (missing and not is_strict):
        return core, []
    found = {name for root in wanted for name in closure.closure(root, requires, where)}
    return core, sorted(found - set(core))


def agent_files() -> Files:
    """The agent, from where this very process imports it: what a hub speaks and what it hands out is one version."""
    package = Path(firstlight.__file__).parent
    found = {f"{AGENT}/{path.relative_to(package).as_posix()}": path for path in sorted(package.rglob("*"))}
    return {f"lib/{name}": path for name, path in found.items() if path.is_file() and is_kept(name)}


def shared_files(keys: Mapping[str, bytes]) -> Files:
    """Units, scripts and the public keys (key id -> PEM) that a box is to trust."""
    found: Files = {f"share/{name}": path for name in ON_THE_BOX if (path := shipped(f"systemd/{name}")).is_file()}
    return {**found, **{f"share/trust.d/{name}.pub": pem for name, pem in keys.items()}}


def installed_files(keys: Mapping[str, bytes]) -> Files:
    """Everything of the bundle for the running interpreter. Raises BundleError, RequirementError."""
    found = {**agent_files(), **shared_files(keys)}
    core, scan = layers(_installed_requires, closure.own_environment(), is_strict=False)
    for layer, name in [*(("lib", name) for name in core), *(("scan", name) for name in scan)]:
        distribution = importlib.metadata.distribution(name)
        for file in distribution.files or ():
            if is_kept(file.as_posix()) and not (name == AGENT and file.parts[0] == AGENT):
                found[f"{layer}/{file.as_posix()}"] = Path(str(distribution.locate_file(file)))
    if missing := [name for name, path in found.items() if isinstance(path, Path) and not path.is_file()]:
        raise BundleError(
            "bundle_incomplete",
            f"{len(missing)} installed files are gone, {missing[0]} among them.",
            "Install the hub anew.",
        )
    return found


def _installed_requires(name: str) -> list[str] | None:
    try:
        return importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return None
