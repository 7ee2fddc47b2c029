"""A camera of the kernel's video interface (V4L2): ask, choose a format, map buffers, stream.

The records are those of <linux/videodev2.h> on 64-bit machines; each is packed here by its offsets. Written for single
pictures at a few a second: four buffers, one thread, every wait with a deadline.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import select
import struct
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

from firstlight.errors import InvitationError
from firstlight.sources import camera

if TYPE_CHECKING:
    from types import TracebackType

    from PIL.Image import Image

# Direction, size, letter 'V' and number, as the kernel's _IOC macro puts them together.
QUERYCAP, ENUM_FMT, S_FMT = 0x80685600, 0xC0405602, 0xC0D05605
REQBUFS, QUERYBUF, QBUF, DQBUF = 0xC0145608, 0xC0585609, 0xC058560F, 0xC0585611
STREAMON, STREAMOFF = 0x40045612, 0x40045613
CAPTURE, MMAP, CAN_CAPTURE, CAN_STREAM, HAS_DEVICE_CAPS = 1, 1, 0x1, 0x0400_0000, 0x8000_0000
BROKEN = 0x40  # V4L2_BUF_FLAG_ERROR: this one picture only
CAPABILITY_BYTES, FORMAT_BYTES, PIX_BYTES, REQUEST_BYTES, BUFFER_BYTES = 104, 64, 208, 20, 88
# In the order of what costs least to read. How many bytes of a line a grey value takes.
FORMATS = {"GREY": 1, "NV12": 1, "YU12": 1, "YUYV": 2, "MJPG": 0}
WIDTH, HEIGHT = 1280, 720
MAX_SIDE = 8192
BUFFERS = 4
MAX_FORMATS = 64
CAUSES = {
    errno.EACCES: (camera.FORBIDDEN, "may not be used by this user"),
    errno.EPERM: (camera.FORBIDDEN, "may not be used by this user"),
    errno.EBUSY: (camera.BUSY, "is used by another program"),
    errno.ENOENT: (camera.MISSING, "is not there"),
    errno.ENXIO: (camera.MISSING, "is not there"),
    errno.ENOTTY: (camera.UNSUPPORTED, "is no camera"),
    errno.EINVAL: (camera.UNSUPPORTED, "is no camera"),
}


class Device(Protocol):
    """An open video device; a fake in tests. Everything raises OSError as the kernel does."""

    def ioctl(self, request: int, record: bytearray) -> None:
        """Asks; the answer is in ``record``."""

    def map(self, length: int, offset: int) -> memoryview:
        """A buffer of the driver's."""

    def wait(self, timeout_s: float) -> bool:
        """Whether a picture is there before the time is over."""

    def close(self) -> None:
        """Gives it back."""


class Node:
    """Implements ``Device`` for a path such as /dev/video0. Raises OSError where it cannot be opened."""

    def __init__(self, path: str) -> None:
        # O_NONBLOCK: taking a picture out must not hang where the camera was pulled.
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._maps: list[tuple[mmap.mmap, memoryview]] = []

    def ioctl(self, request: int, record: bytearray) -> None:
        """As ``Device.ioctl``."""
        fcntl.ioctl(self._fd, request, record, True)

    def map(self, length: int, offset: int) -> memoryview:
        """As ``Device.map``."""
        area = mmap.mmap(self._fd, length, mmap.MAP_SHARED, mmap.PROT_READ, offset=offset)
        self._maps.append((area, memoryview(area)))
        return self._maps[-1][1]

    def wait(self, timeout_s: float) -> bool:
        """As ``Device.wait``."""
        return bool(select.select([self._fd], [], [], timeout_s)[0])

    def close(self) -> None:
        """As ``Device.close``."""
        for area, view in self._maps:
            view.release()
            area.close()
        self._maps.clear()
        os.close(self._fd)


class Format(NamedTuple):
    """What the camera gives: ``fourcc`` as in ``FORMATS``, size in pixels, bytes from one line to the next."""

    fourcc: str
    width: int
    height: int
    stride_bytes: int


class V4l2Camera:
    """Implements ``FrameSource``.

    Args:
        path: of the device.
        open_device: opens it.
    """

    def __init__(self, path: str, open_device: Callable[[str], Device] | None = None) -> None:
        self._path = path
        self._open: Callable[[str], Device] = open_device or Node
        self._device: Device | None = None
        self._buffers: list[memoryview] = []
        self._format = Format("", 0, 0, 0)

    def __enter__(self) -> V4l2Camera:
        """As ``FrameSource``."""
        if struct.calcsize("P") != 8 or sys.byteorder != "little":
            raise self._error(camera.UNSUPPORTED, "is of a kind of machine that is not known here")
        try:
            self._device = self._open(self._path)
            self._check_abilities()
            self._format = self._best_format()
            self._start()
        except OSError as error:
            self._end()
            raise self._failed(error) from None
        except InvitationError:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """As ``FrameSource``."""
        self._end()

    def __iter__(self) -> Iterator[Image]:
        """As ``FrameSource``."""
        while True:
            picture = self._next()
            if picture is not None:
                yield picture

    # -- opening -----------------------------------------------------------------------------------------------------
    def _ask(self, request: int, record: bytearray) -> bytearray:
        assert self._device is not None  # noqa: S101 - only inside the with block
        self._device.ioctl(request, record)
        return record

    def _check_abilities(self) -> None:
        record = self._ask(QUERYCAP, bytearray(CAPABILITY_BYTES))
        whole, of_device = struct.unpack_from("<II", record, 84)
        abilities = of_device if whole & HAS_DEVICE_CAPS else whole
        if not (abilities & CAN_CAPTURE and abilities & CAN_STREAM):
            raise self._error(camera.UNSUPPORTED, "is no camera")

    def _best_format(self) -> Format:
        """The largest picture up to the wanted size; of equal ones the cheapest to read."""
        offered = self._offered()
        found = [each for name in FORMATS if name in offered and (each := self._set_format(name)).fourcc]
        if not found:
            raise self._error(camera.UNSUPPORTED, "gives no kind of picture that is known here")
        best = max(found, key=lambda each: min(each.width, WIDTH) * min(each.height, HEIGHT))
        return self._set_format(best.fourcc)

    def _offered(self) -> set[str]:
        names = set()
        for index in range(MAX_FORMATS):
            record = bytearray(FORMAT_BYTES)
            struct.pack_into("<II", record, 0, index, CAPTURE)
            try:
                self._ask(ENUM_FMT, record)
            except OSError as error:
                if error.errno == errno.EINVAL:  # behind the last one
                    break
                raise
            names.add(record[44:48].decode("ascii", "replace"))
        return names

    def _set_format(self, fourcc: str) -> Format:
        record = bytearray(PIX_BYTES)
        struct.pack_into("<I", record, 0, CAPTURE)
        struct.pack_into("<II4s", record, 8, WIDTH, HEIGHT, fourcc.encode())
        self._ask(S_FMT, record)
        width, height, got, _, stride = struct.unpack_from("<II4sII", record, 8)
        least = width * FORMATS[fourcc]
        if got.decode("ascii", "replace") != fourcc or not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
            return Format("", 0, 0, 0)
        return Format(fourcc, width, height, stride if least <= stride <= 4 * MAX_SIDE else least)

    def _start(self) -> None:
        assert self._device is not None  # noqa: S101 - only inside the with block
        record = bytearray(REQUEST_BYTES)
        struct.pack_into("<III", record, 0, BUFFERS, CAPTURE, MMAP)
        (count,) = struct.unpack_from("<I", self._ask(REQBUFS, record))
        for index in range(min(count, 32)):
            buffer = self._ask(QUERYBUF, self._buffer(index))
            (offset,), (length,) = struct.unpack_from("<I", buffer, 64), struct.unpack_from("<I", buffer, 72)
            if not 0 < length <= camera.MAX_FRAME_BYTES:
                raise self._error(camera.UNSUPPORTED, f"has pictures of {length} bytes")
            self._buffers.append(self._device.map(length, offset))
            self._ask(QBUF, self._buffer(index))
        self._ask(STREAMON, bytearray(struct.pack("<I", CAPTURE)))

    @staticmethod
    def _buffer(index: int) -> bytearray:
        record = bytearray(BUFFER_BYTES)
        struct.pack_into("<II", record, 0, index, CAPTURE)
        struct.pack_into("<I", record, 60, MMAP)
        return record

    # -- reading -----------------------------------------------------------------------------------------------------
    def _next(self) -> Image | None:
        """The next picture, None for one that the driver calls broken."""
        assert self._device is not None  # noqa: S101 - only inside the with block
        try:
            if not self._device.wait(camera.FRAME_S):
                raise self._error(camera.GONE, f"gave no picture for {camera.FRAME_S:g} s")
            try:
                record = self._ask(DQBUF, self._buffer(0))
            except BlockingIOError:  # woken without a picture
                return None
            index, _, used, flags = struct.unpack_from("<IIII", record)
            is_broken = bool(flags & BROKEN) or index >= len(self._buffers)
            body = b"" if is_broken else bytes(self._buffers[index][:used])
            self._ask(QBUF, self._buffer(index))
        except OSError as error:
            raise self._failed(error, gone=True) from None
        return None if is_broken else self._picture(body)

    def _picture(self, body: bytes) -> Image | None:
        """What the camera gave, in grey; None for one that was cut short."""
        from PIL import Image

        from firstlight.sources.camera_frames import grey_of

        form = self._format
        if form.fourcc == "MJPG":
            return grey_of(body)
        if len(body) < form.stride_bytes * form.height:
            return None
        # Of YUYV every second byte is brightness; in the others the brightness of all pixels comes first.
        step = FORMATS[form.fourcc]
        lines = body[: form.stride_bytes * form.height : step]
        return Image.frombytes("L", (form.width, form.height), lines, "raw", "L", form.stride_bytes // step, 1)

    # -- closing -----------------------------------------------------------------------------------------------------
    def _end(self) -> None:
        device, self._device = self._device, None
        self._buffers.clear()
        if device is None:
            return
        try:
            device.ioctl(STREAMOFF, bytearray(struct.pack("<I", CAPTURE)))
        except OSError:  # it was pulled, or never streamed
            pass
        finally:
            device.close()

    def _failed(self, error: OSError, *, gone: bool = False) -> InvitationError:
        code, what = CAUSES.get(error.errno or 0, (camera.GONE, f"does not answer: {error.strerror}"))
        if gone and code != camera.BUSY:
            code, what = camera.GONE, "was there and does not answer any more"
        return self._error(code, what)

    def _error(self, code: str, what: str) -> InvitationError:
        return InvitationError(code, f"The camera {self._path} {what}.")
