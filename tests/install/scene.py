"""What the install script meets: a server that hands out bundles (also badly), chosen tools, trees to compare."""

from __future__ import annotations

import hashlib
import http.server
import os
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trustme

from firstlight import __version__
from firstlight_hub.installer import render_install_script
from firstlight_hub.shelf import Offered

INSTALL_ID = "k3v9x2m7q4t8w1z6b5n0c3d7f2"
# What every Linux has that the script may use, busybox or coreutils.
PLAIN_TOOLS = (
    *("sh", "cat", "chmod", "cut", "df", "dirname", "grep", "head", "id", "ln", "ls", "mkdir", "mktemp", "mv"),
    *("readlink", "rm", "rmdir", "sed", "sort", "tail", "tr", "uname"),
)
PYTHON = Path(os.path.realpath(sys.executable))


class BundleServer:
    """Hands out bundles over TLS with a certificate that nobody knows, as a hub does.

    Args:
        folder: where the bundles are.

    Attributes:
        cut_at: answer only that many bytes of a bundle although all were announced; None = whole.
        may_go_on: while it is not set, a bundle's answer stops after its first 1000 bytes.
        is_half_way: set once it did.
        asked: the paths that were asked for.
    """

    def __init__(self, folder: Path) -> None:
        self.cut_at: int | None = None
        self.may_go_on, self.is_half_way = threading.Event(), threading.Event()
        self.may_go_on.set()
        self.asked: list[str] = []
        scene = self

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                scene.asked.append(self.path)
                file = folder / self.path.removeprefix("/bundles/")
                if "/" in file.name or not file.is_file():
                    self.send_error(404)
                    return
                body = file.read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if not scene.may_go_on.is_set():
                    self.wfile.write(body[:1000])
                    scene.is_half_way.set()
                    scene.may_go_on.wait(60)
                    return
                self.wfile.write(body[: scene.cut_at])

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing: what was asked is in ``asked``."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def serving(self) -> Iterator[BundleServer]:
        """Answers while the ``with`` block runs."""
        self._thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


def rendered(
    hub_url: str, bundles: Sequence[Offered], *, pin: str | None = None, refusal: tuple[str, str] | None = None
) -> str:
    """The install script of a hub."""
    return render_install_script(
        install_id=INSTALL_ID,
        device_id="cam-1",
        hub_url=hub_url,
        pin=pin,
        ca_pem="",
        bundles=bundles,
        agent_version=__version__,
        refusal=refusal,
    )


def tools(folder: Path, *names: str, python: Path | None = PYTHON) -> Path:
    """A directory for PATH that has the plain tools, the named ones, and as ``python3`` the given interpreter."""
    folder.mkdir(parents=True)
    for name in (*PLAIN_TOOLS, *names):
        found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
        assert found, f"this machine has no {name}"
        (folder / name).symlink_to(found)
    if python is not None:
        (folder / "python3").symlink_to(python)
    return folder


def run(
    script: str,
    *options: str,
    path: Path | str | None = None,
    shell: Sequence[str] = ("sh",),
    env: dict[str, str] | None = None,
    limit_bytes: int | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs a script as the printed command does, on the shell's standard input: ``sh -s -- OPTION...``.

    Args:
        script: the text.
        options: the words after it.
        path: PATH; by default the plain one, with this Python first.
        shell: what takes ``-s``.
        env: further variables.
        limit_bytes: no file may grow larger, as on a disk that is full.
    """
    command = [*shell, "-s", "--", *options]
    if limit_bytes is not None:
        command = ["prlimit", f"--fsize={limit_bytes}", *command]
    plain = {"PATH": str(path or f"{PYTHON.parent}:/usr/sbin:/usr/bin:/sbin:/bin"), "HOME": "/nonexistent"}
    if path is not None:
        command[0] = shutil.which(command[0]) or command[0]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**plain, **(env or {})},
        input=script,
        timeout=90,
        check=False,
    )


def tree(folder: Path) -> dict[str, str]:
    """Every file, link and directory below a folder, with its mode and what is in it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        content = (
            str(path.readlink())
            if path.is_symlink()
            else hashlib.sha256(path.read_bytes()).hexdigest()
            if path.is_file()
            else "/"
        )
        found[str(path.relative_to(folder))] = f"{path.lstat().st_mode:o} {content}"
    return found
