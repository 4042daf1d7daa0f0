"""The page and the LaTeX tables, from made-up records; what a browser makes of the page is in `test_browser.py`."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from results import charts, latex, leaderboard, pack, page
from results.record import Answers, Record
from results.store import Store
from runners.leaderboard import said
from tests.results.test_leaderboard import records
from tests.results.test_quiver import board
from tests.results.test_record import CELL, record

PUBLISHED = Path(__file__).parents[2] / "results" / "published"
HOSTILE = "<script>alert('x')</script>&\"'|_%\\input{a}"


class Tags(HTMLParser):
    """Every tag with its attributes, and whether each that must be closed is."""

    VOID = frozenset({"meta", "link", "input", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def hostile() -> list[Record]:
    """Names, questions, errors and sources that a browser or LaTeX would take for its own."""
    task = {**CELL.task, "name": HOSTILE, "params": {"brief": {"question": HOSTILE}, "path": HOSTILE}}
    found = []
    for seed in (0, 1):
        for name in (HOSTILE, "linear_probe"):
            r = record(replace(CELL, task=task, seed=seed), name, 2.0)
            told = dict.fromkeys(("source", "licence", "citation"), HOSTILE)
            found.append(replace(r, about={**r.about, **told, "access": [HOSTILE], "classes": [HOSTILE]}))
    broken = record(
        replace(CELL, task=task, seed=0), f"{HOSTILE}!", 1.0, status="failed", error=HOSTILE, test=None, dev=None
    )
    return [*found, broken]


def test_a_suite_shows_each_concept() -> None:
    """Of the published steering records; what is withheld is a dash."""
    (table,) = (t for t in leaderboard.build(Store(PUBLISHED / "axbench").records()) if t.board.track == "steer")
    (task,) = table.tasks
    suite = page._suite(table, task)
    record = next(r for found in table.records.values() for r in found if r.test is not None)
    assert record.test is not None
    assert suite["names"] == tuple(dict.fromkeys(record.test.part)) and len(suite["names"]) == 10
    assert {row["name"] for row in suite["rows"]} == set(table.contenders)
    for row in suite["rows"]:
        shown = [value for value, _ in row["cells"] if np.isfinite(value)]
        whole = table.find(task, row["name"])
        assert whole is not None and np.mean(shown) == pytest.approx(whole.estimate.value)
        assert all(0 <= share <= 100 for _, share in row["cells"])


def test_every_tag_is_closed_every_id_is_one_of_a_kind_and_every_link_leads_somewhere() -> None:
    for text in (page.html(leaderboard.build(records())), page.html(leaderboard.build(hostile())), page.html([])):
        tags = Tags(text)
        assert tags.open == []
        ids = [attributes["id"] for _, attributes in tags.found if "id" in attributes]
        assert len(ids) == len(set(ids))
        links = [attributes["href"] for tag, attributes in tags.found if tag == "a"]
        assert {link.removeprefix("#") for link in links if link} <= set(ids)


def test_it_needs_nothing_but_itself() -> None:
    text = page.html(leaderboard.build(records()))
    assert not re.search(r"https?://|src=|@import|url\(", text)
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text


def test_foreign_text_is_text() -> None:
    text = page.html(leaderboard.build(hostile()))
    assert text.count("<script>") == 1  # its own
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in text
    tables = latex.latex(leaderboard.build(hostile()))
    assert r"\input{a}" not in tables
    assert r"\textbackslash{}input\{a\}" in tables


def test_it_shows_what_the_tables_hold() -> None:
    (table,) = leaderboard.build(records())
    text = page.html([table])
    strong = table.find("all", "strong")
    assert strong is not None
    assert f'<td data-v="{strong.estimate.value}">{strong.estimate.value:.3f}' in text
    assert "3/4 cells" in text  # of the incomplete one
    assert "It broke | &lt;b&gt;here&lt;/b&gt;" in text
    assert "less linear_probe" in text
    assert "less strong" in page.html([table], versus="strong")


def test_the_foot_says_what_made_it_and_no_machine_s_path() -> None:
    told = said(["store=/home/me/runs/core", "half=lockbox", "out=/tmp/x", "format=csv", "tracking=offline"])
    assert told == "fairfight leaderboard store=.../core half=lockbox"
    assert f"<code>{told}</code>" in page.html(leaderboard.build(records()), command=told)
    assert said(["store=runs/core"]) == "fairfight leaderboard store=runs/core"


def test_what_two_stages_read_counts_once_in_the_total() -> None:
    made = records()
    (table,) = leaderboard.build(made)
    for name in table.contenders:
        if (every := table.find("all", name)) is None:
            continue
        ok = [r for r in made if r.cell.contender["name"] == name and r.status == "ok"]
        (total,) = (s for s in page._spent(ok) if s["stage"] == "total")
        assert total["tokens"] * len(table.tasks) == pytest.approx(every.lm_tokens)


def test_numbers_are_signed_alike() -> None:
    assert page._signed(-0.00001) == "+0.000" and page._signed(-0.00001, 5) == "\u22120.00001"
    assert page._signed(float("nan")) == "\u2013"


def test_verdicts_are_told_in_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("results.verdicts.FLOORS", {"detect": ()})
    told = board({"probe": (0.8, 1.0), "linear_probe": (0.7, 1.0), "sae": (0.9, 0.2)}, sae="method")
    text = page.html([told])
    assert "1 method against 2 baselines over its 6 tasks: 1 loses against its opponent" in text
    assert "w-too-few" in text  # of each task: two seeds
    alone = board({"probe": (0.8, 1.0)})
    assert "No verdict" in page.html([alone])


def test_the_fingerprint_is_of_cells_and_answers(tmp_path: Path) -> None:
    made = records()
    told = page._fingerprint(made)
    assert told == page._fingerprint(made[::-1])
    packed = Store(tmp_path)
    pack.write(made, packed.packs / "p.npz")
    assert page._fingerprint(list(packed.records())) == told  # -0.0 and single precision alike
    assert isinstance(made[0].test, Answers)
    nudged = replace(made[0], test=replace(made[0].test, score=made[0].test.score + 1e-3))
    assert len({told, page._fingerprint([nudged, *made[1:]]), page._fingerprint(made[1:])}) == 3


def test_names_that_look_alike_have_links_of_their_own() -> None:
    assert page._slug("a-b") == "a-b"
    assert len({page._slug(name) for name in ("a/b", "a|b", "a-b", "a b")}) == 4
    assert page._distinct(["x", "y", "x"]) == ["x", "y", "x-2"]


def test_the_best_trial_so_far_never_falls() -> None:
    trials = [{"dev_score": score, "params": {}} for score in (0.5, 0.7, 0.6)]
    assert page._best_so_far([record(CELL, "a", 1.0, trials=trials)]) == pytest.approx([0.5, 0.7, 0.7])
    assert page._best_so_far([record(CELL, "a", 1.0, trials=trials[:1])]) == []
    drawn = charts.steps([0.5, 0.7, 0.7])
    assert drawn is not None and (drawn["first"], drawn["last"], drawn["count"]) == (0.5, 0.7, 3)


def point(name: str, x: float, y: float) -> charts.Point:
    return charts.Point(name, "method", name, x, y, None, None)


def test_the_frontier_holds_what_nothing_cheaper_equals() -> None:
    points = [point("free", 0, 0.5), point("same", 10, 0.5), point("dear", 1e6, 0.9), point("worse", 1e7, 0.8)]
    assert [p.name for p in charts.frontier(points)] == ["free", "dear"]
    twins = [point("b", 1, 0.5), point("a", 1, 0.5)]
    assert [p.name for p in charts.frontier(twins)] == ["a"]


def test_marks_lie_in_the_frame_and_names_apart() -> None:
    points = [point(str(i), 10.0**i, 0.5 + 0.001 * i) for i in range(9)]
    drawn = charts.scatter(points, points, floor=0.5)
    for mark in drawn["marks"]:
        assert charts.FRAME["left"] <= mark["x"] <= charts.FRAME["right"]
        assert charts.FRAME["top"] <= mark["y"] <= charts.FRAME["bottom"]
    heights = sorted(name["y"] for name in drawn["names"])
    assert all(b - a >= charts.LINE - 0.2 for a, b in pairwise(heights))
    assert all(tick[0] <= charts.FRAME["right"] + 0.2 for tick in drawn["across"])


def test_ticks_that_differ_read_differently() -> None:
    for low, high in ((0.80, 0.81), (0.8, 0.84), (0.0, 1.0), (-3.0, 12.0)):
        told = [text for _, text in charts._rounds(low, high)]
        assert 4 <= len(told) <= 10 and len(set(told)) == len(told)


def test_latex_has_a_row_for_each_complete_contender() -> None:
    (table,) = leaderboard.build(records())
    text = latex.latex([table])
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert [row.split(" & ")[0] for row in rows] == ["contender", "strong", "weak"]
    assert len({row.count(" & ") for row in rows}) == 1
    strong = table.find("all", "strong")
    assert strong is not None and f"{strong.estimate.value:.3f}" in rows[1]
