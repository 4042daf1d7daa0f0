"""Which hyperparameters are tried: the YAML's own setting first, then a space-filling draw of the grid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from results.record import canonical

_SITE = ("pooling", "layer", "layers", "dictionary")


def draw(params: Mapping[str, Any], grid: Mapping[str, list[Any]], count: int) -> list[dict[str, Any]]:
    """At most `count` distinct settings of the grid's hyperparameters; the first is the default.

    The draw is a scrambled Halton sequence over the grid with a fixed seed: the same for every task and
    seed, and a smaller budget tries a prefix of what a larger one tries. Where to read the model comes first
    among the dimensions, so that contenders whose grids have the same sites try the same ones.
    """
    names = sorted(grid, key=_dimension)
    default = {name: params[name] for name in names}
    settings, seen = [default], {canonical(default)}
    size = math.prod(len(grid[name]) for name in names)
    inside = all(canonical(params[name]) in map(canonical, grid[name]) for name in names)
    most = min(count, size + (not inside))  # beyond, there is nothing to find
    if most == 1:
        return settings
    from scipy.stats import qmc  # takes a second, and most grids are looked at without it

    points = qmc.Halton(d=max(len(names), 1), rng=np.random.default_rng(0)).random(64 * count)
    candidates: Any = (
        {name: grid[name][int(x * len(grid[name]))] for name, x in zip(names, point, strict=False)} for point in points
    )
    if size <= 4 * count:  # a small grid is exhausted rather than sampled with gaps
        everything = (dict(zip(names, c, strict=True)) for c in itertools.product(*map(grid.__getitem__, names)))
        candidates = itertools.chain(candidates, everything)
    for setting in candidates:
        if len(settings) >= most:
            break
        if canonical(setting) not in seen:
            seen.add(canonical(setting))
            settings.append(setting)
    return settings


def _dimension(name: str) -> tuple[int, str]:
    own = name.rpartition(".")[2]  # of a wrapped contender
    return (_SITE.index(own) if own in _SITE else len(_SITE), name)


def along(params: Mapping[str, Any], path: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """The settings of a closed-form path, which count as one trial together; [{}] where there is none.

    The configured value leads, whether or not the path holds it: an override is tried, and wins ties.
    """
    steps = [{name: params[name] for name in path}]
    seen = {canonical(steps[0])}
    for values in itertools.product(*path.values()):
        step = dict(zip(path, values, strict=True))
        if canonical(step) not in seen:
            seen.add(canonical(step))
            steps.append(step)
    return steps
