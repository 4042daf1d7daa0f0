"""Where the marks of the page's charts stand, in pixels; the page draws them as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 56, 190, 16, 44  # margins; names stand to the right of the marks
LINE = 11  # pixels between two names
APART = 26  # pixels between two ticks that can be read
TALL, WIDE = 48, 160  # of the small chart of trials

Place = Callable[[float], float]  # pixels of a value


@dataclass(frozen=True)
class Point:
    """A contender in a chart."""

    name: str
    side: str
    link: str
    x: float
    y: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Line:
    """A contender in a chart of lines: its values at 1, 2, ..."""

    name: str
    side: str
    link: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Frame:
    """What a chart is drawn within."""

    height: int = HEIGHT
    width: int = WIDTH
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP

    @property
    def bottom(self) -> int:
        return self.height - BOTTOM


def frontier(points: Sequence[Point]) -> list[Point]:
    """Those that nothing cheaper, or as cheap, equals: from the left to the right, each above the ones before."""
    found: list[Point] = []
    for p in sorted(points, key=lambda p: (p.x, -p.y, p.name)):
        if not found or p.y > found[-1].y:
            found.append(p)
    return found


def scatter(points: Sequence[Point], best: Sequence[Point], floor: float | None) -> dict[str, Any]:
    """Marks, frontier, ticks and names."""
    frame = Frame()
    across, ticks = _across([p.x for p in points], frame)
    low = min([p.y if p.low is None else p.low for p in points] + ([floor] if floor is not None else []))
    high = max(p.y if p.high is None else p.high for p in points)
    up = _up(low, high, frame)
    marks = [
        {
            "point": p, "x": across(p.x), "y": up(p.y), "best": p in best,
            "low": None if p.low is None else up(p.low), "high": None if p.high is None else up(p.high),
        }
        for p in points
    ]  # fmt: skip
    return {
        "frame": frame,
        "marks": marks,
        "steps": _stairs([(across(p.x), up(p.y)) for p in best], frame),
        "names": _names([(across(p.x), up(p.y), p) for p in best], frame),
        "floor": None if floor is None else up(floor),
        "across": [(across(x), _short(x)) for x in ticks],
        "up": [(up(y), text) for y, text in _rounds(low, high)],
    }


def lines(found: Sequence[Line]) -> dict[str, Any]:
    """A line for each contender over 1, 2, ..., all on the same axes, as high as their names need."""
    frame = Frame(max(HEIGHT, LINE * len(found) + TOP + BOTTOM))
    longest = max(len(line.values) for line in found)
    across = _straight(1, max(longest, 2), frame)
    low, high = (pick(value for line in found for value in line.values) for pick in (min, max))
    up = _up(low, high, frame)
    corners = [[(across(i), up(value)) for i, value in enumerate(line.values, 1)] for line in found]
    return {
        "frame": frame,
        "lines": [
            {"line": line, "path": " ".join(f"{x},{y}" for x, y in each), "ends": each[-1]}
            for line, each in zip(found, corners, strict=True)
        ],
        "names": _names([(*each[-1], line) for line, each in zip(found, corners, strict=True)], frame),
        "across": [(across(i), str(i)) for i in _counts(longest)],
        "up": [(up(y), text) for y, text in _rounds(low, high)],
    }


def steps(best: Sequence[float]) -> dict[str, Any] | None:
    """The best dev score after each trial as a small line; None where there is one trial."""
    if len(best) < 2:
        return None
    low, span = best[0], max(best[-1] - best[0], 1e-9)
    xs = [round(4 + (WIDE - 8) * i / (len(best) - 1), 1) for i in range(len(best))]
    ys = [round(TALL - 6 - (TALL - 12) * (y - low) / span, 1) for y in best]
    return {
        "line": " ".join(f"{x},{y}" for x, y in zip(xs, ys, strict=True)),
        "first": best[0], "last": best[-1], "count": len(best), "width": WIDE, "height": TALL,
    }  # fmt: skip


def crowded(xs: Sequence[float]) -> bool:
    """Whether most of what costs anything lies within a decade of the greatest: logarithms would crowd it there."""
    positive = [x for x in xs if x > 0]
    return not positive or median(positive) >= max(positive) / 10


def _across(xs: Sequence[float], frame: Frame) -> tuple[Place, list[float]]:
    """Pixels of an x, and ticks: linear where logarithms would crowd the marks, else logarithmic."""
    most = max(xs)
    if crowded(xs):
        return _straight(0, most or 1.0, frame), [x for x, _ in _rounds(0, most or 1.0)]
    place = _logarithmic(most, least := _decade(min(x for x in xs if x > 0)), frame)
    return place, _apart([0.0, *_decades(most, least)], place)


def _straight(low: float, high: float, frame: Frame) -> Place:
    return lambda x: round(frame.left + (frame.right - frame.left) * (x - low) / (high - low), 1)


def _logarithmic(most: float, least: float, frame: Frame) -> Place:
    """0 at the left, `least` at a tenth, then decades."""
    decades, room = math.log10(max(most, 3 * least) / least), 0.1

    def place(x: float) -> float:
        share = room * x / least if x < least else room + (1 - room) * math.log10(x / least) / decades
        return round(frame.left + (frame.right - frame.left) * share, 1)

    return place


def _up(low: float, high: float, frame: Frame) -> Place:
    pad = 0.05 * max(high - low, 1e-6)

    def place(y: float) -> float:
        share = (y - low + pad) / (high - low + 2 * pad)
        return round(frame.bottom - (frame.bottom - frame.top) * share, 1)

    return place


def _decade(x: float) -> float:
    return float(10.0 ** math.floor(math.log10(x)))


def _decades(most: float, least: float) -> list[float]:
    """Decades, and where they are few, twice and five times each."""
    within = (1, 2, 5) if most < 1e4 * least else (1,)
    every = [least * 10**i * part for i in range(round(math.log10(_decade(most) / least)) + 1) for part in within]
    return [x for x in every if x <= most * (1 + 1e-9)]


def _apart(ticks: Sequence[float], place: Place) -> list[float]:
    """Those that stand far enough from the one before to be read."""
    found: list[float] = []
    for x in ticks:
        if not found or place(x) - place(found[-1]) >= APART:
            found.append(x)
    return found


def _counts(most: int) -> list[int]:
    """1 and round numbers up to `most`, ten of them at the most."""
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, most) if most / s <= 10)
    return [1, *(i for i in range(step, most + 1, step) if i > 1)]


def _short(x: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if x >= size:
            return f"{x / size:g}{letter}"
    return f"{x:g}"


def _rounds(low: float, high: float) -> list[tuple[float, str]]:
    """Round numbers within a range, four to nine of them."""
    span = max(high - low, 1e-6)
    step = 10 ** math.floor(math.log10(span))
    step = next(s for s in (step / 5, step / 2, step, 2 * step) if span / s < 9)
    first = math.ceil(low / step)
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    told = ((i * step, f"{i * step:.{places}f}") for i in range(first, math.floor(high / step) + 1))
    return [(x, text.replace("-", "−")) for x, text in told]


def _stairs(corners: Sequence[tuple[float, float]], frame: Frame) -> str:
    path = [f"M{corners[0][0]},{corners[0][1]}"]
    path += [f"H{x}V{y}" for x, y in corners[1:]]
    return "".join([*path, f"H{frame.right}"])


def _names(found: Sequence[tuple[float, float, Point | Line]], frame: Frame) -> list[dict[str, Any]]:
    """Names right of the chart, each as near as may be to the height of its mark, none upon another."""
    placed: list[dict[str, Any]] = []
    for x, y, of in sorted(found, key=lambda each: (each[1], each[0], each[2].name)):
        at = max(y, placed[-1]["y"] + LINE) if placed else y
        placed.append({"x": x, "of": y, "y": round(at, 1), "name": of.name, "side": of.side, "link": of.link})
    limit = frame.bottom
    for each in reversed(placed):  # from below: pushed up only as far as the one beneath needs
        each["y"] = round(min(each["y"], limit), 1)
        limit = each["y"] - LINE
    return placed
