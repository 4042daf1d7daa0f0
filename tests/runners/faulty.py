"""Contenders that do what contenders should not."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Self

import numpy as np

from arena.contract import Brief, ContenderMeta, Examples, Site, Sites
from arena.lab import Lab


class Faulty:
    """Sound scores of one hyperparameter, until a subclass spoils them."""

    meta = ContenderMeta("faulty", 1, "baseline", access=("labels",))

    def __init__(self, lean: float = 1.0) -> None:
        self.lean = lean

    def wants(self, layers: int) -> Sites:
        return frozenset({Site(0)})

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        return self

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        told = np.array([len(prompt) for prompt in asked.prompts], dtype=float) * self.lean
        return np.stack([-told, told], axis=1)


class Raises(Faulty):
    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        raise ZeroDivisionError("division by zero")


class Hangs(Faulty):
    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        while True:
            time.sleep(0.01)


class Marks(Faulty):
    """Is stopped by the clock with the model changed."""

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        lab._reader.loaded.blocks[0].register_forward_hook(lambda *_: None)
        while True:
            time.sleep(0.01)


class Looks(Faulty):
    """Says what another left behind."""

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        if lab._reader.loaded.blocks[0]._forward_hooks:
            raise RuntimeError("somebody's hook is on the model")
        return self


class Nan(Faulty):
    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        return np.full((len(asked), 2), np.nan)


class Narrow(Faulty):
    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        return super().score(asked, lab)[:, :1]


class Fickle(Faulty):
    """Draws from a generator that nobody seeded."""

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        return super().score(asked, lab) + np.random.default_rng().normal(size=(len(asked), 2))


class Seeded(Faulty):
    """Draws from the lab's generator, as it may."""

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        return super().score(asked, lab) + lab.rng.normal(size=(len(asked), 2))


class Hungry(Faulty):
    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        np.zeros((1 << 24, 1 << 24))  # two petabytes
        return self


class Fills(Faulty):
    """Leaves no room on the disk that FAULTY_DISK names."""

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        with contextlib.suppress(OSError), (Path(os.environ["FAULTY_DISK"]) / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1000))
        return self


class Dies(Faulty):
    """Is too much for the machine, with many labels: what the kernel does then."""

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        if len(train) > 45:
            os.kill(os.getpid(), signal.SIGKILL)
        return self


class Wordy(Faulty):
    """Fails as scikit-learn words it."""

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        raise ValueError(
            "\nAll the 5 fits failed.\nIt is very likely that your model is misconfigured.\nYou can try to debug the "
            "error by setting error_score='raise'.\n\nBelow are more details about the failures:\n" + 80 * "-"
        )


class Endless(Faulty):
    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        raise ValueError(f"could not convert string to float: {'x' * 9999!r}")


class Reads(Faulty):
    """Reads the model, and much of it, so that the cache is needed."""

    def wants(self, layers: int) -> Sites:
        return frozenset({Site(0, "tokens")})

    def score(self, asked: Examples, lab: Lab) -> np.ndarray:
        told = np.array([states[-1, 0] for states in lab.token_activations(asked.prompts, 0)])
        return np.stack([-told, told], axis=1)
