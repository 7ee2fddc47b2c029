"""Reading HTTP/1.1 answers (RFC 9112), one after another, from a connection that is kept.

Written here and not taken from ``http.client`` because that brings the e-mail package along: 1.3 to 1.7 MB of private
memory in the process that stays, of 9 in all. Small because it can be strict: whatever leaves a doubt about where an
answer ends is not an answer. The contract suite holds it to the same outcomes as httpcore, case by case.
"""

from __future__ import annotations

import re

from firstlight.core.exchange import HttpReply
from firstlight.errors import UnreachableError
from firstlight.transports.request import MAX_HEAD_BYTES, MAX_HEADERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firstlight.transports.connect import Connection

STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\r\0]*)?\Z")
HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\0]*)\Z")
CONTINUED = re.compile(rb"[ \t]+([^\r\0]*)\Z")
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r]*)?\Z")
LENGTH = re.compile(r"[0-9]{1,20}\Z")
READ_BYTES = 8192
SWITCHING_PROTOCOLS, NO_CONTENT, NOT_MODIFIED = 101, 204, 304

# Status, headers in the order they came, and whether it is HTTP/1.1.
if TYPE_CHECKING:
    Head = tuple[int, list[tuple[str, str]], bool]


class AnswerReader:
    """Reads the answers that come on one connection."""

    __slots__ = ("_allowance_bytes", "_connection", "_rest", "may_go_on")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rest = bytearray()
        self._allowance_bytes = 0
        self.may_go_on = True

    @property
    def has_rest(self) -> bool:
        """Whether more has come than the answers that were read."""
        return bool(self._rest)

    def read(self, method: str, limit_bytes: int) -> HttpReply:
        """The whole next answer; ``may_go_on`` says then whether the connection can carry another one.

        Args:
            method: of the request; the answer to HEAD has no body.
            limit_bytes: the largest body.

        Raises:
            UnreachableError: ``reply_cut``, ``reply_malformed``, ``reply_too_large``, and those of the connection.
        """
        self.may_go_on = False
        self._allowance_bytes = MAX_HEAD_BYTES
        status, pairs, is_current = self._head()
        while status < 200 and status != SWITCHING_PROTOCOLS:  # interim answers, RFC 9110, 15.2
            status, pairs, is_current = self._head()
        if status == SWITCHING_PROTOCOLS:
            raise self._malformed()
        headers = dict(pairs)
        # A body in chunks of one byte takes six on the wire.
        self._allowance_bytes = MAX_HEAD_BYTES + 6 * limit_bytes
        length, is_chunked = self._framing(pairs)
        has_end = True
        if method == "HEAD" or status in (NO_CONTENT, NOT_MODIFIED):
            body = b""
        elif is_chunked:
            body = self._chunks(limit_bytes)
        elif length is not None:
            body = self._exactly(length, limit_bytes)
        else:
            body, has_end = self._to_the_end(limit_bytes), False
        is_closing = "close" in headers.get("connection", "").lower() or (is_chunked and length is not None)
        self.may_go_on = is_current and has_end and not is_closing
        return HttpReply(status, headers, body)

    def _head(self) -> Head:
        """Status line and headers, up to the empty line; a folded value is put on one line."""
        found = STATUS_LINE.match(self._line())
        if not found:
            raise self._malformed()
        pairs: list[tuple[str, str]] = []
        while line := self._line():
            if header := HEADER.match(line):
                pairs.append((header[1].decode("ascii").lower(), header[2].decode("latin-1").strip(" \t")))
            elif pairs and (more := CONTINUED.match(line)):
                name, value = pairs[-1]
                pairs[-1] = (name, f"{value} {more[1].decode('latin-1')}".strip(" \t"))
            else:
                raise self._malformed()
            if len(pairs) > MAX_HEADERS:
                raise self._too_large()
        return int(found[2]), pairs, found[1] == b"1"

    def _framing(self, pairs: list[tuple[str, str]]) -> tuple[int | None, bool]:
        """Length of the body, if given, and whether it comes in chunks (RFC 9112, 6.3)."""
        lengths = {value for name, value in pairs if name == "content-length"}
        codings = [value.lower() for name, value in pairs if name == "transfer-encoding"]
        if len(lengths) > 1 or any(not LENGTH.match(text) for text in lengths) or codings not in ([], ["chunked"]):
            raise self._malformed()
        return (int(lengths.pop()) if lengths else None), bool(codings)

    def _chunks(self, limit_bytes: int) -> bytes:
        body = b""
        while True:
            found = CHUNK_SIZE.match(self._line())
            if not found:
                raise self._malformed()
            size = int(found[1], 16)
            if not size:
                break
            body += self._exactly(size, limit_bytes - len(body))
            if self._line():
                raise self._malformed()
        while self._line():
            pass  # trailers say nothing that anybody here would ask for
        return body

    def _exactly(self, size: int, limit_bytes: int) -> bytes:
        if size > limit_bytes:
            raise self._too_large()
        while len(self._rest) < size:
            self._more()
        return self._take(size)

    def _to_the_end(self, limit_bytes: int) -> bytes:
        while len(self._rest) <= limit_bytes and (data := self._connection.read(READ_BYTES)):
            self._rest += data
        if len(self._rest) > limit_bytes:
            raise self._too_large()
        return self._take(len(self._rest))

    def _line(self) -> bytes:
        """The next line, without its end, which may lack the carriage return (RFC 9112, 2.2)."""
        while (end := self._rest.find(b"\n")) < 0:
            self._more()
        line = self._take(end + 1)
        return line[:-2] if line.endswith(b"\r\n") else line[:-1]

    def _take(self, size: int) -> bytes:
        taken = bytes(self._rest[:size])
        del self._rest[:size]
        return taken

    def _more(self) -> None:
        data = self._connection.read(READ_BYTES)
        if not data:
            said = f"{self._connection.peer} closed the connection before its answer was whole."
            raise UnreachableError("reply_cut", said)
        self._allowance_bytes -= len(data)
        if self._allowance_bytes < 0:
            raise self._too_large()
        self._rest += data

    def _too_large(self) -> UnreachableError:
        return UnreachableError("reply_too_large", f"The answer of {self._connection.peer} is larger than expected.")

    def _malformed(self) -> UnreachableError:
        return UnreachableError("reply_malformed", f"{self._connection.peer} did not answer in HTTP.")
