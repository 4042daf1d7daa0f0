"""What benchmarks compute, never their time."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from arena.activations import Reader
from arena.cache import Cache
from arena.contract import Site
from arena.lab import Lab
from arena.models import LoadedModel
from benchmarks import __main__ as every
from benchmarks import activations, growth, peers, rows, sae_probes_pipeline, soak, sweep, tiny
from benchmarks.clock import Taken, ratio, timed
from results.record import Steered
from results.store import Store
from runners import run
from runners.compose import composed
from tests.conftest import reviews
from tests.results.test_record import record

PIPELINE = "[linear_probe,pca_logreg,knn,boosted_trees,mlp,sae_probe]"


def test_a_table_holds_its_rows_and_lines_up() -> None:
    said = rows.table([rows.Row("one", "1 s", "3 s", "3.0", "2"), rows.Row("another", "-")]).splitlines()
    assert len(said) == 4 and len({len(line) for line in said}) == 1
    assert said[0].split("|")[1].strip() == "name" and said[2].split("|")[4].strip() == "3.0"


def test_rows_reach_who_collects_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rows.jsonl"
    monkeypatch.setenv(rows.COLLECT, str(file))
    rows.report([rows.Row("one", "1 s")])
    rows.report([rows.Row("two", "2 s", goal="3")])
    assert [row.name for row in rows.collected(file)] == ["one", "two"]
    assert rows.collected(file)[1].goal == "3"
    assert rows.collected(tmp_path / "none") == []


def test_ratios_are_medians_over_turns() -> None:
    slow, fast = [Taken(4, 8), Taken(100, 6), Taken(3, 1)], [Taken(2, 2), Taken(1, 2), Taken(1, 1)]
    assert ratio(slow, fast) == Taken(3, 3)
    assert timed(lambda: 5)[0] == 5


def test_a_failed_benchmark_says_so_and_keeps_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        'import os, sys; open(os.environ[\'FAIRFIGHT_BENCH_ROWS\'], \'a\').write(\'["kept","1","-","-","-","-",'
        "\"-\"]\\n'); sys.exit('no disk')"
    )
    fake = tmp_path / "python"
    fake.write_text(f"#!{sys.executable}\n{code}\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    kept, failed = every.measure("sweep", [], tmp_path / "rows.jsonl")
    assert kept.name == "kept" and failed.ours == "failed: no disk"


def test_every_benchmark_is_there_and_on_its_page() -> None:
    folder = Path(every.__file__).parent
    page = (folder.parent / "docs" / "performance.md").read_text()
    for name in every.BENCHMARKS:
        assert (folder / f"{name}.py").exists()
        assert f"{name}.py" in page
    assert "](images/growth.svg)" in page and growth.PICTURE.exists()


def test_a_peer_that_pip_cannot_find_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRFIGHT_PEERS", str(tmp_path))
    monkeypatch.setitem(peers.PEERS, "none", (f"{tmp_path}/none.whl",))
    with pytest.raises(peers.Unavailable, match=r"pip could not install .*none\.whl"):
        peers.folder("none")
    made = tmp_path / "there"
    made.mkdir()
    monkeypatch.setitem(peers.PEERS, "there", ("a==1",))
    (made / ".installed").write_text("a==1")
    assert peers.folder("there") == made.resolve()


def test_the_loop_and_the_lab_read_the_same_states(tiny: LoadedModel) -> None:
    tiny = dataclasses.replace(tiny, tokenizer=copy.deepcopy(tiny.tokenizer))
    tiny.tokenizer.pad_token = tiny.tokenizer.eos_token  # which the loop needs, as most scripts do
    texts = ["a good film", "bad", "a very very dull plot"] * 5
    loop, lab = activations.plain_loop(tiny, texts, 0), activations.lab(tiny, texts, 0)
    assert loop.shape == lab.shape == (15, 32)
    np.testing.assert_allclose(loop, lab, atol=1e-5)


def test_the_bare_pass_is_the_first_blocks_and_nothing_else(tiny: LoadedModel, tmp_path: Path) -> None:
    short = activations.truncated(tiny, 1)
    ids = [3, 1, 4, 1, 5]
    with torch.inference_mode():
        found = short(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0, -1]
    text = tiny.tokenizer.decode(ids)
    reader = Reader(tiny, Cache(tmp_path))
    reader._ids[text, False] = ids
    np.testing.assert_allclose(found.numpy(), reader.get([text], Site(0))[0], atol=1e-5)
    assert len(tiny.model.base_model.layers) == 2  # the model itself is as it was


@pytest.mark.parametrize(("lengths", "budget"), [([5] * 40, 64), ([1, 9, 30, 4] * 10, 64), ([100], 64), ([3], 640)])
def test_packed_batches_hold_as_many_tokens_without_padding(lengths: list[int], budget: int) -> None:
    shapes = activations.packed(lengths, budget)
    width = round(np.mean(lengths))
    assert abs(sum(n * w for n, w in shapes) - sum(lengths)) <= max(width, 1)
    assert all(n * w <= max(budget, width) for n, w in shapes)


def test_the_best_peer_alone_has_a_goal() -> None:
    took = {"loop": [Taken(9, 9)], "peer": [Taken(4, 4)], "Lab": [Taken(2, 2)], "bare": [Taken(1, 1)]}
    found = activations.rows_of(took, tokens=100)
    goals = {row.name: (row.ratio, row.goal) for row in found}
    assert goals["activations: Lab against peer, the best peer"] == ("2.00 (2.00)", "3")
    assert goals["activations: Lab against loop"] == ("4.50 (4.50)", "-")
    assert goals["activations: Lab against the bare pass"] == ("0.50 (0.50)", "0.9")


def test_our_side_of_the_pipeline_tries_as_many_settings_at_one_site() -> None:
    made = sae_probes_pipeline.contenders(composed("run", ["task=sst2", f"contender={PIPELINE}"]))
    assert list(made) == ["logreg", "pca", "knn", "xgboost", "mlp", "sae k=16", "sae k=128"]
    for theirs, one in made.items():
        assert not {"layer", "pooling", "dictionary"} & set(one.grid)
        steps = np.prod([len(values) for values in one.path.values()])
        expected = {"xgboost": 1, "mlp": 1}.get(theirs, sae_probes_pipeline.STEPS)
        assert steps == expected and len(set(map(str, one.path.values()))) == len(one.path)
    assert made["sae k=16"].params["k"] == 16 and made["sae k=128"].params["k"] == 128
    assert sae_probes_pipeline.held_out(1024)[0].tolist() == list(range(924, 1024))


def test_a_part_of_the_pipeline_keeps_the_split_in_order() -> None:
    labels = np.arange(12) % 2
    data = sae_probes_pipeline.Data(
        "x",
        [f"t{i}" for i in range(12)],
        labels,
        np.arange(10),
        np.arange(10, 12),
        np.zeros((12, 2)),
        np.zeros((12, 3)),
    )
    part = sae_probes_pipeline.part_of(data)
    assert part.train.prompts == tuple(f"t{i}" for i in range(10)) and part.public.prompts == ("t10", "t11")
    assert part.folds[0].tolist() == [8, 9]  # the last fifth
    assert len(part.lockbox) == 0 and part.train.truth.tolist() == labels[:10].tolist()


def test_our_solvers_are_asked_again_by_themselves(lab: Lab) -> None:
    made = sae_probes_pipeline.contenders(composed("run", ["task=sst2", f"contender={PIPELINE}"]))
    told = reviews(72)
    labels = np.array([int(label == "good") for _, label in told])
    rows = np.arange(len(told))
    empty = np.zeros((len(told), 1))
    data = sae_probes_pipeline.Data("x", [text for text, _ in told], labels, rows[:60], rows[60:], empty, empty)
    before = {
        (s, name): getattr(s, name, None) for s in sae_probes_pipeline.SOLVERS for name in ("fit", "predict_proba")
    }
    side, calls = sae_probes_pipeline.our_side(made["knn"], data, lab)
    found = [call() for call in calls]
    searches = [len(each[0]) for each in found if isinstance(each, tuple)]  # every k is of one
    assert side.auroc > 0.5 and 12 in searches and len(found) < sae_probes_pipeline.STEPS
    assert any(hasattr(each, "kneighbors") for each in found)
    for method in ("logreg", "sae k=16"):
        side, calls = sae_probes_pipeline.our_side(made[method], data, lab)
        assert side.auroc > 0.5
        again = [call() for call in calls]
        fits = [found for found in again if hasattr(found, "fit")]
        # Every setting once, the chosen one on all rows, and the first where it is another.
        assert sae_probes_pipeline.STEPS + 1 <= len(fits) <= sae_probes_pipeline.STEPS + 2
        asked = [found for found in again if isinstance(found, np.ndarray)]
        assert len(fits) < len(asked) and len(fits) + len(asked) == len(calls)
        said = [found if found.ndim == 1 else found[:, 1] for found in asked if len(found) == 12]  # of the test rows
        assert any(roc_auc_score(labels[60:], one) == pytest.approx(side.auroc) for one in said)
    assert before == {(s, name): getattr(s, name, None) for s, name in before}
    counted: list[int] = []
    assert sae_probes_pipeline.bare([lambda: counted.append(1)] * 3).clock > 0 and len(counted) == 3


def test_the_pipeline_s_rows_name_their_limit_and_how_far_it_is() -> None:
    def turn(ours: float, theirs: float, bare: float) -> sae_probes_pipeline.Turn:
        sides = (sae_probes_pipeline.Side(Taken(x, 2 * x), 0.75) for x in (ours, theirs))
        return sae_probes_pipeline.Turn(*sides, Taken(bare, bare))

    found = sae_probes_pipeline.row("logreg", [turn(1, 5, 0.5), turn(3, 7, 1.5)], "5")
    assert found == rows.Row(
        "sae-probes: logreg", "4.0 s (8.0), AUROC 0.7500", "12.0 s (24.0), AUROC 0.7500", "3.0 (3.0)", "5",
        "the solvers alone: 2.0 s (2.0)", "2.0 times (4.0)",
    )  # fmt: skip


def test_a_sweep_is_as_many_cells_as_asked(tmp_path: Path) -> None:
    made = run.make(composed("run", sweep.asked(tmp_path, 60, tmp_path / "store")))
    assert len(made.cells) == 60 and len(made.seeds) == 20 and len(made.contenders) == 3
    sweep.column_of(tmp_path, 1, tmp_path / "store")
    (record,) = Store(tmp_path / "store").records()
    assert record.status == "ok" and record.cell.contender["name"] == "majority"


def test_tiny_reviews_are_told_by_a_word(tmp_path: Path) -> None:
    told = [json.loads(line) for line in tiny.reviews(tmp_path / "r.jsonl", 50).read_text().splitlines()]
    assert len({row["text"] for row in told}) == 50
    assert all(set(row["text"].split()) & set(tiny.WORDS[row["label"]]) for row in told)


def test_exponents_and_the_price_of_one_more() -> None:
    assert growth.exponent([(1, 2.0), (2, 8.0), (4, 32.0)]) == pytest.approx(2)
    line = [(n, 5 + 3 * n) for n in (1, 2, 4, 8)]
    assert growth.marginal(line) == pytest.approx(1) and growth.exponent(line) < 1


def test_the_picture_of_growth_is_drawn_the_same_twice(tmp_path: Path) -> None:
    curves: dict[str, growth.Points] = {"texts": [(1, 1.0), (2, 1.8), (4, 3.9)]}
    growth.draw(curves, tmp_path / "a.svg")
    growth.draw(curves, tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert os.path.getsize(tmp_path / "a.svg") < 100_000


def test_a_soak_minds_a_spoiled_record_again_once_it_is_whole(tmp_path: Path) -> None:
    trial = soak.Soak(tmp_path, 0, 0, (32,), 1)
    (path,) = [Store(trial.store).save(record())]
    trial.note()
    trial.cut_record()
    trial.note()
    assert trial.spoiled == {path.stem}
    trial.assess({})
    assert not any(trial.bad.values())  # nobody lost what we spoiled
    Store(trial.store).save(record())
    trial.note()
    assert not trial.spoiled
    path.unlink()
    trial.assess({})
    assert trial.bad["lost"] == [path.stem]


def test_a_soak_fails_where_the_check_of_its_store_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trial = soak.Soak(tmp_path, 0, 0, (32,), 1)
    expected = {record().key: record()}
    Store(trial.store).save(record())
    assert soak.verdict(trial, expected, []) == 0
    (trial.store / "records" / "stray.txt").write_text("")
    assert soak.verdict(trial, expected, []) == 1
    assert "lost 0, torn 0, wrong 0" in capsys.readouterr().out


def test_a_soak_tells_steered_answers_apart() -> None:
    score = {"concept": np.array([0.5, np.nan]), "fluency": np.array([0.1, 0.2])}
    said = Steered(("a", "a"), ("i", "j"), np.arange(2), ("p", "q"), ("r", "s"), score)
    one = record(test=said, untuned=said, dev=said)

    def other(**changes: Any) -> bool:
        return soak.apart(one, dataclasses.replace(one, test=dataclasses.replace(said, **changes)))

    assert not other() and not other(score={**score, "fluency": score["fluency"] + 1e-6})
    assert other(answer=("r", "t")) and other(prompt=("p", "p")) and other(group=np.ones(2, int))
    assert other(score={**score, "fluency": score["fluency"][::-1]})
    assert other(score={**score, "concept": np.array([0.5, 0.5])})


def test_growth_runs_real_cells(tmp_path: Path) -> None:
    tiny.model(tmp_path / "model")
    assert growth.cost(tmp_path, texts=300, contenders=5, seeds=1) > 0
