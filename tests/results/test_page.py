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
from results.metrics import answered
from results.record import Answers, Record
from results.stats import Estimate
from results.store import Store
from results.surest import first_cell, surest
from results.table import Table
from results.verdicts import WORDS, Verdict, verdicts
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
        self.within: list[tuple[str, str]] = []  # the innermost tag, text
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

    def handle_data(self, data: str) -> None:
        if self.open:
            self.within.append((self.open[-1], data))


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
    assert page._signed(-0.00001) == "\u22120.000" and page._signed(-0.0) == "+0.000"  # an interval tells by it
    assert page._signed(-0.00001, 5) == "\u22120.00001"
    assert page._signed(float("nan")) == "\u2013"


def test_verdicts_are_told_in_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("results.verdicts.FLOORS", {"detect": ()})
    told = board({"probe": (0.8, 1.0), "linear_probe": (0.7, 1.0), "sae": (0.9, 0.2)}, sae="method")
    text = page.html([told])
    assert "1 method against 2 baselines over its 6 tasks: 1 loses against its opponent" in text
    assert "the lockbox decides" in text
    assert "w-too-few" in text  # of each task: two seeds
    alone = page.html([board({"probe": (0.8, 1.0)})])
    assert "No verdict: no method has every cell." in alone and "the lockbox decides" not in alone
    assert "no baseline has every cell" in page.html([board({"sae": (0.8, 1.0)}, sae="method")])


def test_a_reason_that_all_share_is_told_in_the_headline() -> None:
    few = Verdict("all", "sae", "too few", None, *(None,) * 8, ("probe",), "3 task families")
    table = board({"probe": (0.8, 1.0), "sae": (0.7, 1.0)}, families=3, sae="method")
    for found, told in (
        ([few, replace(few, method="lat")], "2 methods against 1 baseline over its 3 tasks: 2 without a verdict (too "
         "few: 3 task families)."),
        ([few, replace(few, note="2 seeds")], "2 without a verdict (too few: families, groups or seeds)."),
        ([replace(few, word="inconclusive", note="a floor is missing: x")], "1 inconclusive (a floor is missing: x)."),
    ):  # fmt: skip
        assert page._headline(table, found).endswith(told)


def test_boards_of_one_task_have_sentences_and_they_are_in_sight() -> None:
    table = board({"linear_probe": (0.8, 1.0), "sae": (0.7, 1.0)}, families=1, sae="method")
    tags = Tags(page.html([table]))
    items = [text for tag, text in tags.within if tag == "li" and text.startswith("sae: ")]
    assert len(items) == 1 and "in 1 task" in items[0]
    (told,) = [v for v in verdicts(table) if v.method == "sae"]
    assert told.gap is not None and told.opponent is not None and told.note
    assert f"beside {told.opponent} ({told.gap.value:+.3f}".replace("-", "\u2212") in items[0]
    assert told.note in items[0]
    text = page.html([table])
    assert text.count("<details", 0, text.index("sae: ")) == text.count("</details>", 0, text.index("sae: "))


def test_verdicts_at_equal_access_stand_task_by_task() -> None:
    table = board({"linear_probe": (0.8, 1.0), "sae": (0.7, 1.0)}, sae="method")
    (judged,) = page._board(table, "b", "linear_probe")["verdicts"]
    assert len(judged["equals"]) == 6 and all(v.word in WORDS for v in judged["equals"])
    assert "At equal access, task by task" in page.html([table])


def test_there_is_one_kind_of_minus() -> None:
    told = {"linear_probe": (0.8, 2.0), "sae": (0.9, 0.2), "random_sae": (0.6, 0.5)}
    table = board(told, sae="method", random_sae="control")
    table = replace(table, controls={**table.controls, "sae": "random_sae"})
    text = page.html([table])
    numbers = [part for tag, part in Tags(text).within if tag not in ("style", "script", "code")]
    assert not [part for part in numbers if re.search(r"(?<![\w-])-\d", part)]
    assert re.search(r"random_sae: −0\.\d{3} \[−", text)
    assert page._minus("a-1 [-0.1, x-y -3] -2") == "a-1 [−0.1, x-y −3] −2"
    assert page._value(-0.5) == "−0.500"


def test_a_change_and_its_interval_have_the_same_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    table = board({"probe": (0.8, 1.0), "sae": (0.9, 0.2)}, sae="method")
    found = [replace(q, change=0.00124, interval=(-0.00021, 0.0027)) for q in page.quivers(table)]
    monkeypatch.setattr(page, "quivers", lambda _: found)
    assert "+0.0012 <small>[−0.0002, +0.0027]</small>" in page.html([table])


def test_bars_span_what_the_board_reaches() -> None:
    table = board({"probe": (0.8, 1.0), "words": (0.7, 0.4)})
    scale = page._scale(table)
    every = [s.estimate for c in table.contenders if (s := table.find("all", c)) is not None]
    assert scale.low == 0.5 and scale.floor == 0  # nothing lies below chance
    assert 0 <= scale.high - max(e.high or 0 for e in every) <= 0.01
    assert page._bar(score(table, 0.5, 0.4, 2.0), scale) == page.Bar(0, 0, 100)
    assert f"0.50<span> to </span>{scale.high:.2f}" in page.html([table])
    low = board({"probe": (0.8, -1.0)})
    below = page._scale(low)
    assert below.floor is not None and 0 < below.floor <= 100 and below.share(0.5) == below.floor
    assert page._bar(score(table, float("nan"), None, None), scale) is None


def score(table: Table, value: float, low: float | None, high: float | None) -> page.Score:
    found = table.find("all", "probe")
    assert found is not None
    return replace(found, estimate=Estimate(value, low, high, None, 1.0))


def test_tables_are_told_apart_and_reached_by_keys() -> None:
    for made in (leaderboard.build(records()), [board({"probe": (0.8, 1.0), "sae": (0.9, 0.2)}, sae="method")]):
        text = page.html(made)
        assert text.count("<table") == text.count("<caption") > 0
        boxes = [told for tag, told in Tags(text).found if tag == "div" and told.get("class") == "scroll"]
        assert len(boxes) >= text.count("<table")
        assert all(box["tabindex"] == "0" and box["role"] == "region" and box["aria-label"] for box in boxes)


def test_the_surest_rows_are_of_the_first_cell_wrong_ones_first() -> None:
    made = records()
    first = first_cell(made[::-1])
    assert first is not None and (first.cell.task["name"], first.cell.seed) == ("cola", 0)
    weak = next(r for r in made if r.cell.contender["name"] == "weak")
    assert isinstance(weak.test, Answers) and isinstance(weak.dev, Answers)
    weak = replace(weak, about={**weak.about, "classes": ["no", "yes"]})
    rows = surest(weak)
    assert [row.right for row in rows] == [False, False, True, True]
    probability = answered([weak.test], [weak.dev]).probability[0]
    sure, right = probability.max(1), probability.argmax(1) == weak.test.truth
    assert rows[0].probability == pytest.approx(sure[~right].max())
    assert [rows[2].probability, rows[3].probability] == pytest.approx(sorted(sure[right])[:-3:-1])
    place = weak.test.id.index(rows[0].id)
    assert (rows[0].truth, rows[0].said) == (("no", "yes") if weak.test.truth[place] == 0 else ("yes", "no"))
    strong = next(r for r in made if r.cell.contender["name"] == "strong")
    perfect = replace(weak, test=replace(strong.test, score=np.eye(2)[weak.test.truth][None]))
    assert [row.right for row in surest(perfect)] == [True, True]  # no wrong one to show
    text = page.html(leaderboard.build(made))
    assert "Records of detection keep the ids of rows, not their texts." in text and rows[0].id in text


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


def test_the_small_chart_of_trials_tells_where_they_began_and_ended() -> None:
    drawn = charts.steps([0.5, 0.7, 0.7])
    assert drawn is not None and (drawn["first"], drawn["last"], drawn["count"]) == (0.5, 0.7, 3)
    assert charts.steps([0.5]) is None and charts.steps([]) is None


def test_what_tuning_brought_is_on_one_chart_in_sight() -> None:
    trials = [{"dev_score": score, "params": {}, "path": []} for score in (0.5, 0.7, 0.6)]
    made = [record(CELL, "tuned", 1.0, trials=trials, chosen=1), record(CELL, "other", 1.0, trials=trials[:2])]
    (table,) = leaderboard.build([*made, record(CELL, "untuned", 1.0)])
    text = page.html([table])
    assert text.count("<polyline") == 2 + 2  # and one for each in its details
    chart = text.index("Chart of what tuning brought")
    assert text.count("<details", 0, chart) == text.count("</details>", 0, chart)
    assert re.search(r"tuned \(baseline\): \+0\.200 after 3 trials", text) and "one trial" in text
    (untuned,) = leaderboard.build([record(CELL, "untuned", 1.0)])
    assert "What tuning brought" not in page.html([untuned])


def test_lines_share_their_axes_and_end_where_their_trials_do() -> None:
    made = [charts.Line(str(i), "method", "x", tuple(0.01 * i * k for k in range(2 + i % 3))) for i in range(40)]
    drawn = charts.lines(made)
    frame = drawn["frame"]
    assert frame.height > charts.HEIGHT  # of many names
    ends = {len(each["line"].values): each["ends"][0] for each in drawn["lines"]}
    assert ends[2] < ends[3] < ends[4] == frame.right
    same = [each["ends"][1] for each in drawn["lines"]]
    assert len({path.split()[0] for path in (each["path"] for each in drawn["lines"])}) == 1  # all begin at 0
    assert all(frame.top <= y <= frame.bottom for y in same)
    heights = sorted(name["y"] for name in drawn["names"])
    assert all(b - a >= charts.LINE - 0.2 for a, b in pairwise(heights)) and heights[0] >= 0
    assert [charts._counts(n) for n in (2, 12, 30)] == [[1, 2], [1, 2, 4, 6, 8, 10, 12], [1, 5, 10, 15, 20, 25, 30]]


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
    frame = drawn["frame"]
    for mark in drawn["marks"]:
        assert frame.left <= mark["x"] <= frame.right
        assert frame.top <= mark["y"] <= frame.bottom
    heights = sorted(name["y"] for name in drawn["names"])
    assert all(b - a >= charts.LINE - 0.2 for a, b in pairwise(heights))
    assert all(tick[0] <= frame.right + 0.2 for tick in drawn["across"])


def test_where_marks_crowd_there_are_ticks() -> None:
    near = [point("free", 0, 0.5), *(point(str(i), 350_000 + 10_000 * i, 0.7) for i in range(20))]
    drawn = charts.scatter(near, near[:1], floor=0.5)
    assert [text for _, text in drawn["across"]] == ["0", "100k", "200k", "300k", "400k", "500k"]
    xs = sorted(mark["x"] for mark in drawn["marks"])
    assert xs[-1] - xs[1] > 0.3 * (xs[-1] - xs[0])
    far = [point(str(x), x, 0.7) for x in (0, 20, 30, 300, 5_000)]
    assert [text for _, text in charts.scatter(far, far[:1], floor=0.5)["across"]] == [
        "0", "10", "20", "50", "100", "200", "500", "1k", "2k", "5k",
    ]  # fmt: skip


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
