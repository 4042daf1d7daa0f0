"""Every number of docs/steering.md is what the published records give, and docs/answers.md is made of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scipy.stats import spearmanr
from statsmodels.stats.multitest import multipletests

from results import leaderboard
from results.matched import NATS, matched
from results.record import Record, Steered
from results.samples import samples
from results.steering import DAMAGE, PARTS
from results.store import Store
from results.table import Table, at_floor
from runners.compose import raw

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
    lines = [line for line in PAGE.read_text().splitlines() if not line.startswith("  |")]  # held by tests of their own
    text = re.sub(
        r"Whichever the two .*? beside prompting\.|prompting from doing nothing \(.*?\)|which stands .*? beside ",
        "",
        " ".join(" ".join(lines).split()),
    )
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


def test_without_the_two_concepts_that_gain_most(table: Table) -> None:
    (task,) = table.tasks
    mine, other = (table.measured[task, name].parts for name in ("supervised_vector", OTHER))
    assert mine is not None and other is not None
    kept = np.sort(mine.mean(0) - other.mean(0))[:-2]
    half = stats.t.ppf(0.975, len(kept) - 1) * stats.sem(kept)
    told = f"{kept.mean():+.3f} [{kept.mean() - half:+.3f}, {kept.mean() + half:+.3f}]"
    assert f"gains most, `supervised_vector` stands {told} beside prompting" in " ".join(PAGE.read_text().split())


def test_what_two_seeds_share(table: Table) -> None:
    same = set()
    for (_, name), found in table.records.items():
        said = {r.test.answer for r in found if isinstance(r.test, Steered)}
        same |= {name} if len(said) < len(found) else set()
    text = " ".join(PAGE.read_text().split())
    assert same == {"no_intervention", "diff_in_means", "sae_max_pool"}
    assert "`no_intervention`, `diff_in_means` and `sae_max_pool` answer the same in both" in text
    trials = {name: len(found[0].trials) for (_, name), found in table.records.items()}
    assert {name for name, n in trials.items() if n == 1} == {"lora_steering", "loreft", "no_intervention"}
    assert set(trials.values()) == {1, 3}


def test_scores_at_equal_damage(table: Table) -> None:
    rows = [f"  | {m.contender} | {' | '.join(f'{score:.3f}' for score in m.scores)} |" for m in matched(table)]
    head = "  | contender | " + " | ".join(f"at {nats:g}" for nats in NATS) + " |\n  |---|---|---|---|---|\n"
    assert head + "\n".join(rows) + "\n\n" in PAGE.read_text()


def test_what_the_judge_makes_of_known_texts(table: Table) -> None:
    (found,) = (r for (_, name), all_ in table.records.items() if name == "reft_r1" for r in all_[:1])
    assert isinstance(found.test, Steered) and found.cell.seed == 0
    judges, text = found.about["judge"], " ".join(PAGE.read_text().split())
    rows, unsteered = [], {}
    for name, part in zip(dict.fromkeys(found.test.part), judges["scores"]["parts"], strict=True):
        told = [part[each] for each in ("auroc", "real", "other", "unsteered", "hard", "salad", "loops")]
        told.append(part["scores"]["echo"])
        rows.append(f"  | {name} | {' | '.join('–' if x is None else f'{x:.2f}' for x in told)} |")
        unsteered[name] = part["unsteered"]
        assert not part["withheld"]
    assert "\n".join(rows) + "\n" in PAGE.read_text()
    two = sorted(unsteered.values())[-2:]
    assert f'({two[1]:.2f}) and of "rental services" ({two[0]:.2f}): these two' in text
    words = judges["selects"]["parts"]  # of the panel that selects
    assert all(part["salad"] >= part["real"] - 0.005 for part in words) and len(words) == 10
    assert f"{max(part['scores']['salad'] for part in words):.2f}" == "0.00"
    assert "for all ten concepts it finds as much of the concept in a salad" in text
    assert "(as answers, salads score 0.00)" in text


def test_what_is_left_when_all_comparisons_count(table: Table) -> None:
    parts = {name: m.parts.mean(0) for (_, name), m in table.measured.items() if m.parts is not None}
    left = {}
    for other in (OTHER, "no_intervention"):
        names = [name for name in parts if name != other]
        p = [stats.ttest_1samp(parts[name] - parts[other], 0).pvalue for name in names]
        left[other] = dict(zip(names, multipletests(p, method="holm")[1], strict=True))
    beside, still = left[OTHER], left["no_intervention"]
    assert len(beside) == len(still) == 9
    assert {n for n, p in beside.items() if p < 0.05} == {"supervised_vector", "reps"}
    assert {n for n, p in still.items() if p < 0.05} == {"supervised_vector", "reps", "loreft"}
    text = " ".join(PAGE.read_text().split())
    assert "(p = {supervised_vector:.3f} and {reps:.3f})".format(**beside) in text
    assert "({reft_r1:.2f}, {diff_in_means:.2f} and {lora_steering:.2f})".format(**beside) in text
    assert "({supervised_vector:.3f}, {reps:.3f}, {loreft:.3f})".format(**still) in text


def test_what_the_strongest_trials_break(table: Table) -> None:
    text = " ".join(PAGE.read_text().split())
    for name in ("random_direction", "supervised_vector", "reft_r1"):
        found = [r for (_, who), all_ in table.records.items() if who == name for r in all_]
        most = np.mean([max(np.mean(trial["damage"]) for trial in r.trials) for r in found])
        before = "its strongest trial breaks" if name == "random_direction" else f"that of `{name}`"
        assert f"{before} {most:.2f}" in text


def test_the_agreement_of_the_panels() -> None:
    told = json.loads((STORE / "agreement.json").read_text())
    keys = {r.key for r in Store(STORE).records() if r.cell.track == "steer"}
    assert set(told["records"]) <= keys and len(told["records"]) >= 10
    text = re.sub(r"\s+", " ", PAGE.read_text())
    assert f"a Kendall correlation of {told['score']['tau']:+.2f}" in text
    assert f"(concept alone: {told['concept']['tau']:+.2f})" in text
    assert f"a weighted kappa of {told['score']['kappa']:+.2f}" in text


def test_a_judge_that_knows_nothing_of_the_model() -> None:
    """The table is what `judge-agreement` wrote, and so is every gap that is said of it."""
    told = json.loads((STORE / "agreement_minilm.json").read_text())
    assert told["judge"]["reads"] == "minilm" and told["panel"] == "scores"
    assert set(told["records"]) == {r.key for r in Store(STORE).records() if r.cell.track == "steer"}

    def said(gap: list[float] | None) -> str:
        return "–" if gap is None else "{:+.3f} [{:+.3f}, {:+.3f}]".format(*gap)

    rows = [
        f"  | {name} | {' | '.join(f'{x:.3f}' for x in each['scores'])} | {' | '.join(map(said, each['gaps']))} |"
        for name, each in told["contenders"].items()
    ]
    whole = PAGE.read_text()
    assert "\n".join(rows) + "\n" in whole
    text = " ".join(whole.split())
    still, apart = [], []
    for judge in (0, 1):
        value, low, high = (-x for x in told["contenders"]["no_intervention"]["gaps"][judge])
        still.append(said([value, high, low]))
        gaps = {name: each["gaps"][judge] for name, each in told["contenders"].items() if each["gaps"][judge]}
        apart.append({name for name, (_, low, high) in gaps.items() if not low < 0 < high})
    assert f"and prompting from doing nothing ({still[0]})" in text and f"which stands {still[1]} beside doing" in text
    assert apart == [{"supervised_vector", "reps", "no_intervention", "random_direction"}, set()]
    assert f"kappa {told['score']['kappa']:+.2f}, Kendall {told['score']['tau']:+.2f}" in text
    assert told["score"]["answers"] == 0.7 * told["fluency"]["answers"]  # three concepts of ten are withheld


def three() -> list[Record]:
    """Records on three concepts."""
    return [r for r in Store(STORE.parent / "axbench_three").records() if r.cell.track == "steer"]


def test_the_others_on_three_concepts(table: Table) -> None:
    (few,) = leaderboard.build(three())
    whole = [name for name in few.contenders if few.complete(name)]
    rows = []
    for name in whole:
        metrics = [few.find("all", name, metric) for metric in (None, *PARTS, DAMAGE)]
        rows.append(f"| {name} | {' | '.join(f'{s.estimate.value:.3f}' for s in metrics if s is not None)} |")
    assert len(few.parts(few.tasks[0])) == 3 and {len(few.seeds(task)) for task in few.tasks} == {2}
    assert "\n".join(rows) + "\n" in PAGE.read_text()
    section = " ".join(PAGE.read_text().split("## The others, on three concepts")[1].split())
    (task,), (small,) = table.tasks, few.tasks
    places = [table.parts(task).index(part) for part in few.parts(small)]
    beside = {name: value for value, name in re.findall(r"(0\.\d{3}) \(`(\w+)`\)", section)}
    moved = {}
    for name in table.contenders:
        parts = table.measured[task, name].parts
        assert parts is not None and f"{parts.mean(0)[places].mean():.3f}" == beside.pop(name)
        if other := few.find("all", name):
            moved[name] = round(abs(other.estimate.value - parts.mean(0)[places].mean()), 3)
    assert not beside
    told = re.findall(r"`(\w+)` (?:moves )?by (0\.\d{3})", section)
    assert len(told) == 2 and {name: float(by) for name, by in told}.items() <= moved.items()
    assert max(moved.values()) == moved["random_direction"] < 0.1
    value = {name: s.estimate.value for name in whole if (s := few.find("all", name))}
    damage = {name: s.estimate.value for name in whole if (s := few.find("all", name, DAMAGE))}
    still = value["no_intervention"]
    assert max(value, key=value.__getitem__) == "soft_prompt_steering"
    latents = [f"sae_{name}" for name in ("by_label", "output_score", "max_pool", "diff_in_means", "latent")]
    latents = ["random_latent", *(f"{by}{name}" for name in latents for by in ("", "random_"))]
    assert max(abs(value[name] - still) for name in latents) < 0.0505
    searched = [r.trials for (_, name), found in few.records.items() if name == "prompt_search" for r in found]
    for trials in searched:  # one in effect
        assert len({(tuple(np.round(t["damage"], 6)), round(t["dev_score"], 6)) for t in trials}) == 1 < len(trials)
    assert 5 < damage["linear_probe"] / damage["diff_in_means"] < 6
    assert max(abs(value[name] - value["prompt_steering"]) for name in ("prompt_search", "best_of_n")) < 0.1
    asked = next(each["override /contender"] for each in raw("experiment", "axbench_steer")["defaults"][1:])
    assert set(asked) <= {*whole, *(name for name in table.contenders if table.complete(name))}
    once = {name for (_, name), found in few.records.items() if len(found[0].trials) == 1}
    assert once - {"no_intervention"} == set(re.findall(r"`(\w+)`", section.split("- **Trials** here too: ")[1]))


def test_a_stronger_logit_bias() -> None:
    (few,) = leaderboard.build(three())
    chosen = [
        r.trials[t]["params"] for r in three() if r.cell.contender["name"] == "logit_bias" for t in r.chosen or ()
    ]
    assert {c["strength"] for c in chosen} == {8}
    (more,) = leaderboard.build(Store(STORE.parent / "axbench_settings").records())
    assert more.parts(more.tasks[0]) == few.parts(few.tasks[0])
    (found,) = (s for s in more.scores if s.contender == "logit_bias" and s.task == "all" and s.metric == "score")
    text = " ".join(PAGE.read_text().split())
    assert f"`results/published/axbench_settings`) it scores {found.estimate.value:.3f}" in text


def test_the_answers() -> None:
    records = [r for r in Store(STORE).records() if r.cell.track == "steer"]
    names = {r.cell.contender["name"] for r in records}
    records += [r for r in three() if r.cell.contender["name"] not in names]
    page = (ROOT / "docs" / "answers.md").read_text()
    assert page == samples(records)
    asked: dict[str, set[tuple[str, ...]]] = {}
    for title, section in re.findall(r"^## (.*)\n\n((?:- .*\n)+)", page, re.M):
        rows = tuple(re.findall(r"^- (.*?) → ", section, re.M))
        assert len(rows) == 20
        asked.setdefault(title.split(" · ")[0], set()).add(rows)
    assert {suite: len(rows) for suite, rows in asked.items()} == {  # the same for everybody in it
        "concept10_2b_l20, 3 concepts": 1, "concept10_2b_l20, 10 concepts": 1,
    }  # fmt: skip


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
