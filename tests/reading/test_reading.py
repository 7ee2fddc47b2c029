"""Codes as our desk prints them, and a sample of spoiled ones: read right, or not at all."""

import functools
import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from firstlight.sources import picture, picture_cascade, picture_engines, picture_marks
from firstlight.sources.picture_cascade import Reading
from firstlight.sources.picture_engines import Engines
from tests.reading import corpus, damage

# SHA-256 over names and texts of all 512 pictures.
RECIPES = "8e629554f87ca7355d9695608bbfab1d04863ea4e6d6be3676562e3a9a4a4e56"


def code(text: str, scale: int = 4, level: str = "M") -> Image.Image:
    """A clean code with its margin."""
    plain = corpus.symbol(text, level)
    return plain.resize((plain.width * scale, plain.height * scale), Image.Resampling.NEAREST)


def base45(length: int, start: str = "FL1:") -> str:
    """A text such as payloads have."""
    dice = random.Random(length)
    return start + "".join(dice.choice(corpus.BASE45) for _ in range(length - len(start)))


def test_corpus_is_the_one_that_was_measured() -> None:
    """512 pictures, 16 kinds of damage, and the same texts and names as when the table was made."""
    made = corpus.recipes()
    assert (len(made), len({one.kind for one in made}), len({one.text for one in made})) == (512, 16, 512)
    assert corpus.fingerprint(made) == RECIPES


def test_a_picture_of_the_corpus_is_made_again_alike() -> None:
    """No chance but the seeded one goes into a picture, of a code or without one."""
    for kind in ("noise", "screen", "by hand"):
        recipe = corpus.Recipe(corpus.SEED, kind, 50, 3)
        assert corpus.picture(recipe).tobytes() == corpus.picture(recipe).tobytes()
    first, again = (next(corpus.without_codes())[1].tobytes() for _ in range(2))
    assert first == again


@pytest.mark.parametrize("kind", corpus.KINDS)
def test_each_kind_of_damage_is_read_while_it_is_slight(kind: str) -> None:
    """The slightest damage of each kind lets a payload of ordinary size be read, and right."""
    recipe = corpus.Recipe(corpus.SEED, kind, 150, 0)
    assert picture.read(corpus.picture(recipe)) == Reading((recipe.text,), "read")


@pytest.mark.parametrize("length", [20, 86, 154, 300, 427, 600, 900])
def test_payload_of_any_size_goes_round(length: int) -> None:
    """Whole payloads up to version 15 at level M, and above, come out as they went in."""
    text = base45(length)
    assert corpus.symbol(base45(600)).width == 77 + 2 * corpus.QUIET, "600 characters are version 15"
    assert picture.read(code(text, 3)).texts == (text,)


def test_parts_go_round() -> None:
    """The parts of a split payload each come out as they went in."""
    for number in (1, 2, 3):
        text = base45(500, f"FL1P:{number}-3:0123456789ABCDEF:")
        assert picture.read(code(text, 3)).texts == (text,)


@pytest.mark.parametrize("text", ["WIFI:T:WPA;S:Café;P:naïve\\;;;", "WIFI:S:日本語;;", "naïve", "€", "Ж Ω ß"])
def test_letters_beyond_ascii_stay_themselves(text: str) -> None:
    """A Wi-Fi name with accents or Japanese comes out right, whichever library read it."""
    found = picture_engines.engines()
    for call in (found.zbar, found.zxing):
        if call:
            assert call(code(text)) == [text]


@pytest.mark.parametrize(
    ("heard", "printed"),
    [
        ("plain ASCII \\;", "plain ASCII \\;"),
        ("na簿ve", "naïve"),
        ("竄ｬuro", "€uro"),
        ("Zürich", "Zürich"),
        ("日本", "日本"),
    ],
)
def test_wrong_guess_of_an_alphabet_is_undone(heard: str, printed: str) -> None:
    """UTF-8 that zbar took for Japanese or Chinese is put right, everything else stays as it is."""
    assert picture_engines.mended(heard) == printed


@pytest.mark.parametrize("sizes", [(4, 4), (6, 3), (3, 6)])
def test_two_codes_are_both_told(sizes: tuple[int, int]) -> None:
    """Two codes in one picture give two texts, also where one is larger."""
    first, second = code("FL1:FIRST CODE", sizes[0]), code("FL1:SECOND CODE", sizes[1])
    table = Image.new("L", (first.width + second.width + 30, max(first.height, second.height)), 255)
    table.paste(first, (0, 0))
    table.paste(second, (first.width + 30, 0))
    assert set(picture.read(table).texts) == {"FL1:FIRST CODE", "FL1:SECOND CODE"}


def test_two_codes_are_both_told_by_one_library_alone() -> None:
    """Each library by itself tells two codes of unlike size."""
    first, second = code("FL1:FIRST CODE", 6), code("FL1:SECOND CODE", 4)
    table = Image.new("L", (first.width + second.width, first.height), 255)
    table.paste(first, (0, 0))
    table.paste(second, (first.width, 0))
    both = picture_engines.engines()
    for found in (Engines(both.zbar, None), Engines(None, both.zxing)):
        if any(found):
            texts = picture_cascade.texts_of(table, "picture", found)
            assert set(texts) == {"FL1:FIRST CODE", "FL1:SECOND CODE"}


def test_bar_code_of_goods_is_told() -> None:
    """The EAN code on a box of goods gives its number, so that a person can be told that it is the wrong code."""
    digits = "4006381333931"
    left = [f"{bits:07b}" for bits in (13, 25, 19, 61, 35, 49, 47, 59, 55, 11)]
    sides = "LGLLGG"  # as the first digit, 4, wants it
    bars = "101"
    for digit, side in zip(digits[1:7], sides, strict=True):
        plain = left[int(digit)]
        mirrored = "".join("10"[int(bit)] for bit in plain)[::-1]
        bars += plain if side == "L" else mirrored
    bars += "01010"
    for digit in digits[7:]:
        bars += "".join("10"[int(bit)] for bit in left[int(digit)])
    bars = "0" * 12 + bars + "101" + "0" * 12
    line = Image.frombytes("L", (len(bars), 1), bytes(255 - 255 * int(bit) for bit in bars))
    label = Image.new("L", (len(bars) * 3, 300), 255)
    label.paste(line.resize((len(bars) * 3, 180), Image.Resampling.NEAREST), (0, 60))
    assert picture.read(label) == Reading((digits,), "read")


def test_same_code_twice_is_one_text() -> None:
    """A sheet with the same label twice is no conflict."""
    one = code("FL1:SAME")
    table = Image.new("L", (one.width * 2, one.height), 255)
    table.paste(one, (0, 0))
    table.paste(one, (one.width, 0))
    assert picture.read(table).texts == ("FL1:SAME",)


@pytest.mark.parametrize("name", ["blur-150-7", "by-hand-150-7", "covered-400-7", "banded-1000-7", "inverted-400-7"])
def test_a_code_without_corners_is_seen(name: str) -> None:
    """What blur, a finger, shade or a worn print head left of a code is a code that could be shown better."""
    kind, _, rest = name.replace("by-hand", "by hand").partition("-")
    size, level = rest.split("-")
    recipe = corpus.Recipe(corpus.SEED, kind, int(size), int(level))
    assert picture_marks.seen(corpus.picture(recipe)) == "blurred"


def test_print_is_no_code() -> None:
    """A square sheet of print is as restless as a code, but lies in lines."""
    assert not [name for name, image in corpus.sheets() if picture_marks.seen(image) != "none"]


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (3, 900), (900, 3), (40, 40)])
def test_hardly_any_picture(size: tuple[int, int]) -> None:
    """Pictures of a few pixels hold nothing, and break nothing."""
    assert picture_marks.seen(Image.new("L", size, 128)) == "none"


def test_blurred_and_far_codes_are_seen() -> None:
    """Where nothing can be read, a code is told from no code, and one that is too far away from a spoiled one."""
    sharp = code(base45(300), 6)
    spoiled = sharp.filter(ImageFilter.MedianFilter(9))
    wide = Image.new("L", (1400, 1400), 200)
    small = sharp.resize((sharp.width // 4, sharp.height // 4), Image.Resampling.BOX)
    wide.paste(small, (500, 500))
    hints = {}
    for name, image in (("spoiled", spoiled), ("far", wide), ("nothing", Image.new("L", (600, 600), 128))):
        hints[name] = picture_marks.seen(image)
    assert hints == {"spoiled": "blurred", "far": "far", "nothing": "none"}


def test_pictures_without_a_code_say_so() -> None:
    """Tables, bars, rings, bricks, print and grain give neither a text nor a hint."""
    for name, image in itertools.islice(corpus.without_codes(), 8):
        assert (name, picture.read(image, "frame")) == (name, Reading((), "none"))


def test_camera_reads_on_until_a_code_is_held_up() -> None:
    """A camera's pictures are looked at one after the other, and no more of them after the first text."""
    empty, held = Image.new("L", (640, 480), 90), code("FL1:HELD UP").convert("RGB")
    frames = iter([empty, empty, held, empty])
    assert picture.read_frames(frames) == Reading(("FL1:HELD UP",), "read")
    assert next(frames) is empty, "what came after it was not asked for"


def test_camera_goes_on_where_it_was() -> None:
    """Who looks at a few pictures at a time gets every way of looking all the same, by handing the watching on."""
    watching = picture_cascade.Watching()
    for _ in range(3):
        assert picture.read_frames([code("FL1:AGAIN")], 5, watching).texts == ("FL1:AGAIN",)
    assert picture.read_frames([Image.new("L", (64, 48), 90)], 5, watching).texts == (), "an old text is not told again"
    for engine in ("zbar", "zxing"):
        steps = tuple(step for step in picture_cascade.STEPS if step.engine == engine)
        tried = {step for _ in range(20) for step in watching.next_steps(steps)}
        assert tried == set(steps)


def test_camera_gives_up_after_its_bound() -> None:
    """A camera that never shows a code ends after so many pictures, with what was seen."""
    frames = itertools.repeat(Image.new("L", (64, 48), 90))
    assert picture.read_frames(frames, limit=7) == Reading((), "none")


def test_camera_keeps_its_hint_for_a_while() -> None:
    """A code that was seen but not read is told until it is gone for ten pictures and more."""
    spoiled = code(base45(300), 6).filter(ImageFilter.MedianFilter(9))
    empty = Image.new("L", (64, 48), 90)
    watching = picture_cascade.Watching()
    assert watching.look(spoiled).seen == "blurred"
    words = [watching.look(empty).seen for _ in range(20)]
    assert (words[0], words[-1]) == ("blurred", "none")


def test_work_is_bounded() -> None:
    """A huge picture is given to the libraries a bounded number of times and pixels, in both efforts."""
    for effort, allowed in picture_cascade.EFFORTS.items():
        asked: list[int] = []

        def count(image: Image.Image, asked: list[int] = asked) -> list[str]:
            asked.append(image.width * image.height)
            return []

        image = Image.new("L", (6000, 5000), 128)
        steps = picture_cascade.steps_for(Engines(count, count))
        assert not any(picture_cascade.looked(image, steps, picture_cascade.EFFORTS[effort], Engines(count, count)))
        assert 0 < len(asked) <= allowed.steps
        assert sum(asked) <= allowed.pixels + 6000 * 5000


@functools.cache
def turned(text: str) -> Image.Image:
    """A clean code on grey, with room to turn."""
    flat = code(text, 6)
    side = int(flat.width * 1.5)
    table = Image.new("L", (side, side), 150)
    table.paste(flat, ((side - flat.width) // 2, (side - flat.height) // 2))
    return table


@settings(max_examples=60)
@given(
    text=st.sampled_from([base45(20), base45(90), "https://hub.example:8443/x", base45(300)]),
    angle=st.floats(0, 360),
    scale=st.floats(0.15, 1.2),
    grain=st.integers(0, 40),
)
def test_no_wrong_text_from_any_side(text: str, angle: float, scale: float, grain: int) -> None:
    """However a code is turned, shrunk and grainy, what is read is what was printed, or nothing."""
    image = turned(text).rotate(angle, Image.Resampling.BILINEAR, fillcolor=150)
    image = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.BILINEAR)
    image = damage.grainy(image, grain, random.Random(grain))
    assert picture.read(image, "frame").texts in {(text,), ()}


def test_only_what_is_installed_is_asked() -> None:
    """Without one of the libraries the steps of the other remain; a step never names a third."""

    def nothing(image: Image.Image) -> list[str]:
        return []

    for found, names in ((Engines(nothing, None), {"zbar"}), (Engines(None, nothing), {"zxing"})):
        assert {step.engine for step in picture_cascade.steps_for(found)} == names
    assert {step.engine for step in picture_cascade.STEPS} == {"zbar", "zxing"}
