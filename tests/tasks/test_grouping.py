"""Cleaning and grouping: what must go goes, what belongs together stays together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arena.contract import FairfightError
from tasks import cleaning
from tasks.grouping import components, fold, groups


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRFIGHT_CACHE", str(tmp_path))


def test_duplicates_go_before_anything_else_and_contradictions_with_all_their_rows() -> None:
    prompts = ["One two", "one  TWO", "three four", "three four", "five", "", "ﬁve"]
    labels = [1, 1, 0, 1, 0, 1, 0]
    kept, report = cleaning.clean(prompts, labels)
    assert kept.prompts == ("One two", "five", "ﬁve")[:2]
    assert kept.truth.tolist() == [1, 0]
    assert (report.rows_read, report.empty, report.duplicates, report.contradictory, report.rows) == (7, 1, 3, 1, 2)


def test_ids_are_content() -> None:
    a, _ = cleaning.clean(["x y", "z w"], [0, 1])
    b, _ = cleaning.clean(["z w", "X  Y"], [1, 0])
    assert set(a.ids) == set(b.ids)


def test_near_duplicates_are_linked_and_others_are_not() -> None:
    texts = [
        "the quick brown fox jumps over the lazy dog near the river",
        "the quick brown fox jumps over the lazy dog near the bank",
        "an entirely different sentence about cooking rice at home",
    ]
    assert groups(texts).tolist() == [0, 0, 1]


def test_rules() -> None:
    assert groups(["a b [SEP] kind", "a b [SEP] cruel", "c d [SEP] kind"], ["before", " [SEP] "]).tolist() == [0, 0, 1]
    assert groups(["p one | q two", "r x | p one", "s y | t z"], ["fields", " | "]).tolist() == [0, 0, 1]
    stem = "a stem of exactly forty characters here!"
    assert groups([stem + " apples", stem + " and pears"], ["stem", 40]).tolist() == [0, 0]
    assert groups(
        ["once we met Ada Lovelace", "the art of Ada Lovelace", "by Al Gore"], ["last_words", 2]
    ).tolist() == [0, 0, 1]
    assert groups(["passage\nquestion\nyes", "passage\nquestion\nno", "p\nq\nr"], ["before_last", "\n"]).tolist() == [
        0,
        0,
        1,
    ]
    assert groups(["a fine old film", "this is a fine old film indeed", "old film"], ["contained", 3]).tolist() == [
        0,
        0,
        1,
    ]


def test_links_are_transitive() -> None:
    assert components(5, [(0, 1), (3, 4), (1, 3)]).tolist() == [0, 0, 1, 0, 0]


def test_group_names_of_the_data_are_kept() -> None:
    kept, _ = cleaning.clean(["a b", "c d", "e f"], [0, 1, 0], given=["g", "h", "g"])
    assert kept.groups.tolist() == [0, 1, 0]


def test_an_unknown_rule_lists_the_known() -> None:
    with pytest.raises(FairfightError, match="before_last"):
        groups(["a"], ["nonsense"])


def test_fold() -> None:
    assert fold("  Ａ  b\n") == "a b"


def test_a_damaged_cache_of_groups_is_computed_anew(tmp_path: Path) -> None:
    first, _ = cleaning.clean(["a b", "c d"], [0, 1], given=["g", "g"])
    (file,) = (tmp_path / "groups").glob("*.json")
    for damage in ("{", json.dumps({"question": "other", "groups": [0, 1]}), json.dumps({"groups": 3})):
        file.write_text(damage)
        again, _ = cleaning.clean(["a b", "c d"], [0, 1], given=["g", "g"])
        assert again.groups.tolist() == first.groups.tolist() == [0, 0]
