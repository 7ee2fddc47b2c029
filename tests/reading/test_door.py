"""Pictures from strangers: each bad one gets one sentence with a code, and costs little."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from firstlight.errors import FirstlightError, InvitationError
from firstlight.sources import picture
from tests.reading import corpus

CODE = corpus.symbol("FL1:PICTURE")
LARGE = CODE.resize((CODE.width * 6, CODE.height * 6), Image.Resampling.NEAREST)


def saved(image: Image.Image, kind: str, **words: object) -> bytes:
    """The picture as a file of a kind."""
    file = io.BytesIO()
    image.save(file, kind, **words)
    return file.getvalue()


def png_of_size(width: int, height: int, body: bytes = b"") -> bytes:
    """A PNG whose header says a size, black and white, with any compressed body."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_every_kind_of_file_is_read(kind: str) -> None:
    """A code is read from each format that the door lets in."""
    assert picture.read(picture.load(saved(LARGE, kind))).texts == ("FL1:PICTURE",)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_mode_is_read(mode: str) -> None:
    """Black and white, palette, colour, transparency and 16 bits all become the same grey picture."""
    image = LARGE.convert("I").point(lambda value: value * 200).convert(mode) if mode == "I;16" else LARGE.convert(mode)
    found = picture.load(saved(image, "PNG"))
    assert found.mode == "L"
    assert picture.read(found).texts == ("FL1:PICTURE",)


def test_transparent_paper_is_white() -> None:
    """A code drawn black on nothing, as logos are, is read."""
    image = Image.new("RGBA", LARGE.size, (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), mask=LARGE.point(lambda value: 255 - value))
    assert picture.read(picture.load(saved(image, "PNG"))).texts == ("FL1:PICTURE",)


def test_orientation_note_is_followed() -> None:
    """What a phone noted about how it was held turns the picture."""
    notes = Image.Exif()
    notes[0x0112] = 6
    assert picture.load(saved(Image.new("L", (40, 20)), "JPEG", exif=notes)).size == (20, 40)


def test_animation_gives_its_first_picture() -> None:
    """Of an animated GIF only the first picture counts."""
    body = saved(LARGE, "GIF", save_all=True, append_images=[Image.new("L", LARGE.size)] * 3)
    assert picture.read(picture.load(body)).texts == ("FL1:PICTURE",)


@pytest.mark.parametrize(
    ("body", "code", "word"),
    [
        (b"", "picture_unreadable", "empty"),
        (b"hub = https://hub.example\n", "picture_unreadable", "not a picture"),
        (saved(LARGE, "PNG")[:300], "picture_unreadable", "damaged"),
        (saved(LARGE, "JPEG")[:2000], "picture_unreadable", "damaged"),
        (b"\0\0\0\x18ftypheic" + bytes(100), "picture_unreadable", "HEIC"),
        (b"\0\0\0\x18ftypisom" + bytes(100), "picture_unreadable", "film"),
        (b"%PDF-1.7\n", "picture_unreadable", "PDF"),
        (png_of_size(60_000, 60_000), "picture_too_large", "megapixels"),
        (png_of_size(9_000, 9_000), "picture_too_large", "megapixels"),
        (png_of_size(100_000, 100_000, zlib.compress(bytes(10_000_000))), "picture_too_large", "megapixels"),
        (png_of_size(0, 10), "picture_unreadable", ""),
        (png_of_size(2_000_000_000, 2_000_000_000), "picture_", ""),
        (bytes(picture.MAX_BYTES + 1), "picture_too_large", "32 MB"),
    ],
    ids=[
        *("nothing", "text", "cut PNG", "cut JPEG", "HEIC", "film", "PDF", "huge header", "82 MP", "bomb"),
        *("no width", "absurd header", "33 MB"),
    ],
)
def test_bad_picture_is_named(body: bytes, code: str, word: str) -> None:
    """Each kind of bad file has its code and says what it is."""
    with pytest.raises(InvitationError) as caught:
        picture.load(body)
    assert caught.value.code.startswith(code)
    assert word in caught.value.message
    assert caught.value.hint


def test_iphone_picture_says_what_to_do() -> None:
    """The hint for a HEIC picture names the setting of the phone."""
    with pytest.raises(InvitationError) as caught:
        picture.load(b"\0\0\0\x18ftypheic" + bytes(100))
    assert "Most Compatible" in caught.value.hint


def test_text_renamed_to_png(tmp_path: Path) -> None:
    """The name of a file decides nothing."""
    (tmp_path / "code.png").write_text("FL1:NOT A PICTURE")
    with pytest.raises(InvitationError, match="not a picture"):
        picture.load(tmp_path / "code.png")


def test_path_that_is_not_there(tmp_path: Path) -> None:
    """A missing file and a folder are told as such."""
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(InvitationError) as caught:
            picture.load(path)
        assert caught.value.code == "source_unreadable"


def test_strict_door_takes_plain_files_only(tmp_path: Path) -> None:
    """Links and pipes from a stranger's stick are refused, a plain file is taken."""
    plain, link, pipe = tmp_path / "code.png", tmp_path / "link.png", tmp_path / "pipe.png"
    LARGE.save(plain)
    link.symlink_to(plain)
    os.mkfifo(pipe)
    assert picture.load(plain, strict=True).size == LARGE.size
    assert picture.load(link).size == LARGE.size
    for path in (link, pipe, Path("/dev/zero")):
        with pytest.raises(InvitationError) as caught:
            picture.load(path, strict=True)
        assert caught.value.code == "picture_unreadable"


def test_endless_device_is_cut_off() -> None:
    """Also the open door reads no more than its bound."""
    with pytest.raises(InvitationError) as caught:
        picture.load("/dev/zero")
    assert caught.value.code == "picture_too_large"


@pytest.mark.parametrize(
    ("gone", "wanted"),
    [
        ("pyzbar", "FL1:PICTURE"),
        ("pyzbar zxingcpp", "scan_missing"),
        ("PIL", "scan_missing"),
    ],
)
def test_library_that_is_not_installed(tmp_path: Path, gone: str, wanted: str) -> None:
    """Each library may be missing: the other reads, and with none the person hears what to install."""
    LARGE.save(tmp_path / "code.png")
    program = (
        "import sys; sys.modules.update(dict.fromkeys(sys.argv[2].split()))\n"
        "from firstlight.errors import FirstlightError\n"
        "from firstlight.sources import picture\n"
        "try: print(*picture.read(picture.load(sys.argv[1])).texts)\n"
        "except FirstlightError as error: print(error.code, error.hint)\n"
    )
    line = [sys.executable, "-I", "-c", program, str(tmp_path / "code.png"), gone]
    said = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.startswith(wanted)
    assert wanted != "scan_missing" or "--with-scanning" in said.stdout


def test_libraries_are_loaded_when_a_picture_comes() -> None:
    """To import the reading of pictures loads none of the heavy libraries."""
    program = (
        "import sys; from firstlight.sources import picture; print(*{'PIL', 'pyzbar', 'zxingcpp'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.strip() == ""


@settings(max_examples=150)
@given(
    kind=st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"]),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8),
    keep=st.integers(1, 10**6),
)
def test_damaged_file_is_a_picture_or_a_named_error(kind: str, changes: list[tuple[int, int]], keep: int) -> None:
    """Whatever bytes of a file are changed or lost, there is no traceback and no wrong text."""
    body = bytearray(saved(CODE.resize((90, 90)), kind))
    for place, value in changes:
        body[place % len(body)] = value
    try:
        found = picture.load(bytes(body[: keep % len(body) + 1 if keep % 2 else None]))
    except FirstlightError as error:
        assert error.code in {"picture_unreadable", "picture_too_large"}
    else:
        assert found.mode == "L"
        assert found.width * found.height <= picture.MAX_PIXELS
