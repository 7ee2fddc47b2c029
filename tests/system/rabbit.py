"""A RabbitMQ node of our own: free ports, its own cookie, name and port mapper, all in one folder, ended by pid.

It runs with the files of ``packaging/rabbitmq``, in which only paths, ports and the hub's address are replaced.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

PACKAGING = Path(__file__).parents[2] / "packaging/rabbitmq"
SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
START_S = 90.0
STOP_S = 20.0


def free_ports(number: int) -> list[int]:
    """Ports of this machine's loopback that nobody uses now."""
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [int(one.getsockname()[1]) for one in listening]
    for one in listening:
        one.close()
    return ports


class Rabbit:
    """A running node; a context manager that ends it.

    Args:
        folder: an empty folder of a short name.
        hub_url: ``https://NAME:PORT`` of the hub that decides who may connect; RabbitMQ takes no address here.
        token: the hub's ``broker.token``.
        tls: holds ``ca.pem``, ``server.pem`` and ``server.key``.
    """

    def __init__(self, folder: Path, hub_url: str, token: str, tls: Path) -> None:
        self.folder = folder
        self.amqp_port, self.mqtt_port, self.websocket_port, self.management_port, *rest = free_ports(6)
        self._epmd_port, self._erlang_port = rest
        for name in ("ca.pem", "server.pem", "server.key"):
            shutil.copy(tls / name, folder / name)
        self._configure(hub_url, token)
        self._epmd: subprocess.Popen[bytes] | None = None
        self._node: subprocess.Popen[bytes] | None = None

    @property
    def management_url(self) -> str:
        """Its management API."""
        return f"http://127.0.0.1:{self.management_port}"

    @property
    def amqp_url(self) -> str:
        """Where hubs consume beats."""
        return f"amqps://127.0.0.1:{self.amqp_port}"

    @property
    def pid(self) -> int:
        """The node's process."""
        assert self._node is not None
        return self._node.pid

    def _configure(self, hub_url: str, token: str) -> None:
        ports = {"5671": self.amqp_port, "8883": self.mqtt_port, "15672": self.management_port}
        conf = (PACKAGING / "rabbitmq.conf").read_text()
        conf = conf.replace("https://HUB:8443", hub_url).replace("TOKEN", token)
        conf = re.sub(r"(?m)(= )(5671|8883|15672)$", lambda found: f"{found[1]}{ports[found[2]]}", conf)
        advanced = (PACKAGING / "advanced.config").read_text().replace("15676", str(self.websocket_port))
        files = {"rabbitmq.conf": conf, "advanced.config": advanced}
        for name, text in files.items():
            text = text.replace("/etc/rabbitmq/firstlight", "/etc/rabbitmq").replace("/etc/rabbitmq", str(self.folder))
            (self.folder / name).write_text(text)
        for name in ("enabled_plugins", "definitions.json"):
            shutil.copy(PACKAGING / name, self.folder / name)
        cookie = self.folder / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)

    def start(self) -> None:
        """Starts it; returns when it listens."""
        here = {"HOME": str(self.folder), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        here["ERL_EPMD_PORT"], here["ERL_EPMD_ADDRESS"] = str(self._epmd_port), "127.0.0.1"
        self._epmd = self._child(["/usr/bin/epmd", "-port", str(self._epmd_port)], here)
        environment = {
            **here,
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_NODENAME": f"fl{self._erlang_port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._erlang_port),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.bind(str(self.folder / "notify"))
            told.settimeout(START_S)
            self._node = self._child([SERVER], {**environment, "NOTIFY_SOCKET": str(self.folder / "notify")})
            try:
                while b"READY=1" not in told.recv(4096):
                    pass
            except TimeoutError:
                self.stop()
                raise AssertionError(self.output()) from None
        (self.folder / "notify").unlink()

    def _child(self, line: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        with (self.folder / "output").open("ab") as output:
            return subprocess.Popen(
                line, env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=self.folder
            )

    def output(self) -> str:
        """What it printed and logged."""
        logs = [self.folder / "output", *sorted((self.folder / "log").glob("*.log"))]
        return "\n".join(one.read_text(errors="replace") for one in logs if one.exists())

    def stop(self) -> None:
        """Ends it; the folder keeps its queues."""
        for child in (self._node, self._epmd):
            if child is None:
                continue
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait(STOP_S)
        self._node = self._epmd = None

    def resident_bytes(self) -> int:
        """Memory that the node's process holds in RAM."""
        fields = Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def __enter__(self) -> Rabbit:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
