"""LED, tone and console: each answer told apart, nothing waits, and everything is given back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from firstlight.core import answers
from firstlight.system import beep, console, leds, signs
from firstlight.system.leds import Led
from firstlight.system.signs import Rhythm, Signs
from tests.provision.conftest import led_folder


class Lamp:
    """Implements ``signs.Light``: when it was switched."""

    def __init__(self, *, rests: bool = False) -> None:
        self.rests, self.switched = rests, list[bool]()

    def switch(self, is_on: bool) -> None:
        """Notes it."""
        self.switched.append(is_on)

    def rest(self) -> bool:
        """As told."""
        return self.rests


def played(patterns: dict[str, tuple[float, ...]], state: str, *, repeats: bool) -> list[tuple[float, bool]]:
    """What is switched within six seconds, and when."""
    lamp = Lamp()
    rhythm = Rhythm(lamp, patterns, repeats=repeats)
    rhythm.show(state, "")
    now_s, found = 0.0, list[tuple[float, bool]]()
    while (wait_s := rhythm.wait_s(now_s)) is not None and now_s < 6:
        now_s += wait_s
        rhythm.tick(now_s)
        found.append((round(now_s, 2), lamp.switched[-1]))
    return found


def test_each_state_is_told_apart_by_its_light() -> None:
    """No two states look the same."""
    assert len({tuple(played(signs.LIGHT, state, repeats=True)) for state in answers.STATES}) == len(answers.STATES)
    assert played(signs.LIGHT, answers.DONE, repeats=True) == [(0.0, True)]
    expired = played(signs.LIGHT, answers.EXPIRED, repeats=True)
    assert [is_on for _, is_on in expired[:6]] == [True, False] * 3
    assert expired[6][0] - expired[5][0] == pytest.approx(1.5)


def test_tones_are_counted_and_end() -> None:
    """As many tones as flashes, once, and then silence."""
    for state, count in ((answers.PART, 1), (answers.WRONG_KIND, 2), (answers.EXPIRED, 3), (answers.REFUSED, 4)):
        found = played(signs.TONE, state, repeats=False)
        assert sum(is_on for _, is_on in found) == count
        assert not found[-1][1]
    assert not any(is_on for _, is_on in played(signs.TONE, answers.LOOKING, repeats=False))


def test_at_rest_nothing_is_due() -> None:
    """Where the kernel blinks for us, this process is not woken."""
    rhythm = Rhythm(Lamp(rests=True), signs.LIGHT, repeats=True)
    rhythm.show(answers.LOOKING, "")
    assert rhythm.wait_s(0.0) is None
    assert Signs([rhythm], []).wait_s(0.0) is None


def test_led_is_found_used_and_given_back(tmp_path: Path) -> None:
    """The board's status light is taken, not the network's; afterwards its trigger is as it was."""
    for name in ("input3::capslock", "mmc0::", "phy0-led", "board:status"):
        led_folder(tmp_path, name, "none [mmc0] heartbeat timer\n")
    path = leds.find("", str(tmp_path))
    assert path == str(tmp_path / "board:status")
    light = Led(path)
    assert light.rest()
    assert (tmp_path / "board:status/trigger").read_text() == "heartbeat\n"
    light.switch(True)
    assert (tmp_path / "board:status/trigger").read_text() == "none\n"
    assert (tmp_path / "board:status/brightness").read_text() == "255\n"
    light.give_back()
    assert (tmp_path / "board:status/trigger").read_text() == "mmc0\n"
    assert not light.problem


def test_led_without_a_heartbeat_is_switched_by_us(tmp_path: Path) -> None:
    """A kernel without that trigger: the pattern is ours, and the brightness is given back."""
    light = Led(str(led_folder(tmp_path, "act", "[none] timer\n")))
    assert not light.rest()
    light.switch(True)
    light.give_back()
    assert (tmp_path / "act/brightness").read_text() == "0\n"


def test_led_that_is_named_or_missing(tmp_path: Path) -> None:
    """By name, by path, none; and one that is not there is no LED, nor is one that may not be written an error."""
    place = led_folder(tmp_path, "blue:user")
    assert leds.find("blue:user", str(tmp_path)) == leds.find(str(place)) == str(place)
    assert leds.find("none", str(tmp_path)) == leds.find("red", str(tmp_path)) == ""
    assert leds.find("", str(tmp_path / "nowhere")) == ""
    light = Led(str(place))
    (place / "brightness").unlink()
    (place / "brightness").mkdir()
    light.switch(True)
    assert "cannot be used" in light.problem


def test_buzzer_and_bell(tmp_path: Path) -> None:
    """A buzzer is switched like an LED; the bell rings at a beginning only; what is not there stays silent."""
    place = led_folder(tmp_path, "buzzer")
    beep.Buzzer(str(place)).switch(True)
    assert (place / "brightness").read_text() == "1\n"
    screen = tmp_path / "tty1"
    screen.write_text("")
    bell = beep.Bell(str(screen))
    bell.switch(True)
    bell.switch(False)
    assert screen.read_bytes() == b"\a"
    beep.Bell(str(tmp_path / "none")).switch(True)
    assert not beep.write_now(str(tmp_path / "none"), b"x")


def test_a_stopped_console_holds_nobody() -> None:
    """A terminal that takes nothing, because nobody reads it, is left alone at once."""
    master, slave = os.openpty()
    try:
        name = os.ttyname(slave)
        for _ in range(10_000):
            if not beep.write_now(name, b"x" * 4096):
                break
        else:
            pytest.fail("it took forty megabytes")
    finally:
        os.close(master)
        os.close(slave)


def test_console_says_each_line_once(tmp_path: Path) -> None:
    """What passes by is for the light alone; control characters of a stranger are no part of a line."""
    said: list[str] = []
    screen = tmp_path / "tty1"
    screen.write_text("")
    one = console.Console(said.append, str(screen))
    one.show(answers.BLURRED, "hold it still")
    one.show(answers.REFUSED, "no\x1b[2J")
    one.show(answers.REFUSED, "no\x1b[2J")
    assert said == ["firstlight: no [2J"]
    assert screen.read_bytes() == b"\r\nfirstlight: no [2J\r\n"


@pytest.mark.parametrize(
    ("active", "needs"), [("tty0", False), ("ttyS0 tty0", False), ("tty0 ttyS0", True), ("", True)]
)
def test_screen_gets_a_copy_where_it_is_not_the_console(tmp_path: Path, active: str, needs: bool) -> None:
    """A board whose console is a serial line writes to the screen too."""
    (tmp_path / "tty1").write_text("")
    (tmp_path / "active").write_text(active + "\n")
    assert bool(console.screen(str(tmp_path / "tty1"), str(tmp_path / "active"))) is needs
    assert console.screen(str(tmp_path / "none"), str(tmp_path / "active")) == ""
