"""Which cells processes are in: where one is killed, its mark stays, and the next to come knows of the death.

A mark is a file with a character for each process that went into the cell, beside a lock that the process in it holds;
who comes out takes both away. Under a lock that is free, the characters count deaths. Marks are a courtesy: where the
store cannot hold one, the cell runs without.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from arena.contract import FairfightError

MOST_DEATHS = 1  # that are no fault of the cell's: machines reboot, and schedulers preempt


class Marks:
    """The marks on one store's cells, in a folder of their own."""

    def __init__(self, store: Path) -> None:
        self.folder = store / ".running"

    def deaths(self, key: str) -> int:
        """How many processes went into a cell and did not come out; one that is in it now is among them."""
        try:
            return (self.folder / key).stat().st_size
        except OSError:
            return 0

    @contextlib.contextmanager
    def inside(self, key: str) -> Iterator[int]:
        """Marks a cell while it runs; says how many processes were killed in it before.

        Cells with a death behind them run one at a time on a machine: together they may have been too much for it, and
        a launcher that loses one process kills the others, whose cells are innocent.
        """
        mark, lock = self.folder / key, FileLock(self.folder / f"{key}.lock")
        before = 0
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError, NotImplementedError):  # another process is in it, or nothing can be kept
                self.folder.mkdir(parents=True, exist_ok=True)
                if self.deaths(key):
                    stack.enter_context(FileLock(self.folder / f"suspects-{platform.node()}.lock"))
                lock.acquire(timeout=0)
                stack.callback(_remove, mark, lock)
                stack.enter_context(_taken_along(mark))
                before = self.deaths(key)
                with mark.open("a") as file:
                    file.write("+")
            yield before


def fault(deaths: int) -> FairfightError | None:
    """What a record says of a cell that is not tried again."""
    if deaths <= MOST_DEATHS:
        return None
    return FairfightError(
        f"Its process was killed {deaths} times while in this cell, probably for lack of memory; lower "
        f"task.max_tokens, set model.dtype=bfloat16, or run this contender on a larger machine."
    )


def _remove(mark: Path, lock: FileLock) -> None:
    with contextlib.suppress(OSError):
        mark.unlink(missing_ok=True)
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


@contextlib.contextmanager
def _taken_along(mark: Path) -> Iterator[None]:
    """A process that is asked to end takes its mark along: who asks does not blame the cell.

    Only a process that would end at once is concerned; who has a handler of its own comes out of the cell in order.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(*_: object) -> None:
        with contextlib.suppress(OSError):
            mark.unlink(missing_ok=True)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
