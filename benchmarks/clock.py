"""Two clocks: the wall's, and the CPU seconds of this process, which say more on a busy machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Taken(NamedTuple):
    """Seconds and CPU seconds of a call, or ratios of both."""

    clock: float
    cpu: float


def timed(call: Callable[[], T]) -> tuple[T, Taken]:
    """What a call gives, and what it took."""
    clock, cpu = time.perf_counter(), time.process_time()
    made = call()
    return made, Taken(time.perf_counter() - clock, time.process_time() - cpu)


def ratio(slow: Sequence[Taken], fast: Sequence[Taken]) -> Taken:
    """The median over turns of how many times as long one side took, by both clocks."""
    pairs = [(a.clock / b.clock, a.cpu / b.cpu) for a, b in zip(slow, fast, strict=True)]
    clock, cpu = zip(*pairs, strict=True)
    return Taken(statistics.median(clock), statistics.median(cpu))
