"""Score out of fold by the layer that is read: what the trials tell of where things are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from results.figures.style import TITLES, Drawn, NothingToDrawError, floor_line, line_style, name_points, named
from results.table import Table

FEWEST = 2  # layers that make a profile
KINDS: dict[type[float] | type[int], str] = {float: "layer, as a share of the model's depth", int: "block that is read"}


def draw(boards: Sequence[Table], metric: str, width: float) -> Drawn:
    (table,) = boards
    tried = table.contenders if metric == table.main else ()
    each = {kind: {c: p for c in tried if len(p := profile(table, c, kind)) >= FEWEST} for kind in KINDS}
    kind = next((kind for kind in KINDS if each[kind]), float)  # shares of the depth and blocks share no axis
    found = each[kind]
    if not found:
        raise NothingToDrawError("no contender tried two layers")
    figure, axis = named(width, len(found))
    rows, ends = [], []
    for i, (name, line) in enumerate(found.items()):
        xs, ys = [layer for layer, _, _ in line], [value for _, value, _ in line]
        axis.plot(xs, ys, **line_style(i))
        ends.append((name, xs[-1], ys[-1], line_style(i)["color"]))
        rows += [{"contender": name, "layer": layer, metric: value, "trials": n} for layer, value, n in line]
    axis.set_xlabel(KINDS[kind])
    axis.set_ylabel(f"{TITLES[metric]} out of fold")
    floor_line(axis, metric)
    name_points(axis, ends)
    caption = (
        f"{TITLES[metric]} out of fold of the trials at each layer, by least squares with an effect for each cell; "
        f"other hyperparameters vary with the trials too."
    )
    return Drawn(figure, caption, rows)


def profile(table: Table, contender: str, kind: type[float] | type[int] = float) -> list[tuple[float, float, int]]:
    """Layer (of a kind), score and number of trials: least squares with an effect for each cell and each layer, so that
    cells that happened to try a layer do not make its height; set about the mean of all trials."""
    rows: list[tuple[int, float, float]] = []
    for cell, r in enumerate(r for (_, name), found in table.records.items() if name == contender for r in found):
        told = [(t["params"].get("layer"), t["dev_score"]) for t in r.trials]
        known = [(float(at), score) for at, score in told if isinstance(at, kind) and score is not None]
        if len({layer for layer, _ in known}) >= FEWEST:
            rows += [(cell, layer, score) for layer, score in known]
    layers, cells = (sorted({row[i] for row in rows}) for i in (1, 0))
    if not rows:
        return []
    design = np.zeros((len(rows), len(layers) + len(cells)))
    for i, (cell, layer, _) in enumerate(rows):
        design[i, layers.index(layer)] = design[i, len(layers) + cells.index(cell)] = 1
    scores = np.array([score for _, _, score in rows])
    effect = np.linalg.lstsq(design, scores, rcond=None)[0][: len(layers)]
    counts = [sum(row[1] == layer for row in rows) for layer in layers]
    middle = scores.mean() - np.average(effect, weights=counts)
    return [(layer, float(e + middle), n) for layer, e, n in zip(layers, effect, counts, strict=True)]
