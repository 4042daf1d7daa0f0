"""PCA and ICA of the states that an SAE is trained on: the bases that saw the same free text.

Both are dictionaries of the architecture `linear`: latents (x - b_dec) @ W_enc, signed and dense.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from arena.contract import FairfightError
from methods.sae.harvest import Shard


@dataclass(frozen=True)
class Basis:
    """Weights of a linear dictionary, and what was done to find them."""

    W_enc: np.ndarray  # [d, m] float64
    W_dec: np.ndarray  # [m, d]
    b_dec: np.ndarray  # [d]
    tokens: int  # that it was fitted on
    about: dict[str, Any]


def pca(shards: Sequence[Shard], components: int | None = None) -> Basis:
    """The first principal components (all of them: None) of the covariance over all tokens, largest variance first.

    Rows of W_dec have unit norm, and their entry of largest magnitude is positive.
    """
    total, products, tokens = np.zeros(1), np.zeros(1), 0
    for shard in tqdm(shards, desc="adding up covariances", unit="shard", delay=2, leave=False):
        states = shard.states().astype(np.float64)
        total, products, tokens = total + states.sum(0), products + states.T @ states, tokens + len(states)
    mean = total / tokens
    variance, vectors = np.linalg.eigh(products / tokens - np.outer(mean, mean))
    kept = _number(components, len(mean))
    rows = vectors.T[::-1][:kept]
    rows = rows * np.sign(rows[np.arange(kept), np.abs(rows).argmax(1)])[:, None]
    told = float(variance[::-1][:kept].sum() / variance.sum())
    return Basis(rows.T, rows, mean, tokens, {"components": kept, "variance_of_components": told})


def ica(
    shards: Sequence[Shard],
    components: int | None = None,
    subsample: int = 50_000,
    iterations: int = 200,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> Basis:
    """FastICA (Hyvarinen 1999; logcosh, parallel) of `subsample` tokens drawn evenly from all shards, whitened.

    Latents have unit variance on those tokens; W_dec is the mixing matrix. Whether it converged is told, not required.
    """
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    rng = np.random.default_rng(seed)
    total = sum(shard.tokens for shard in shards)
    drawn = []
    for shard in shards:
        states = shard.states()
        share = min(len(states), -(-subsample * len(states) // total))
        drawn.append(states[np.sort(rng.choice(len(states), share, replace=False))].astype(np.float64))
    states = np.concatenate(drawn)
    kept = _number(components, states.shape[1])
    if len(states) < kept:
        raise FairfightError(
            f"ICA of {kept} components needs more than {len(states)} tokens; raise sae.subsample or tokens."
        )
    solver = FastICA(
        kept, whiten="unit-variance", whiten_solver="eigh", max_iter=iterations, tol=tolerance, random_state=seed
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        solver.fit(states)
    about = {
        "components": kept,
        "subsample": len(states),
        "iterations": int(solver.n_iter_),
        "converged": not any(issubclass(w.category, ConvergenceWarning) for w in caught),
    }
    return Basis(solver.components_.T, solver.mixing_.T, solver.mean_, len(states), about)


def _number(components: int | None, width: int) -> int:
    if components is not None and not 1 <= components <= width:
        raise FairfightError(f"sae.components={components} is out of range; give 1 to {width}, or null for all.")
    return components or width
