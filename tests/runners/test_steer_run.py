"""Runs of track steer from the command line, and what the leaderboard, figures and pages make of their records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arena.contract import FairfightError, Intervention
from arena.lab import Lab
from results import figures, leaderboard, pack, render
from results.figures.style import TITLES
from results.record import Record, Steered, key
from results.samples import samples
from results.steering import PARTS, harmonic, mean_score
from results.store import Store
from runners import build, cli
from runners.compose import raw
from runners.tracks.outcome import Outcome
from tests.conftest import reviews
from tests.results.test_record import CELL
from tests.runners.test_steer import recorded
from tests.tasks.test_axbench_steer import REGIME, made
from tests.tasks.toy_suite import WORDS, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("steer") / "toy")


CONTENDERS = (
    "no_intervention,prompt_steering,diff_in_means,random_direction,caa,sae_max_pool,random_sae_max_pool,loreft"
)


@pytest.fixture(scope="module")
def overrides(
    folder: Path, tiny_folder: Path, tiny_dictionaries: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    root = tmp_path_factory.mktemp("runs")
    return [
        "task=axbench_steer", f"task.path={folder}", "task.concepts=[0,1]", "task.selection=4", "task.scoring=5",
        "task.new_tokens=8", "model=local", f"model.path={tiny_folder}", "model.name=tiny", "model.device=cpu",
        "regime=quick", "regime.labels=20", "regime.test=30", "budget=steer", "tracking=disabled", "seeds=[0]",
        f"store={root}", f"cache.dir={root / 'cache'}", f"+dictionaries.middle={tiny_dictionaries['middle']}",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def records(overrides: list[str]) -> dict[str, Record]:
    more = [f"contender=[{CONTENDERS}]", "contender.loreft.epochs=1", "contender.caa.new_tokens=6"]
    assert cli.main(["run", *overrides, *more]) == 0
    root = next(o for o in overrides if o.startswith("store=")).removeprefix("store=")
    return {r.cell.contender["name"]: r for r in Store(root).records()}


def test_a_run_of_every_kind(records: dict[str, Record], folder: Path) -> None:
    assert set(records) == set(CONTENDERS.split(","))
    parts = made(folder, concepts=[0, 1], selection=4, scoring=5).split(REGIME, 0).parts
    for r in records.values():
        assert r.status == "ok" and r.key == key(r.cell) and r.cell.track == "steer"
        assert isinstance(r.test, Steered) and isinstance(r.dev, Steered) and isinstance(r.untuned, Steered)
        assert r.test.id == tuple(i for part in parts for i in part.public.ids)
        assert r.dev.id == tuple(i for part in parts for i in part.selection.ids)  # type: ignore[union-attr]
        assert isinstance(r.chosen, list) and len(r.chosen) == 2
        assert r.cell.judge is not None and r.cell.judge["name"] == "offline"
        assert {"selects", "scores"} == set(r.about["judge"])
        assert len(r.about["judge"]["scores"]["parts"]) == 2
        assert r.spent["queries"] == 10 and r.spent["trials"] == len(r.trials)
    assert {name: len(r.trials) for name, r in records.items()} == dict.fromkeys(records, 3) | {"no_intervention": 1}


def test_judges_agree_with_themselves_and_less_with_another_panel(
    records: dict[str, Record], overrides: list[str], capsys: Any
) -> None:
    """The same panel on the same answers gives the recorded scores; the other one its own."""
    kept = ("task", "model", "regime", "store", "cache.dir")
    words = [o for o in overrides if o.split("=")[0].split(".")[0] in kept or o.startswith("cache.dir")]
    assert cli.main(["judge-agreement", *words]) == 0
    out = Path(next(o for o in words if o.startswith("store=")).removeprefix("store=")) / "agreement"
    same = json.loads((out / "agreement.json").read_text())
    assert same["score"]["answers"] == 10 * len(records)
    for name in ("score", *PARTS):
        assert same[name]["first"] == pytest.approx(same[name]["second"], abs=1e-5)
        assert same[name]["rho"] is None or same[name]["rho"] > 0.999
    means = {name: mean_score(r.test) for name, r in records.items() if isinstance(r.test, Steered)}
    for told in (0, 1):
        assert {name: c["scores"][told] for name, c in same["contenders"].items()} == pytest.approx(means, abs=1e-5)
    printed = capsys.readouterr().out
    assert "| weighted kappa |" in printed and "| contender | recorded | offline-model (scores) |" in printed
    assert cli.main(["judge-agreement", *words, "judge.reads=minilm"]) == 0
    apart = json.loads((out / "agreement.json").read_text(), parse_constant=pytest.fail)
    assert apart["relevance"]["second"] == pytest.approx(same["relevance"]["second"], abs=1e-5)
    assert apart["concept"]["second"] is None  # a toy's texts read like salads of their words
    assert cli.main(["judge-agreement", *words, "panel=selects"]) == 0
    other = json.loads((out / "agreement.json").read_text())
    assert other["concept"]["second"] != pytest.approx(same["concept"]["second"], abs=1e-5)
    assert cli.main(["judge-agreement", *words, "half=lockbox"]) == 1
    assert "has answers of this model to toy; give task, model, regime" in capsys.readouterr().err
    root = Path(next(o for o in words if o.startswith("store=")).removeprefix("store="))
    both, one = Store(root.parent / f"{root.name}-both"), records["caa"]
    other_judge = replace(one.cell, judge={**(one.cell.judge or {}), "name": "another"})
    for record in (one, replace(one, cell=other_judge, key=key(other_judge))):
        both.save(record, False)
    mixed = [word if not word.startswith("store=") else f"store={both.root}" for word in words]
    assert cli.main(["judge-agreement", *mixed]) == 1
    assert "scored by several judges; say which with recorded=: another, offline" in capsys.readouterr().err
    assert cli.main(["judge-agreement", *mixed, "recorded=offline"]) == 0
    assert cli.main(["judge-agreement", *mixed, "judge=openai"]) == 1
    assert "judge.model has no value; give judge.model=..." in capsys.readouterr().err
    assert cli.main(["judge-agreement", *words, "panel=third"]) == 1
    assert "Unknown panel='third'; choose one of scores, selects." in capsys.readouterr().err


def test_no_intervention_is_the_model_by_itself(records: dict[str, Record], lab: Lab) -> None:
    for rows in (records["no_intervention"].test, records["no_intervention"].dev):
        assert isinstance(rows, Steered)
        said = lab.generate(rows.prompt, [Intervention()] * len(rows.prompt), 8)
        assert list(rows.answer) == said
    others = {name: r.test.answer for name, r in records.items() if isinstance(r.test, Steered)}
    assert sum(answers == others["no_intervention"] for answers in others.values()) <= 2  # loreft in an epoch


def test_what_the_judge_reads_is_charged_to_nobody(records: dict[str, Record], lab: Lab) -> None:
    for r in records.values():
        mine = sum(r.spent[phase]["lm_tokens"] for phase in ("fit", "selection", "query"))
        assert r.spent["total"]["lm_tokens"] <= mine + 0.2
        assert r.spent["judge"]["lm_tokens"] > 0 and r.spent["damage"]["lm_tokens"] > 0
    plain = records["no_intervention"]
    assert plain.spent["fit"]["lm_tokens"] == 0
    asks: set[str] = set()  # both concepts may be asked the same, which is answered once
    for rows in (plain.test, plain.dev):
        assert isinstance(rows, Steered)
        asks |= set(rows.prompt)
    read = sum(len(lab._reader.ids(p, chat=True)) for p in asks)
    assert read < plain.spent["total"]["lm_tokens"] <= read + 8 * len(asks)
    with lab.meter.phase("query"):
        lab.generate(list(asks), [Intervention()] * len(asks), 8)
    assert plain.spent["total"]["lm_tokens"] == lab.meter.spent()["total"]["lm_tokens"]


def test_records_survive_json_and_packs(records: dict[str, Record], tmp_path: Path) -> None:
    pack.write(list(records.values()), tmp_path / "p.npz")
    packed = {r.key: r for r in pack.read(tmp_path / "p.npz")}
    assert pack.keys(tmp_path / "p.npz") == {r.key: "ok" for r in records.values()}
    for r in records.values():
        for back in (Record.from_json(r.to_json()), packed[r.key]):
            assert back.to_json() == r.to_json() and key(back.cell) == r.key
            assert back.chosen == r.chosen and back.dev_score == r.dev_score
            assert isinstance(r.test, Steered) and isinstance(back.test, Steered)
            assert back.test.answer == r.test.answer and back.test.prompt == r.test.prompt
            for name, values in r.test.score.items():
                np.testing.assert_array_equal(back.test.score[name], values)
        raw_json = json.loads(r.to_json())
        assert len(raw_json["test"]["answer"]) == 10


def test_the_same_run_gives_the_same_records(records: dict[str, Record], overrides: list[str], tmp_path: Path) -> None:
    """In another order, with a cold cache, one contender alone."""
    fresh = [o for o in overrides if not o.startswith(("store=", "cache.dir="))]
    fresh += [f"store={tmp_path / 'runs'}", f"cache.dir={tmp_path / 'cache'}"]
    assert cli.main(["run", *fresh, "contender=[caa,diff_in_means]", "contender.caa.new_tokens=6"]) == 0
    for r in Store(tmp_path / "runs").records():
        first = records[r.cell.contender["name"]]
        assert r.key == first.key and r.chosen == first.chosen
        assert isinstance(r.test, Steered) and isinstance(first.test, Steered)
        assert r.test.answer == first.test.answer
        for name, values in r.test.score.items():
            np.testing.assert_allclose(values, first.test.score[name], atol=1e-4)


def believable(records: Mapping[str, Record]) -> list[Record]:
    """The records with scores as a judge would give who withholds nothing."""
    found = []
    for number, r in enumerate(records.values()):
        assert isinstance(r.test, Steered)
        rng = np.random.default_rng(number)
        score = {name: rng.uniform(0.2, 1, len(r.test.id)) for name in ("concept", "relevance", "fluency")}
        found.append(replace(r, test=replace(r.test, score=score)))
    return found


def test_the_leaderboard_of_a_steered_task(records: dict[str, Record]) -> None:
    made = believable(records)
    (table,) = leaderboard.build(made)
    page = render.as_markdown([table])
    assert page.startswith("## steer · tiny · regime quick")
    assert "· judge offline · public half" in page.splitlines()[0]
    header = next(line for line in page.splitlines() if line.startswith("| #"))
    columns = [cell.strip() for cell in header.strip("|").split("|")]
    assert columns[3] == "mean score"
    assert {"concept", "relevance", "fluency", "damage", "perplexity", "accuracy"} <= set(columns)
    for r in made:
        assert isinstance(r.test, Steered)
        name = r.cell.contender["name"]
        each = {"score": harmonic(r.test.score), **r.test.score}
        for metric, values in each.items():
            found = table.find("all", name, metric)
            assert found is not None
            halves = [values[np.array(r.test.part) == part].mean() for part in dict.fromkeys(r.test.part)]
            assert found.estimate.value == pytest.approx(np.mean(halves))
        harm = table.find("all", name, "damage")
        assert harm is not None and isinstance(r.chosen, list)
        assert harm.estimate.value == pytest.approx(
            np.mean([r.trials[trial]["damage"][part] for part, trial in enumerate(r.chosen)])
        )
        for metric in ("perplexity", "accuracy"):
            beside = table.find("all", name, metric)
            assert beside is not None
            assert beside.estimate.value == pytest.approx(np.mean(r.side_effects[metric]))
    ranked = [table.find("all", name).estimate.value for name in table.contenders]  # type: ignore[union-attr]
    assert ranked == sorted(ranked, reverse=True)


def test_the_figure_of_effect_against_damage(records: dict[str, Record], tmp_path: Path) -> None:
    """A line through each contender's trials as selection saw them, a point where its chosen trials stand on the test;
    boards of detection have no such figure, and every other figure takes the metric that ranks the board."""
    made = believable(records)
    (table,) = leaderboard.build(made)
    for kind in ("scores", "cost"):
        assert figures.draw(kind, [table], "main", 5.0).numbers
    with pytest.raises(figures.NothingToDrawError, match="no record has metric=auroc"):
        figures.draw("scores", [table], "auroc", 5.0)
    drawn = figures.draw("damage", [table], "main", 5.0)
    (axis,) = drawn.figure.axes
    assert {t.get_text() for t in axis.texts} == set(records)
    caa = next(r for r in made if r.cell.contender["name"] == "caa")
    curve = sorted((float(np.mean(t["damage"])), t["dev_score"]) for t in caa.trials)
    np.testing.assert_allclose(table.curves["caa"], curve)
    lines = [np.asarray(line.get_xydata()) for line in axis.lines]
    assert any(line.shape == (3, 2) and np.allclose(line, curve) for line in lines)
    told = [row for row in drawn.numbers if row["contender"] == "caa" and row["point"].startswith("trial")]
    np.testing.assert_allclose([(row["damage"], row["score"]) for row in told], curve)
    paths = figures.save(drawn, tmp_path, "damage")
    assert all(path.stat().st_size > 5000 for path in paths[:3])


def test_every_metric_of_a_board_can_be_drawn(records: dict[str, Record]) -> None:
    """Perplexity is no share: its axis ends beyond 1."""
    (table,) = leaderboard.build(believable(records))
    for metric in {s.metric for s in table.scores}:
        figure = figures.draw("scores", [table], metric, 6.0).figure
        values = [s.estimate.value for s in table.scores if s.metric == metric]
        left, right = figure.axes[0].get_xlim()
        assert left <= min(values) and max(values) <= right
        assert TITLES[metric] in figure.axes[0].get_xlabel().replace("\n", " ")


def test_a_part_that_the_judge_withholds_counts_for_nobody(records: dict[str, Record]) -> None:
    made = []
    for r in believable(records):
        assert isinstance(r.test, Steered)
        gone = np.array(r.test.part) == r.test.part[0]
        score = r.test.score | {"concept": np.where(gone, np.nan, r.test.score["concept"])}
        made.append(replace(r, test=replace(r.test, score=score)))
    (table,) = leaderboard.build(made)
    for r in made:
        assert isinstance(r.test, Steered)
        kept = np.array(r.test.part) != r.test.part[0]
        found = table.find("all", r.cell.contender["name"])
        assert found is not None
        assert found.estimate.value == pytest.approx(harmonic(r.test.score)[kept].mean())
        counted = table.measured[table.tasks[0], r.cell.contender["name"]].groups
        assert counted == found.groups == len(set(r.test.part)) - 1
    assert "nan" not in render.as_markdown([table]).lower()


def test_every_contender_is_laid_beside_prompting() -> None:
    """Over the concepts of a suite, where there are enough of them."""
    made = []
    for number, name in enumerate(("prompt_steering", "strong")):
        rng = np.random.default_rng(number)
        score = {part: rng.uniform(0.2 + 0.3 * number, 0.6 + 0.3 * number, 40) for part in PARTS}
        n = tuple(map(str, range(40)))
        rows = Steered(tuple(f"c{i // 5}" for i in range(40)), n, np.arange(40), n, n, score)
        trials = [{"params": {}, "dev_score": 0.5, "parts": [0.5] * 8, "damage": [0.1] * 8}]
        out = Outcome(test=rows, untuned=rows, dev=rows, trials=trials, chosen=[0] * 8)
        made.append(recorded(out, contender={**CELL.contender, "name": name}))
    (table,) = leaderboard.build(made)
    gap = table.against("strong", "prompt_steering")
    assert gap is not None and gap[1] > 0
    page = render.as_markdown([table])
    assert "less prompt_steering" in page and f"{gap[0]:+.3f} [{gap[1]:+.3f}" in page
    assert "less strong" in render.as_markdown([table], versus="strong")


def test_texts_of_known_quality_stand_beside_the_scores(records: dict[str, Record]) -> None:
    def told(parts: list[dict[str, Any]]) -> dict[str, Any]:
        return {"judge": {"scores": {"parts": parts}}}

    one = {"auroc": 1.0, "hard": None, "salad": 0.0, "withheld": False, "scores": {"echo": 0.5, "request": None}}
    two = {"auroc": 0.8, "hard": 0.3, "salad": 0.2, "withheld": True}  # as older records have it
    made = [replace(r, about={**r.about, **told([one, two])}) for r in believable(records)]
    (table,) = leaderboard.build(made)
    assert table.known == {
        table.tasks[0]: {"auroc": 0.9, "hard": 0.3, "salad": 0.1, "echo as answer": 0.5, "withheld": 0.5}
    }
    page = render.as_markdown([table])
    assert "texts whose quality is known" in page and "| 0.90  | 0.30 | 0.10  | 0.50           | 0.50     |" in page
    (plain,) = leaderboard.build([replace(r, about={**r.about, "judge": {"scores": {}}}) for r in made])
    assert plain.known == {} and "quality is known" not in render.as_markdown([plain])
    (real,) = leaderboard.build(believable(records))
    assert {"auroc", "echo as answer", "request as answer", "withheld"} <= set(real.known[real.tasks[0]])


def test_side_effects_are_told_where_every_seed_has_them(records: dict[str, Record]) -> None:
    new = next(iter(believable(records)))
    old = replace(new, cell=replace(new.cell, seed=new.cell.seed + 1), side_effects={})
    name = new.cell.contender["name"]
    both, alone = leaderboard.build([new, old])[0], leaderboard.build([old])[0]
    again = replace(old, side_effects=new.side_effects)
    whole = leaderboard.build([new, again])[0].find("all", name, "accuracy")
    assert whole is not None and whole.estimate.value == pytest.approx(np.mean(new.side_effects["accuracy"]))
    for table in (both, alone):  # a mean over some of the seeds is none over all
        assert table.find("all", name, "accuracy") is None and table.find("all", name, "damage") is not None


def test_detection_and_steering_are_never_one_board(records: dict[str, Record]) -> None:
    from tests.results.test_record import record

    tables = leaderboard.build([*believable(records), record()])
    assert sorted(t.board.track for t in tables) == ["detect", "steer"]
    assert {s.metric for t in tables for s in t.scores if t.board.track == "steer"} == {
        "score", "concept", "relevance", "fluency", "damage", "perplexity", "accuracy",
    }  # fmt: skip
    name = believable(records)[0].cell.contender["name"]
    both = leaderboard.build([*believable(records), record(replace(CELL), name)])  # of other settings there
    assert all("[" not in contender for table in both for contender in table.contenders)
    other = [replace(r, cell=replace(r.cell, judge={"name": "another"})) for r in believable(records)]
    assert len(leaderboard.build([*believable(records), *other])) == 2


def test_the_harmonic_mean() -> None:
    score = {
        "concept": np.array([1, 0.5, 0, np.nan, 0.25]),
        "relevance": np.array([1, 0.5, 1, 1, 0.5]),
        "fluency": np.array([1, 0.25, 1, 1, 1]),
    }
    np.testing.assert_allclose(harmonic(score), [1, 3 / 8, 0, np.nan, 3 / 7])


def test_a_contender_that_cannot_steer_stops_the_run_with_a_sentence(overrides: list[str], capsys: Any) -> None:
    assert cli.main(["run", *overrides, "contender=[no_intervention,mlp]"]) == 1
    err = capsys.readouterr().err
    assert "mlp does not steer, which is what this task is about; choose among" in err
    assert "Traceback" not in err


def test_words_of_the_toy_are_told_apart() -> None:
    """What these tests stand on: concepts share no word with each other or with reviews."""
    assert not set(WORDS[0]) & set(WORDS[1])
    assert not {w for text, _ in reviews(50) for w in text.split()} & {w for words in WORDS.values() for w in words}


def test_an_override_that_the_track_puts_aside_is_refused(overrides: list[str], capsys: Any) -> None:
    for told in ("contender.diff_in_means.pooling=last", "contender.diff_in_means.grid.layer=[0.25]"):
        assert cli.main(["run", *overrides, "contender=[diff_in_means]", told]) == 1
        err = capsys.readouterr().err
        name = told.split("=")[0].split(".")[2]
        assert f"contender.diff_in_means.{name} changes nothing here: track steer sets {name} otherwise" in err
        assert f"give contender.diff_in_means.steer.{name} instead" in err
    mine = raw("contender", "diff_in_means")
    with pytest.raises(FairfightError, match=r"contender\.diff_in_means\.grid changes nothing here"):  # an experiment's
        build.contenders({"diff_in_means": mine | {"grid": {"layer": [0.25]}}}, [], "steer")
    made = build.contenders({"diff_in_means": raw("contender", "diff_in_means") | {"layer": 0.25}}, [], "steer")
    assert made[0].params["layer"] == 0.25  # what the track leaves alone is taken
    assert build.contenders({"diff_in_means": raw("contender", "diff_in_means") | {"pooling": "max"}}, [], "detect")


def answered(name: str, task: str, seed: int, said: str = "boats", **cell: Any) -> Record:
    score = {part: np.full(2, 0.5) for part in PARTS}
    rows = Steered(("a", "a"), ("0", "1"), np.arange(2), ("ask", "ask"), (said, said), score)
    trials = [{"params": {}, "dev_score": 0.5, "parts": [0.5]}]
    out = Outcome(test=rows, untuned=rows, dev=rows, trials=trials, chosen=[0])
    mine = recorded(out, contender={**CELL.contender, "name": name})
    return replace(mine, cell=replace(mine.cell, task={**mine.cell.task, "name": task}, seed=seed, **cell))


def test_answers_are_of_each_task_s_lowest_seed_and_harmless_in_markdown() -> None:
    page = samples([answered("x", "early", 0), answered("x", "late", 3), answered("y", "late", 4)])
    assert "## early, 1 concept · x" in page and "## late, 1 concept · x" in page and "· y" not in page
    page = samples([answered("x", "t", 0, "[a](javascript:b) ~~c~~ \\d\re <b> *f* _g_ `h`")])
    assert not set("[]~\\*`\r") & set(page.split("→")[1]) and "<b>" not in page
    twice = samples([answered("x", "t", 0), answered("x", "t", 0, budget={**CELL.budget, "name": "other"})])
    assert len({line for line in twice.splitlines() if line.startswith("## ")}) == 2
