"""Where the marks of the page's charts stand, in pixels; the page draws them as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 56, 150, 16, 44  # margins; names stand to the right of the marks
FRAME = {
    "width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "bottom": HEIGHT - BOTTOM,
}  # fmt: skip
LINE = 11  # pixels between two names
TALL, WIDE = 48, 160  # of the small chart of trials


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


def frontier(points: Sequence[Point]) -> list[Point]:
    """Those that nothing cheaper, or as cheap, equals: from the left to the right, each above the ones before."""
    found: list[Point] = []
    for p in sorted(points, key=lambda p: (p.x, -p.y, p.name)):
        if not found or p.y > found[-1].y:
            found.append(p)
    return found


def scatter(points: Sequence[Point], best: Sequence[Point], floor: float | None) -> dict[str, Any]:
    """Marks, frontier, ticks and names; x is logarithmic from the decade of the least that is not 0, linear below."""
    least = 10.0 ** math.floor(math.log10(min((p.x for p in points if p.x > 0), default=1.0)))
    across = _across(max(p.x for p in points), least)
    low = min([p.y if p.low is None else p.low for p in points] + ([floor] if floor is not None else []))
    high = max(p.y if p.high is None else p.high for p in points)
    up = _up(low, high)
    marks = [
        {
            "point": p, "x": across(p.x), "y": up(p.y), "best": p in best,
            "low": None if p.low is None else up(p.low), "high": None if p.high is None else up(p.high),
        }
        for p in points
    ]  # fmt: skip
    return {
        "marks": marks,
        "steps": _stairs([(across(p.x), up(p.y)) for p in best]),
        "names": _names([(across(p.x), up(p.y), p.name) for p in best]),
        "floor": None if floor is None else up(floor),
        "across": [(across(x), _short(x)) for x in _decades(max(p.x for p in points), least)],
        "up": [(up(y), text) for y, text in _rounds(low, high)],
    }


def steps(best: Sequence[float]) -> dict[str, Any] | None:
    """The best dev score after each trial as a small line; None where there is one trial."""
    if not best:
        return None
    low, span = best[0], max(best[-1] - best[0], 1e-9)
    xs = [round(4 + (WIDE - 8) * i / (len(best) - 1), 1) for i in range(len(best))]
    ys = [round(TALL - 6 - (TALL - 12) * (y - low) / span, 1) for y in best]
    return {
        "line": " ".join(f"{x},{y}" for x, y in zip(xs, ys, strict=True)),
        "first": best[0], "last": best[-1], "count": len(best), "width": WIDE, "height": TALL,
    }  # fmt: skip


def _across(most: float, least: float) -> Any:
    """Pixels of an x: 0 at the left, `least` at a tenth, then decades."""
    decades = max(math.log10(max(most, least) / least), 0.5)
    begin, room = WIDTH - RIGHT - LEFT, 0.1

    def place(x: float) -> float:
        share = room * x / least if x < least else room + (1 - room) * math.log10(x / least) / decades
        return round(LEFT + begin * share, 1)

    return place


def _up(low: float, high: float) -> Any:
    pad = 0.05 * max(high - low, 1e-6)

    def place(y: float) -> float:
        share = (y - low + pad) / (high - low + 2 * pad)
        return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share, 1)

    return place


def _decades(most: float, least: float) -> list[float]:
    found, x = [0.0], least
    while x <= most:
        found.append(x)
        x *= 10
    return found


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
    return [(i * step, f"{i * step:.{places}f}") for i in range(first, math.floor(high / step) + 1)]


def _stairs(corners: Sequence[tuple[float, float]]) -> str:
    path = [f"M{corners[0][0]},{corners[0][1]}"]
    path += [f"H{x}V{y}" for x, y in corners[1:]]
    return "".join([*path, f"H{WIDTH - RIGHT}"])


def _names(found: Sequence[tuple[float, float, str]]) -> list[dict[str, Any]]:
    """Names right of the chart, each as near as may be to the height of its mark, none upon another."""
    placed: list[dict[str, Any]] = []
    for x, y, name in sorted(found, key=lambda each: each[1]):
        at = max(y, placed[-1]["y"] + LINE) if placed else y
        placed.append({"x": x, "of": y, "y": round(at, 1), "name": name})
    over = placed[-1]["y"] - (HEIGHT - BOTTOM) if placed else 0.0
    if over > 0:
        for each in placed:
            each["y"] = round(each["y"] - over, 1)
    return placed
