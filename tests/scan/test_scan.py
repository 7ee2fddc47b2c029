"""``firstlight scan`` as a technician uses it: pictures, cameras behind a program, scanners, typing."""

from __future__ import annotations

import json
import os
import select
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from firstlight.core.model import Secret
from firstlight.core.provision import Network
from firstlight.sources import camera
from firstlight.wire import parts, typed_code
from tests.scan.conftest import PROGRAM, Box, one_sentence
from tests.scan.label import PIN, TOKEN, beside, picture, pnm

PROVISIONED = "Provisioned, not yet registered: it registers by itself when a network appears"


def test_a_picture(box: Box) -> None:
    """A picture of the label provisions the box; the second time there is nothing to do."""
    picture(box.desk.text()).save(box.folder / "label.png")
    done = box.scan("--image", str(box.folder / "label.png"))
    assert (done.status, done.complained) == (0, "")
    assert "provisioned as gate-3" in done.said
    assert done.said.splitlines()[-1].startswith(PROVISIONED)
    kept = box.state / "provisioned.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    before = box.traces()
    again = box.scan("--image", str(box.folder / "label.png"))
    assert again.status == 0 and "nothing to do" in again.said
    assert box.traces() == before


def test_json(box: Box) -> None:
    """With --json there is one object, and no secret in it."""
    picture(box.desk.text()).save(box.folder / "label.png")
    done = box.scan("--json", "--image", str(box.folder / "label.png"))
    said = json.loads(done.said)
    assert said["provisioned"] is True and said["registered"] is False
    assert (said["deviceId"], said["endpoint"], said["source"]) == ("gate-3", "https://hub.example:8443", "picture")
    assert TOKEN not in done.said


def test_a_picture_on_standard_input(box: Box) -> None:
    """``--image -`` reads the picture itself from there."""
    assert box.scan("--image", "-", given=pnm(picture(box.desk.text()))).status == 0


def test_a_code_beside_another(box: Box) -> None:
    """A label's code is found beside the bar code of something else."""
    beside(picture(box.desk.text()), picture("https://shop.example/p/1")).save(box.folder / "both.png")
    assert box.scan("--image", str(box.folder / "both.png")).status == 0


def test_parts_in_any_order(box: Box) -> None:
    """Three pictures with the parts of one code, the last first."""
    names = []
    for number, text in enumerate(parts.split(box.desk.text(), 140)):
        names += ["--image", str(box.folder / f"{number}.png")]
        picture(text).save(names[-1])
    done = box.scan(*names[-2:], *names[:-2])
    assert done.status == 0, done.complained
    assert "still to come" in done.said and "parts read" in done.said


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", ""])
@pytest.mark.parametrize(("before", "behind"), [("", ""), ("\x02", "\x03"), ("]Q1", ""), ("QR>", "\t"), ("", "\x1d")])
def test_a_scanner_that_types(box: Box, end: str, before: str, behind: str) -> None:
    """Whatever a scanner puts around the code and at its end."""
    done = box.scan("--stdin", given=f"{before}{box.desk.text()}{behind}{end}".encode())
    assert done.status == 0, done.complained


def test_a_scanner_that_stays_open(box: Box) -> None:
    """A serial scanner sends no end: what came is taken in as soon as nothing follows."""
    line = [PROGRAM, "scan", "--config", str(box.folder / "agent.toml"), "--no-start", "--stdin"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as running:
        assert running.stdin is not None
        running.stdin.write(b"4006381333931\r")
        running.stdin.write(box.desk.text().encode() + b"\r")
        running.stdin.flush()
        assert running.wait(30) == 0


def test_pasted_parts(box: Box) -> None:
    """All parts in one pasted text, with empty lines and a heading between them."""
    text = "\n\n".join(["Codes for gate 3:", *parts.split(box.desk.text(), 140)])
    done = box.scan("--stdin", given=text.encode())
    assert done.status == 0, done.complained


def test_caps_lock_and_broken_lines(box: Box) -> None:
    """A code whose letters were turned to small ones, and one that a mail program broke into lines."""
    text = box.desk.text()
    assert box.scan("--stdin", given=text.lower().encode()).status == 0
    broken = "\n".join(text[start : start + 76] for start in range(0, len(text), 76))
    assert "nothing to do" in box.scan("--stdin", given=broken.encode()).said


def test_a_typed_code(box: Box) -> None:
    """The short code beside the label; where the hub is, the settings say."""
    box.set(f'hub = "https://hub.example:8443"\npin = "{PIN}"')
    code = typed_code.make(Secret(TOKEN))
    wrong = code.replace("0", "Z", 1)
    before = box.traces()
    refused = box.scan("--stdin", given=f"{wrong}\n".encode())
    assert refused.status == 65 and "typed_code_wrong" in refused.complained
    assert box.traces() == before
    assert box.scan("--stdin", given=f"{code.lower()}\n".encode()).status == 0


def test_an_install_command(box: Box) -> None:
    """The command that the desk printed, pasted over three lines."""
    text = f"hub = https://hub.example:8443\r\npin = {PIN}\r\ninstall_id = abcdefgh12345678\r\n"
    assert box.scan("--stdin", given=text.encode()).status == 0


def test_an_install_command_of_another_hub(box: Box) -> None:
    """Where the settings name a hub, what nobody signed cannot lead the box to another one."""
    box.set('hub = "https://hub.example:8443"')
    text = f"hub = https://elsewhere.example\npin = {PIN}\ninstall_id = abcdefgh12345678\n"
    done = box.scan("--stdin", given=text.encode())
    assert done.status == 65
    one_sentence(done, ["[code_not_ours]", "elsewhere.example"])
    assert not box.state.exists()


def test_an_install_command_in_a_picture_needs_settings_that_vouch(box: Box) -> None:
    """A sticker over the label chooses no hub: its command counts with the hub and the pin of the settings only."""
    text = f"curl --pinnedpubkey '{PIN}' https://hub.example:8443/devices/v2/abcdefgh12345678/install.sh"
    picture(text).save(box.folder / "sticker.png")
    lines = ("", 'hub = "https://hub.example:8443"', f'pin = "{PIN[:8]}{"B" * 43}="', "ca_file = ''")
    for line in lines:
        box.set(line)
        done = box.scan("--image", str(box.folder / "sticker.png"))
        assert done.status == 65
        one_sentence(done, ["[payload_unsigned]"])
        assert not box.state.exists()
    settings = box.folder / "agent.toml"
    settings.write_text(settings.read_text().replace(lines[2], f'pin = "{PIN}"'))
    assert box.scan("--image", str(box.folder / "sticker.png")).status == 0


def test_a_box_that_takes_anything_takes_a_command_in_a_picture(box: Box) -> None:
    """``payload_trust = "any"`` is for trials: what nobody signed counts as well."""
    picture(f"hub = https://hub.example:8443 pin = {PIN} install_id = abcdefgh12345678").save(box.folder / "code.png")
    box.set('payload_trust = "any"')
    assert box.scan("--image", str(box.folder / "code.png")).status == 0


def test_at_a_terminal(box: Box) -> None:
    """Without an option and a camera it asks at the terminal; what is none of ours is told, and it goes on asking."""
    if camera.nodes():
        pytest.skip("this machine has a camera, which is looked through first")
    ours, theirs = os.openpty()
    line = [PROGRAM, "scan", "--config", str(box.folder / "agent.toml"), "--no-start"]
    with subprocess.Popen(line, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as running:
        assert running.stdout is not None
        said = running.stdout.readline()
        assert b"type or paste it" in said
        os.write(ours, b"4006381333931\n")
        assert b"bar code of a product" in running.stdout.readline()
        os.write(ours, box.desk.text().encode() + b"\n")
        assert running.wait(30) == 0
        assert PROVISIONED.encode() in running.stdout.read()
    os.close(ours)
    os.close(theirs)


OTHERS = {
    "WIFI:T:WPA;S:Yard;P:correct horse;;": "network_not_allowed",
    "WIFI:T:WPA2-EAP;S:Yard;E:PEAP;;": "wifi_unsupported",
    "HTTPS://HUB.EXAMPLE:8443/R/ABCDEFGHIJKLMNOPQRSTUVWXYZ234567": "code_not_ours",
    "https://shop.example/p/1?secret=correct+horse": "code_not_ours",
    "DPP:C:81/1;K:MDkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDIgAC;;": "code_not_ours",
    "MT:Y.K9042C00KA0648G00": "code_not_ours",
    "otpauth://totp/me?secret=JBSWY3DPEHPK3PXP": "code_not_ours",
    "BEGIN:VCARD\nFN:Somebody\nEND:VCARD": "code_not_ours",
    "4006381333931": "code_not_ours",
    "just words": "code_not_ours",
}


@pytest.mark.parametrize(("text", "code"), OTHERS.items())
def test_anything_else(box: Box, text: str, code: str) -> None:
    """What is not for this box gets a sentence and a status, from a picture as from a scanner; nothing is kept."""
    picture(text).save(box.folder / "other.png")
    for words, given in ((["--image", str(box.folder / "other.png")], b""), (["--stdin"], text.encode())):
        done = box.scan(*words, given=given)
        assert done.status == 65
        one_sentence(done, [f"[{code}]"])
        assert not box.state.exists()
        for secret in ("correct", "JBSWY3DPEHPK3PXP"):
            assert secret not in done.said + done.complained


def bad_pictures(box: Box) -> dict[str, tuple[str, Path]]:
    """Pictures that nothing can be taken from, by the code of what is said."""
    folder = box.folder
    Image.new("L", (400, 400), 255).save(folder / "blank.png")
    beside(picture(box.desk.text()), picture(box.desk.text(b"m" * 16, device_id="gate-4"))).save(folder / "two.png")
    (folder / "words.png").write_text("this is no picture")
    (folder / "empty.png").write_bytes(b"")
    picture(parts.split(box.desk.text(), 140)[1]).save(folder / "part.png")
    picture(box.desk.text()[:-6] + "AAAAAA").save(folder / "forged.png")
    return {
        "blank": ("code_not_found", folder / "blank.png"),
        "two": ("codes_several", folder / "two.png"),
        "words": ("picture_unreadable", folder / "words.png"),
        "empty": ("picture_unreadable", folder / "empty.png"),
        "none": ("source_unreadable", folder / "none.png"),
        "part": ("payload_part_missing", folder / "part.png"),
        "forged": ("payload_", folder / "forged.png"),
    }


@pytest.mark.parametrize("name", ["blank", "two", "words", "empty", "none", "part", "forged"])
@pytest.mark.parametrize("is_provisioned", [False, True])
def test_a_bad_picture(box: Box, name: str, is_provisioned: bool) -> None:
    """One sentence, an exit status, and not one byte changed on the disk, of a fresh box or a provisioned one."""
    if is_provisioned:
        assert box.scan("--stdin", given=box.desk.text(b"k" * 16).encode()).status == 0
    before = box.traces()
    code, path = bad_pictures(box)[name]
    done = box.scan("--image", str(path))
    assert done.status == 65
    one_sentence(done, [f"[{code}"])
    assert box.traces() == before


def test_ten_megabytes(box: Box) -> None:
    """A text without end is refused after a few kilobytes, whoever goes on sending."""
    done = box.scan("--stdin", given=b"A" * 10_000_000)
    assert done.status == 65
    one_sentence(done, ["text_too_long"])
    assert not box.state.exists()


def test_nothing_at_all(box: Box) -> None:
    """An empty standard input is said to be that."""
    done = box.scan("--stdin")
    assert done.status == 65
    one_sentence(done, ["Nothing was scanned or typed", "code_not_found"])
    assert "hand scanner" in done.complained


def test_a_network_in_the_code(box: Box) -> None:
    """A network block is named and left alone where the settings say so; the box is provisioned all the same."""
    text = box.desk.text(network=Network(ssid="Yard", passphrase=Secret("correct horse")))
    done = box.scan("--stdin", given=text.encode())
    assert done.status == 0 and "leaves its network alone" in done.said
    assert "correct horse" not in done.said
    assert not (box.state / "network-wish.json").exists()


# -- cameras -----------------------------------------------------------------------------------------------------------
SENDER = """
import sys, time, pathlib
shown = [pathlib.Path(name).read_bytes() for name in sys.argv[2:]]
for turn in range(int(sys.argv[1])):
    for each in shown:
        sys.stdout.buffer.write(b"noise" + each)
        sys.stdout.buffer.flush()
sys.stderr.write("the lens fell off\\n")
sys.exit(3)
"""


def camera_command(box: Box, turns: int, *pictures: Image.Image) -> None:
    """Sets a program as the camera of the box: it shows these pictures so many times, then fails."""
    script = box.folder / "sender.py"
    script.write_text(SENDER)
    names = []
    for number, each in enumerate(pictures):
        names.append(box.folder / f"frame{number}.pnm")
        names[-1].write_bytes(pnm(each))
    words = [sys.executable, str(script), str(turns), *map(str, names)]
    box.set(f'camera_command = "{" ".join(words)}"')


def test_a_camera_behind_a_program(box: Box) -> None:
    """Empty pictures, a parcel's code, then the label: the box says what it saw and is provisioned by the last."""
    blank = Image.new("L", (320, 240), 128)
    camera_command(box, 1000, blank, blank, picture("4006381333931"), picture(box.desk.text()))
    done = box.scan("--camera", "--patience", "40")
    assert done.status == 0, done.complained
    assert "bar code of a product" in done.said and "provisioned as gate-3" in done.said


def test_a_camera_that_goes_away(box: Box) -> None:
    """The program ends while it is looked through: what it said last is told, and nothing is kept."""
    camera_command(box, 3, Image.new("L", (64, 64), 0))
    done = box.scan("--camera")
    assert done.status == 65
    one_sentence(done, ["[camera_gone]", "status 3", "the lens fell off"])
    assert not box.state.exists()


def test_a_camera_that_sees_nothing(box: Box) -> None:
    """After the given time it is said that there was no code."""
    camera_command(box, 1_000_000, Image.new("L", (64, 64), 0))
    done = box.scan("--camera", "--patience", "1")
    assert done.status == 65
    one_sentence(done, ["[code_not_found]"])


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--camera", "/nowhere/video7"], "camera_missing"),
        (["--camera", "/dev/null"], "camera_unsupported"),
        (["--camera", "/"], "camera_gone"),
    ],
)
def test_a_camera_that_is_none(box: Box, words: list[str], code: str) -> None:
    """A path that leads nowhere, to another device, to a folder."""
    done = box.scan(*words)
    assert done.status == 65
    one_sentence(done, [f"[{code}]"])
    assert not box.state.exists()


def test_a_command_that_is_none(box: Box) -> None:
    """A camera's program that is not there."""
    box.set('camera_command = "/nowhere/grab --now"')
    one_sentence(box.scan("--camera"), ["[camera_missing]", "/nowhere/grab"])


def test_interrupted(box: Box) -> None:
    """Ctrl-C while it looks ends it and the camera's program, with its own status."""
    ready = box.folder / "ready"
    os.mkfifo(ready)
    script = box.folder / "silent.py"
    script.write_text(
        f"import os, pathlib, signal, sys\npathlib.Path({str(ready)!r}).write_text(str(os.getpid()))\nsignal.pause()\n"
    )
    box.set(f'camera_command = "{sys.executable} {script}"')
    line = [PROGRAM, "scan", "--config", str(box.folder / "agent.toml"), "--camera"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        pid = int(ready.read_text())
        watch = os.pidfd_open(pid)
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 130
    assert select.select([watch], [], [], 30)[0], "the camera's program still runs"
    os.close(watch)
