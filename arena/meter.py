"""The meter at the door: what a contender would have cost standing alone, and what it really took.

A contender is charged its distinct prompts' tokens times the blocks that it made them pass, whatever the
cache or other contenders saved; seconds are that work at the measured rate, plus its own seconds outside
the model.
"""

from __future__ import annotations

import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from arena.contract import FairfightError, OverBudgetError

TOTAL = "total"

_LATE = 0.01  # seconds after which a limit is surely passed
_AGAIN = 5.0  # seconds between alarms: the first may have been raised where exceptions are swallowed


class Ledger:
    """Charges of one phase: each distinct piece of work is charged once, at its deepest."""

    def __init__(self) -> None:
        self.work: dict[str, tuple[int, float, float]] = {}  # piece -> tokens, blocks, seconds
        self.own_seconds = 0.0
        self.real_seconds = 0.0
        self.asked: dict[str, tuple[int, float]] = {}  # piece -> tokens, seconds, of an endpoint
        self.backward_tokens = 0
        self.trained_parameters = 0

    def charge(self, piece: str, tokens: int, blocks: float, rate: float) -> None:
        if piece not in self.work or self.work[piece][0] * self.work[piece][1] < tokens * blocks:
            self.work[piece] = (tokens, blocks, tokens * blocks * rate)

    def bill(self, layers: int, work: Mapping[str, tuple[int, float]], asked: Mapping[str, int]) -> tuple[float, int]:
        """LM tokens and an endpoint's (one a question where it counts none), with pieces that are not charged yet."""
        mine = {piece: tokens * blocks for piece, (tokens, blocks, _) in self.work.items()}
        mine |= {piece: max(tokens * blocks, mine.get(piece, 0.0)) for piece, (tokens, blocks) in work.items()}
        theirs = {**asked, **{piece: tokens for piece, (tokens, _) in self.asked.items()}}
        return round(sum(mine.values()) / layers, 1), sum(max(tokens, 1) for tokens in theirs.values())

    def summary(self, layers: int) -> dict[str, float]:
        """lm_tokens counts a token that passed all `layers` blocks as one, half of them as a half; backward
        passes count as the forward passes that take as long (one, or two where weights are trained)."""
        token_layers = sum(tokens * blocks for tokens, blocks, _ in self.work.values())
        lm_seconds = sum(seconds for _, _, seconds in self.work.values())
        return {
            "forward_tokens": sum(tokens for tokens, _, _ in self.work.values()),
            "backward_tokens": self.backward_tokens,
            "trained_parameters": self.trained_parameters,
            "endpoint_calls": len(self.asked),
            "endpoint_tokens": sum(tokens for tokens, _ in self.asked.values()),
            "token_layers": round(token_layers, 1),
            "lm_tokens": round(token_layers / layers, 1),
            "seconds": round(lm_seconds + sum(s for _, s in self.asked.values()) + self.own_seconds, 4),
            "own_seconds": round(self.own_seconds, 4),
            "real_seconds": round(self.real_seconds, 4),
        }


class Meter:
    """Ledgers per phase (`selection`, `fit`, `query`, ...) and over the phases that count."""

    def __init__(self, layers: int, max_lm_tokens: int | None = None, max_seconds: float | None = None) -> None:
        self.layers = layers
        self.max_lm_tokens = max_lm_tokens
        self.max_seconds = max_seconds
        self._start = time.perf_counter()
        self.ledgers: dict[str, Ledger] = {TOTAL: Ledger()}
        self._open: list[Ledger] = []
        self.amortised: dict[str, int | None] = {}  # content of a dictionary -> tokens it was trained on
        self._inside = 0.0
        self._passes = 0

    @contextmanager
    def phase(self, name: str, counts: bool = True) -> Iterator[None]:
        """Books what happens inside on phase `name`, and on the total if it counts."""
        if self._open:
            raise FairfightError(f"Phase {name!r} was opened inside another; phases do not nest.")
        ledgers = [self.ledgers.setdefault(name, Ledger())] + ([self.ledgers[TOTAL]] if counts else [])
        self._open, self._inside, start = ledgers, 0.0, time.perf_counter()
        try:
            yield
        finally:
            real = time.perf_counter() - start
            for ledger in ledgers:
                ledger.real_seconds += real
                ledger.own_seconds += max(real - self._inside, 0.0)
            self._open = []

    @contextmanager
    def door(self) -> Iterator[None]:
        """Time spent in the model or its cache is not the contender's own."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._inside += time.perf_counter() - start

    def charge(self, piece: str, tokens: int, blocks: float, rate: float) -> None:
        """One piece of LM work: `tokens` through `blocks` blocks at `rate` seconds per token and block."""
        for ledger in self._open:
            ledger.charge(piece, tokens, blocks, rate)

    def train(self, tokens: int, blocks: int, backward: int, seconds: float, parameters: int) -> None:
        """One pass of a model that is nobody else's: its work is real, never shared, and took `seconds`."""
        self._passes += 1
        for ledger in self._open:
            work = blocks + backward
            ledger.charge(f"own pass {self._passes}", tokens, work, seconds / max(tokens * work, 1))
            ledger.backward_tokens += tokens if backward else 0
            ledger.trained_parameters = max(ledger.trained_parameters, parameters)

    def amortise(self, content: str, tokens: int | None) -> None:
        """Notes the use of what was trained once for every task, on so many tokens (None: nobody says); shown
        beside the charges, never among them."""
        self.amortised[content] = tokens

    def ask(self, piece: str, tokens: int, rate: float) -> None:
        """One question to an endpoint, which counts its own tokens; `rate` is in seconds per token."""
        for ledger in self._open:
            ledger.asked.setdefault(piece, (tokens, max(tokens, 1) * rate))

    @contextmanager
    def clock(self) -> Iterator[None]:
        """Checks the budget once its seconds are over, wherever the work is then, even in a loop without an end.

        A signal does it, which the main thread of a process alone can have; elsewhere the door's own checks have to do.
        """
        if self.max_seconds is None or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGALRM, lambda *_: self.check())
        self._start = time.perf_counter()
        left, interval = signal.setitimer(signal.ITIMER_REAL, self.max_seconds + _LATE, _AGAIN)
        try:
            yield
        finally:
            spent = time.perf_counter() - self._start
            signal.setitimer(signal.ITIMER_REAL, max(left - spent, _LATE) if left else 0.0, interval)
            signal.signal(signal.SIGALRM, before)

    def check(
        self, work: Mapping[str, tuple[int, float]] | None = None, asked: Mapping[str, int] | None = None
    ) -> None:
        """Raises `OverBudgetError` once the total passes the budget, or the clock does.

        An endpoint's tokens count like the model's. `work` (tokens, blocks) and `asked` (tokens) are pieces that are
        about to be charged: what would pass the budget need not be done to its end.
        """
        if self.max_seconds is not None and time.perf_counter() - self._start > self.max_seconds:
            raise OverBudgetError(
                f"It ran for longer than the {self.max_seconds:g} s of budget.seconds; raise that, or give it fewer "
                f"trials."
            )
        if self.max_lm_tokens is None:
            return
        total = self.ledgers[TOTAL]
        ahead = (work or {}, asked or {}) if total in self._open else ({}, {})  # else nobody is charged for them
        own, theirs = total.bill(self.layers, *ahead)
        if own + theirs > self.max_lm_tokens:
            which = f", {theirs} of them an endpoint's," if theirs else ""
            raise OverBudgetError(
                f"It takes {own + theirs:.0f} LM tokens{which} and the budget allows {self.max_lm_tokens}; "
                f"raise budget.lm_tokens or give it fewer trials."
            )

    def spent(self) -> dict[str, Any]:
        """Every phase's charges, the total, and the peak memory of the process so far in MiB."""
        used = list(self.amortised.values())
        return {name: ledger.summary(self.layers) for name, ledger in self.ledgers.items()} | {
            "amortised_tokens": None if None in used else sum(filter(None, used)),
            "peak_mib": peak_mib(),
        }


def peak_mib() -> int:
    """The most memory that this process has had so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10))
