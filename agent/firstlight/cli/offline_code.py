"""An offline payload as the desk has it: what is drawn, printed and written for one box; and where it is read from.

The payload and its typed code are secrets: whoever has them can enroll in the box's place.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from firstlight.cli.settings import read_bounded, unreadable
from firstlight.core.model import Secret
from firstlight.errors import InvitationError, UsageError

MAX_FILE_BYTES = 8 << 20
MAX_CODES = 2000
MAX_FIELD = 256
PAYLOAD_NAMES = ("offlineProvisioningQrPayload", "payload")
CSV_COLUMNS = ("name", "type", "serial", "payload")
STANDARD_INPUT = "-"


class OfflineCode(NamedTuple):
    """What one box is provisioned with, and what people call that box; texts are "" where nothing is known.

    Args:
        payload: the text of the code.
        name, type, serial: of the device.
        device_id: as the platform has it.
        typed_code: what may be typed instead.
        hub, pins: what the typed code needs in the box's settings.
        expires_at_s: until when a box takes the payload in, seconds since 1970; 0 = not known.
    """

    payload: Secret
    name: str = ""
    type: str = ""
    serial: str = ""
    device_id: str = ""
    typed_code: Secret | None = None
    hub: str = ""
    pins: tuple[str, ...] = ()
    expires_at_s: int = 0

    @property
    def called(self) -> str:
        """How an error names it."""
        return self.name or self.device_id or self.serial or "the device"


def code_of(payload: str, name: str = "", kind: str = "", serial: str = "") -> OfflineCode:
    """A payload's text -> what can be said of it. Its signature is the box's business.

    Raises:
        InvitationError: ``payload_malformed`` and its like: one of ours, and damaged.
    """
    from firstlight.wire import payload as wire
    from firstlight.wire import typed_code

    plain = Secret(payload.strip(" \t\r\n"))
    found = OfflineCode(plain, name, kind, serial)
    if not plain.reveal().startswith(wire.MARK):
        return found  # of another platform: drawn as it is
    said = wire.decode(plain.reveal(), {}, allow_unsigned=True).payload
    audience = said.audience
    typed = None
    if said.token is not None:
        try:
            typed = Secret(typed_code.make(said.token))
        except ValueError:
            typed = None  # an installId of another shape
    return found._replace(
        name=name or said.name,
        type=kind or (audience.device_type if audience else ""),
        serial=serial or (audience.serial if audience else ""),
        device_id=said.device_id,
        typed_code=typed,
        hub=said.endpoint.url,
        pins=said.pins,
        expires_at_s=said.expires_at_s,
    )


def read_codes(source: str) -> list[OfflineCode]:
    """The payloads in a file, or on standard input where ``source`` is "-".

    JSON as ``device create --json`` prints it (one object, or a list), CSV with the column ``payload`` and, where they
    are known, ``name``, ``type`` and ``serial``, or the bare text of one payload.

    Raises:
        UsageError: the file cannot be read.
        InvitationError: ``source_unreadable``: nothing of that in it; ``no_offline_payload``; as ``code_of``.
    """
    named = "Standard input" if source == STANDARD_INPUT else source
    rows = list(_rows(read_text(source), named))
    if not rows:
        raise InvitationError("source_unreadable", f"{named} holds no offline payload.")
    if len(rows) > MAX_CODES:
        raise InvitationError("source_unreadable", f"{named} holds more than {MAX_CODES} payloads.")
    return [code_of(*row) for row in rows]


def one_code(source: str) -> OfflineCode:
    """As ``read_codes``, where exactly one is wanted."""
    found = read_codes(source)
    if len(found) > 1:
        raise UsageError("usage", f"There are {len(found)} payloads in it, one is wanted.", "See: device labels --help")
    return found[0]


def read_text(source: str) -> str:
    """The text of a file, or of standard input for "-". Raises UsageError, InvitationError (``source_unreadable``)."""
    try:
        return _body(source).decode("utf-8-sig")
    except UnicodeDecodeError:
        named = "Standard input" if source == STANDARD_INPUT else source
        raise InvitationError("source_unreadable", f"{named} is not UTF-8 text.", "Save it as UTF-8.") from None


def _body(source: str) -> bytes:
    if source == STANDARD_INPUT:
        body = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        if len(body) > MAX_FILE_BYTES:
            raise InvitationError("source_unreadable", f"Standard input has more than {MAX_FILE_BYTES} bytes.")
        return body
    try:
        return read_bounded(Path(source), MAX_FILE_BYTES)
    except OSError as error:
        raise unreadable(source, error) from None


def _rows(text: str, named: str) -> Iterable[tuple[str, str, str, str]]:
    """Payload, name, type and serial of each; raises InvitationError."""
    start = text.lstrip()[:1]
    if start in ("{", "["):
        yield from _in_json(text, named)
    elif "\n" not in text.strip() and "," not in text.partition(":")[0]:
        if text.strip():
            yield text, "", "", ""
    else:
        yield from _in_csv(text, named)


def _in_json(text: str, named: str) -> Iterable[tuple[str, str, str, str]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise InvitationError("source_unreadable", f"{named} is not JSON.") from None
    for one in found if isinstance(found, list) else [found]:
        if not isinstance(one, dict):
            raise InvitationError("source_unreadable", f"{named} is not what 'device create --json' prints.")
        payload = next((one[name] for name in PAYLOAD_NAMES if isinstance(one.get(name), str)), None)
        if payload is None:
            what = _field(one, "name") or _field(one, "deviceId") or "A device in it"
            raise InvitationError("no_offline_payload", f"{what} has no offline payload.")
        yield payload, _field(one, "name"), _field(one, "type"), _field(one, "serial")


def _in_csv(text: str, named: str) -> Iterable[tuple[str, str, str, str]]:
    for number, row in table(text, named, CSV_COLUMNS, ("payload",)):
        if not row["payload"]:
            raise InvitationError("no_offline_payload", f"Row {number} of {named} has no offline payload.")
        yield row["payload"], row["name"], row["type"], row["serial"]


def _field(source: dict[str, object], name: str) -> str:
    value = source.get(name)
    return "".join(c for c in value if c.isprintable())[:MAX_FIELD] if isinstance(value, str) else ""


def table(
    text: str, named: str, known: tuple[str, ...], needed: tuple[str, ...]
) -> Iterable[tuple[int, dict[str, str]]]:
    """The rows of a CSV text with a line of titles, each with its number in the file; empty rows are passed over.

    Commas or semicolons separate, as the spreadsheet program's language has it.

    Raises:
        InvitationError: ``source_unreadable``: a title that is not known or missing, a row that is too long.
    """
    titles_line = text.lstrip("\n\r").partition("\n")[0]
    delimiter = ";" if titles_line.count(";") > titles_line.count(",") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        titles = [title.strip().lower() for title in next(reader, [])]
        unknown = next((title for title in titles if title not in known), None)
        if unknown is not None or len(set(titles)) != len(titles) or any(one not in titles for one in needed):
            wrong = f"has the column {unknown[:40]!r}" if unknown is not None else f"has no column {', '.join(needed)}"
            raise InvitationError(
                "source_unreadable", f"{named} {wrong}.", f"Its first line names the columns: {','.join(known)}"
            )
        for row in reader:
            if not any(field.strip() for field in row):
                continue
            if len(row) > len(titles):
                raise InvitationError("source_unreadable", f"Row {reader.line_num} of {named} has too many fields.")
            fields = dict(zip(titles, (field.strip() for field in row), strict=False))
            yield reader.line_num, {name: fields.get(name, "") for name in known}
    except csv.Error as error:
        raise InvitationError("source_unreadable", f"{named} is not CSV: {error}.") from None
