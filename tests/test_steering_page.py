"""Every number of docs/steering.md is what the published records give, and docs/answers.md is made of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from scipy.stats import spearmanr

from results import leaderboard
from results.samples import samples
from results.steering import DAMAGE, PARTS
from results.store import Store
from results.table import Table, at_floor

ROOT = Path(__file__).parents[1]
STORE = ROOT / "results" / "published" / "axbench"
PAGE = ROOT / "docs" / "steering.md"
OTHER = "prompt_steering"
HEAD = f"| contender | score | less {OTHER} | {' | '.join(PARTS)} | {DAMAGE} |"
FLOORS = ("no_intervention", "random_direction")
# By the mean of its two layers of Gemma-2-2B (Wu et al. 2025; RePS from Wu et al. 2025b).
AXBENCH = (
    "prompt_steering", "loreft", "reps", "lora_steering", "reft_r1", "diff_in_means", "sae_max_pool",
    "supervised_vector",
)  # fmt: skip
GAP = re.compile(r"[+-]0\.\d{3} \[[+-]0\.\d{3}, [+-]0\.\d{3}\]")


def board() -> Table:
    """Of the suite with the most contenders."""
    tables = leaderboard.build(r for r in Store(STORE).records() if r.cell.track == "steer")
    return max(tables, key=lambda table: len(table.contenders))


def gap(table: Table, name: str, other: str) -> str:
    found = table.against(name, other)
    assert found is not None
    return "{:+.3f} [{:+.3f}, {:+.3f}]".format(*found)


def line(table: Table, name: str) -> str:
    """A contender's row of the page's table."""
    score = table.find("all", name)
    assert score is not None and score.estimate.low is not None
    e = score.estimate
    others = [table.find("all", name, metric) for metric in (*PARTS, DAMAGE)]
    told = [f"{s.estimate.value:.3f}" for s in others if s is not None]
    beside = "–" if name == OTHER else gap(table, name, OTHER)
    return f"| {name} | {e.value:.3f} [{e.low:.3f}, {e.high:.3f}] | {beside} | {' | '.join(told)} |"


@pytest.fixture(scope="module")
def table() -> Table:
    return board()


def test_the_table(table: Table) -> None:
    text = PAGE.read_text()
    rows = text[text.index(HEAD) :].split("\n\n")[0].splitlines()[2:]
    assert rows == [line(table, name) for name in table.contenders if table.complete(name)]
    assert len(rows) > 5


def test_the_sentences(table: Table) -> None:
    """Every gap and value is of the contender that is named before it."""
    text = re.sub(r"\s+", " ", PAGE.read_text())
    whole = [name for name in table.contenders if table.complete(name)]
    said = re.findall(rf"`(\w+)` (?:stands |\()?({GAP.pattern})", text)
    assert len(said) == len(GAP.findall(text)) - (len(whole) - 1) > 10  # the table's are held above
    for name, told in said:
        assert told in {gap(table, name, other) for other in (OTHER, *FLOORS) if other != name}, name
    values = re.findall(r"`(\w+)` (0\.\d{3})\b", text)
    assert len(values) > 8
    for name, value in values:
        mine = [table.find("all", name, metric) for metric in (None, *PARTS, DAMAGE)]
        assert value in {f"{s.estimate.value:.3f}" for s in mine if s}, name
    least = [min(s.estimate.value for name in whole if (s := table.find("all", name, m))) for m in PARTS[1:]]
    assert "({:.3f} and {:.3f} at the least)".format(*least) in text


def test_prompting_is_at_the_floor_as_the_leaderboard_says(table: Table) -> None:
    assert at_floor(table) == list(table.tasks)
    assert "Prompting is at the floor here, so that nothing is claimed against it." in PAGE.read_text()


def test_the_ranking_beside_axbench_s(table: Table) -> None:
    mine = {name: s.estimate.value for name in AXBENCH if table.complete(name) and (s := table.find("all", name))}
    rho = spearmanr(list(mine.values()), [-place for place, name in enumerate(AXBENCH) if name in mine]).statistic
    text = re.sub(r"\s+", " ", PAGE.read_text())
    assert f"over the {len(mine)} contenders that both have, Spearman's correlation is {rho:+.2f}" in text
    for order in ([name for name in AXBENCH if name in mine], sorted(mine, key=lambda name: -mine[name])):
        assert ", ".join(f"`{name}`" for name in order) in text


def test_the_agreement_of_the_panels() -> None:
    told = json.loads((STORE / "agreement.json").read_text())
    keys = {r.key for r in Store(STORE).records() if r.cell.track == "steer"}
    assert set(told["records"]) <= keys and len(told["records"]) >= 10
    text = re.sub(r"\s+", " ", PAGE.read_text())
    assert f"a Kendall correlation of {told['score']['tau']:+.2f}" in text
    assert f"(concept alone: {told['concept']['tau']:+.2f})" in text
    assert f"a weighted kappa of {told['score']['kappa']:+.2f}" in text


def test_the_answers() -> None:
    records = [r for r in Store(STORE).records() if r.cell.track == "steer"]
    assert (ROOT / "docs" / "answers.md").read_text() == samples(records)


def test_what_is_said_of_good_detectors() -> None:
    """Concept by concept: AUROC of detection beside the score of steering, of those that do both."""
    tables = leaderboard.build(Store(STORE).records())
    found = {track: next(t for t in tables if t.board.track == track) for track in ("detect", "steer")}
    both = [c for c in found["steer"].contenders if c in found["detect"].contenders]
    assert set(both) == {"diff_in_means", "sae_max_pool", "random_direction"}
    text = " ".join(PAGE.read_text().split())
    for name in both:
        one, two = (_by_concept(found[track], name) for track in ("detect", "steer"))
        assert one.keys() == two.keys() and len(one) == 10
        means = [f"{sum(scores.values()) / 10:.3f}" for scores in (one, two)]
        assert f"{means[0]} and {means[1]} for `{name}`" in text or f"AUROC {means[0]} and score {means[1]}" in text
        if name != "random_direction":
            rho, p = spearmanr([one[c] for c in one], [two[c] for c in one])
            assert f"{rho:+.2f} for `{name}` (p = {p:.2f})" in text


def _by_concept(table: Table, name: str) -> dict[str, float]:
    (task,) = table.tasks
    parts = table.measured[task, name].parts
    assert parts is not None
    return dict(zip(table.parts(task), parts.mean(0).tolist(), strict=True))
