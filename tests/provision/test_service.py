"""The headless service as a process: each source to its answer, and to the end."""

from __future__ import annotations

import io
import json
import os
import select
import shlex
import sys
from pathlib import Path

from firstlight.wire.parts import split
from tests.detached.labels import everything
from tests.e2e.conftest import wait_until
from tests.provision.conftest import Waiting


def lit(waiting: Waiting) -> str:
    """What the LED shows."""
    return (waiting.led / "trigger").read_text().strip()


def check_provisioned(waiting: Waiting) -> None:
    """It says so, keeps it, ends by itself and gives the LED back."""
    waiting.hears("This box is provisioned as dev-1.")
    kept = json.loads((waiting.state / "provisioned.json").read_text())
    assert "dev-1" in json.dumps(kept)
    assert waiting.status() == 0
    assert lit(waiting) == "none"
    assert "0123456789abcdef" not in "".join(waiting.said)


def picture_of(text: str) -> bytes:
    """A code as a PNG."""
    import qrcode

    made = io.BytesIO()
    qrcode.make(text).save(made)
    return made.getvalue()


def camera_of(waiting: Waiting, *pictures: bytes) -> str:
    """A camera's command that shows these for ever, one after the other."""
    from PIL import Image

    paths = []
    for number, body in enumerate(pictures):
        path = waiting.folder / f"frame{number}.jpg"
        with Image.open(io.BytesIO(body)) as opened:
            opened.convert("L").save(path)
        paths.append(str(path))
    program = waiting.folder / "camera.py"
    program.write_text(
        "import select, sys\nwhile True:\n for name in sys.argv[1:]:\n"
        "  sys.stdout.buffer.write(open(name, 'rb').read())\n  sys.stdout.flush()\n  select.select([], [], [], 0.05)\n"
    )
    return shlex.join([sys.executable, str(program), *paths])


def test_a_kernel_that_tells_nothing(waiting: Waiting) -> None:
    """Where the kernel's events are used up, sticks are found all the same, a little later."""
    waiting.start("untold")
    waiting.hears("it is looked at every 2 s")
    waiting.put_in("stick", device_json=json.dumps({"format": 1, "payload": waiting.label()}))
    assert "This box is provisioned as dev-1." in waiting.result("stick")
    assert waiting.status() == 0


def test_a_stick_with_its_file(waiting: Waiting) -> None:
    """device.json on a stick: provisioned, and RESULT.txt has the device, the next step and a receipt."""
    waiting.start()
    wait_until("it blinks as the kernel does", lambda: lit(waiting) == "heartbeat")
    waiting.put_in("one", device_json=json.dumps({"format": 1, "payload": waiting.label(), "name": "Gate 4"}))
    word = waiting.result("one")
    assert word.startswith("Firstlight\r\n") and "This box is provisioned as dev-1." in word
    assert "Device: dev-1" in word and "HTTPS://" in word and "can be taken out" in word
    check_provisioned(waiting)


def test_expired_then_good(waiting: Waiting) -> None:
    """An expired code is told apart, changes nothing on the disk, and a good one on the next stick is taken."""
    waiting.start()
    old = waiting.label(issued_at_s=1_690_000_000, expires_at_s=1_700_000_000)
    before = everything(waiting.state)
    waiting.put_in("old", device_json=json.dumps({"format": 1, "payload": old}))
    assert "[payload_expired]" in waiting.result("old")
    waiting.hears("device.json: The code was good until")
    wait_until("the LED is the service's", lambda: lit(waiting) == "none")
    wait_until("it flashes", lambda: (waiting.led / "brightness").read_text() == "255\n")
    assert everything(waiting.state) == before
    waiting.put_in("good", firstlight_txt=waiting.label())
    assert "This box is provisioned" in waiting.result("good")
    check_provisioned(waiting)


def test_a_stick_full_of_junk(waiting: Waiting) -> None:
    """Each thing that is no code gets its sentence, nothing else is touched, and the service goes on."""
    waiting.start()
    stick = waiting.put_in(
        "junk",
        device_json="{",
        firstlight_txt="milk, bread",
        holiday_jpg=b"\xff\xd8\xff nothing",
        code_png=picture_of("https://example.org/menu"),
        letter_doc="x" * 100_000,
    )
    word = waiting.result("junk")
    assert "device.json: It is no device.json" in word and "[stick_malformed]" in word
    assert "firstlight.txt: This is a text" in word and "[picture_unreadable]" in word
    assert "code.png: " in word
    assert (stick / "letter.doc").read_text() == "x" * 100_000
    assert sorted(each.name for each in stick.iterdir()) == sorted(
        ["RESULT.txt", "code.png", "device.json", "firstlight.txt", "holiday.jpg", "letter.doc"]
    )
    waiting.put_in("empty")
    assert "[stick_empty]" in waiting.result("empty")
    assert not (waiting.state / "provisioned.json").exists()
    waiting.scan(waiting.label())
    check_provisioned(waiting)


def test_the_next_boxes_label_is_not_for_this_one(waiting: Waiting) -> None:
    """Two labels in quick succession, one more on a stick: the first is taken, and the others can still be used."""
    waiting.start()
    first, second, third = (waiting.label(device_id=f"dev-{one}", nonce=bytes([one]) * 16) for one in (1, 2, 3))
    os.write(waiting.master, f"{first}\r\n{second}\r\n".encode())
    waiting.hears("This box is provisioned as dev-1.")
    waiting.put_in("late", firstlight_txt=third)
    check_provisioned(waiting)
    kept = json.loads((waiting.state / "provisioned.json").read_text())
    nonces = json.loads((waiting.state / "nonces.json").read_text())
    assert kept["provision"]["deviceId"] == "dev-1" and nonces["nonces"] == ["01" * 16]
    assert "dev-2" not in "".join(waiting.said) and "dev-3" not in "".join(waiting.said)


def test_names_that_are_no_text(waiting: Waiting) -> None:
    """A file's name in another encoding, with line ends and what steers a terminal: told, obeyed by nobody."""
    waiting.start()
    aside = waiting.folder / "aside"
    aside.mkdir()
    for name in (b"M\xe4rz.png", b"x\r\nThis box is provisioned.png", b"\x1b[2J.jpg"):
        (aside / os.fsdecode(name)).write_bytes(b"nothing")
    aside.rename(waiting.sticks / "odd")
    word = waiting.result("odd")
    assert "M?rz.png: " in word and "\x1b" not in word and "\nThis box is provisioned" not in word
    waiting.scan(waiting.label())
    check_provisioned(waiting)


def test_pictures_of_parts(waiting: Waiting) -> None:
    """The parts of a code as pictures on one stick are put together."""
    waiting.start()
    first, second = split(waiting.label(name="A gate far away"), 300)
    waiting.put_in("parts", b_png=picture_of(first), a_png=picture_of(second))
    assert "This box is provisioned" in waiting.result("parts")
    check_provisioned(waiting)


def test_the_hand_scanner(waiting: Waiting) -> None:
    """What a hand scanner sends is told apart, parts of two sets too; the whole is taken."""
    waiting.start()
    waiting.scan("4006381333931")
    waiting.hears("bar code of a product")
    one, two = (split(waiting.label(name=f"A gate far away {name}"), 300) for name in ("east", "west"))
    waiting.scan(one[0])
    waiting.hears("Part 1 of 2 read, 1 to go; still to come: 2.")
    waiting.scan(two[1])
    waiting.hears("[payload_parts_mixed]")
    waiting.scan(one[1])
    waiting.hears("Part 2 of 2 read, 1 to go; still to come: 1.")
    waiting.scan(one[0])
    check_provisioned(waiting)


def test_the_camera(waiting: Waiting) -> None:
    """A camera that sees a wrong code, then nothing, then this box's own: both are answered."""
    from PIL import Image

    blank = io.BytesIO()
    Image.new("L", (400, 300), 200).save(blank, "PNG")
    command = camera_of(waiting, picture_of("https://example.org/menu"), blank.getvalue(), picture_of(waiting.label()))
    waiting.start(camera_command=command)
    check_provisioned(waiting)


def test_a_camera_that_is_gone(waiting: Waiting) -> None:
    """A camera's command that ends is said once, with its last words, and the other sources go on."""
    waiting.start(camera_command=shlex.join([sys.executable, "-c", "raise SystemExit('no sensor')"]))
    waiting.hears("no sensor")
    assert sum("no sensor" in line for line in waiting.said) == 1
    waiting.scan(waiting.label())
    check_provisioned(waiting)


def test_a_camera_that_hangs_holds_nobody(waiting: Waiting) -> None:
    """While a camera gives nothing, a scanner is answered."""
    waiting.start(camera_command=shlex.join([sys.executable, "-c", "import signal; signal.pause()"]))
    waiting.scan(waiting.label())
    check_provisioned(waiting)


def test_somebody_else_provisions_the_box(waiting: Waiting) -> None:
    """When the box was enrolled meanwhile, the service ends by itself."""
    waiting.state.mkdir(mode=0o700)
    waiting.start()
    (waiting.state / "registration.json").write_text("{}")
    waiting.hears("nothing waits for a code any more")
    assert waiting.status() == 0


def test_it_sleeps_while_nothing_happens(waiting: Waiting) -> None:
    """While it waits for a code it is not woken: the LED blinks by the kernel's own trigger."""
    waiting.start()
    assert waiting.process is not None
    status = Path("/proc", str(waiting.process.pid), "status")

    def switches() -> int:
        return int(status.read_text().split("voluntary_ctxt_switches:")[1].split()[0])

    def is_quiet() -> bool:
        before = switches()
        nobody = select.poll()
        nobody.poll(1000)
        return switches() - before <= 1

    wait_until("it waits", is_quiet)
