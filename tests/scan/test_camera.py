"""Cameras: the kernel's interface behind a fake descriptor, streams of pictures, and what goes wrong with each."""

from __future__ import annotations

import errno
import os
import struct
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from firstlight.errors import InvitationError
from firstlight.sources import camera, camera_v4l2
from firstlight.sources.camera_command import CommandCamera
from firstlight.sources.camera_frames import Frames, grey_of
from firstlight.sources.camera_v4l2 import V4l2Camera
from tests.scan.label import jpeg, picture, pnm

SHOWN = Image.linear_gradient("L").resize((64, 48))


def ioc(direction: int, number: int, size: int) -> int:
    """A request as <asm-generic/ioctl.h> puts it together: 2 bits direction, 14 size, 8 letter, 8 number."""
    return direction << 30 | size << 16 | ord("V") << 8 | number


def test_requests() -> None:
    """The numbers are those of <linux/videodev2.h>: made from direction, the record's size on 64 bits, and number."""
    read, write, both = 2, 1, 3
    assert ioc(read, 0, camera_v4l2.CAPABILITY_BYTES) == camera_v4l2.QUERYCAP
    assert ioc(both, 2, camera_v4l2.FORMAT_BYTES) == camera_v4l2.ENUM_FMT
    assert ioc(both, 5, camera_v4l2.PIX_BYTES) == camera_v4l2.S_FMT
    assert ioc(both, 8, camera_v4l2.REQUEST_BYTES) == camera_v4l2.REQBUFS
    buffer = camera_v4l2.BUFFER_BYTES
    numbers = (camera_v4l2.QUERYBUF, camera_v4l2.QBUF, camera_v4l2.DQBUF)
    assert tuple(ioc(both, number, buffer) for number in (9, 15, 17)) == numbers
    assert (ioc(write, 18, 4), ioc(write, 19, 4)) == (camera_v4l2.STREAMON, camera_v4l2.STREAMOFF)


def test_sizes() -> None:
    """The records have the sizes that a C compiler gives them on 64 bits: their fields, and what lies between."""
    capability = struct.calcsize("@16s32s32sIII3I")
    description = struct.calcsize("@III32sI I3I")
    # A union with pointers inside is aligned to 8; 200 bytes are reserved for it.
    form = struct.calcsize("@I0Q") + 200
    request = struct.calcsize("@IIIIB3x")
    # struct timeval is two longs, the timecode 16 bytes, then the union with a pointer.
    buffer = struct.calcsize("@IIIIIllII8BIIQIIi0Q")
    assert (capability, description, form, request, buffer) == (
        camera_v4l2.CAPABILITY_BYTES,
        camera_v4l2.FORMAT_BYTES,
        camera_v4l2.PIX_BYTES,
        camera_v4l2.REQUEST_BYTES,
        camera_v4l2.BUFFER_BYTES,
    )


class FakeCamera:
    """A device that answers as a driver does, with the formats and troubles it is told to have."""

    def __init__(
        self, formats: dict[str, tuple[int, int]], body: Callable[[str], bytes], trouble: dict[int, int] | None = None
    ) -> None:
        self.formats, self.body, self.trouble = formats, body, trouble or {}
        self.abilities = camera_v4l2.CAN_CAPTURE | camera_v4l2.CAN_STREAM
        self.chosen = ""
        self.queued: list[int] = []
        self.memory = [bytearray(1_000_000) for _ in range(camera_v4l2.BUFFERS)]
        self.calls: list[int] = []
        self.is_silent = False
        self.flags = 0
        self.closed = False

    def __call__(self, path: str) -> FakeCamera:
        """As ``camera_v4l2.Device``."""
        if camera_v4l2.QUERYCAP - 1 in self.trouble:  # opening itself
            raise OSError(self.trouble[camera_v4l2.QUERYCAP - 1], "no")
        return self

    def ioctl(self, request: int, record: bytearray) -> None:
        """As ``camera_v4l2.Device``."""
        self.calls.append(request)
        if request in self.trouble:
            raise OSError(self.trouble[request], os.strerror(self.trouble[request]))
        answers: dict[int, Callable[[bytearray], None]] = {
            camera_v4l2.QUERYCAP: self._capabilities,
            camera_v4l2.ENUM_FMT: self._describe,
            camera_v4l2.S_FMT: self._choose,
            camera_v4l2.REQBUFS: lambda record: struct.pack_into("<I", record, 0, len(self.memory)),
            camera_v4l2.QUERYBUF: self._place,
            camera_v4l2.QBUF: lambda record: self.queued.append(struct.unpack_from("<I", record)[0]),
            camera_v4l2.DQBUF: self._give,
        }
        if request in answers:
            answers[request](record)

    def _capabilities(self, record: bytearray) -> None:
        struct.pack_into("<II", record, 84, 0x8520_0001 | camera_v4l2.HAS_DEVICE_CAPS, self.abilities)

    def _describe(self, record: bytearray) -> None:
        (index,) = struct.unpack_from("<I", record)
        if index >= len(self.formats):
            raise OSError(errno.EINVAL, "no more")
        record[44:48] = list(self.formats)[index].encode()

    def _choose(self, record: bytearray) -> None:
        self.chosen = record[16:20].decode()
        width, height = self.formats[self.chosen]
        stride = {"GREY": width + 16, "NV12": width, "YUYV": width * 2, "MJPG": 0}.get(self.chosen, width)
        struct.pack_into("<II", record, 8, width, height)
        struct.pack_into("<I", record, 24, stride)

    def _place(self, record: bytearray) -> None:
        (index,) = struct.unpack_from("<I", record)
        struct.pack_into("<I", record, 64, index * 4096)
        struct.pack_into("<I", record, 72, len(self.memory[index]))

    def _give(self, record: bytearray) -> None:
        index = self.queued.pop(0)
        body = self.body(self.chosen)
        self.memory[index][: len(body)] = body
        struct.pack_into("<IIII", record, 0, index, 1, len(body), self.flags)

    def map(self, length: int, offset: int) -> memoryview:
        """As ``camera_v4l2.Device``."""
        return memoryview(self.memory[offset // 4096])[:length]

    def wait(self, timeout_s: float) -> bool:
        """As ``camera_v4l2.Device``."""
        return not self.is_silent

    def close(self) -> None:
        """As ``camera_v4l2.Device``."""
        self.closed = True


def shown_as(name: str) -> bytes:
    """The picture as a camera gives it in each format."""
    grey = SHOWN.tobytes()
    width, height = SHOWN.size
    if name == "GREY":  # with bytes between the lines
        return b"".join(grey[line * width : (line + 1) * width] + b"\0" * 16 for line in range(height))
    if name == "YUYV":
        return b"".join(bytes((each, 128)) for each in grey)
    if name == "MJPG":
        return jpeg(SHOWN)
    return grey + b"\x80" * (len(grey) // 2)


@pytest.mark.parametrize("name", ["GREY", "NV12", "YU12", "YUYV"])
def test_each_format(name: str) -> None:
    """Every raw format gives the very picture, however its lines lie in memory."""
    fake = FakeCamera({"H264": (64, 48), name: SHOWN.size}, shown_as)
    with V4l2Camera("/dev/video0", fake) as opened:
        for frame in islice(opened, 9):  # more than there are buffers
            assert frame.tobytes() == SHOWN.tobytes()
    assert fake.closed and fake.calls[-1] == camera_v4l2.STREAMOFF


def test_pictures_as_jpeg() -> None:
    """Motion JPEG is decoded, also as many cameras give it: without its usual Huffman tables."""
    body = jpeg(SHOWN)
    bare = body
    while (place := bare.find(b"\xff\xc4")) >= 0:
        (size,) = struct.unpack_from(">H", bare, place + 2)
        bare = bare[:place] + bare[place + 2 + size :]
    assert len(bare) < len(body)
    for each in (body, bare):
        fake = FakeCamera({"MJPG": SHOWN.size}, lambda _, each=each: each)  # type: ignore[misc]
        with V4l2Camera("/dev/video0", fake) as opened:
            (frame,) = islice(opened, 1)
        assert frame.size == SHOWN.size and frame.mode == "L"


def test_the_largest_picture_wins() -> None:
    """Of several formats the one with the larger picture is taken; of equal ones the cheapest."""
    fake = FakeCamera({"YUYV": (640, 480), "MJPG": (1280, 720)}, shown_as)
    with V4l2Camera("/dev/video0", fake):
        assert fake.chosen == "MJPG"
    fake = FakeCamera({"MJPG": (1280, 720), "YUYV": (1280, 720)}, shown_as)
    with V4l2Camera("/dev/video0", fake):
        assert fake.chosen == "YUYV"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EACCES, "camera_forbidden"),
        (errno.EPERM, "camera_forbidden"),
        (errno.EBUSY, "camera_busy"),
        (errno.ENOENT, "camera_missing"),
        (errno.ENODEV, "camera_gone"),
        (errno.EIO, "camera_gone"),
        (errno.ENOTTY, "camera_unsupported"),
    ],
)
@pytest.mark.parametrize("request_", [camera_v4l2.QUERYCAP - 1, camera_v4l2.QUERYCAP, camera_v4l2.STREAMON])
def test_trouble_at_the_start(number: int, code: str, request_: int) -> None:
    """Busy, forbidden, gone, none at all: each by its name, and the device is closed again."""
    fake = FakeCamera({"GREY": SHOWN.size}, shown_as, {request_: number})
    with pytest.raises(InvitationError) as caught, V4l2Camera("/dev/video3", fake):
        pass
    assert caught.value.code == code and "/dev/video3" in caught.value.message and caught.value.hint
    assert fake.closed or request_ == camera_v4l2.QUERYCAP - 1


@pytest.mark.parametrize("number", [errno.ENODEV, errno.EIO, errno.EINVAL])
def test_pulled_while_reading(number: int) -> None:
    """A camera that is pulled while it is looked through is gone, and everything is closed."""
    fake = FakeCamera({"GREY": SHOWN.size}, shown_as)
    with pytest.raises(InvitationError) as caught, V4l2Camera("/dev/video0", fake) as opened:
        for count, _ in enumerate(opened):
            if count == 2:
                fake.trouble = {camera_v4l2.DQBUF: number, camera_v4l2.STREAMOFF: number}
    assert caught.value.code == "camera_gone" and fake.closed


def test_silent() -> None:
    """A camera that gives no picture in time is gone."""
    fake = FakeCamera({"GREY": SHOWN.size}, shown_as)
    fake.is_silent = True
    with pytest.raises(InvitationError, match="no picture for 10 s"), V4l2Camera("/dev/video0", fake) as opened:
        next(iter(opened))


def test_broken_and_short_pictures_are_passed_over() -> None:
    """What the driver calls broken, and what is cut short, is no picture; the next one is."""
    good = shown_as("GREY")
    given = iter([(good, camera_v4l2.BROKEN), (good[:100], 0), (good, 0)])
    fake = FakeCamera({"GREY": SHOWN.size}, shown_as)

    def body(_: str) -> bytes:
        found, fake.flags = next(given)
        return found

    fake.body = body
    with V4l2Camera("/dev/video0", fake) as opened:
        assert next(iter(opened)).tobytes() == SHOWN.tobytes()
    assert next(given, None) is None


@pytest.mark.parametrize("abilities", [0, camera_v4l2.CAN_CAPTURE, 0x0080_0000 | camera_v4l2.CAN_STREAM])
def test_no_camera(abilities: int) -> None:
    """A metadata node, an encoder or an output is no camera."""
    fake = FakeCamera({"GREY": SHOWN.size}, shown_as)
    fake.abilities = abilities
    with pytest.raises(InvitationError) as caught, V4l2Camera("/dev/video1", fake):
        pass
    assert caught.value.code == "camera_unsupported"


@pytest.mark.parametrize(("formats", "word"), [({}, "kind of picture"), ({"GREY": (0, 0)}, "kind of picture")])
def test_no_format(formats: dict[str, tuple[int, int]], word: str) -> None:
    """A camera with none of the known formats, or none with a size."""
    with pytest.raises(InvitationError, match=word), V4l2Camera("/dev/video0", FakeCamera(formats, shown_as)):
        pass


def test_nodes(tmp_path: Path) -> None:
    """In the order of their numbers, and no other device."""
    for name in ("video10", "video2", "video0", "videotape", "vbi0"):
        (tmp_path / name).touch()
    assert [Path(each).name for each in camera.nodes(str(tmp_path))] == ["video0", "video2", "video10"]
    assert camera.nodes(str(tmp_path / "none")) == []


def test_no_camera_on_the_box(tmp_path: Path) -> None:
    """No device at all, and devices that are none."""
    with pytest.raises(InvitationError) as caught, camera.open_camera(folder=str(tmp_path)):
        pass
    assert caught.value.code == "camera_missing"
    (tmp_path / "video0").touch()
    with pytest.raises(InvitationError) as caught, camera.open_camera(folder=str(tmp_path)):
        pass
    assert caught.value.code == "camera_unsupported"


def test_the_first_camera_that_works() -> None:
    """Nodes that are none and a busy camera are passed over; of several troubles the real camera's is told."""
    none = FakeCamera({}, shown_as)
    none.abilities = 0
    busy = FakeCamera({"GREY": SHOWN.size}, shown_as, {camera_v4l2.S_FMT: errno.EBUSY})
    good = FakeCamera({"GREY": SHOWN.size}, shown_as)
    both = [V4l2Camera("/dev/video0", none), V4l2Camera("/dev/video1", busy)]
    with camera.FirstCamera([*both, V4l2Camera("/dev/video2", good)]) as opened:
        assert next(iter(opened)).size == SHOWN.size
    assert none.closed and busy.closed and good.closed
    with pytest.raises(InvitationError) as caught, camera.FirstCamera(both):
        pass
    assert caught.value.code == "camera_busy" and "/dev/video1" in caught.value.message


# -- streams -----------------------------------------------------------------------------------------------------------
PICTURES = [jpeg(SHOWN), pnm(SHOWN), pnm(SHOWN.convert("RGB")), jpeg(picture("FL1:AB"))]


@given(st.lists(st.sampled_from(PICTURES), max_size=4), st.lists(st.integers(1, 5000), min_size=1, max_size=8))
def test_a_stream_is_cut_anywhere(pictures: list[bytes], cuts: list[int]) -> None:
    """However a stream comes in pieces, the pictures come out as they were."""
    stream, frames, found, turn = b"".join(pictures), Frames(), list[bytes](), 0
    while stream:
        size = cuts[turn % len(cuts)]
        found += frames.add(stream[:size])
        stream, turn = stream[size:], turn + 1
    assert found == pictures


@given(st.binary(max_size=3000))
def test_any_stream(body: bytes) -> None:
    """Noise gives no picture, or one that can be opened or not; it never ends the reading."""
    frames = Frames()
    for each in (*frames.add(body), *frames.add(PICTURES[0]), *frames.add(PICTURES[1] * 2)):
        grey_of(each)


def test_a_stream_without_end_is_bounded() -> None:
    """A picture that says it is huge, and one that never ends, are given up."""
    frames = Frames()
    assert list(frames.add(b"P5 99999 99999 255\n" + b"\0" * 1000)) == []
    for _ in range(20):
        assert list(frames.add(b"\xff\xd8\xff" + b"\0" * 1_048_576)) == []
        assert len(frames._held) <= camera.MAX_FRAME_BYTES
    assert grey_of(b"P5 9 9 255\n") is None and grey_of(b"\xff\xd8\xff\xd9") is None


# -- programs ----------------------------------------------------------------------------------------------------------
def running(tmp_path: Path, script: str) -> str:
    """A command line that runs this Python."""
    (tmp_path / "camera.py").write_text(script)
    return f"{sys.executable} {tmp_path / 'camera.py'}"


def frames_of(command: str, count: int, frame_s: float = 20.0) -> Iterator[Image.Image]:
    """The first pictures of a command."""
    with CommandCamera(command, frame_s) as opened:
        yield from islice(opened, count)


def test_a_program_with_both_kinds(tmp_path: Path) -> None:
    """JPEG and PNM mixed, words on standard error closed early."""
    (tmp_path / "shown").write_bytes(b"".join(PICTURES[:3]))
    command = running(
        tmp_path,
        "import os, sys\nos.write(2, b'words')\nos.close(2)\n"
        f"sys.stdout.buffer.write(open({str(tmp_path / 'shown')!r}, 'rb').read())\n"
        "sys.stdout.flush()\nsys.stdin.read()\nimport signal; signal.pause()\n",
    )
    assert [each.size for each in frames_of(command, 3)] == [SHOWN.size] * 3


def test_a_silent_program(tmp_path: Path) -> None:
    """One that says nothing is gone after a while, and its children with it."""
    command = running(tmp_path, "import signal; signal.pause()")
    with pytest.raises(InvitationError, match="no picture for") as caught:
        list(frames_of(command, 1, frame_s=0.2))
    assert caught.value.code == "camera_gone"


def test_a_program_that_only_talks(tmp_path: Path) -> None:
    """Endless words on standard error do not keep it alive, and are not kept."""
    command = running(tmp_path, "import os\nwhile True: os.write(2, b'x' * 65536)")
    with pytest.raises(InvitationError, match="no picture for"):
        list(frames_of(command, 1, frame_s=0.5))


@pytest.mark.parametrize(
    ("command", "code"),
    [("", "camera_missing"), ("'", "camera_missing"), ("/nowhere/x", "camera_missing"), ("/etc", "camera_forbidden")],
)
def test_no_program(command: str, code: str) -> None:
    """An empty command, one that cannot be split, one that is not there or may not be run."""
    with pytest.raises(InvitationError) as caught:
        list(frames_of(command, 1))
    assert caught.value.code == code
