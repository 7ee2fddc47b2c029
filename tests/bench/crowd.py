"""Many devices in one process: TLS sessions that are opened one after another, held, and beaten over in turn.

``python crowd.py FILE``: FILE is JSON, ``{"kind": "http" | "mqtt", "port", "workspace", "factsHash", "intervalS",
"seconds", "devices": [[ID, KEY], …]}``. It prints ``held N`` when every session has carried one beat, then beats over
them for so many seconds, each once in an interval, and prints ``beats N`` at the end. It checks nobody's certificate:
what is measured is the other side.
"""

from __future__ import annotations

import json
import resource
import socket
import ssl
import sys
import time
from pathlib import Path
from select import select

BEAT = (
    '{{"seq":{sequence},"bootId":"5eb3d1a04c1b4f7d9e0a6c2b8f713d42","mono":81423.118,"wall":{wall:.3f},"metrics":'
    '{{"load1":0.31,"memoryUsed":0.412,"diskUsed":0.377,"temperatureC":48.5}},"agent":"0.1.0","factsHash":"{hash}"}}'
)
PUBACK_BYTES, CONNACK_BYTES = 4, 4


class Session:
    """One device's connection; ``kind`` as in the module's text."""

    def __init__(self, told: dict[str, object], device: list[str], context: ssl.SSLContext) -> None:
        self._id, self._key = device
        self._workspace, self._hash = str(told["workspace"]), str(told["factsHash"])
        self._is_mqtt = told["kind"] == "mqtt"
        self._sequence = 0
        raw = socket.create_connection(("127.0.0.1", int(str(told["port"]))))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = context.wrap_socket(raw)
        if self._is_mqtt:
            self._connect()

    def _connect(self) -> None:
        """CONNECT of MQTT 3.1.1 (section 3.1): clean session, user name, password, keep-alive of ten minutes."""
        head = b"\x00\x04MQTT\x04" + bytes([0x80 | 0x40 | 0x02]) + (600).to_bytes(2, "big")
        fields = b"".join(
            len(part).to_bytes(2, "big") + part for part in map(str.encode, (self._id, self._id, self._key))
        )
        self._socket.sendall(packet(0x10, head + fields))
        if self._read(CONNACK_BYTES)[3]:
            raise SystemExit(f"the broker refused {self._id}")

    def beat(self) -> None:
        """One beat and its acknowledgement."""
        self._sequence += 1
        body = BEAT.format(sequence=self._sequence, wall=time.time(), hash=self._hash).encode()
        if self._is_mqtt:
            topic = f"firstlight/{self._workspace}/{self._id}/heartbeat".encode()
            number = (self._sequence % 65_535 + 1).to_bytes(2, "big")
            self._socket.sendall(packet(0x32, len(topic).to_bytes(2, "big") + topic + number + body))
            self._read(PUBACK_BYTES)
            return
        head = (
            f"POST /{self._workspace}/devices/v2/{self._id}/heartbeat HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer "
        )
        rest = f"{self._key}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._socket.sendall((head + rest).encode() + body)
        answer = self._socket.recv(4096)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"the hub answered {answer[:200]!r}")

    def _read(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            piece = self._socket.recv(count - len(found))
            if not piece:
                raise SystemExit(f"the session of {self._id} was closed")
            found += piece
        return found


def packet(kind: int, body: bytes) -> bytes:
    """An MQTT control packet with its remaining length (section 2.2.3)."""
    length, rest = b"", len(body)
    while True:
        rest, digit = rest >> 7, rest & 127
        length += bytes([digit | (128 if rest else 0)])
        if not rest:
            return bytes([kind]) + length + body


def main(file: str) -> None:
    """Opens, says so, beats, says so."""
    told = json.loads(Path(file).read_text())
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    sessions = []
    for device in told["devices"]:
        sessions.append(Session(told, device, context))
        sessions[-1].beat()
    print(f"held {len(sessions)}", flush=True)
    sys.stdin.readline()  # the one who measures says when
    began_s, beats = time.monotonic(), 0
    while (passed_s := time.monotonic() - began_s) < told["seconds"]:
        due_s = beats * told["intervalS"] / len(sessions)
        if due_s > passed_s:
            select([], [], [], due_s - passed_s)
        sessions[beats % len(sessions)].beat()
        beats += 1
    print(f"beats {beats}", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main(sys.argv[1])
