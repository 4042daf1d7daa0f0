"""The 113 binary sets of SAE-Probes (Kantamneni et al. 2025, "Are Sparse Autoencoders Useful?"), and some others.

Read from the `sae-probes` wheel; each set is balanced there by duplicating rows, which cleaning undoes. Sets of
more than two classes list the values of `target` in class order.
`sae_probes_sets.yaml` is the catalogue: names, families, questions, group rules, flags, licences.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import yaml

from arena import assets
from arena.contract import Brief, FairfightError, Regime, Split, TaskMeta
from tasks import compat
from tasks.labelled import LabelledTask, Rows, identity

if TYPE_CHECKING:
    import pandas as pd

_WHEEL = "sae-probes"


@functools.cache
def catalogue() -> dict[str, dict[str, Any]]:
    """What is known of each of the 113 binary sets, by the name of its file."""
    return dict(yaml.safe_load(Path(__file__).with_name("sae_probes_sets.yaml").read_text()))


@functools.cache
def every() -> dict[str, dict[str, Any]]:
    """The catalogue and the sets of more than two classes."""
    more = yaml.safe_load(Path(__file__).with_name("sae_probes_multiclass.yaml").read_text())
    return {**catalogue(), **more}


class SaeProbesShift(LabelledTask):
    """One of the wheel's out-of-distribution sets, as the test of a shift: `set` is the set that it shifts."""

    assets = (_WHEEL,)
    FILES: ClassVar[dict[str, str]] = {
        "5_hist_fig_ismale": "fictional characters",
        "6_hist_fig_isamerican": "misspelt names (a letter inserted)",
        "7_hist_fig_ispolitician": "reversed names",
        "66_living-room": "French",
        "67_social-security": "Spanish",
        "73_control-group": "German",
        "87_glue_cola": "GLUE-X",
    }  # the eighth, 90_glue_qnli, lost its questions on the way: of 167 distinct sentences 22 have both labels

    def __init__(self, set: str, max_tokens: int = 256) -> None:
        if set not in self.FILES:
            raise FairfightError(f"No shift of {set!r} ships; choose one of {', '.join(self.FILES)}.")
        source = SaeProbes(set, max_tokens)
        self.set, self.max_tokens, self.values = set, max_tokens, source.values
        self.brief, self.rule = source.brief, source.rule
        self.meta = replace(
            source.meta,
            name=f"{source.meta.name}_{self.FILES[set].split()[0].lower().replace('-', '')}",
            source=f"{source.meta.source}: {self.FILES[set]}",
            citation=f"{source.meta.citation}; Kantamneni et al. 2025",
        )

    def rows(self) -> Rows:
        return _rows(_table(f"OOD data/{self.set}_OOD"), self.values)


class SaeProbes(LabelledTask):
    """One set: `set` is its file's name in the wheel (`92_glue_sst2`)."""

    assets = (_WHEEL,)

    def __init__(self, set: str, max_tokens: int = 256) -> None:
        if set not in every():
            near = [s for s in every() if str(set).lower() in s.lower()]
            hint = f"did you mean {', '.join(near[:3])}?" if near else "`fairfight list tasks` shows all 113."
            raise FairfightError(f"Unknown task.set={set!r}; {hint}")
        self.set = set
        self.max_tokens = max_tokens
        known = every()[set]
        self.rule = known.get("group")
        self.flags = tuple(known.get("flags", ()))
        self.values = known.get("values") or [None, known["positive"]]
        self.brief = Brief(known["question"], tuple(known["classes"]), tuple(known["words"]), known["noun"])
        self.meta = TaskMeta(
            name=known["name"],
            version=1,
            track="detect",
            family=known["family"],
            source=f"sae-probes {assets.pin(_WHEEL).version}: {known['source']}",
            revision=assets.pin(_WHEEL).sha256,
            licence=known["licence"],
            citation=known["citation"],
            params=identity(self.brief, max_tokens, self.rule, set=set),
        )

    def compat(self, regime: Regime, seed: int) -> Split:
        """As the package splits it, duplicates kept."""
        if self.set not in catalogue():
            return super().compat(regime, seed)
        table, rows = _table(f"cleaned_data/{self.set}"), self.rows()
        theirs = sorted(table["target"].unique())  # as scikit-learn's LabelEncoder orders the classes
        flipped = rows.labels[int((table["target"] == theirs[1]).argmax())] == 0
        part = compat.split(self.meta.name, self.brief, rows.prompts, np.array(rows.labels), flipped, regime, seed)
        return Split((part,), {"rows_read": len(rows.prompts), "protocol": regime.protocol})

    def rows(self) -> Rows:
        return _rows(_table(f"cleaned_data/{self.set}"), self.values)


def _table(file: str) -> pd.DataFrame:
    """A table of the wheel."""
    import pandas as pd

    packed = assets.read(_WHEEL, f"sae_probes/data/{file}.csv.zst")
    return pd.read_csv(io.BytesIO(packed), compression="zstd", keep_default_na=False)


def _rows(table: pd.DataFrame, values: Sequence[Any]) -> Rows:
    """Prompts and class ids; `values` are those of `target` in class order, None for any other."""
    order = {str(value): i for i, value in enumerate(values) if value is not None}
    other = 0 if values[0] is None else -1
    labels = [order.get(target, other) for target in table["target"].astype(str)]
    return Rows(table["prompt"].astype(str).tolist(), labels)
