"""The pipeline of the sae-probes package beside ours: ten of its sets, the same rows, the same activations.

Theirs are the package's own functions: logistic regression, PCA, nearest neighbours, XGBoost and an MLP on the states
after the middle block at the last token, and its sparse probe (L1, k = 16 and 128) on an SAE's latents, each tuned on
the package's own 100 held-out rows. Ours are our contenders through the track's own protocol (`runners.tracks.detect`)
on the same rows of the same split, with as many settings of each as theirs try. Timed is what follows the model:
selection, fit and scoring of the test rows; for ours also reading from the cache, and trial 1's untuned answers. States
and latents are read before. Their nearest neighbours run without joblib's workers, which would take longer to start
than to search. The limit of ours is its solvers alone: every call that it made of scikit-learn's is made again, on the
arrays that were ready then. Method by method theirs, ours and the solvers take turns (A B C A B C); in brackets stand
CPU seconds, which say more on a busy machine. The package lies in a folder of its own (benchmarks/peers.py).
Run: OMP_NUM_THREADS=1 python -m benchmarks.sae_probes_pipeline
"""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from arena.cache import digest
from arena.contract import Brief, Budget, Examples, Part, Site, latents
from arena.cutting import cut
from arena.lab import Lab
from arena.meter import Meter
from benchmarks import peers
from benchmarks.clock import Taken, timed
from benchmarks.rows import Row, report
from benchmarks.sae_probes_peer import SETS, TRAIN
from results.metrics import auroc
from results.record import Answers
from runners import build, column, run
from runners.compose import composed
from runners.tracks import detect

GOAL, SEED = 5.0, 42
KS = (16, 128)
STEPS = 10  # settings that the package tries of all but its MLP, of which it tries one
PATHS: dict[str, dict[str, list[Any]]] = {  # ours: as many, each around the middle of our own grid
    "linear_probe": {"C": np.logspace(-5, 1, STEPS).tolist()},
    "pca_logreg": {"components": [1, 2, 4, 8, 12, 16, 32, 48, 64, 100]},
    "knn": {"k": [1, 2, 4, 8, 12, 16, 32, 48, 64, 100]},
    "sae_probe": {"C": np.logspace(-2, 2, STEPS).tolist()},
}
TRIALS = {"boosted_trees": STEPS}
SOLVERS = (LogisticRegression, NearestNeighbors, HistGradientBoostingClassifier, MLPClassifier)  # that ours calls
CALLS = ("fit", "predict_proba", "decision_function", "kneighbors")


class Side(NamedTuple):
    """What one side did with one method on one set."""

    taken: Taken
    auroc: float

    @property
    def told(self) -> str:
        return f"{self.taken.clock:7.2f} s ({self.taken.cpu:6.2f}), AUROC {self.auroc:.4f}"


class Turn(NamedTuple):
    """What everybody did with one method on one set; `bare` are our solvers alone."""

    ours: Side
    theirs: Side
    bare: Taken


class Data(NamedTuple):
    """A set as both sides see it: rows of the train and test split, states and latents of all rows."""

    name: str
    prompts: list[str]
    labels: np.ndarray
    train: np.ndarray
    test: np.ndarray
    states: np.ndarray
    codes: np.ndarray


def held_out(n: int) -> list[np.ndarray]:
    """The package's cross-validation from 128 rows on: the last 100 (or a fifth), once."""
    return [np.arange(n - min(n // 5, 100), n)]


def part_of(data: Data) -> Part:
    """The package's split, as one part of a task of ours."""

    def rows(which: np.ndarray) -> Examples:
        prompts = tuple(data.prompts[i] for i in which)
        ids = tuple(digest(str(i), prompt) for i, prompt in zip(which, prompts, strict=True))
        return Examples(ids, prompts, data.labels[which], np.arange(len(which)))

    train, test = rows(data.train), rows(data.test)
    brief = Brief("", ("0", "1"), ("0", "1"))
    return Part("", brief, train, tuple(held_out(len(train))), test, test.take([]))


def contenders(frame: dict[str, Any]) -> dict[str, build.Contender]:
    """Ours by the names that the package gives its own: one site, as many settings."""
    found = {each.name: each for each in build.contenders(frame["contender"], [])}
    names = {"logreg": "linear_probe", "pca": "pca_logreg", "knn": "knn", "xgboost": "boosted_trees", "mlp": "mlp"}
    made = {theirs: found[ours] for theirs, ours in names.items()}
    for k in KS:
        probe = found["sae_probe"]
        made[f"sae k={k}"] = build.Contender(f"sae_probe k={k}", probe.target, {**probe.params, "k": k}, {}, {})
    for theirs, one in made.items():
        ours = one.name.split()[0]
        free = {name: values for name, values in one.grid.items() if name not in {"layer", "pooling"}}
        grid = free if ours in TRIALS else {}
        path = PATHS.get(ours, {})
        first = {name: values[len(values) // 2] for name, values in path.items()}
        made[theirs] = build.Contender(one.name, one.target, {**one.params, **first}, grid, path)
    return made


def our_side(contender: build.Contender, data: Data, lab: Lab) -> tuple[Side, list[Callable[[], Any]]]:
    """One of our contenders, selected, fitted and asked as in any cell; and what it asked of solvers."""
    part, trials = part_of(data), TRIALS.get(contender.name.split()[0], 1)
    with overheard() as calls:
        found, taken = timed(lambda: detect.run(contender, Budget("as theirs", trials), [part], "public", lab))
    assert isinstance(found.test, Answers)
    return Side(taken, auroc(found.test.truth, found.test.score[0])), calls


@contextmanager
def overheard() -> Iterator[list[Callable[[], Any]]]:
    """What is asked of solvers within, to be asked again; what a solver asks of itself is part of that."""
    calls: list[Callable[[], Any]] = []
    inside = False

    def heard(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(solver: Any, *words: Any, **named: Any) -> Any:
            nonlocal inside
            if inside:
                return original(solver, *words, **named)
            calls.append(lambda: getattr(solver, name)(*words, **named))
            inside = True
            try:
                return original(solver, *words, **named)
            finally:
                inside = False

        return call

    with ExitStack() as stack:
        for solver in SOLVERS:
            for name in CALLS:
                if hasattr(solver, name):
                    stack.enter_context(mock.patch.object(solver, name, heard(name, getattr(solver, name))))
        yield calls


def bare(calls: Sequence[Callable[[], Any]]) -> Taken:
    """The same calls, and nothing else, on one thread as under the track."""
    with threadpool_limits(1):
        _, taken = timed(lambda: [call() for call in calls])
    return taken


def their_side(name: str, data: Data) -> Side:
    """One of the package's functions on the same rows."""
    import torch

    training: Any = importlib.import_module("sae_probes.utils_training")
    y_train, y_test = data.labels[data.train], data.labels[data.test]
    if name.startswith("sae"):
        evals: Any = importlib.import_module("sae_probes.run_sae_evals")
        x_train, x_test, k = torch.tensor(data.codes[data.train]), torch.tensor(data.codes[data.test]), int(name[6:])

        def fit() -> Any:
            top = evals.get_sorted_indices(x_train, torch.tensor(y_train), evals.mean_act_normalization)[:k]
            few = x_train[:, top].numpy(), y_train, x_test[:, top].numpy(), y_test
            return training.find_best_reg(*few, penalty="l1", seed=SEED)
    else:
        method = importlib.import_module("sae_probes.run_baselines").METHODS[name]
        alone = {"n_jobs": 1} if name == "knn" else {}

        def fit() -> Any:
            return method(data.states[data.train], y_train, data.states[data.test], y_test, seed=SEED, **alone)

    found, taken = timed(fit)
    return Side(taken, found.metrics.test_auc)


def read(reader: Any, name: str, asked: int, dictionary: str) -> Data:
    """A set's rows as the package splits them, the first `asked` of its test, and what the model and the SAE see."""
    utils: Any = importlib.import_module("sae_probes.utils_data")
    task = run.make(composed("run", ["experiment=sae_probes_compat", f"task.set={name}"])).task
    labels = np.asarray(utils.get_yvals(name)[:5000])
    size = min(len(labels) - 100, TRAIN)
    train, test = utils.get_train_test_indices(labels, size, len(labels) - size - 1, seed=SEED)
    which = np.concatenate([train, test[:asked]])
    texts = task.rows().prompts  # type: ignore[attr-defined]
    prompts, _ = cut(reader, [texts[i] for i in which], task.max_tokens)
    site = Site(reader.place(latents(dictionary)).layer)
    reader.read(prompts, [site, latents(dictionary)])
    lab = Lab(reader, Meter(reader.loaded.layers), seed=0)
    codes = np.asarray(lab.latents(prompts, dictionary).toarray(), np.float32)
    rows = np.arange(len(which))
    return Data(name, prompts, labels[which], rows[:size], rows[size:], lab.activations(prompts, site), codes)


def row(name: str, turns: Sequence[Turn], goal: str = "-") -> Row:
    """Seconds of both over all sets, their ratio, mean AUROC of both, and how far ours is from its solvers alone."""
    told = []
    for sides in ([turn.ours for turn in turns], [turn.theirs for turn in turns]):
        clock, cpu = total([side.taken for side in sides])
        told.append(f"{clock:.1f} s ({cpu:.1f}), AUROC {np.mean([side.auroc for side in sides]):.4f}")
    mine, other = total([turn.ours.taken for turn in turns]), total([turn.theirs.taken for turn in turns])
    least = total([turn.bare for turn in turns])
    ratio = f"{other.clock / mine.clock:.1f} ({other.cpu / mine.cpu:.1f})"
    limit = f"the solvers alone: {least.clock:.1f} s ({least.cpu:.1f})"
    distance = f"{mine.clock / least.clock:.1f} times ({mine.cpu / least.cpu:.1f})"
    return Row(f"sae-probes: {name}", told[0], told[1], ratio, goal, limit, distance)


def total(taken: Sequence[Taken]) -> Taken:
    """The sum by both clocks, never 0, since others are divided by it."""
    return Taken(*(max(sum(clock), 1e-9) for clock in zip(*taken, strict=True)))


def main() -> None:
    """Prints seconds and mean AUROC of both sides for every method, and over all of them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", type=int, default=len(SETS), help="how many of the ten")
    parser.add_argument("--asked", type=int, default=500, help="test rows of each set")
    chosen = parser.parse_args()
    try:
        sys.path.append(str(peers.folder("sae-probes")))
    except peers.Unavailable as error:
        report([Row("sae-probes pipeline", f"could not be had: {error}")])
        return
    warnings.simplefilter("ignore")  # solvers that stop short, on both sides
    names = "[linear_probe,pca_logreg,knn,boosted_trees,mlp,sae_probe]"
    frame = composed("run", ["task=sst2", f"contender={names}", "tracking=disabled"])
    made = run.make(frame)
    reader = column.load_reader(made.model, tuple(made.dictionaries.items()), None, frame["cache"]["max_gb"])
    mine = contenders(frame)
    took: dict[str, list[Turn]] = {name: [] for name in mine}
    for name in SETS[: chosen.sets]:
        data = read(reader, name, chosen.asked, "middle")
        print(f"{name}: {len(data.train)} rows to train on, {len(data.test)} test rows", flush=True)
        for method, contender in mine.items():
            lab = Lab(reader, Meter(reader.loaded.layers), seed=SEED)
            theirs, (ours, calls) = their_side(method, data), our_side(contender, data, lab)
            turn = Turn(ours, theirs, bare(calls))
            took[method].append(turn)
            alone = f"its solvers alone {turn.bare.clock:.2f} s ({turn.bare.cpu:.2f})"
            print(f"  {method:10} theirs {theirs.told}; ours {ours.told}; {alone}", flush=True)
    every = [turn for turns in took.values() for turn in turns]
    whole = row(f"the pipeline, {chosen.sets} sets", every, f"{GOAL:g} at no lower AUROC")
    report([*(row(method, turns) for method, turns in took.items()), whole])


if __name__ == "__main__":
    main()
