"""The catalogue against the wheel, on some sets; benchmarks/catalogue.py checks them all."""

from __future__ import annotations

import pytest

from arena import assets
from arena.contract import FairfightError
from runners import build
from runners.compose import raw
from tasks.capitals import Capitals
from tasks.sae_probes import SaeProbes, SaeProbesShift, _table, catalogue


def test_the_catalogue_is_whole() -> None:
    known = catalogue()
    assert len(known) == 113
    assert len({entry["name"] for entry in known.values()}) == 113
    for entry in known.values():
        assert entry["question"].endswith("?")
        assert len(entry["classes"]) == len(entry["words"]) == 2
        assert all(isinstance(w, str) for w in [*entry["words"], *entry["classes"]])
        assert entry["rows"] >= entry["groups"] >= 150
        assert entry["family"] and entry["licence"] and entry["source"] and entry["citation"]


def test_known_defects_are_flagged() -> None:
    flags = {name: " ".join(entry.get("flags", ())) for name, entry in catalogue().items()}
    assert "107_hate_offensive" in flags["106_hate_hate"]
    assert "113_movie_sent" in flags["92_glue_sst2"]
    assert "(Reuters)" in flags["100_news_fake"]
    for name in ("52_virtue_is", "50_deon_isvalid", "51_just_is"):
        assert catalogue()[name]["group"]


def test_a_named_yaml_and_the_set_are_one_task() -> None:
    named = build.task({"_target_": "tasks.sae_probes.SaeProbes", "set": raw("task", "sst2")["set"]}, [])
    assert named.meta == SaeProbes("92_glue_sst2").meta


def test_an_unknown_set_suggests() -> None:
    with pytest.raises(FairfightError, match=r"Unknown task.set='sst2'; did you mean 92_glue_sst2"):
        SaeProbes("sst2")
    with pytest.raises(FairfightError, match="list tasks"):
        SaeProbes("nothing like it")


@pytest.mark.slow
def test_every_set_is_in_the_wheel() -> None:
    members = set(assets.members("sae-probes"))
    assert all(f"sae_probes/data/cleaned_data/{name}.csv.zst" in members for name in catalogue())


@pytest.mark.slow
def test_the_shifted_set_that_is_left_out_has_lost_its_questions() -> None:
    assert all(" | " in prompt for prompt in _table("cleaned_data/90_glue_qnli")["prompt"])
    shifted = _table("OOD data/90_glue_qnli_OOD")
    assert not any(" | " in prompt for prompt in shifted["prompt"])
    labels = shifted.groupby("prompt")["target"].nunique()
    assert (len(labels), int((labels > 1).sum())) == (167, 22)
    folder = "sae_probes/data/OOD data/"
    found = {m.removeprefix(folder).partition("_OOD")[0] for m in assets.members("sae-probes") if "_OOD." in m}
    assert found == {*SaeProbesShift.FILES, "90_glue_qnli"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["92_glue_sst2", "5_hist_fig_ismale", "52_virtue_is", "132_temp_cat_Event Ordering", "95_toxic_is"]
)
def test_rows_and_groups_are_as_catalogued(name: str) -> None:
    examples, report = SaeProbes(name).data
    assert (report.rows, report.groups) == (catalogue()[name]["rows"], catalogue()[name]["groups"])
    assert report.duplicates > 0
    assert report.largest_group < 0.05 * report.rows
    assert 0.05 < examples.truth.mean() < 0.95


@pytest.mark.slow
def test_capitals_leak_nothing() -> None:
    task = Capitals()
    examples, report = task.data
    assert report.groups == len(task.pairs()) >= 90
    spoken: dict[str, list[int]] = {}
    for prompt, label in zip(examples.prompts, examples.truth, strict=True):
        for pair in task.pairs():
            for country, capital in pair:
                if capital in prompt and country in prompt:
                    assert label == 1
                    spoken.setdefault(capital, []).append(1)
    names = [capital for pair in task.pairs() for _, capital in pair]
    assert len(names) == len(set(names))
    assert examples.truth.mean() == 0.5
    assert set(spoken) == set(names)
