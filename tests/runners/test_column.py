"""Where a column's seconds went."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from arena.activations import Reader
from arena.models import ModelSpec
from runners import column
from runners.column import breakdown
from tasks.axbench_detect import AxbenchDetect
from tests.tasks.test_axbench import REGIME, write


def test_the_breakdown_adds_up() -> None:
    phase = {"own_seconds": 10.0, "real_seconds": 15.0}
    spent = [{"selection": phase, "fit": phase, "labels": 3}, {"query": phase}]
    told = breakdown("t", 45.0, 10.0, spent)  # 45 + 10 + 30 own + 15 inside the model
    assert told == (
        "t: 100 s in all: reading the model once 45%, encoding 10%, inside the model or its cache 15%, "
        "everything else 30%"
    )
    judged = {**spent[0], "judge": {"own_seconds": 100.0, "real_seconds": 100.0}, "total": phase}
    assert breakdown("t", 45.0, 10.0, [judged, spent[1]]).startswith("t: 200 s in all: ")  # whoever is charged for it
    assert "encoding" not in breakdown("t", 55.0, 0.0, spent)
    assert breakdown("t", 0.0, 0.0, []).startswith("t: 0 s in all")


def test_a_dictionary_trained_anew_is_read_anew(tiny_spec: ModelSpec, tmp_path: Path) -> None:
    """Keys hash what lies at its place now; a process that lives on must not answer with what lay there before."""
    words = tiny_spec, (("middle", "somewhere"),), str(tmp_path), 1.0
    first = column.load_reader(*words, frozenset({("dictionary middle", "a")}))
    assert column.load_reader(*words, frozenset({("dictionary middle", "a")})) is first
    assert column.load_reader(*words, frozenset({("dictionary middle", "b")})) is not first


def test_texts_of_other_parts_are_cut_like_their_own_part_cuts_them(reader: Reader, tmp_path: Path) -> None:
    """Else the one pass over a column's texts lacks them, and each site reads them anew, at full length."""
    asked: Any = SimpleNamespace(task=AxbenchDetect(str(write(tmp_path / "toy")), max_tokens=40), regime=REGIME)
    cut = column.cut_splits(asked, reader, {0})[0]
    assert not isinstance(cut, Exception)
    read = {text for part in cut.split.parts for text in part.train.prompts}
    for part in cut.split.parts:
        assert part.train.peers is not None and set(part.train.peers) <= read
