"""``firstlight firstboot`` against a real hub: from a file on the boot partition to a registration, or a refusal."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import BIN, Box, Hub, wait_until

MakeBox = Callable[[Hub], Box]


class Image:
    """A disk with an agent that was never enrolled, and a boot partition."""

    def __init__(self, box: Box, folder: Path) -> None:
        self.box, self.top = box, folder / "top"
        self.boot = self.top / "boot" / "firmware"
        self.boot.mkdir(parents=True)
        self.file, self.result = self.boot / "firstlight.txt", self.boot / "firstlight-result.txt"
        self.line = folder / "cmdline"
        self.line.write_text("quiet ro\n")

    @property
    def words(self) -> list[str]:
        """The command line of the unit, on this disk."""
        words = [str(BIN / "firstlight"), "firstboot", "--state-dir", str(self.box.state_dir)]
        return [*words, "--top", str(self.top), "--kernel-line", str(self.line)]

    def boots(self, status: int = 0, **env: str) -> str:
        """Runs the unit's command to its end; what it says on the screen."""
        done = subprocess.run(
            self.words, capture_output=True, text=True, env={**self.box.env, **env}, timeout=60, check=False
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    def word(self) -> str:
        """What a technician finds on the boot partition."""
        return self.result.read_text() if self.result.exists() else ""


@pytest.fixture
def image(hub: Hub, make_box: MakeBox, tmp_path: Path) -> Image:
    """One for the shared hub."""
    return Image(make_box(hub), tmp_path)


def test_the_command_in_a_file(image: Image, hub: Hub) -> None:
    """As printed, saved by Notepad: enrolled, the file is gone, and the word beside it holds no secret."""
    device = hub.create()
    image.file.write_bytes(f"{device.install_command}\r\n".encode("utf-16"))
    shown = image.boots()
    assert shown.startswith(f"firstlight: This box is enrolled as {device.device_id} in workspace demo. ")
    assert not image.file.exists()
    assert f"{image.file} was removed. [enrolled]" in image.word()
    assert device.install_id.reveal() not in image.word() + shown
    assert image.box.status()["deviceId"] == device.device_id
    assert image.boots() == "" and "[enrolled]" in image.word()


def test_a_credential_comes_first(image: Image, hub: Hub, tmp_path: Path) -> None:
    """A credential wins over the file, which stays; at the next boot it is said that it was not used."""
    used, other = hub.create("one"), hub.create("two")
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "firstlight.invitation").write_text(used.install_command)
    image.file.write_text(other.install_command)
    assert used.device_id in image.boots(CREDENTIALS_DIRECTORY=str(credentials))
    assert image.box.status()["deviceId"] == used.device_id
    assert image.file.exists() and image.word() == ""
    assert "was not used. [already_enrolled]" in image.boots()
    assert "was not used. [already_enrolled]" in image.word()
    assert image.boots() == "", "said once"


def test_the_kernel_line(image: Image, hub: Hub) -> None:
    """Taken from there, said who can remove it, and never used again, not even after a reset."""
    device = hub.create()
    words = f"hub={hub.url},pin={hub.pin},install_id={device.install_id.reveal()}"
    image.line.write_text(f"quiet firstlight.invitation={words} ro\n")
    assert "Only the boot loader's settings can take the invitation away; it is not used again." in image.boots()
    assert image.box.status()["deviceId"] == device.device_id
    assert image.boots() == ""
    image.box.cli("reset", "--yes")
    assert image.boots() == ""
    assert image.box.status()["state"] == "not_enrolled"


def test_wrong_texts(image: Image) -> None:
    """Named with a next step, on the screen, beside the file and in the status; the file stays to be corrected."""
    for text, code in (("hello", "invitation_malformed"), ("FL1:ABC", "payload_malformed")):
        image.file.write_text(text)
        assert f"[{code}]" in image.boots(65)
        assert f"[{code}]\n" in image.word() and len(image.word().splitlines()) == 2
        assert image.file.exists()
        shown = image.box.cli("status", check=False).stdout
        assert f"[{code}]" in shown


def test_a_refusal_is_final(image: Image, hub: Hub) -> None:
    """The hub is asked once; the same file is left alone at the next boot, another one is taken at once."""
    image.file.write_text(f"hub = {hub.url}\npin = {hub.pin}\ninstall_id = {'n' * 24}\n")
    assert "[install_id_unknown]" in image.boots(78)
    assert "[install_id_unknown]" in image.word()
    hub_log = hub.folder.parent / "hub.log"
    before = hub_log.stat().st_size
    assert image.boots(78) == ""
    assert hub_log.stat().st_size == before, "the hub was not asked again"
    device = hub.create()
    image.file.write_text(device.install_command)
    assert device.device_id in image.boots()
    assert "[enrolled]" in image.word() and "install_id_unknown" not in image.word()


def test_hub_comes_later(image: Image, own_hub: Hub) -> None:
    """While nobody answers it goes on and says so beside the file; once the hub is there, it enrolls by itself."""
    device = own_hub.create()
    own_hub.stop()
    image.file.write_text(device.install_command)
    process = subprocess.Popen(image.words, stdout=subprocess.PIPE, text=True, env=image.box.env)
    try:
        wait_until("it says so", lambda: "[connect_refused]" in image.word())
        assert "goes on trying by itself" in image.word()
        own_hub.serve()
        shown, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0 and device.device_id in shown
    assert not image.file.exists() and "connect_refused" not in image.word()


@pytest.mark.parametrize("cut", ["before the file went", "before it was written down"])
def test_a_power_cut_in_between(image: Image, hub: Hub, cut: str) -> None:
    """Enrolled but the file still there: the next boot takes it away, and it is the same device."""
    device = hub.create()
    image.file.write_text(device.install_command)
    image.boots()
    image.file.write_text(device.install_command)
    notes = image.box.state_dir / "firstboot.json"
    assert device.install_id.reveal() not in json.dumps(json.loads(notes.read_text()))
    if cut == "before it was written down":
        notes.unlink()
    image.boots()
    assert not image.file.exists()
    assert image.box.status()["deviceId"] == device.device_id


def test_a_full_disk_passes(image: Image, hub: Hub) -> None:
    """A state directory that cannot be written is waited for, not given up."""
    device = hub.create()
    image.file.write_text(device.install_command)
    image.box.state_dir.write_text("in the way")
    process = subprocess.Popen(image.words, stdout=subprocess.PIPE, text=True, env=image.box.env)
    try:
        wait_until("it says so", lambda: "[state_unwritable]" in image.word())
        image.box.state_dir.unlink()
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert image.box.status()["deviceId"] == device.device_id
