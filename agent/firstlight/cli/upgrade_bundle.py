"""From a bundle to a release beside the running one: whose it is, whether it fits, unpacked, compiled, tried.

Nothing of it changes what runs. A cut at any point leaves at worst a folder that the next upgrade removes.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

from firstlight.errors import StateError, UpgradeError
from firstlight.system import bundle_file
from firstlight.system.bundle_file import BundleFile, damaged
from firstlight.system.releases import MANIFEST, NEW, Launcher, Releases, read_keys
from firstlight.wire import bundle
from firstlight.wire.bounded import WireError
from firstlight.wire.bundle import Manifest

TRY_S, COMPILE_S, ASK_S = 120.0, 600.0, 30.0
MARGIN_BYTES = 8 << 20  # beside what the release takes: launchers, journal, state
# Before it is known what a release takes: a bundle, and it unpacked.
FREE_BYTES = 60 << 20
TELL = "import sys, sysconfig;print('%d.%d' % sys.version_info[:2], sysconfig.get_config_var('SOABI').split('-')[2])"
COMPILE = (
    "import compileall, py_compile, sys;"
    "sys.exit(not compileall.compile_dir(sys.argv[1], quiet=2,"
    " invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH))"
)
# What a box needs on its first day: the verbs, the process that beats, the libraries with compiled parts.
TRY = (
    "import sys; sys.path.insert(0, sys.argv[1]);"
    "import cryptography.x509, psutil, firstlight.cli.main, firstlight.cli.run, firstlight.cli.enroll,"
    " firstlight.cli.rotate, firstlight.daemon.main, firstlight.transports.http_calls,"
    " firstlight.transports.mqtt_session;"
    "from importlib.util import find_spec;"
    "print(firstlight.__version__, find_spec('firstlight.cli.upgrade') is not None)"
)
READ_STATE = (
    "import sys; sys.path.insert(0, sys.argv[1]);"
    "from firstlight.system.store import StateDirectory;"
    "StateDirectory(sys.argv[2]).load_registration()"
)


class Checked(NamedTuple):
    """A bundle that somebody vouches for.

    Args:
        manifest: what it says about itself.
        body: the manifest's very bytes.
        id: of the release, 64 hex digits.
        signer: id of the trusted key that signed it, "" = a person vouched for the id.
    """

    manifest: Manifest
    body: bytes
    id: str
    signer: str

    @property
    def release(self) -> str:
        """Name of its folder: ``VERSION-ID8``."""
        return f"{self.manifest.version}-{self.id[:8]}"


class Host(NamedTuple):
    """What a release must fit: ``3.11``, ``x86_64``."""

    python: str
    arch: str


def host_of(launcher: Launcher) -> Host:
    """The Python that the launcher starts, asked itself: a distribution's upgrade may have changed it."""
    words = _run([launcher.python, "-I", "-c", TELL], ASK_S).stdout.split()
    if len(words) != 2:
        raise UpgradeError("bundle_unfit", f"{launcher.python} does not run.")
    return Host(words[0], words[1])


def trusted(folder: str) -> dict[str, bytes]:
    """The release keys that this box trusts: key id -> public key. Raises UpgradeError, StateError."""
    found = {}
    for name, pem in list(read_keys(folder, is_trusted=True).items())[: bundle.MAX_KEYS]:
        try:
            key_id, public = bundle.read_public_key(pem)
        except WireError as error:
            raise UpgradeError("upgrade_key_unsafe", f"{folder}/{name}: {error}.", "Remove that file.") from None
        found[key_id] = public
    return found


def checked(opened: BundleFile, trust_dir: str, wanted_id: str, *, is_vouched: bool) -> Checked:
    """Who vouches for a bundle.

    Args:
        opened: the bundle.
        trust_dir: folder of the trusted keys.
        wanted_id: what its id must be, "" = any.
        is_vouched: a person gave that id: no signature is needed.

    Raises:
        UpgradeError: nobody does, or it is another release.
        StateError: the keys cannot be read.
    """
    body, signatures = opened.read(bundle.MANIFEST), opened.read(bundle.SIGNATURES)
    found = bundle.release_id(body)
    if wanted_id and found != wanted_id:
        raise UpgradeError("upgrade_forged", f"This bundle is release {found[:16]}…, not {wanted_id[:16]}….")
    signer = "" if wanted_id and is_vouched else _signer(body, signatures, trust_dir)
    try:
        manifest = bundle.decode_manifest(body)
    except WireError as error:
        if error.code == "bundle_newer":
            raise UpgradeError("bundle_newer", f"This agent cannot read the bundle: {error}.") from None
        raise damaged(str(error)) from None
    return Checked(manifest, body, found, signer)


def _signer(body: bytes, signatures: bytes, trust_dir: str) -> str:
    keys = trusted(trust_dir)
    if not keys:
        raise UpgradeError("upgrade_untrusted", f"This box trusts no release key: {trust_dir} holds none.")
    try:
        return bundle.verify(body, signatures, keys)
    except WireError as error:
        if error.code in ("signature_missing", "signature_unknown"):
            raise UpgradeError("upgrade_untrusted", f"No key of {trust_dir} vouches for it: {error}.") from None
        raise UpgradeError("upgrade_forged", f"The bundle is not to be trusted: {error}.") from None


def check_fit(manifest: Manifest, host: Host, running: str, *, allow_older: bool) -> None:
    """Whether a release runs here and is no step down. Raises UpgradeError."""
    if manifest.arch != host.arch or host.python not in manifest.pythons:
        raise UpgradeError(
            "bundle_unfit",
            f"The bundle is for {manifest.arch} with Python {', '.join(manifest.pythons)};"
            f" this box is {host.arch} with Python {host.python}.",
        )
    if allow_older:
        return
    try:
        is_older = bundle.version_order(manifest.version) < bundle.version_order(running)
    except WireError:
        is_older = False  # what runs has no plain version: a build of somebody's own
    if is_older:
        raise UpgradeError("upgrade_older", f"{manifest.version} is older than {running}, which runs here.")


def check_space(folder: str | Path, needed_bytes: int) -> None:
    """Raises UpgradeError (``upgrade_no_space``) where a folder's disk has less than that."""
    found = os.statvfs(folder)
    free_bytes = found.f_bavail * found.f_frsize
    if free_bytes < needed_bytes:
        raise UpgradeError(
            "upgrade_no_space", f"{folder} has {free_bytes >> 20} MB free; {needed_bytes >> 20} MB are needed."
        )


def put_in_place(opened: BundleFile, found: Checked, host: Host, releases: Releases, launcher: Launcher) -> None:
    """Has the release beside the running one: whole, on disk, compiled, and tried in a process of its own.

    Raises:
        UpgradeError, StateError: it is not there then.
    """
    has_scan = Path(releases.folder(launcher.release), "scan").is_dir()
    for name, promised in ((bundle.INSTALLER, found.manifest.installer), (bundle.PAYLOAD, found.manifest.payload)):
        if opened.size(name) != promised.size_bytes or opened.sha256(name) != promised.sha256:
            raise damaged(f"its {name} is not what its manifest promises")
    needed = found.manifest.core_bytes + (found.manifest.scan_bytes if has_scan else 0)
    check_space(releases.lib, needed + MARGIN_BYTES)
    unpacked = Path(releases.folder(NEW), "release")

    def wants(name: str) -> bool:
        if not bundle.is_member(name):
            raise ValueError(f"{name[:100]!r} may not be in it")
        return bundle.is_for(name, host.python) and (has_scan or not name.startswith("scan/"))

    try:
        unpacked.mkdir(mode=0o755)
        opened.unpack(bundle.PAYLOAD, str(unpacked), wants, bundle.MAX_UNPACKED, bundle.MAX_FILES)
        (unpacked / MANIFEST).write_bytes(found.body)
    except OSError as error:
        raise bundle_file.no_space(str(unpacked), error) from None
    _try(unpacked, found, launcher)
    releases.adopt(str(unpacked), found.release)


def _try(unpacked: Path, found: Checked, launcher: Launcher) -> None:
    for part in filter(Path.is_dir, (unpacked / "lib", unpacked / "scan")):
        if (done := _run([launcher.python, "-I", "-c", COMPILE, str(part)], COMPILE_S)).returncode:
            raise UpgradeError("upgrade_broken", f"{found.release} cannot be compiled here{_last(done)}")
    done = _run([launcher.python, "-I", "-c", TRY, str(unpacked / "lib")], TRY_S)
    words = done.stdout.split()
    if done.returncode or words[:1] != [found.manifest.version]:
        raise UpgradeError("upgrade_broken", f"{found.release} does not run here{_last(done)}")
    if words[1:] != ["True"]:
        raise UpgradeError("upgrade_one_way", f"{found.release} cannot upgrade itself: from there no way leads on.")


def reads_state(releases: Releases, release: str, launcher: Launcher, state_dir: str) -> bool:
    """Whether a release can read the registration of this box: it is asked itself."""
    if not Path(state_dir).is_dir():
        return True
    library = str(Path(releases.folder(release), "lib"))
    return _run([launcher.python, "-I", "-c", READ_STATE, library, state_dir], ASK_S).returncode == 0


def _run(words: list[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LD_"))}
    try:
        return subprocess.run(  # noqa: S603 - the box's own interpreter, on files that were verified
            words, capture_output=True, text=True, env=plain, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(words, 1, "", f"{type(error).__name__}")


def _last(done: subprocess.CompletedProcess[str]) -> str:
    lines = done.stderr.strip().splitlines() or done.stdout.strip().splitlines()
    return f": {lines[-1][:200]}." if lines else "."


def copy_in(path: str, into: Path) -> None:
    """A bundle from elsewhere (a stick) as a file of our own: nobody changes it between check and use.

    Raises:
        UpgradeError: it cannot be read, is too large, or there is no room.
    """
    try:
        source = Path(path).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise UpgradeError("bundle_missing", f"{path} cannot be read: {error.strerror}.", "Check the path.") from None
    with source:
        check_space(into.parent, FREE_BYTES)
        try:
            with into.open("xb") as target:
                left_bytes = bundle.MAX_BUNDLE
                while part := source.read(1 << 20):
                    left_bytes -= len(part)
                    if left_bytes < 0:
                        raise damaged("it is larger than any bundle")
                    target.write(part)
        except OSError as error:
            raise bundle_file.no_space(str(into), error) from None


def add_keys(releases: Releases, release: str, trust_dir: str) -> list[str]:
    """Adds the release keys that a signed release brings, for the day when the present one is gone; their file names.

    Best effort: a key that is damaged, or a disk that refuses, does not undo an upgrade.
    """
    try:
        known = trusted(trust_dir)
        brought = read_keys(f"{releases.folder(release)}/share/trust.d", is_trusted=False)
    except (UpgradeError, StateError):
        return []
    added: list[str] = []
    for pem in brought.values():
        try:
            key_id, _ = bundle.read_public_key(pem)
            if key_id not in known and len(known) + len(added) < bundle.MAX_KEYS:
                releases.add_key(trust_dir, f"{key_id}.pub", pem)
                added.append(f"{key_id}.pub")
        except (WireError, StateError):
            continue
    return added


def is_there(releases: Releases, release: str) -> bool:
    """Whether a release lies complete beside the others, and can upgrade itself."""
    return Path(releases.folder(release), "lib/firstlight/cli/upgrade.py").is_file()
