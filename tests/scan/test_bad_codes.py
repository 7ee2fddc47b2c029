"""Every code that must be refused, through each way into ``firstlight scan``: nothing is different on the disk."""

from __future__ import annotations

import json
import os
import select
import subprocess
import zlib
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.detached.labels import Signer, everything, payload
from tests.provision.bad_codes import BAD, used
from tests.scan.conftest import PROGRAM, Done, one_sentence
from tests.scan.label import picture


class Target(NamedTuple):
    """A box with a past, and the desk that it trusts."""

    folder: Path
    signer: Signer
    env: dict[str, str]

    def scan(self, *words: str, given: bytes = b"") -> Done:
        """``firstlight scan``."""
        line = [PROGRAM, "scan", "--no-start", *words]
        done = subprocess.run(line, input=given, capture_output=True, timeout=60, check=False, env=self.env)
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def disk(self) -> dict[str, bytes]:
        """All that is on it."""
        return everything(self.folder / "state")


@pytest.fixture
def target(tmp_path: Path) -> Target:
    """A fresh one."""
    signer = Signer()
    env = {f"FIRSTLIGHT_{name.upper()}": value for name, value in used(tmp_path, signer).items()}
    return Target(tmp_path, signer, {**os.environ, **env})


def refused(done: Done, code: str) -> None:
    """One sentence with its code and a next step, and the status of bad data."""
    assert done.status == 65, done
    one_sentence(done, [f"[{code}]"])


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("way", ["stdin", "image"])
def test_refused(target: Target, name: str, way: str) -> None:
    """As lines of a scanner, and as pictures."""
    bad, before = BAD[name], target.disk()
    texts = bad.texts(target.signer)
    if way == "stdin":
        done = target.scan("--stdin", given="\n".join([*texts, ""]).encode())
    else:
        words = []
        for number, text in enumerate(texts):
            words += ["--image", str(target.folder / f"{number}.png")]
            picture(text).save(words[-1])
        done = target.scan(*words)
    refused(done, bad.code)
    assert target.disk() == before


def test_refused_at_a_terminal(target: Target) -> None:
    """Each is typed into one terminal: each gets its sentence, the next one is asked for, and the end is a failure."""
    before = target.disk()
    ours, theirs = os.openpty()
    line = [PROGRAM, "scan", "--no-start"]
    with subprocess.Popen(
        line,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**target.env, "FIRSTLIGHT_CAMERA_COMMAND": ""},
    ) as running:
        assert running.stdout is not None and running.stderr is not None
        try:
            running.stdout.readline()
            for name, bad in BAD.items():
                said = ""
                for text in bad.texts(target.signer):
                    os.write(ours, text.encode() + b"\n")
                    assert select.select([running.stdout], [], [], 30)[0], f"no answer to {name}"
                    said = running.stdout.readline().decode()
                assert f"[{bad.code}]" in said or (name == "a missing part" and "still to come" in said), (name, said)
            os.write(ours, b"\x04")
            assert running.wait(30) == 65
            assert b"payload_part_missing" in running.stderr.read()
        finally:
            running.kill()
            os.close(ours)
            os.close(theirs)
    assert target.disk() == before


def bomb() -> bytes:
    """A PNG of a few kilobytes that says it has 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    head = (60_000).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    body = zlib.compress(bytes(2_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("body", "code"),
    [(bomb(), "picture_too_large"), (b"no picture", "picture_unreadable"), (b"", "picture_unreadable")],
    ids=["a bomb", "a text", "nothing"],
)
@pytest.mark.parametrize("way", ["file", "stdin"])
def test_a_picture_that_is_none(target: Target, body: bytes, code: str, way: str) -> None:
    """From a file as from standard input."""
    before = target.disk()
    path = target.folder / "bad.png"
    path.write_bytes(body)
    done = target.scan("--image", str(path)) if way == "file" else target.scan("--image", "-", given=body)
    refused(done, code)
    assert target.disk() == before


def test_ten_megabytes(target: Target) -> None:
    """Of something that begins like a code."""
    before = target.disk()
    refused(target.scan("--stdin", given=b"FL1:" + b"A" * 10_000_000), "text_too_long")
    refused(target.scan("--image", "-", given=b"FL1:" + b"A" * 10_000_000), "picture_unreadable")
    assert target.disk() == before


def test_the_good_one_is_taken(target: Target) -> None:
    """The box of these tests does take a code that is right."""
    done = target.scan("--stdin", "--json", given=target.signer.label(payload()).encode())
    assert done.status == 0 and json.loads(done.said)["provisioned"] is True, done.complained
