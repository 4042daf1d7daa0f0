"""Marks: a death in a cell is remembered, and nothing else is."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from runners import marks
from runners.marks import Marks

ROOT = Path(__file__).parents[2]
INSIDE = """
import os, signal, sys
from pathlib import Path
from runners.marks import Marks
with Marks(Path(sys.argv[1])).inside("k"):
    if sys.argv[2] == "wait":
        print("in", flush=True)
        sys.stdin.read()
    else:
        os.kill(os.getpid(), getattr(signal, sys.argv[2]))
"""


def end_by(how: str, store: Path) -> int:
    """A process that is ended while it is in the cell k."""
    return subprocess.run(
        [sys.executable, "-c", INSIDE, str(store), how], check=False, cwd=ROOT, preexec_fn=deaf_to_nothing
    ).returncode


def deaf_to_nothing() -> None:
    """Tests may run in the background of a shell, whose children ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def litter(store: Path) -> list[str]:
    return sorted(p.name for p in (store / ".running").iterdir() if not p.name.startswith("suspects-"))


def test_deaths_are_counted_until_somebody_comes_out(tmp_path: Path) -> None:
    found = Marks(tmp_path)
    for count in range(2):
        with found.inside("other") as deaths:
            assert deaths == 0
        assert found.deaths("k") == count
        assert end_by("SIGKILL", tmp_path) == -signal.SIGKILL
    with contextlib.suppress(ZeroDivisionError), found.inside("k") as deaths:
        assert deaths == 2
        raise ZeroDivisionError
    assert found.deaths("k") == 0
    assert litter(tmp_path) == []


@pytest.mark.parametrize(("how", "code"), [("SIGTERM", -signal.SIGTERM), ("SIGINT", -signal.SIGINT)])
def test_who_is_asked_to_end_takes_the_mark_along(tmp_path: Path, how: str, code: int) -> None:
    assert end_by(how, tmp_path) == code
    assert Marks(tmp_path).deaths("k") == 0
    with Marks(tmp_path).inside("k") as deaths:
        assert deaths == 0
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert litter(tmp_path) == []


def test_two_in_one_cell_are_no_death(tmp_path: Path) -> None:
    words = [sys.executable, "-c", INSIDE, str(tmp_path), "wait"]
    other = subprocess.Popen(words, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    assert other.stdout is not None and other.stdout.readline() == "in\n"
    with Marks(tmp_path).inside("k") as deaths:
        assert deaths == 0
    assert Marks(tmp_path).deaths("k") == 1  # the other's mark, which we left alone
    other.communicate("")
    assert other.returncode == 0
    assert litter(tmp_path) == []


def test_suspects_run_one_at_a_time(tmp_path: Path) -> None:
    """Where a launcher loses one process it kills the others; their cells must not meet the guilty one again."""
    assert end_by("SIGKILL", tmp_path) == -signal.SIGKILL
    found = Marks(tmp_path)
    with found.inside("innocent"):
        assert not list(found.folder.glob("suspects-*"))
    with found.inside("k"):
        (lock,) = found.folder.glob("suspects-*")
        with pytest.raises(Timeout):
            FileLock(lock).acquire(timeout=0)


def test_where_no_mark_can_be_left_the_cell_runs_without(tmp_path: Path) -> None:
    (tmp_path / ".running").write_text("")
    with Marks(tmp_path).inside("k") as deaths:
        assert deaths == 0
    assert os.listdir(tmp_path) == [".running"]


def test_one_death_is_no_fault_of_the_cell() -> None:
    assert marks.fault(0) is marks.fault(1) is None
    assert "killed 2 times" in str(marks.fault(2))
