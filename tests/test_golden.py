"""The keys of the quickstart's cells on sst2. A changed key orphans every record there is.

If a change of behaviour is meant, the `version` of what changed goes up and these follow; if only a
hyperparameter or a grid in `conf/` changed, they follow too; otherwise the change is a mistake.
"""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from runners import run
from runners.compose import composed

GOLDEN = {
    "majority": "8123036b82aa8908",
    "random_direction": "f7f5c4af0c4d1c36",
    "shuffled_labels": "730eea6d22cafdd6",
    "bag_of_words": "f522a0e7cb85040f",
    "zero_shot": "4427d70a921a5c8c",
    "linear_probe": "8650e9261e25fb14",
    "diff_in_means": "3c2434db595a4eb6",
}


def cells(*overrides: str) -> dict[str, str]:
    """Contender -> key of seed 0, as `fairfight run` would compute it."""
    frame: dict[str, Any] = composed("run", ["experiment=quickstart", "task=sst2", *overrides])
    made = run.make(OmegaConf.to_container(OmegaConf.create(frame)))  # type: ignore[arg-type]
    return {c.contender["name"]: k for k, (c, _) in made.cells.items() if c.seed == 0}


def test_golden_keys() -> None:
    assert {name: k[:16] for name, k in cells().items()} == GOLDEN


def test_what_changes_no_result_changes_no_key() -> None:
    same = ["store=elsewhere", "tracking=disabled", "model.device=cuda", "cache.max_gb=1", "name=other", "seeds=[0]"]
    assert cells(*same) == cells()
    assert cells("task.max_tokens=65") != cells()
    assert cells("contender.linear_probe.C=0.5")["linear_probe"] != cells()["linear_probe"]
    assert cells("contender.linear_probe.C=0.5")["majority"] == cells()["majority"]
