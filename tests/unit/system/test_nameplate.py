"""Maker, model and screen of made-up machines, and of this one."""

from pathlib import Path

import pytest

from firstlight.system.nameplate import Nameplate, read_nameplate


def lay(root: Path, **files: str | bytes) -> str:
    """Writes files; ``__`` in a name is a slash, ``_0`` a dash."""
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("_0", "-")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(root)


def edid(
    wide_mm: int = 344, high_mm: int = 194, across: int = 1920, down: int = 1080, cm: tuple[int, int] = (0, 0)
) -> bytes:
    """An EDID of such a panel, its checksum right."""
    made = bytearray(128)
    made[:8] = b"\x00\xff\xff\xff\xff\xff\xff\x00"
    made[21:23] = bytes(cm)
    made[54:56] = b"\x01\x1d" if across else b"\0\0"
    made[56], made[58] = across & 0xFF, across >> 4 & 0xF0
    made[59], made[61] = down & 0xFF, down >> 4 & 0xF0
    made[66], made[67] = wide_mm & 0xFF, high_mm & 0xFF
    made[68] = (wide_mm >> 4 & 0xF0) | high_mm >> 8
    made[127] = -sum(made) % 256
    return bytes(made)


def test_a_board_is_named_by_its_device_tree(tmp_path: Path) -> None:
    """The tree counts before the BIOS, which such boards fill with something else or nothing."""
    root = lay(
        tmp_path,
        **{"proc__device_0tree__compatible": "nvidia,p3768-0000+p3767-0000\0nvidia,tegra234\0"},
        **{"proc__device_0tree__model": "NVIDIA Jetson Orin Nano Developer Kit\0"},
        sys__class__dmi__id__sys_vendor="UEFI\n",
    )
    assert read_nameplate(root) == Nameplate("NVIDIA", "NVIDIA Jetson Orin Nano Developer Kit")


def test_a_pc_is_named_by_its_bios(tmp_path: Path) -> None:
    """Maker and product, with the panel that is built in."""
    root = lay(
        tmp_path,
        sys__class__dmi__id__sys_vendor="LENOVO\n",
        sys__class__dmi__id__product_name="20XW \n",
        **{"sys__class__drm__card0_0HDMI_0A_01__edid": edid(700, 400, 3840, 2160)},
        **{"sys__class__drm__card0_0eDP_01__edid": edid()},
    )
    assert read_nameplate(root) == Nameplate("LENOVO", "20XW", '15.5"', "1920x1080")


@pytest.mark.parametrize(
    ("content", "screen"),
    [
        (edid(0, 0, cm=(31, 17)), ('13.9"', "1920x1080")),
        (edid(0, 0, 0, 0, cm=(31, 17)), ('13.9"', None)),
        (edid(0, 0), (None, "1920x1080")),
        (edid()[:127], (None, None)),
        (edid()[:-1] + b"\0", (None, None)),
        (b"\xff" * 128, (None, None)),
        (b"", (None, None)),
    ],
)
def test_an_edid_is_believed_as_far_as_it_goes(
    tmp_path: Path, content: bytes, screen: tuple[str | None, str | None]
) -> None:
    """Without millimetres the centimetres count; a cut one or one with a wrong sum says nothing."""
    root = lay(tmp_path, **{"sys__class__drm__card1_0eDP_01__edid": content})
    assert read_nameplate(root)[2:] == screen


def test_what_makers_leave_in_the_field_is_no_name(tmp_path: Path) -> None:
    """Nothing is told rather than a filler; control characters go."""
    root = lay(tmp_path, sys__class__dmi__id__sys_vendor="To Be Filled By O.E.M.\n")
    assert read_nameplate(root) == Nameplate()
    root = lay(tmp_path, sys__class__dmi__id__product_name="Box\x07 9\n", sys__class__dmi__id__sys_vendor="\x1b[2J")
    assert read_nameplate(root) == Nameplate("[2J", "Box 9")


def test_this_machine_can_be_asked() -> None:
    """Whatever there is, nothing raises and all of it is text."""
    assert all(one is None or isinstance(one, str) for one in read_nameplate())
