"""Where a column's seconds went."""

from __future__ import annotations

from runners.column import breakdown


def test_the_breakdown_adds_up() -> None:
    phase = {"own_seconds": 10.0, "real_seconds": 15.0}
    spent = [{"selection": phase, "fit": phase, "labels": 3}, {"query": phase}]
    told = breakdown("t", 45.0, 10.0, spent)  # 45 + 10 + 30 own + 15 inside the model
    assert told == (
        "t: 100 s in all: reading the model once 45%, encoding 10%, prompting and training 15%, everything else 30%"
    )
    assert "encoding" not in breakdown("t", 55.0, 0.0, spent)
    assert breakdown("t", 0.0, 0.0, []).startswith("t: 0 s in all")
