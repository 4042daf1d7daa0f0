"""Half an hour of kills, faults and restarts: nothing may be lost, torn or wrong.

Several processes run overlapping columns of one sweep, and of one of steering, into one store, before one activation
cache, on a tiny model.
Every few seconds something befalls them: a process is killed (-9) or paused, a shard of the cache is cut short, gets
another bit or is deleted, a record is cut short, a stranger's file lies in the store. What was killed starts anew. When
every cell has been answered, and when time is up, the records are laid beside those of an uninterrupted sweep with a
cache of its own: lost (was whole once, was not spoiled, is not there), torn (was not spoiled, cannot be read), wrong
(other answers). Then the next round begins with nothing. The last round is run to its end in peace, and `store check`
has to find nothing wrong with it.
Run: python -m benchmarks.soak --minutes 30
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from benchmarks import tiny
from results.record import Record, Rows, Steered
from results.store import Store, StoreError, read
from runners.marks import Marks

CONTENDERS = "contender=[majority,bag_of_words,surface,linear_probe,diff_in_means,mass_mean,random_direction]"
STEERING = [
    "task=behaviours", "task.behaviours=[upper,short]", "task.selection=3", "task.scoring=3", "task.new_tokens=6",
    "contender=[no_intervention,diff_in_means]", "regime=quick", "budget=steer", "regime.labels=20",
]  # fmt: skip
SIZES = (32, 48, 64, 96)  # labels: a column each
SEEDS = 6
PATIENCE = 600  # seconds that one command may take


def command(folder: Path, store: Path, cache: Path, sizes: tuple[int, ...], seeds: list[int]) -> list[str]:
    """`fairfight run` for some columns and seeds of the sweep."""
    detection = [*tiny.overrides(folder, 600), CONTENDERS, "regime=quick", "budget=quick", "regime.test=60"]
    return _run([*detection, f"regime.labels={','.join(map(str, sizes))}"], store, cache, seeds)


def steering(folder: Path, store: Path, cache: Path, seeds: list[int]) -> list[str]:
    """`fairfight run` for some seeds of the column that steers."""
    shared = [word for word in tiny.overrides(folder, 600) if word.startswith(("model", "tracking"))]
    return _run([*STEERING, *shared], store, cache, seeds)


def _run(words: list[str], store: Path, cache: Path, seeds: list[int]) -> list[str]:
    places = [f"store={store}", f"cache.dir={cache}", f"seeds={seeds}".replace(" ", "")]
    return [sys.executable, "-m", "runners.cli", "run", "-m", *words, *places]


class Soak:
    """The processes, and what befalls them."""

    def __init__(self, folder: Path, processes: int, seed: int, sizes: tuple[int, ...], seeds: int) -> None:
        self.folder, self.sizes, self.seeds = folder, sizes, seeds
        self.store, self.cache = folder / "store", folder / "cache"
        self.rng = random.Random(seed)
        self.workers: list[subprocess.Popen[bytes] | None] = [None] * processes
        self.paused: set[int] = set()
        self.happened: collections.Counter[str] = collections.Counter()
        self.failed: list[str] = []
        self.seen: set[str] = set()  # keys whose records were whole once
        self.spoiled: set[str] = set()  # and those that we cut short
        self.bad: dict[str, list[str]] = {"lost": [], "torn": [], "wrong": []}
        self.faults: tuple[Callable[[], str], ...] = (
            self.kill, self.kill, self.kill, self.pause, self.cut_shard, self.flip_shard, self.drop_shard,
            self.cut_record, self.litter,
        )  # fmt: skip

    def start(self, number: int) -> None:
        """Another command over some of the columns and seeds; orders differ, so that processes meet."""
        sizes = tuple(self.rng.sample(self.sizes, self.rng.randint(1, len(self.sizes))))
        seeds = self.rng.sample(range(self.seeds), self.rng.randint(2, self.seeds))
        words = command(self.folder, self.store, self.cache, sizes, seeds)
        if self.rng.random() < 1 / (len(self.sizes) + 1):
            words = steering(self.folder, self.store, self.cache, seeds)
        with (self.folder / f"worker{number}.log").open("wb") as log:
            self.workers[number] = subprocess.Popen(words, stdout=log, stderr=log, env=single())

    def look(self) -> None:
        """Starts what has ended. A command whose records were cut short behind it says that they are not there; what
        it must not do is to break."""
        for number, worker in enumerate(self.workers):
            if worker is None or worker.poll() is not None:
                log = self.folder / f"worker{number}.log"
                if worker is not None and "Traceback" in log.read_text(errors="replace"):
                    self.failed.append(log.read_text(errors="replace")[-1500:])
                self.happened["commands"] += worker is not None and worker.returncode == 0
                self.paused.discard(number)
                self.start(number)

    def note(self) -> None:
        """Remembers which records are whole, also of those that were cut short: from then on they have to stay so."""
        for path in Store(self.store).files:
            if path.stem not in self.seen or path.stem in self.spoiled:
                with contextlib.suppress(StoreError, FileNotFoundError):  # a stranger's, or cut short by us
                    read(path)
                    self.seen.add(path.stem)
                    self.spoiled.discard(path.stem)

    def assess(self, expected: Mapping[str, Record]) -> None:
        """Stops everybody and looks at the store as it lies, before anybody runs a cell again."""
        self.stop()
        self.workers = [None] * len(self.workers)
        self.paused.clear()
        for stranger in (self.store / "records").glob("stranger*"):
            stranger.unlink()
        found, _ = answers(self.store) if self.store.exists() else ({}, [])  # a round may just have begun
        files = {path.stem for path in Store(self.store).files}
        self.bad["lost"] += sorted(self.seen - self.spoiled - files)
        self.bad["torn"] += sorted(files - self.spoiled - found.keys())
        self.bad["wrong"] += sorted(k for k in expected.keys() & found.keys() if apart(expected[k], found[k]))

    def round(self, expected: Mapping[str, Record]) -> None:
        """Ends a round in which every cell was answered, and begins the next one with nothing."""
        self.assess(expected)
        shutil.rmtree(self.store)
        shutil.rmtree(self.cache, ignore_errors=True)
        self.seen.clear()
        self.spoiled.clear()
        self.happened["rounds to the end"] += 1

    def resume(self) -> None:
        for number in self.paused:
            self.signal(number, signal.SIGCONT)
        self.paused.clear()

    def strike(self) -> None:
        """Something happens."""
        self.happened[self.rng.choice(self.faults)()] += 1

    def signal(self, number: int, what: signal.Signals) -> bool:
        """Whether there was anybody to get it."""
        worker = self.workers[number]
        if worker is None or worker.poll() is not None:
            return False
        worker.send_signal(what)
        return True

    def kill(self) -> str:
        """Takes away what the dead leave of the cell they were in: killed twice by chance, it would be given up."""
        number = self.rng.randrange(len(self.workers))
        worker = self.workers[number]
        if worker is None or not self.signal(number, signal.SIGKILL):
            return "nobody to kill"
        worker.wait()
        shutil.rmtree(Marks(self.store).folder, ignore_errors=True)
        return "kills"

    def pause(self) -> str:
        number = self.rng.randrange(len(self.workers))
        self.signal(number, signal.SIGSTOP)
        self.paused.add(number)
        return "pauses"

    def cut_shard(self) -> str:
        return self.damage(self.cache, "*/*.*", lambda raw: raw[: len(raw) // 2], "files of the cache cut short")

    def flip_shard(self) -> str:
        def flip(raw: bytes) -> bytes:
            at = self.rng.randrange(len(raw))
            return raw[:at] + bytes([raw[at] ^ 0x10]) + raw[at + 1 :]

        return self.damage(self.cache, "*/*.safetensors", flip, "shards with another bit")

    def drop_shard(self) -> str:
        return self.damage(self.cache, "*/*.*", None, "files of the cache deleted")

    def cut_record(self) -> str:
        def cut(raw: bytes) -> bytes:
            return raw[: len(raw) // 3]

        return self.damage(self.store, "records/*.json", cut, "records cut short", self.spoiled)

    def litter(self) -> str:
        (self.store / "records").mkdir(parents=True, exist_ok=True)
        (self.store / "records" / f"stranger{self.rng.randrange(9)}.json").write_text("{")
        return "strangers' files"

    def damage(
        self,
        root: Path,
        pattern: str,
        spoil: Callable[[bytes], bytes] | None,
        what: str,
        names: set[str] | None = None,
    ) -> str:
        """Spoils a file that lies there, and puts its name among `names`; what is being written is not touched."""
        files = sorted(root.glob(pattern))
        if not files:
            return "nothing to spoil"
        file = self.rng.choice(files)
        if names is not None:
            names.add(file.stem)
        try:
            if spoil is None:
                file.unlink()
            elif raw := file.read_bytes():
                file.write_bytes(spoil(raw))
        except FileNotFoundError:  # another process was faster
            return "nothing to spoil"
        return what

    def stop(self) -> None:
        for number, worker in enumerate(self.workers):
            self.signal(number, signal.SIGKILL)
            if worker is not None:
                worker.wait()


def single() -> dict[str, str]:
    """Many processes on few cores: a thread each."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}


def answers(store: Path) -> tuple[dict[str, Record], list[str]]:
    """The records by key, and what cannot be read."""
    opened = Store(store)
    return {r.key: r for r in opened.records()}, [str(told) for told in opened.unreadable]


def apart(one: Record, two: Record) -> bool:
    """Whether two records of a cell say different things. Times and places may differ, and scores by as much as a
    text's state does in a batch of other texts."""
    if (one.status, one.chosen) != (two.status, two.chosen):
        return True
    for kind in ("test", "untuned", "dev"):
        a, b = getattr(one, kind), getattr(two, kind)
        if (a is None) != (b is None) or (a is not None and not a.same_rows(b)):
            return True
        if a is not None and any(not np.allclose(*each, rtol=1e-3, atol=1e-3, equal_nan=True) for each in _both(a, b)):
            return True
        if isinstance(a, Steered) and a.answer != b.answer:
            return True
    return False


def _both(one: Rows, two: Rows) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The scores of both, name by name where they have names."""
    if isinstance(one, Steered) or isinstance(two, Steered):
        yield from ((one.score[name], two.score[name]) for name in one.score)
    else:
        yield one.score, two.score


def soak(
    folder: Path,
    minutes: float,
    processes: int,
    seed: int,
    every: float,
    sizes: tuple[int, ...] = SIZES,
    seeds: int = SEEDS,
) -> int:
    """0 where nothing was lost, torn or wrong."""
    broken = in_peace(folder, folder / "peace", folder / "peace-cache", sizes, seeds)
    if broken:
        print(broken[0])
        return 1
    expected, _ = answers(folder / "peace")
    trial, until = Soak(folder, processes, seed, sizes, seeds), time.monotonic() + 60 * minutes
    try:
        while (now := time.monotonic()) < until or not trial.happened["rounds to the end"]:
            if now > until + PATIENCE:
                trial.failed.append(f"No round came to its end in {PATIENCE} s without a fault.")
                break
            trial.look()
            time.sleep(trial.rng.uniform(0.2, 1.8) * every)
            trial.resume()
            if now < until:  # past it, one round at least goes to its end in peace
                trial.strike()
            trial.note()
            if expected.keys() <= trial.seen:
                trial.round(expected)
    finally:
        trial.stop()
    trial.assess(expected)
    broken = in_peace(folder, trial.store, trial.cache, sizes, seeds)
    print(f"{minutes:g} minutes, {processes} processes, {len(expected)} cells; what befell them: "
          + ", ".join(f"{n} {what}" for what, n in sorted(trial.happened.items())))  # fmt: skip
    return verdict(trial, expected, broken)


def in_peace(folder: Path, store: Path, cache: Path, sizes: tuple[int, ...], seeds: int) -> list[str]:
    """Runs all columns, one after the other; what those said that did not come to their end."""
    every = list(range(seeds))
    done = map(told, (command(folder, store, cache, sizes, every), steering(folder, store, cache, every)))
    return [one.stderr[-1500:] for one in done if one.returncode]


def told(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, check=False, capture_output=True, text=True, env=single(), timeout=PATIENCE)


def verdict(trial: Soak, expected: Mapping[str, Record], broken: list[str]) -> int:
    """Says what is lost, torn or wrong, during it or in the end; 0 where nothing is."""
    found, torn = answers(trial.store)
    checked = told([sys.executable, "-m", "runners.cli", "store", "check", str(trial.store)])
    lost, wrong = (sorted(trial.bad[what]) for what in ("lost", "wrong"))
    lost += sorted(expected.keys() - found.keys())
    torn += trial.bad["torn"]
    wrong += sorted(k for k in expected.keys() & found.keys() if apart(expected[k], found[k]))
    print(f"lost {len(lost)}, torn {len(torn)}, wrong {len(wrong)}, commands that broke {len(trial.failed)}")
    print(checked.stdout.strip() if checked.returncode else checked.stdout.strip().splitlines()[-1])
    for text in [*trial.failed[:2], *lost[:5], *torn[:5], *wrong[:5], *broken, checked.stderr]:
        print(text)
    return int(bool(lost or torn or wrong or trial.failed or broken or checked.returncode))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two faults, on average")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return soak(Path(folder), given.minutes, given.processes, given.seed, given.every)


if __name__ == "__main__":
    sys.exit(main())
