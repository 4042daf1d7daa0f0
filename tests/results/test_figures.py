"""Every kind of figure: it shows what the tables hold, in the same bytes twice, or tells why it shows nothing."""

from __future__ import annotations

import csv
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import scipy.stats
from matplotlib.text import Annotation

from results import figures, leaderboard, pack
from results.figures import labels, layers, scores
from results.figures.style import PAGE, Drawn
from results.quiver import quivers
from results.record import Record
from results.standing import alike, complete, known, mean_ranks, spread, standings
from results.stats import over_families, over_tasks
from results.store import Store
from results.table import Margins, Table
from results.tuning import best_so_far, gains
from results.verdicts import ALL, verdicts
from runners.compose import options, raw
from runners.figures import drawn
from tests.results.test_leaderboard import records
from tests.results.test_quiver import board
from tests.results.test_record import CELL, record

ROOT = Path(__file__).parents[2]
SHIPPED = {
    "cost", "damage", "head_to_head", "labels", "layers", "profile", "quiver", "ranks", "regimes", "scores", "seconds",
    "seeds", "trials", "wins",
}  # fmt: skip
SKILLS = {"linear_probe": 1.0, "words": 0.3, "sae": 0.9, "random": 0.0}
SIDES = {"sae": "method", "random": "control"}


def of_regime(name: str, count: int, **changes: object) -> list[Record]:
    """Seven tasks of seven families, three seeds, two trials at two layers."""
    found = []
    for number in range(7):
        for seed in range(3):
            cell = replace(
                CELL,
                task={**CELL.task, "name": f"task{number}"},
                seed=seed,
                regime={"name": name, "labels": count, **changes},
            )
            for contender, skill in SKILLS.items():
                trials = [
                    {
                        "params": {"layer": layer},
                        "dev_score": 0.5 + 0.3 * skill + 0.1 * layer + 0.01 * number,
                        "path": [],
                    }
                    for layer in (0.25, 0.75)
                ]
                r = record(cell, contender, skill * (1 + 0.1 * number) * (1 + count / 1000), trials=trials, chosen=1)
                about = {"task_family": f"f{number}", "contender_family": SIDES.get(contender, "baseline"),
                         "control": "random" if contender == "sae" else None}  # fmt: skip
                found.append(replace(r, about={**r.about, **about}))
    return found


@pytest.fixture(scope="module")
def tables() -> list[Table]:
    return leaderboard.build([*of_regime("standard", 512), *of_regime("few_16", 16)])


def standard(tables: Sequence[Table]) -> Table:
    return next(t for t in tables if t.board.regime == "standard")


def test_every_shipped_kind_has_a_yaml_of_its_name_and_is_drawn_by_default() -> None:
    """Others are a user's own."""
    assert set(figures.KINDS) >= SHIPPED and set(options("figure")) >= SHIPPED
    assert all(raw("figure", name)["kind"] == name for name in SHIPPED)
    assert set(raw("", "figures")["defaults"][-1]["figure"]) == SHIPPED


MINE = """from results.figures.style import Drawn, NothingToDrawError
import matplotlib.pyplot as plt

def draw(boards, metric, width):
    figure, axis = plt.subplots(figsize=(width, 2))
    return Drawn(figure, "A figure of a user's own, said in more than 40 characters.", [{"contender": "a", "x": 1.5}])
"""


def own(root: Path, name: str, code: str, header: bool = True) -> None:
    (root / "results" / "figures" / f"{name}.py").write_text(code)
    lines = [f"# @package figure.{name}"] * header + [f"kind: {name}", "metric: main", "width: 3"]
    (root / "conf" / "figure" / f"{name}.yaml").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with figures of a user's own, of which one is as it should be, and a store of one board."""
    root = tmp_path_factory.mktemp("copy")
    for room in ("arena", "conf", "results", "runners"):
        shutil.copytree(ROOT / room, root / room, ignore=shutil.ignore_patterns("published", "__pycache__"))
    pack.write(records(), Store(root / "store").packs / "p.npz")
    own(root, "mine", MINE)
    own(root, "mine_raises", MINE.replace("return", "raise ValueError('not\\ntoday')\n    return"))
    own(root, "mine_is_missing", MINE.replace("def draw", "def drow"))
    own(root, "mine_is_no_module", "import nothing_of_this_name")
    own(root, "mine_gives_nothing", MINE.replace("return", "told ="))
    return root


def run(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runners.cli", "figures", "store=store", *words]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_a_figure_of_ones_own_is_drawn_and_a_broken_one_stops_no_other(copied: Path) -> None:
    done = run(copied)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    told = [line for line in done.stderr.splitlines() if "cannot be drawn" in line]
    assert told == [
        "The figure mine_gives_nothing cannot be drawn: draw in mine_gives_nothing.py gives NoneType, which is no "
        "Drawn.",
        "The figure mine_is_missing cannot be drawn: mine_is_missing.py has no function draw(boards, metric, width).",
        "The figure mine_is_no_module cannot be drawn: mine_is_no_module.py does not import (ModuleNotFoundError: No "
        "module named 'nothing_of_this_name').",
        "The figure mine_raises cannot be drawn: ValueError: not today.",
    ]
    drawn = {line.rpartition("/")[2].partition("-")[0] for line in done.stdout.splitlines()}
    assert {"mine", "scores", "cost"} <= drawn and not any(name.startswith("mine_") for name in drawn)


def test_a_yaml_that_lacks_its_first_line_is_told_so(copied: Path) -> None:
    own(copied, "mine_unplaced", MINE, header=False)
    done = run(copied, "figure=[scores]")
    (copied / "conf" / "figure" / "mine_unplaced.yaml").unlink()
    assert done.stderr.strip().endswith(
        "The first line of conf/figure/mine_unplaced.yaml must be: # @package figure.mine_unplaced"
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr


def test_numbers_that_are_no_table_leave_no_half_of_a_figure(tmp_path: Path) -> None:
    ragged = Drawn(plt.figure(), "Rows of other keys.", [{"a": 1}, {"b": 2}])
    with pytest.raises(ValueError, match="fields not in fieldnames"):
        figures.save(ragged, tmp_path, "ragged")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", sorted(SHIPPED - {"damage"}))
def test_a_figure_is_the_same_twice_and_comes_with_caption_and_numbers(
    kind: str, tables: list[Table], tmp_path: Path
) -> None:
    hashes = []
    for run in ("one", "two"):
        (boards, *_) = figures.groups(kind, tables)
        paths = figures.save(figures.draw(kind, boards, "main", 5.0), tmp_path / run, kind)
        assert [p.suffix for p in paths] == [".png", ".pdf", ".svg", ".txt", ".csv"]
        hashes.append([hashlib.sha256(p.read_bytes()).hexdigest() for p in paths])
    assert hashes[0] == hashes[1]
    assert len(paths[3].read_text()) > 40
    rows = list(csv.DictReader(paths[4].open()))
    assert rows and all(len(row) > 1 and None not in row.values() for row in rows)


def test_a_figure_without_numbers_is_left_out_before_a_file_is_written(
    tables: list[Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = SimpleNamespace(draw=lambda boards, metric, width: Drawn(plt.figure(), "Of nobody.", []))
    monkeypatch.setitem(figures.KINDS, "own", own)
    with pytest.raises(figures.NothingToDrawError, match="drawn no numbers"):
        figures.draw("own", tables[:1], "main", 5.0)


@pytest.mark.parametrize(
    ("caption", "numbers", "told"),
    [
        ("Short.", [{"a": 1}], "caption"),
        ("A caption that is a sentence of its own.....", [{"a": 1}, {"b": 2}], "same keys"),
        ("A caption that is a sentence of its own.....", [[1, 2]], "no mappings"),
    ],
)
def test_what_a_figure_must_hold_is_asked_for(
    tables: list[Table], monkeypatch: pytest.MonkeyPatch, caption: str, numbers: list[Any], told: str
) -> None:
    own = SimpleNamespace(draw=lambda boards, metric, width: Drawn(plt.figure(), caption, numbers))
    monkeypatch.setitem(figures.KINDS, "own", own)
    with pytest.raises(figures.BrokenFigureError, match=told):
        figures.draw("own", tables[:1], "main", 5.0)


def test_what_cannot_be_drawn_says_why(tables: list[Table]) -> None:
    few = leaderboard.build(records())
    for kind, reason in (
        ("damage", "track steer"), ("labels", "two sizes"), ("wins", "no method"), ("quiver", "no method"),
        ("head_to_head", "it needs linear_probe"), ("layers", "two layers"), ("ranks", "six tasks"),
    ):  # fmt: skip
        with pytest.raises(figures.NothingToDrawError, match=reason):
            figures.draw(kind, few, "main", 5.0)
    for kind in ("wins", "quiver", "seeds", "layers", "ranks", "profile"):
        with pytest.raises(figures.NothingToDrawError):
            figures.draw(kind, tables[:1], "brier", 5.0)


def test_regimes_are_drawn_as_changes_over_the_tasks_of_both(tables: list[Table]) -> None:
    (small,) = leaderboard.build([r for r in of_regime("few_16", 16) if r.cell.task["name"] != "task3"])
    plain = standard(tables)
    rows = {row["contender"]: row for row in figures.draw("regimes", [plain, small], "main", 5.0).numbers}
    kept = [task for task in plain.tasks if task != "task3"]
    assert (rows["random"]["change"], rows["random"]["low"]) == pytest.approx((0, 0))  # chance everywhere
    for name in set(SKILLS) - {"random"}:
        both = [(plain.find(task, name), small.find(task, name)) for task in kept]
        gaps = np.array([b.estimate.value - a.estimate.value for a, b in both if a and b])
        low, high = scipy.stats.t.interval(0.95, 5, gaps.mean(), gaps.std(ddof=1) / 6**0.5)
        assert (rows[name]["tasks"], rows[name]["regime"]) == (6, "few_16")
        told = [rows[name][what] for what in ("change", "low", "high")]
        assert told == pytest.approx([gaps.mean(), low, high])
    with pytest.raises(figures.NothingToDrawError, match="regime standard and another"):
        figures.draw("regimes", [small], "main", 5.0)


def test_less_is_not_taken_for_more(tables: list[Table]) -> None:
    for kind in ("cost", "seconds", "head_to_head"):
        with pytest.raises(figures.NothingToDrawError, match="of ece less is better"):
            figures.draw(kind, tables[:1], "ece", 5.0)


def test_scores_keep_to_a_page() -> None:
    assert scores.layout(7, 4, 7.0) == (5, 2, scores.FAR)  # as ever where there is room
    for panels, contenders in ((17, 37), (12, 60), (17, 120), (114, 20), (114, 40)):
        columns, lines, pitch = scores.layout(panels, contenders, 7.0)
        assert 0 < lines * (scores.BESIDE + pitch * contenders) <= PAGE + 1e-9
        assert 0.03 < pitch <= scores.FAR and columns * scores.NARROW <= 7.0
    assert scores.layout(17, 37, 7.0)[:2] == (9, 2)  # all of them


def test_panels_that_find_no_room_are_told(tables: list[Table], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "PAGE", 1.0)
    drawn = figures.draw("scores", [standard(tables)], "main", 3.0)
    shown = [axis for axis in drawn.figure.axes if axis.get_visible()]
    assert f"Of the tasks {8 - len(shown)} find no room" in drawn.caption and len(shown) < 8
    assert len(drawn.numbers) == 8 * len(SKILLS)


def test_names_stand_apart(tables: list[Table]) -> None:
    drawn = figures.draw("cost", [standard(tables)], "main", 4.0)
    (axis,) = drawn.figure.axes
    heights = sorted(t.xyann[1] for t in axis.texts if isinstance(t, Annotation))
    room = axis.get_window_extent().height / drawn.figure.dpi * 72
    assert len(heights) == len(SKILLS)
    assert min(np.diff(heights)) * room > 6.9  # points, of letters of 6


def test_labels_are_drawn_over_the_tasks_that_all_regimes_have(tables: list[Table]) -> None:
    fewer = leaderboard.build([r for r in of_regime("few_16", 16) if r.cell.task["name"] != "task3"])
    drawn = labels.draw([standard(tables), *fewer], "auroc", 5.0)
    assert {row["tasks"] for row in drawn.numbers} == {6}
    told = {(row["contender"], row["labels"]): row["auroc"] for row in drawn.numbers}
    kept = [t for t in standard(tables).tasks if t != "task3"]
    expected = [s.estimate.value for t in kept if (s := standard(tables).find(t, "sae")) is not None]
    assert told["sae", 512] == pytest.approx(np.mean(expected))
    (small,) = (t for t in tables if t.board.regime == "few_16")
    holed = leaderboard.build([r for r in of_regime("standard", 512) if r.cell.task["name"] != "task3"])
    assert {row["tasks"] for row in labels.draw([small, *holed], "auroc", 5.0).numbers} == {6}
    noisy = leaderboard.build(of_regime("noisy_10", 512, noise=0.1))
    assert noisy[0].labels is None
    foreign = leaderboard.build(of_regime("sae_probes_compat", 1024, protocol="sae_probes"))
    assert foreign[0].labels is None


def test_labels_come_with_intervals_and_the_best_at_each_number(tables: list[Table]) -> None:
    drawn = figures.draw("labels", figures.groups("labels", tables)[0], "main", 5.0)
    for table in tables:
        (count,) = {table.labels}
        rows = [row for row in drawn.numbers if row["labels"] == count]
        assert [row["contender"] for row in rows if row["best"]] == [
            max(rows, key=lambda row: row["auroc"])["contender"]
        ]
        found = [s.estimate for t in table.tasks if (s := table.find(t, "sae")) is not None]
        e = over_tasks(found, [table.families[t] for t in table.tasks])
        (row,) = (row for row in rows if row["contender"] == "sae")
        assert (row["auroc"], row["low"], row["high"]) == pytest.approx((e.value, e.low, e.high))
    shown = [text.get_text() for axis in drawn.figure.axes for text in axis.texts]
    assert [text for text in shown if text.startswith("best: ")] == ["best: linear_probe"] * 2


def test_what_tuning_brought_is_the_best_so_far_less_the_first(tables: list[Table]) -> None:
    """Every cell's second trial is 0.05 above its first."""
    table = standard(tables)
    rows = [row for row in figures.draw("trials", [table], "main", 5.0).numbers if row["contender"] == "sae"]
    assert [row["trials"] for row in rows] == [1, 2]
    assert [row["gain"] for row in rows] == pytest.approx([0, 0.05])
    few = leaderboard.build([r for r in of_regime("standard", 512) if r.cell.task["name"] < "task3"])
    drawn = figures.draw("trials", few, "main", 5.0)
    assert {row["low"] for row in drawn.numbers} == {None} and "without intervals" in drawn.caption
    with pytest.raises(figures.NothingToDrawError, match="two trials"):
        figures.draw("trials", leaderboard.build(records()), "main", 5.0)


def told(*scores: float | None, parts: Sequence[Sequence[float]] = ()) -> Record:
    trials = [{"params": {}, "dev_score": score, "path": []} for score in scores]
    for trial, each in zip(trials, parts, strict=False):
        trial["parts"] = each
    return record(CELL, "a", 1.0, trials=trials)


def test_the_best_so_far_never_falls_and_stays_where_trials_end() -> None:
    best = best_so_far([told(0.5, 0.7, 0.6), told(0.6, None), told(None, 0.9), replace(told(0.1), status="failed")])
    assert best == pytest.approx(np.array([[0.5, 0.7, 0.7], [0.6, 0.6, 0.6]]))
    concepts = best_so_far([told(0.5, 0.5, parts=[[0.2, 0.8, np.nan], [0.8, 0.2, np.nan]])])
    assert concepts == pytest.approx(np.array([[0.5, 0.8]]))  # each chose for itself
    assert best_so_far([]).size == 0


def test_gains_have_an_interval_over_families() -> None:
    made = []
    for number in range(6):
        cell = replace(CELL, task={**CELL.task, "name": f"task{number}"})
        trials = [{"params": {}, "dev_score": 0.5 + x * number, "path": []} for x in (0, 0.01)]
        r = record(cell, "probe", 1.0, trials=trials)
        made.append(replace(r, about={**r.about, "task_family": f"f{number}"}))
    (table,) = leaderboard.build(made)
    (gain,) = gains(table)
    expected = over_families(np.arange(6) / 100, [str(i) for i in range(6)])
    assert expected is not None
    assert (gain.after[1].low, gain.after[1].high) == pytest.approx((expected.low, expected.high))


def test_lines_that_share_a_colour_have_other_markers() -> None:
    made = []
    for i in range(10):
        trials = [{"params": {"layer": x}, "dev_score": 0.5 + x * i / 10, "path": []} for x in (0.2, 0.8)]
        made.append(record(CELL, f"probe{i}", 1.0, trials=trials))
    (axis,) = figures.draw("layers", leaderboard.build(made), "main", 5.0).figure.axes
    styles = {(line.get_color(), line.get_marker()) for line in axis.lines if line.get_marker() not in ("", "None")}
    assert len(styles) == 10


def test_the_bars_count_verdicts_and_the_quiver_its_changes(tables: list[Table]) -> None:
    table = standard(tables)
    (row,) = figures.draw("wins", [table], "main", 4.0).numbers
    found = [v.word for v in verdicts(table) if v.task != ALL]
    assert {word: row[word] for word in set(found)} == {word: found.count(word) for word in found}
    wide = figures.draw("wins", [replace(table, margins=Margins(task=0.5))], "main", 4.0)
    assert "margin 0.5" in wide.caption
    (row,) = figures.draw("quiver", [table], "main", 4.0).numbers
    assert row["change"] == quivers(table)[0].change


def test_head_to_head_has_each_task_once(tables: list[Table]) -> None:
    rows = figures.draw("head_to_head", [standard(tables)], "main", 5.0).numbers
    assert [row["task"] for row in rows] == [f"task{n}" for n in range(7)]
    table = standard(tables)
    one, two = table.find("task3", "sae"), table.find("task3", "linear_probe")
    assert one is not None and two is not None
    assert rows[3]["less"] == pytest.approx(one.estimate.value - two.estimate.value)


def test_a_layer_counts_by_its_distance_within_its_cell(tables: list[Table]) -> None:
    low, high = layers.profile(standard(tables), "sae")
    assert high[1] - low[1] == pytest.approx(0.05)
    assert (low[0], high[0], low[2]) == (0.25, 0.75, 21)
    assert (low[1] + high[1]) / 2 == pytest.approx(0.5 + 0.27 + 0.05 + 0.03)


def test_cells_that_tried_other_layers_do_not_bend_the_profile() -> None:
    """Scores are the layer plus something of the task; no cell tried all three."""
    made = []
    for number, tried in enumerate(((0.1, 0.5), (0.5, 0.9), (0.1, 0.5))):
        cell = replace(CELL, task={**CELL.task, "name": f"task{number}"})
        trials = [{"params": {"layer": x}, "dev_score": x / 2 + 0.1 * number, "path": []} for x in tried]
        made.append(record(cell, "probe", 1.0, trials=trials, chosen=0))
    (table,) = leaderboard.build(made)
    line = layers.profile(table, "probe")
    assert [n for _, _, n in line] == [2, 3, 1]
    assert [b[1] - a[1] for a, b in pairwise(line)] == pytest.approx([0.2, 0.2])


def test_blocks_and_shares_of_the_depth_share_no_axis() -> None:
    def drawn(*tried: float) -> Any:
        trials = [{"params": {"layer": x}, "dev_score": 0.5 + x / 100, "path": []} for x in tried]
        return figures.draw("layers", leaderboard.build([record(CELL, "probe", 1.0, trials=trials)]), "main", 5.0)

    mixed, blocks = drawn(0.25, 0.5, 8, 15), drawn(8, 15, 22)
    assert [row["layer"] for row in mixed.numbers] == [0.25, 0.5] and "share" in mixed.figure.axes[0].get_xlabel()
    assert [row["layer"] for row in blocks.numbers] == [8, 15, 22] and "block" in blocks.figure.axes[0].get_xlabel()


def test_a_task_whose_scores_are_withheld_counts_in_no_standing(tables: list[Table]) -> None:
    table = standard(tables)
    gone = {(t, c): replace(m, values=m.values * np.nan) if t == "task3" else m for (t, c), m in table.measured.items()}
    holed = replace(table, measured=gone)
    assert known(holed) == [t for t in table.tasks if t != "task3"]
    assert np.isfinite([[s.rank, s.wins, s.normalised] for s in standings(holed, "linear_probe")]).all()
    assert sum(s.wins for s in standings(holed, "linear_probe")) == pytest.approx(len(SKILLS) / 2)


def test_boards_of_two_judges_have_files_of_their_own(tables: list[Table], tmp_path: Path) -> None:
    table = standard(tables)
    judges = [replace(table, board=replace(table.board, judge=name)) for name in ("one", "two")]
    spec = {"quiver": {"kind": "quiver", "metric": "main", "width": 3.0}}
    paths = list(drawn(judges, spec, tmp_path))
    assert len(set(paths)) == len(paths) == 10


def test_spread_is_told_apart_by_where_it_comes_from(tables: list[Table]) -> None:
    table = standard(tables)
    found = spread(table, "sae")
    values = np.array([table.measured[t, "sae"].values for t in table.tasks])
    assert found is not None
    assert found.task == pytest.approx(values.mean(1).std(ddof=1))
    assert found.seed == pytest.approx(values.var(axis=1, ddof=1).mean() ** 0.5)
    assert 0 < found.example < 0.5
    assert spread(table, "nobody") is None
    assert spread(board({"probe": (0.8, 1.0)}, families=1), "probe") is None


def test_standings_against_closed_forms(tables: list[Table]) -> None:
    table = standard(tables)
    names = complete(table)
    scores = np.array([[table.measured[t, c].values.mean() for t in table.tasks] for c in names])
    ranks = scipy.stats.rankdata(-scores, axis=0).mean(1)
    assert mean_ranks(table) == pytest.approx(dict(zip(names, ranks, strict=True)))
    for s in standings(table, "linear_probe"):
        mine = scores[names.index(s.contender)]
        beaten = [
            (mine > scores[i]).mean() + (mine == scores[i]).mean() / 2
            for i in range(len(names))
            if names[i] != s.contender
        ]
        assert s.wins == pytest.approx(np.mean(beaten))
        assert s.rank == pytest.approx(1 + (len(names) - 1) * (1 - s.wins))
        assert s.normalised == pytest.approx(((mine - 0.5) / 0.5).mean())
        assert (s.improves is None) == (s.contender == "linear_probe")
        if s.improves is not None:
            each = [[table.measured[t, c].values for c in (s.contender, "linear_probe")] for t in table.tasks]
            pairs = [scipy.stats.mannwhitneyu(one, two).statistic / 9 for one, two in each]
            assert s.improves == pytest.approx(np.mean(pairs))


def test_runs_that_are_not_told_apart() -> None:
    far = {f"c{i}": (0.8, skill) for i, skill in enumerate((3.0, 2.9, 0.1, 0.0))}
    table = board(far, families=12)
    order = sorted(far)
    runs = alike(table, order)
    scores = [[table.measured[t, c].values.mean() for t in table.tasks] for c in order]
    p = scipy.stats.wilcoxon(np.subtract(scores[1], scores[2])).pvalue
    assert p * 6 < 0.05 and (0, 2) not in runs and (1, 2) not in runs
    assert alike(board(dict.fromkeys(("a", "b"), (0.8, 1.0))), ["a", "b"]) == [(0, 1)]
    assert alike(board(dict.fromkeys(("a", "b"), (0.8, 1.0)), families=4), ["a", "b"]) == []  # nothing could be told
