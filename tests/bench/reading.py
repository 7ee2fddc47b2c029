"""Reading spoiled codes: plain calls of pyzbar and zxing-cpp against our cascade, on the same pictures in one run."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable

from PIL.Image import Image

from firstlight.sources import picture_cascade, picture_engines, picture_marks
from firstlight.sources.picture_engines import Engines
from tests.bench.figures import Figure, Report, median
from tests.bench.stage import Stage
from tests.reading import corpus

Reader = Callable[[Image], tuple[str, ...]]
ALONE_AT_LEAST, BOTH_AT_LEAST, TIME_AT_MOST, HINTS_AT_LEAST = 0.60, 0.70, 1.5, 0.5
# The steps were chosen on the first; the second was never looked at while choosing.
SEEDS = {"tuned on": corpus.SEED, "hold-out": corpus.HOLD_OUT_SEED}


class Tally:
    """What one way of reading did with a corpus."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.read: set[str] = set()
        self.kinds: Counter[str] = Counter()
        self.wrong = 0
        self.times_s: list[float] = []

    def take(self, recipe: corpus.Recipe, image: Image) -> None:
        """One picture more; the time is this process's own."""
        began_s = time.process_time()
        texts = self.reader(image)
        self.times_s.append(time.process_time() - began_s)
        if recipe.text in texts:
            self.read.add(recipe.name)
            self.kinds[recipe.kind] += 1
        self.wrong += any(text != recipe.text for text in texts)


def measure(stage: Stage, report: Report) -> None:
    """Both corpora, all readers side by side."""
    del stage
    found = picture_engines.engines()
    missing = [name for name, call in zip(("libzbar (pyzbar)", "zxing-cpp"), found, strict=True) if call is None]
    unread: dict[str, list[corpus.Recipe]] = {}
    for title, seed in SEEDS.items():
        tallies = {name: Tally(reader) for name, reader in readers(found).items()}
        for recipe in corpus.recipes(seed):
            image = corpus.picture(recipe)
            for tally in tallies.values():
                tally.take(recipe, image)
        told(title, seed, tallies, report)
        best = tallies.get("cascade, both") or next(iter(tallies.values()))
        unread[title] = [recipe for recipe in corpus.recipes(seed) if recipe.name not in best.read]
    if missing:
        report.note(f"left out, because it is not installed: {', '.join(missing)}")
    hints(unread, report)


def readers(found: Engines) -> dict[str, Reader]:
    """The ways of reading that this machine can try, by name."""

    def plain(call: Callable[[Image], list[str]]) -> Reader:
        return lambda image: tuple(call(image))

    def cascade(having: Engines) -> Reader:
        return lambda image: picture_cascade.texts_of(image, "picture", having)

    made: dict[str, Reader] = {}
    if found.zbar:
        made["plain pyzbar"] = plain(found.zbar)
        made["cascade, pyzbar"] = cascade(Engines(found.zbar, None))
    if found.zxing:
        made["plain zxing-cpp"] = plain(found.zxing)
    if found.zbar and found.zxing:
        made["cascade, both"] = cascade(found)
    if found.zxing:
        made["cascade, zxing-cpp"] = cascade(Engines(None, found.zxing))
    return made


def told(title: str, seed: int, tallies: dict[str, Tally], report: Report) -> None:
    """The table of one corpus, and the goals."""
    columns = list(tallies)
    report.head("reading", f"512 pictures, seed {seed} ({title}), read of 32 a kind; times are CPU", columns)
    for kind in corpus.KINDS:
        report.add(Figure(kind, 32, "each", beside=tuple(float(tallies[name].kinds[kind]) for name in columns)))
    report.add(Figure("all", 512, beside=tuple(float(len(tallies[name].read)) for name in columns)))
    report.add(Figure("wrong texts", 0, beside=tuple(float(tallies[name].wrong) for name in columns)))
    wrong = sum(tally.wrong for tally in tallies.values())
    report.add(Figure(f"wrong texts in all, {title}", wrong, at_most=0))
    if plain := tallies.get("plain pyzbar"):
        against(title, plain, tallies, report)


def against(title: str, plain: Tally, tallies: dict[str, Tally], report: Report) -> None:
    """The cascades against one plain call of pyzbar."""
    missed = len(plain.times_s) - len(plain.read)
    for name, at_least in (("cascade, pyzbar", ALONE_AT_LEAST), ("cascade, both", BOTH_AT_LEAST)):
        if tally := tallies.get(name):
            share = len(tally.read - plain.read) / missed
            report.add(Figure(f"of what plain pyzbar misses, {name}, {title}", share, at_least=at_least))
            report.add(
                Figure(f"read by plain pyzbar, lost by {name}, {title}", len(plain.read - tally.read), at_most=0)
            )
            ratio = median(tally.times_s) / median(plain.times_s)
            report.add(Figure(f"median time / plain, {name}, {title}", ratio, "x", at_most=TIME_AT_MOST))
            mean = sum(tally.times_s) / sum(plain.times_s)
            report.add(Figure(f"mean time / plain, {name}, {title}", mean, "x"))


def hints(unread: dict[str, list[corpus.Recipe]], report: Report) -> None:
    """What is said of the pictures that nothing is read from, and what is seen in pictures without a code."""
    alarms = false_texts = count = 0
    for _, image in (*corpus.without_codes(), *corpus.without_codes(corpus.HOLD_OUT_SEED), *corpus.sheets()):
        count += 1
        reading = picture_cascade.look(image, "picture")
        alarms += reading.seen in ("blurred", "far")
        false_texts += bool(reading.texts)
    report.add(Figure(f"texts in {count} pictures without a code", false_texts, at_most=0))
    report.add(Figure(f"codes seen in {count} pictures without a code", alarms, at_most=1))
    for title, recipes in unread.items():
        words: dict[str, Counter[str]] = defaultdict(Counter)
        for recipe in recipes:
            words[recipe.kind][picture_marks.seen(corpus.picture(recipe))] += 1
        right = sum(counted["far" if kind == "far" else "blurred"] for kind, counted in words.items())
        wrong = sum(sum(counted.values()) - counted["none"] for counted in words.values()) - right
        share = right / len(recipes)
        report.add(Figure(f"right hints, of {len(recipes)} unread, {title}", share, at_least=HINTS_AT_LEAST))
        report.add(Figure(f"the other hint, of {len(recipes)} unread, {title}", wrong))
