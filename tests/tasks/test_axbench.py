"""AxBench's layout: what is asked and taught, and the defects of the original that are not repeated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from arena.contract import Examples, FairfightError, Regime
from results.metrics import HARD
from tasks.axbench_data import ASKED, CONCEPTS, TRAIN
from tasks.axbench_detect import AxbenchDetect

REGIME = Regime("r", 60, 1000, 3, shrink=0.25)
WORDS = {
    0: ["boats", "harbour", "sail", "anchor"],
    1: ["flour", "oven", "bread", "yeast"],
    2: ["int", "void", "return", "struct"],
}
NEUTRAL = ["window", "morning", "letter", "street", "garden", "number", "people", "office"]


def text(rng: np.random.Generator, words: list[str]) -> str:
    return " ".join(rng.choice([*NEUTRAL, *words], size=14))


def write(folder: Path, shared_instruction: bool = False) -> Path:
    """Three concepts, the last of another genre; negatives of each genre; hard negatives in the evaluation."""
    rng = np.random.default_rng(0)
    train: list[dict[str, Any]] = []
    asked: list[dict[str, Any]] = []
    for concept, words in WORDS.items():
        genre = "code" if concept == 2 else "text"
        for i in range(30):
            about = {"concept_id": concept, "concept_genre": genre, "dataset_category": "instruction"}
            train.append(about | {"input": f"do {concept} {i}", "output": text(rng, words * 3), "category": "positive",
                                  "output_concept": f"concept {concept}"})  # fmt: skip
            for category, some in (("positive", words * 3), ("negative", []), (HARD, words[:1])):
                if category != HARD or i < 12:
                    asked.append(about | {"input": f"ask {i}", "output": text(rng, some), "category": category,
                                          "output_concept": "", "sae_id": concept, "sae_link": ""})  # fmt: skip
    for genre in ("text", "code"):
        for i in range(30):
            train.append({"concept_id": -1, "concept_genre": genre, "dataset_category": "instruction",
                          "input": f"say {genre} {i}", "output": text(rng, ["basis"]), "category": "negative",
                          "output_concept": "EEEEE"})  # fmt: skip
    if shared_instruction:
        train[0]["input"] = "ask 3"
    for file, rows in ((TRAIN, train), (ASKED, asked)):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_parquet(folder / file)
    lines = [json.dumps({"concept_id": c, "concept": f"references to {words[0]}"}) for c, words in WORDS.items()]
    (folder / CONCEPTS).write_text("\n".join(lines))
    return folder


def test_a_part_per_concept_with_negatives_of_its_genre(tmp_path: Path) -> None:
    task = AxbenchDetect(str(write(tmp_path / "toy")))
    split = task.split(REGIME, 0)
    assert [part.name for part in split.parts] == ["references to boats", "references to flour", "references to int"]
    for concept, part in enumerate(split.parts):
        assert len(part.train) == 60 and part.train.truth.sum() == 30
        assert part.brief.question == f"Is this in the text: references to {WORDS[concept][0]}?"
        positive = [p for p, y in zip(part.train.prompts, part.train.truth, strict=True) if y]
        assert all(set(p.split()) & set(WORDS[concept]) for p in positive)
        assert len(part.public) + len(part.lockbox) == 72
        assert not set(part.public.groups) & set(part.lockbox.groups)
    assert split.cleaning["rows"] == 3 * (60 + 72)
    again = AxbenchDetect(str(tmp_path / "toy")).split(REGIME, 1)
    for one, two in zip(split.parts, again.parts, strict=True):
        assert one.public.ids == two.public.ids  # seeds redraw train and dev only
        assert sorted(one.train.ids) == sorted(two.train.ids) and one.train.ids != two.train.ids


def test_hard_negatives_are_asked(tmp_path: Path) -> None:
    """AxBench looks for 'hard negative seen' and 'unseen', which its data do not have."""
    for part in AxbenchDetect(str(write(tmp_path / "toy"))).split(REGIME, 0).parts:
        for half in (part.public, part.lockbox):
            assert half.strata is not None and half.strata.count(HARD) >= 3
            assert {int(y) for y, kind in zip(half.truth, half.strata, strict=True) if kind == HARD} == {0}


def test_everybody_scores_the_same_text(tmp_path: Path) -> None:
    folder = str(write(tmp_path / "toy"))
    responses = AxbenchDetect(folder).split(REGIME, 0).parts[0]
    both = AxbenchDetect(folder, text="both").split(REGIME, 0).parts[0]
    assert not any(p.startswith("ask ") for p in responses.public.prompts)
    assert all(p.startswith("ask ") and "\n\n" in p for p in both.public.prompts)


def test_what_is_told_without_the_concept_can_be_measured(tmp_path: Path) -> None:
    """Training on other concepts' positives leaves length, style and author."""
    task = AxbenchDetect(str(write(tmp_path / "toy")), positives="others")
    assert task.meta.name == "toy_others"
    own = AxbenchDetect(str(tmp_path / "toy")).split(REGIME, 0).parts
    for concept, part in enumerate(task.split(REGIME, 0).parts):
        positive = [p for p, y in zip(part.train.prompts, part.train.truth, strict=True) if y]
        assert len(positive) == 30
        assert not any(set(p.split()) & set(WORDS[concept]) for p in positive)
        assert part.public.ids == own[concept].public.ids
        negative = {p for p, y in zip(part.train.prompts, part.train.truth, strict=True) if not y}
        mine = own[concept].train
        assert negative == {p for p, y in zip(mine.prompts, mine.truth, strict=True) if not y}


def test_a_positive_brings_another_concepts_along_to_train_on(tmp_path: Path) -> None:
    for concept, part in enumerate(AxbenchDetect(str(write(tmp_path / "toy"))).split(REGIME, 0).parts):
        train = part.train
        assert train.peers is not None
        for peer, own, label in zip(train.peers, train.prompts, train.truth, strict=True):
            assert (peer != own and not set(peer.split()) & set(WORDS[concept])) if label else peer == own
        # Code has one concept: its peers are of any genre; those of text are of text.
        others = {
            w for other, words in WORDS.items() if other != concept and (other != 2 or concept == 2) for w in words
        }
        assert all(set(p.split()) <= others | set(NEUTRAL) for p, y in zip(train.peers, train.truth, strict=True) if y)
        assert part.public.peers is None and train.unlabelled().peers is None  # they would tell the label
        assert train.take([3, 1]).peers == (train.peers[3], train.peers[1])


def test_no_peer_answers_an_instruction_that_is_asked(tmp_path: Path) -> None:
    folder = write(tmp_path / "toy", shared_instruction=True)
    asked = pd.read_parquet(folder / TRAIN).output[0]  # its instruction is one of the evaluation's
    parts = AxbenchDetect(str(folder)).split(REGIME, 0).parts
    assert not any(asked in (part.train.peers or ()) for part in parts)


def test_rare_concepts_are_asked_among_the_texts_of_others(tmp_path: Path) -> None:
    folder = str(write(tmp_path / "toy"))
    own, rare = AxbenchDetect(folder), AxbenchDetect(folder, negatives="all")
    assert rare.meta.name == "toy_imbalanced" and "negatives" not in own.meta.params
    one, two = own.split(REGIME, 0).parts[0], rare.split(REGIME, 0).parts[0]
    assert one.train.ids == two.train.ids
    before, asked = ({**rows(part.public), **rows(part.lockbox)} for part in (one, two))
    assert before.items() <= asked.items()
    added = [kind for text_, kind in asked.items() if text_ not in before]
    assert added.count(("other concept", 0)) == len(added) == 2 * 72
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.axbench_detect.MOST_NEGATIVES", 3)
        capped = rare.split(REGIME, 0).parts[0]
    assert len(capped.public) + len(capped.lockbox) == 30 + 3 * 30


def rows(examples: Examples) -> dict[str, tuple[str, int]]:
    assert examples.strata is not None and examples.labels is not None
    return dict(zip(examples.prompts, zip(examples.strata, map(int, examples.truth), strict=True), strict=True))


def test_an_instruction_is_not_both_taught_and_asked(tmp_path: Path) -> None:
    split = AxbenchDetect(str(write(tmp_path / "toy", shared_instruction=True))).split(REGIME, 0)
    assert split.cleaning["train_rows_near_asked"] == 1
    assert [len(part.train) for part in split.parts] == [59, 60, 60]


@pytest.mark.parametrize(("column", "place"), [("input", "What is a Romance language?"), ("output", None)])
def test_nothing_near_what_is_asked_is_taught(tmp_path: Path, column: str, place: str | None) -> None:
    """concept10 teaches 'What is a Romance language?' and asks 'What is a romance language?'."""
    folder = write(tmp_path / "toy")
    taught, asked = (pd.read_parquet(folder / file) for file in (TRAIN, ASKED))
    words = place or str(asked[column][0])
    asked.loc[0, column] = words.lower() if place else words
    taught.loc[3, column] = words if place else f"{words} indeed"
    taught.to_parquet(folder / TRAIN)
    asked.to_parquet(folder / ASKED)
    split = AxbenchDetect(str(folder)).split(REGIME, 0)
    assert split.cleaning["train_rows_near_asked"] == 1
    assert [len(part.train) for part in split.parts] == [59, 60, 60]
    assert not any(taught.output[3] in (part.train.peers or ()) for part in split.parts[:1])


def test_concepts_described_alike_stay_two(tmp_path: Path) -> None:
    folder = write(tmp_path / "toy")
    lines = [json.dumps({"concept_id": c, "concept": "references to boats"}) for c in WORDS]
    (folder / CONCEPTS).write_text("\n".join(lines))
    split = AxbenchDetect(str(folder)).split(REGIME, 0)
    assert [part.name[19:] for part in split.parts] == ["", " (1)", " (2)"]
    assert len(split.cleaning["parts"]) == 3


def test_identity_is_content(tmp_path: Path) -> None:
    one = AxbenchDetect(str(write(tmp_path / "toy")))
    assert one.meta == AxbenchDetect(str(write(tmp_path / "elsewhere" / "toy"))).meta
    other = write(tmp_path / "other" / "toy", shared_instruction=True)
    (other / "notes.txt").write_text("beside")
    assert one.meta.revision != AxbenchDetect(str(other)).meta.revision
    nested = AxbenchDetect(str(tmp_path), folder="toy")
    assert nested.meta.revision == one.meta.revision and nested.meta.name == "toy"


def test_mistakes(tmp_path: Path) -> None:
    folder = write(tmp_path / "toy")

    def told(message: str, **options: Any) -> None:
        with pytest.raises(FairfightError, match=message) as caught:
            AxbenchDetect(**{"path": str(folder), **options}).split(REGIME, 0)
        assert "\n" not in str(caught.value)

    told(r"Unknown task.text='prompt'; choose one of response, both", text="prompt")
    told(r"Unknown task.positives='all'; choose one of own, others", positives="all")
    told(r"holds no nowhere/generate/train_data.parquet; give a folder in AxBench's layout", folder="nowhere")
    told(r"task.path='/no/such' does not exist; give a folder", path="/no/such")
    told(r"The hub data set 'no/such' at revision 'main' could not be found", path="no/such")
    frame = pd.read_parquet(folder / TRAIN)
    frame[frame.category == "negative"].to_parquet(folder / TRAIN)
    told(r"'references to boats' of toy has 0 positive and 0 negative texts to learn from")
    frame.drop(columns="concept_genre").to_parquet(folder / TRAIN)
    told(r"'concept_genre' is no column of train_data.parquet; its columns are: concept_id, dataset_category, input")
    (folder / TRAIN).write_bytes(b"torn")
    told(r"train_data.parquet could not be read \(")
    write(folder)
    (folder / CONCEPTS).write_text('{"concept": "boats"}')
    told(r"metadata.jsonl is not AxBench's \(KeyError")
