"""``firstlight doctor --bundle``: one archive for whoever helps from afar, without a secret in it.

It holds texts made here and no file of this box as it is. Of the state directory it has names, sizes and rights.
"""

from __future__ import annotations

import io
import json
import os
import re
import stat
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from firstlight import __version__
from firstlight.cli import output_file
from firstlight.cli.doctor_case import Case
from firstlight.cli.doctor_redaction import STRUCK, Redactor, secrets_of
from firstlight.core.diagnosis import Finding, as_object
from firstlight.errors import FirstlightError, StateError
from firstlight.system import checks_unit, journal_entries
from firstlight.system.facts import read_facts
from firstlight.wire.facts import facts_object

if TYPE_CHECKING:
    from firstlight.system.journal_entries import Log

LOG_LINES = 400
MAX_NAMES = 1000
LIBRARIES = (
    "cryptography",
    "httpx",
    "httpcore",
    "paho-mqtt",
    "psutil",
    "cbor2",
    "base45",
    "pillow",
    "pyzbar",
    "zxing-cpp",
)
# Of a unit, what may hold anything: comments (but for systemd's own, which name the file), and values handed over.
COMMENT = re.compile(r"(?m)^[#;](?! /\S+$).*\n?")
IN_UNIT = re.compile(r"(?m)^((?:Environment|SetCredential(?:Encrypted)?)=\"?[\w.]+[=:]).*")
UNITS = ("firstlight", "firstlight-provision", "firstlight-firstboot", "firstlight-upgrade", "firstlight-hooks")


def write(path: str, findings: Sequence[Finding], case: Case) -> None:
    """Makes the archive, 0600; a file of that name is replaced as a whole.

    Raises:
        StateError: ``output_unwritable``.
    """
    output_file.write(path, made(findings, case))


def made(findings: Sequence[Finding], case: Case, open_log: Callable[[], Log] = journal_entries.open_journal) -> bytes:
    """The archive, tar and gzip; ``open_log`` opens the journal."""
    redactor = _redactor(case)
    texts = {
        # What we say ourselves may quote the settings or a log, so the secrets of this box go from it too.
        "doctor.json": redactor.exact(_json(as_object(list(findings)))),
        "status.json": redactor.exact(_json(_status(case))),
        "facts.json": redactor.exact(_json(facts_object(read_facts()))),
        "settings.json": redactor.all(_json(_settings(case))),
        "versions.json": _json(_versions()),
        "state.txt": redactor.exact(_listing(case.settings.state_dir)),
        "unit.txt": redactor.all(_units()),
        "log.txt": redactor.all(_log(open_log)),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in texts.items():
            data = text.encode("utf-8", "backslashreplace")
            member = tarfile.TarInfo(f"firstlight-doctor/{name}")
            member.size, member.mode, member.mtime = len(data), 0o600, int(time.time())
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _redactor(case: Case) -> Redactor:
    settings, registration = case.settings, case.registration
    secrets = secrets_of(settings.state_dir, registration, (settings.proxy_auth_file, settings.api_key_file))
    known = [pin.strip().rstrip("=") for pin in settings.pin.split(",")]
    if registration:
        known += [registration.device_id, registration.workspace, registration.key_fingerprint.partition(":")[2]]
    return Redactor(secrets, known)


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n"


def _status(case: Case) -> dict[str, object]:
    try:
        return case.published
    except FirstlightError as error:
        return {"error": str(error)}


def _settings(case: Case) -> dict[str, object]:
    """What is set; of files with secrets only the path."""
    found: dict[str, object] = {name: value for name, value in case.settings._asdict().items() if value}
    if case.settings_error:
        found["error"] = str(case.settings_error)
    return found


def _versions() -> dict[str, object]:
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, object] = {"firstlight": __version__, "python": sys.version}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    system = os.uname()
    return {**found, "kernel": system.release, "machine": system.machine}


def _listing(path: str) -> str:
    """Rights, owner, size, time of change and name of all that lies in the state directory; never a content."""
    lines = []
    for folder, folders, names in os.walk(path):
        for name in (*sorted(folders), *sorted(names)):
            whole = os.path.join(folder, name)  # noqa: PTH118 - a few hundred of them
            try:
                found = os.lstat(whole)
            except OSError:
                continue
            when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.st_mtime))
            owner = f"{found.st_uid}:{found.st_gid}"
            lines.append(f"{stat.filemode(found.st_mode)} {owner:>11} {found.st_size:>9} {when} {whole}")
            if len(lines) >= MAX_NAMES:
                return "\n".join([*lines, "…", ""])
    return "\n".join([*lines, ""]) if lines else f"{path}: nothing there\n"


def _units() -> str:
    parts = [checks_unit.run(["systemctl", "cat", f"{name}.service"]) for name in UNITS]
    parts.append(
        checks_unit.run(["systemctl", "show", checks_unit.SERVICE, f"--property={','.join(checks_unit.ASKED)}"])
    )
    text = "\n".join(filter(None, parts))
    return IN_UNIT.sub(rf"\1{STRUCK}", COMMENT.sub("", text)) or "systemd does not answer here.\n"


def _log(open_log: Callable[[], Log]) -> str:
    """The last lines of our units."""
    try:
        with open_log() as journal:
            return "".join(f"{entry.as_line()}\n" for entry in journal.last(LOG_LINES))
    except StateError as error:
        return f"{error} {error.hint}\n"
