"""Every sentence with a number in docs/findings.md is what the published records give, of whom it names."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from results.metrics import mean_auroc
from results.record import Record
from results.stats import paired
from results.store import Store
from results.table import at_floor
from runners import listing
from tests.findings import ELSEWHERE, PAGE, PUBLISHED, ROOT, Boards, Scores, answers, board, boards, by_trials, shown

GAP = re.compile(r"[+-]0\.\d{3} \[[+-]0\.\d{3}, [+-]0\.\d{3}\]")
TOLD = re.compile(  # what the page's sentences are made of, as far as a number's meaning goes
    r"<!-- (?:store (?P<store>\w+)|(?P<regime>\w+)(?:, tasks of (?P<of>\w+))?) -->|(?P<start>[•¶](?P<heading> ##)?)"
    r"|\b[Ww]ith (?P<labels>16|64|512)\b|less (?:`(?P<other>\w+)`|(?P<here>here))|`(?P<name>\w+)`"
    rf"|(?P<gap>{GAP.pattern})|ahead on (?P<ahead>\d+) of (?P<among>\d+) tasks(?: \((?P<where>[\w, ]+)\))?"
    r"|(?P<value>0\.\d{3})(?: on (?!average)(?P<task>\w+)| (?P<place>here|there))?"
)
REFERENCES = {"lora": {"linear_probe"}, "shifts": {"linear_probe", "here"}, "knows": {"own_confidence"}}
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")
TELL = ("bag_of_words", "surface")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scores() -> Boards:
    return boards()


def prose() -> str:
    """The page's sentences on one line, without what has tests of its own: tables, steering, the quiver. A bullet or a
    paragraph begins with a sign."""
    text = re.sub(r"^\|.*\n", "", PAGE.read_text(), flags=re.M)
    text = re.sub(r"## Steering\n.*?(?=\n## )|- \*\*The quiver:.*?(?=\n\n)", "", text, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"\n\n", " ¶ ", re.sub(r"\n- ", " • ", text)))


def expected(token: re.Match[str], name: str, other: str | None, scores: Scores) -> str:
    """What the records give in a number's place: of the contender, on the board that it stands under."""
    if token["gap"]:
        return scores.gap(name, other or "linear_probe")
    if token["value"]:
        return f"{scores.cells[name, token['task']]:.3f} on {token['task']}" if token["task"] else scores.mean(name)
    above = [t for t in scores.tasks if scores.cells[name, t] > scores.cells[other or "linear_probe", t]]
    told = f"ahead on {len(above)} of {len(scores.tasks)} tasks"
    return f"{told} ({', '.join(above)})" if token["where"] else told


def expected_of(store: str, token: re.Match[str], name: str, other: str | None, rows: Mapping[str, list[str]]) -> str:
    """The same from a store's rows: a name, what it has (of shifts: here, there, what is lost), the difference."""
    row = rows["mean" if store == "lora" else name]
    if token["gap"]:
        assert other is None or other in REFERENCES[store]
        return row[3] if other == "here" else row[-1]
    return f"{row[1 + (token['place'] == 'there')]} {token['place']}" if token["place"] else row[1]


def test_the_sentences(scores: Boards) -> None:
    """Every number is of the contender that is named before it in its paragraph, on the board or in the store that the
    last comment or number of labels says, and every difference is from who is named after "less" (else the linear
    probe, or of `knows` the model's own certainty)."""
    text = prose()
    for fact in facts():  # of which the names are left
        text = text.replace(fact, " ".join(re.findall(r"`\w+`", fact)))
    contenders = {n for s in scores.values() for n, _ in s.cells} | {"lora", "own_confidence"}
    elsewhere = {name: rows() for name, rows in ELSEWHERE.items()}
    store, place, name, other = "", ("", ""), "", None
    told = []
    for token in TOLD.finditer(text):
        if token["start"]:
            name, other, store = "", None, "" if token["heading"] else store
        elif token["store"] or token["regime"]:
            store, place = token["store"] or "", (token["regime"] or "", token["of"] or "")
        elif token["labels"]:
            place = ("standard", "mass_mean") if token["labels"] == "512" else (f"few_{token['labels']}", "")
        elif token["name"]:
            name, other = (token["name"], None) if token["name"] in contenders else (name, other)
        elif token["other"] or token["here"]:
            other = token["other"] or "here"
        else:
            of_store = store and expected_of(store, token, name, other, elsewhere[store])
            found = of_store or expected(token, name, other, scores[place])
            assert token[0] == found, f"...{text[token.start() - 80 : token.end()]}: {name}, less {other}"
            told.append(token)
    assert sum(token["gap"] is not None for token in told) == len(GAP.findall(text)) > 50
    assert sum(token["value"] is not None for token in told) > 40
    assert sum(token["ahead"] is not None for token in told) == len(re.findall(r"ahead on \d", text)) > 3


@functools.cache
def facts() -> tuple[str, ...]:
    """Sentences, or parts of them, that say more than the number of one contender on one board."""
    records = list(Store(PUBLISHED / "core").records())
    return (*of_the_records(records), *of_the_suite(), requests(records), *of_prompting(), *of_other_stores())


def of_the_records(records: Sequence[Record]) -> list[str]:
    kinds = [(r.cell.regime["name"], r.cell.half, r.cell.budget["name"]) for r in records]
    plain = [r for r, kind in zip(records, kinds, strict=True) if kind == ("standard", "public", "small")]
    dirty = [r for r in records if r.provenance["dirty"]]
    assert {id(r) for r in dirty} <= {id(r) for r in plain}
    tuned = [r for r in records if r.cell.contender["name"] == "lora"]
    trained = {r.trials[int(str(r.chosen))]["params"]["rank"]: r.spent["fit"]["trained_parameters"] for r in tuned}
    # A [rank, 576] and B [576 or 192, rank] of queries and of values in 30 blocks, and a head for two classes
    assert trained == {rank: 30 * rank * (576 + 576 + 576 + 192) + 2 * (576 + 1) for rank in (4, 8)}
    assert {(len(r.trials), r.cell.contender["params"]["epochs"]) for r in tuned} == {(2, 2)}
    assert {r.cell.seed for r in tuned} == {0, 1}
    tried = [t["params"]["k"] for r in plain if r.cell.contender["name"] == "sae_probe" for t in r.trials]
    cards = [json.loads(p.read_text()) for p in (ROOT / "methods" / "sae" / "shipped").glob("*.topk/card.json")]
    explained = [f"{100 * card['fraction_variance_explained']:.0f}" for card in cards]
    return [
        f"Of the {len(plain):,} public records with 512 labels and budget `small`, {len(dirty)} were made from a "
        "working tree with uncommitted changes",
        f"LoRA of the queries and values of every block (with the head {trained[8]:,} trained parameters at rank 8, "
        f"{trained[4]:,} at rank 4), 2 trials of 2 epochs, 2 seeds",
        f"over these {NUMBERS[len({r.cell.task['name'] for r in tuned})]} tasks",
        f"the {min(tried)} to {max(tried)} most telling latents",
        f"explains {min(explained)} to {max(explained)} % of the variance",
    ]


def of_the_suite() -> list[str]:
    t, shuffled, best = board("core"), [], {}
    whole = [c for c in t.contenders if t.complete(c)]
    for task in t.tasks:
        shuffled.append((shown(t, task, "shuffled_labels"), task))
        best[task] = max((shown(t, task, c), c) for c in whole)
    low, high = (f"{value:.3f} on {task}" for value, task in (min(shuffled), max(shuffled)))
    floors = [f"`{best[task][1]}` with {best[task][0]:.3f} on {task}" for task in ("commonsenseqa2", "cola")]
    return [f"from {low} to {high}", f"the best contender of this table is {floors[0]}, and {floors[1]}."]


def requests(records: Sequence[Record]) -> str:
    """Of both halves of the task whose words tell."""
    lockbox = [r for r in records if r.cell.half == "lockbox"]
    mine = {c: [r for r in lockbox if (r.cell.task["name"], r.cell.contender["name"]) == ("requests", c)] for c in TELL}
    told = []
    for c, each in mine.items():
        tests = [answers(r.test) for r in each]
        found = board("core").find("requests", c)
        dev = [r.dev_score for r in each if r.dev_score is not None]
        assert found is not None and len(tests) == len(dev) == 3
        told.append((
            f"{found.estimate.value:.3f}", f"{found.n} public rows ({found.groups} groups)",
            f"{np.mean([mean_auroc(rows) for rows in tests]):.3f}",
            f"{len(tests[0].id)} of the lockbox ({len(set(tests[0].group))} groups; `half=lockbox`)",
            f"{min(dev):.3f} to {max(dev):.3f}",
        ))  # fmt: skip
    words, form = told
    return (
        f"`bag_of_words` has {words[0]} on the {words[1]}, {words[2]} on the {words[3]} and {words[4]} out of fold, "
        f"`surface` {form[0]}, {form[2]} and {form[4]}."
    )


def of_prompting() -> list[str]:
    t = board("core")
    silent = at_floor(t)
    asked = [task for task in t.tasks if task not in silent]
    whole = [task for task in asked if t.complete_on(task, "few_shot")]
    (lacking,) = set(asked) - set(whole)
    best = sorted(((shown(t, task, "zero_shot"), task) for task in asked), reverse=True)[:3]
    first, second, third = (f"{value:.3f} on {task}" for value, task in best)
    below = [task for task in whole if shown(t, task, "few_shot") < shown(t, task, "linear_probe")]
    seeds = [score for (task, c, _), (_, score) in t.cells.items() if (task, c) == ("sst2", "few_shot")]
    wordings = {
        trial["params"]["template"] for task in t.tasks for r in t.records[task, "zero_shot"] for trial in r.trials
    }
    shots = [trial["params"]["shots"] for task in t.tasks for r in t.records[task, "few_shot"] for trial in r.trials]
    return [
        f"the best of {NUMBERS[len(wordings)]} wordings out of fold",
        f"On {NUMBERS[len(silent)]} of the suite's {len(t.tasks)} tasks ({', '.join(silent)}) no prompting stands",
        f"On the {len(asked)} others:",
        f"On the {NUMBERS[len(whole)]} of these tasks that `few_shot` has with every seed so far (all but {lacking})",
        f"Its best are {first}, {second} and {third}.",
        f"On each of the {NUMBERS[len(below)]} others `few_shot` lies below",
        f"its prompt holds {min(shots)} to {max(shots)} examples",
        f"With 512 labels `few_shot` has from {min(seeds):.3f} to {max(seeds):.3f} on sst2, by seed.",
    ]


def of_other_stores() -> list[str]:
    there, own, many = board("shifts", "shifted"), board("knows"), board("trials", budget="trials_30")
    asked = own.find("knows", "linear_probe")
    assert asked is not None
    first = {c: float((x[1] - x[0]).mean()) for c, x in by_trials().items()}
    flat = min(first, key=lambda c: abs(first[c]))
    rise = [gain for c, gain in first.items() if c != flat]
    more = by_trials()["diff_in_means"][3] - by_trials()["diff_in_means"][1]
    ten = by_trials()["diff_in_means"][2] - by_trials()["diff_in_means"][1]
    few = [c for c in by_trials() if {len(r.trials) for r in many.records["cola", c]} == {12}]
    assert sorted(few) == ["bag_of_words", "diff_in_means", "linear_probe"]
    return [
        f"{NUMBERS[len(there.tasks)]} pairs of {NUMBERS[len(set(there.families.values()))]} families",
        f"of {own.records['knows', 'minilm'][0].cleaning['rows']} sentences about countries and elements",
        f"{asked.n} test rows of {asked.groups} groups",
        "The grids of `bag_of_words`, `linear_probe` and `diff_in_means` hold 12 settings",
        f"of {NUMBERS[len(rise)]} of the {NUMBERS[len(first)]} rise by {min(rise):.3f} to {max(rise):.3f}, that of "
        f"`{flat}` by {first[flat]:.3f}.",
        f"`diff_in_means` by {more.min():.3f} to {more.max():.3f} on each task",
        f"ten of them bring {ten.mean():.3f} of {more.mean():.3f} in the mean",
    ]


def test_the_facts() -> None:
    text = prose()
    for sentence in facts():
        assert sentence in text


def test_what_is_said_without_a_number(scores: Boards) -> None:
    methods = [c for c, side in board("core").sides.items() if side == "method"]
    for regime in ("standard", "few_16", "few_64"):
        known = scores[regime, "mass_mean"]
        means = {c: known.of(c).mean() for c in known.complete}
        assert all(means[c] < means["linear_probe"] for c in methods if c in means)
        assert (max(means, key=lambda c: means[c]) == "minilm") == (regime == "few_16")
    for dictionary in ("probe", "all", "latent", "max_pool", "reconstruction"):
        control = "random_sae" if dictionary == "probe" else f"random_sae_{dictionary}"
        assert "[+" in scores["standard", "sae_probe"].gap(f"sae_{dictionary}", control)
    rows = ELSEWHERE["shifts"]()
    assert {c for c, row in rows.items() if row[3].count("-") == 3} == {"minilm", "multi_site_probe"}
    here, there = board("shifts"), board("shifts", "shifted")
    kept = {task: (shown(there, task, "linear_probe") - 0.5) / (shown(here, task, "linear_probe") - 0.5)
            for task in there.tasks}  # fmt: skip
    assert kept["sst2_to_amazon_reviews"] >= 1
    assert max(share for task, share in kept.items() if task.startswith("bigram")) < 0.5
    own = board("knows").measured
    gap = paired(own["knows", "linear_probe"], own["knows", "minilm"])
    assert gap is not None and gap.low is not None and gap.high is not None and gap.low < 0 < gap.high


def test_who_has_no_record_of_the_suite() -> None:
    """And where else they have some."""
    told = prose().split("these have no record on the suite: ")[1].split(" ¶ ")[0]
    detectors = {row["contender"] for row in listing.contenders() if "detect" in str(row["tracks"])}
    named = set(re.findall(r"`(\w+)`", told)) & detectors
    assert named == {
        "own_confidence", "token_probe", "token_diff_in_means", "author_probe", "reft_r1", "supervised_vector",
        "prompt_blackbox",
    }  # fmt: skip
    found: dict[str, set[str]] = {name: set() for name in named}
    for store in (folder for folder in PUBLISHED.iterdir() if folder.name != "unfinished"):
        for cell in (r.cell for r in Store(store).records() if r.cell.contender["name"] in named):
            found[cell.contender["name"]].add(f"{cell.track} {store.name.split('_')[0]}")
    assert found.pop("own_confidence") == {"detect knows"} and found.pop("prompt_blackbox") == set()
    steered = {"reft_r1", "supervised_vector"}
    assert all(where == {f"{'steer' if c in steered else 'detect'} axbench"} for c, where in found.items())
