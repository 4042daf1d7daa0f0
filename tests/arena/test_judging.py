"""The offline judge: closed forms, texts whose quality is known, and two panels that share no text."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from arena import judging
from arena.activations import Reader
from arena.contract import Dialogue, Examples, FairfightError, Intervention, Part
from arena.judging import (
    BAND,
    CONCEPT,
    FLUENCY,
    KINDS,
    PROBES,
    RELEVANCE,
    SCORES,
    SELECTS,
    ConceptScale,
    Normal,
    Offline,
    OfflinePanel,
    _unsteered,
    distinct,
    loops,
    salads,
    shuffled,
    tfidf,
)
from arena.lab import Lab
from arena.models import LoadedModel
from tests.tasks.toy_suite import BRIEF, WORDS, dialogues, instructions, text

OWN, OTHER, HARD = KINDS
RNG = np.random.default_rng(0)
USUAL = [text(np.random.default_rng(7), [], 0)] * 3  # what the model answers by itself: none of any concept


def kept(concept: int, mark: str, count: int = 12) -> Examples:
    """Texts for a judge: of the concept, of another, and some that only touch it."""
    rng = np.random.default_rng(concept)
    kinds = [OWN] * count + [OTHER] * count + [HARD] * 4
    words = [WORDS[concept]] * count + [WORDS[1 - concept]] * count + [WORDS[concept]] * 4
    said = tuple(f"{text(rng, w, 1 if kind == HARD else 4)} {mark}" for w, kind in zip(words, kinds, strict=True))
    return Examples(
        ids=tuple(f"{mark}{i}" for i in range(len(kinds))),
        prompts=tuple(f"{mark} asks {i}" for i in range(len(kinds))),
        labels=np.array([int(kind == OWN) for kind in kinds]),
        groups=np.arange(len(kinds)),
        completions=said,
        strata=tuple(kinds),
    )


def asked(start: int, count: int = 6) -> Examples:
    prompts = tuple(instructions(start + count)[start:])
    return Examples(tuple(f"a{start + i:015x}" for i in range(count)), prompts, None, np.arange(count))


@pytest.fixture
def parts() -> list[Part]:
    return [
        Part(
            name=f"concept {c}",
            brief=BRIEF,
            train=dialogues(24, c),
            folds=(),
            public=asked(20),
            lockbox=asked(30),
            selection=asked(10),
            reserved=(kept(c, "first"), kept(c, "second")),
            new_tokens=8,
        )
        for c in (0, 1)
    ]


def panel(which: int, parts: Sequence[Part], lab: Lab) -> Any:
    """A panel of the offline judge."""
    rows = [part.public if which == SCORES else part.selection for part in parts]
    return Offline().panel(which, parts, [examples for examples in rows if examples is not None], lab)


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch, lab: Lab) -> Lab:
    """A lab whose sentence embeddings are counts of letters: no second model is loaded."""

    def letters(texts: Sequence[str]) -> np.ndarray:
        counts = np.array([[t.count(c) for c in "abcdefghijklmnopqrstuvwxyz."] for t in texts], float)
        return np.asarray(counts / np.linalg.norm(counts, axis=1, keepdims=True))

    monkeypatch.setattr(lab, "embeddings", letters)
    return lab


# Fluency


def told(values: dict[str, float]) -> Any:
    """A lab to which an answer is as likely as told, after the prompt "p" alone."""

    def likelihood(said: Sequence[Dialogue]) -> np.ndarray:
        assert {one.prompt for one in said} == {"p"}
        return np.array([values[one.answer] for one in said])

    return SimpleNamespace(likelihood=likelihood)


def test_fluency_is_one_inside_the_band_and_falls_to_zero_beside_it() -> None:
    likely = {"a a": -1.5, "b b": -3.0, "c c": -1.0, "d d": -3.5, "e e": -0.5, "f f": -5.0, "g g": 1.0, "h h": -9.0}
    normal = Normal(low=-3.0, high=-1.0, distinct=1.0)
    found = normal.fluency(["p"] * 8, list(likely), told(likely))
    np.testing.assert_allclose(found, [1, 1, 1, 0.75, 0.75, 0, 0, 0])


def test_fluency_counts_distinct_pairs_up_to_what_is_normal() -> None:
    answers = ["a b c d e", "a b a b a", "a a a a a", "a", ""]
    assert [distinct(answer) for answer in answers] == [1.0, 0.5, 0.25, 1.0, 1.0]
    assert distinct("A b a B a b") == pytest.approx(2 / 5)
    normal = Normal(low=-3.0, high=-1.0, distinct=0.8)
    found = normal.fluency(["p"] * 5, answers, told(dict.fromkeys(answers[:4], -2.0)))
    np.testing.assert_allclose(found, [1, 0.5 / 0.8, 0.25 / 0.8, 1, 0])
    beside = normal.fluency(["p"], ["a b a b a"], told({"a b a b a": -4.0}))
    np.testing.assert_allclose(beside, 0.5 * 0.5 / 0.8)  # both lapses count


def test_what_is_normal_lies_between_what_is_drawn_and_what_is_likeliest(parts: list[Part], tiny: LoadedModel) -> None:
    """From the low end of answers drawn at temperature 1 to the high end of the likeliest ones, without empty ones."""
    rows = [part.public for part in parts]
    likely = {}
    for t in (0.0, 1.0):
        for i in range(12):
            likely[f"{'w ' * (2 + i % 3)}{t}{i}"] = -i - 10 * t

    def generate(prompts: Sequence[str], interventions: Any, most: int, *, temperature: float, seeds: Any) -> list[str]:
        assert interventions == [Intervention()] * len(prompts) and most == 8
        assert list(prompts) == [p for examples in rows for p in examples.prompts]
        return ["" if i == 3 else f"{'w ' * (2 + i % 3)}{temperature}{i}" for i in range(len(prompts))]

    lab: Any = SimpleNamespace(
        generate=generate, likelihood=lambda said: np.array([likely[one.answer] for one in said])
    )
    normal = Normal.of(*(_unsteered(parts, rows, t, lab) for t in (0.0, 1.0)), lab)
    kept = [i for i in range(12) if i != 3]
    assert normal.low == pytest.approx(np.percentile([-i - 10 for i in kept], BAND[0]))
    assert normal.high == pytest.approx(np.percentile([-i for i in kept], BAND[1]))
    share = [distinct(f"{'w ' * (2 + i % 3)}0.0{i}") for i in kept]
    assert normal.distinct == pytest.approx(np.percentile(share, BAND[0]))
    lab.generate = lambda prompts, *_, **__: [" "] * len(prompts)
    assert _unsteered(parts, rows, 0.0, lab) == []
    with pytest.raises(FairfightError, match="answers nothing, so there is no telling what fluent is"):
        Normal.of([], [], lab)
    with pytest.raises(FairfightError, match="as likely as its likeliest answers"):
        Normal.of(
            [Dialogue("p", "w 1.00")] * 2, [Dialogue("p", "w w 0.00")] * 2, told({"w 1.00": -9.0, "w w 0.00": -1.0})
        )


def test_likelihood_is_the_mean_over_the_answer_s_tokens(tiny: LoadedModel, lab: Lab) -> None:
    said = [Dialogue("say boats", "boats and the harbour"), Dialogue("x", "y"), Dialogue("say more", "good " * 40)]
    want = []
    for one in said:
        before = f"<|im_start|>user\n{one.prompt}<|im_end|>\n<|im_start|>assistant\n"
        first, rest = (tiny.tokenizer(t, add_special_tokens=False)["input_ids"] for t in (before, one.answer))
        with torch.no_grad():
            log_p = tiny.model(torch.tensor([first + rest]), use_cache=False).logits[0].log_softmax(-1)
        want.append(float(np.mean([log_p[len(first) + i - 1, token] for i, token in enumerate(rest)])))
    np.testing.assert_allclose(lab.likelihood(said), want, atol=1e-5)
    np.testing.assert_allclose(lab.likelihood(said[::-1]), want[::-1], atol=1e-5)  # from the cache


def test_likelihood_is_charged_by_its_tokens(lab: Lab, reader: Reader) -> None:
    one = Dialogue("say boats", "boats")
    with lab.meter.phase("judge", counts=False):
        lab.likelihood([one, one])
    assert lab.meter.spent()["judge"]["lm_tokens"] == len(reader.ids(one))
    assert lab.meter.spent()["total"]["lm_tokens"] == 0


# Relevance


def test_relevance_is_the_rank_of_the_own_instruction() -> None:
    pool = ["p0", "p1", "p2", "p3", "p4"]
    # The answer in row i is as similar to instruction j as similarity[i][j] says; each answers p0.
    similarity = np.array(
        [[5, 4, 3, 2, 1], [4, 5, 3, 2, 1], [3, 5, 4, 2, 1], [2, 5, 4, 3, 1], [1, 5, 4, 3, 2], [1, 1, 1, 1, 1]]
    )
    vectors = {f"a{i}": row for i, row in enumerate(similarity)}
    vectors |= {p: np.eye(5, dtype=int)[j] for j, p in enumerate(pool)} | {".": np.zeros(5, int)}

    def alike(texts: Sequence[str]) -> np.ndarray:
        return np.stack([vectors[t] for t in texts]).astype(float)

    likely = dict.fromkeys(vectors, -1.0)
    lab: Any = SimpleNamespace(likelihood=lambda said: np.array([likely[one.answer] for one in said]))
    made = OfflinePanel([], alike, pool, Normal(-2.0, 0.0, 1.0), lab, {})
    answers = ["a0", "a1", "a2", "a3", "a4", "a5", " "]
    # Of the four other instructions it beats 4, 3, 2, 1, 0, none (ties are not beaten); what says nothing answers none.
    np.testing.assert_allclose(made._relevance(["p0"] * 7, answers), [1, 0.5, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(made._relevance(["p1", "p4"], ["a1", "a0"]), [1, 0])
    for noise in (1e-7, -1e-7):  # of single precision, between an instruction and itself in the pool
        vectors["p0"] = np.eye(5)[0] * (1 + noise)
        np.testing.assert_allclose(made._relevance(["p0"] * 7, answers), [1, 0.5, 0, 0, 0, 0, 0])


# The concept


def count_words(words: Sequence[str]) -> Any:
    return lambda texts: np.array([[float(sum(w in words for w in t.split()))] for t in texts])


def test_the_concept_scale_rises_from_other_texts_to_the_concept_s_own(parts: list[Part]) -> None:
    read = count_words(WORDS[0])
    assert parts[0].reserved is not None
    scale = ConceptScale.fitted(parts[0].reserved[0], parts[0], USUAL, read, guarded=False)
    places = scale.of(["boats " * count for count in range(8)])
    assert (np.diff(places) >= 0).all()
    # Texts of the concept hold four of its words and others none.
    np.testing.assert_allclose([places[0], places[4], places[7]], [0, 1, 1], atol=0.05)
    assert 0.1 < places[1] < places[2] < places[3] < 0.9
    assert not scale.withheld


def test_what_the_model_says_anyway_is_none_of_the_concept(parts: list[Part]) -> None:
    assert parts[0].reserved is not None
    read = count_words(WORDS[0])
    usual = ["boats and harbour"] * 3
    scale = ConceptScale.fitted(parts[0].reserved[0], parts[0], usual, read, guarded=False)
    np.testing.assert_allclose(scale.of([*usual[:1], "boats " * 3, "boats " * 4]), [0, 0.5, 1], atol=0.1)
    assert ConceptScale.fitted(parts[0].reserved[0], parts[0], ["boats " * 9], read, guarded=False).withheld


def test_more_words_of_a_concept_are_more_of_it(parts: list[Part]) -> None:
    assert parts[0].reserved is not None
    texts = parts[0].reserved[0]
    scale = ConceptScale.fitted(texts, parts[0], USUAL, tfidf(list(texts.completions or ())), guarded=False)
    rng = np.random.default_rng(5)
    places = [scale.of([text(rng, WORDS[0], many) for _ in range(30)]).mean() for many in (0, 1, 2, 4)]
    assert places == sorted(places) and len(set(places)) == 4 and places[-1] > 0.8
    assert scale.of([text(rng, WORDS[1]) for _ in range(30)]).mean() < 0.2  # 0 is where other concepts' texts lie


def test_hard_negatives_teach_nothing(parts: list[Part]) -> None:
    assert parts[0].reserved is not None
    texts = parts[0].reserved[0]
    assert texts.strata is not None
    without = texts.take(np.flatnonzero(np.array(texts.strata) != HARD))
    read = tfidf(list(texts.completions or ()))
    one, two = (ConceptScale.fitted(t, parts[0], USUAL, read, guarded=False) for t in (texts, without))
    np.testing.assert_array_equal(one.model.coef_, two.model.coef_)
    assert (one.low, one.high) == (two.low, two.high)
    assert one.report["hard"] is not None and two.report["hard"] is None


def test_the_guarded_scale_tells_a_text_from_its_words(parts: list[Part]) -> None:
    """Texts here are sorted: what is read of them is the concept's words and the share of neighbours in order."""

    def read(texts: Sequence[str]) -> np.ndarray:
        words = [t.split() for t in texts]
        order = [np.mean([a <= b for a, b in itertools.pairwise(w)] or [1.0]) for w in words]
        return np.column_stack([count_words(WORDS[0])(texts), order])

    assert parts[0].reserved is not None
    fitted = {g: ConceptScale.fitted(parts[0].reserved[0], parts[0], USUAL, read, guarded=g) for g in (False, True)}
    rng = np.random.default_rng(9)
    real = [text(rng, WORDS[0]) for _ in range(20)]
    jumbled = shuffled(real)
    for guarded, scale in fitted.items():
        gap = scale.of(real).mean() - scale.of(jumbled).mean()
        assert gap > 0.4 if guarded else abs(gap) < 0.05


def test_salads_are_words_of_the_concept_without_an_order() -> None:
    rng = np.random.default_rng(1)
    own, other = ([text(rng, WORDS[c]) for _ in range(20)] for c in (0, 1))
    made = salads(own, other, 7)
    assert len(made) == 7 and len(set(made)) > 1
    assert made == salads(own, other, 7)
    vocabulary = {w for t in own + other for w in t.split()}
    for salad in made:
        words = salad.split()
        assert 15 <= len(words) <= 40 and len(set(words)) == len(words)
        assert set(words) <= vocabulary
    told = salads([f"w{i} w{i + 1}" for i in range(90)] * 2, ["w3 z"] * 4, 50)
    assert len({w for t in told for w in t.split()} & {"z"}) == 0  # of 60 words that tell the concept, not of all
    assert {len(t.split()) for t in told} <= set(range(15, 41)) and len({len(t.split()) for t in told}) > 5


def test_shuffled_texts_keep_their_words() -> None:
    texts = [text(RNG, WORDS[0]) for _ in range(10)]
    made = shuffled(texts)
    assert [sorted(t.split()) for t in made] == [sorted(t.split()) for t in texts]
    assert sum(a != b for a, b in zip(made, texts, strict=True)) == 10


def test_loops_are_first_words_over_and_over() -> None:
    texts = [f"a{i} b c d e f g h" for i in range(PROBES + 3)]
    made = loops(texts)
    assert len(made) == PROBES
    assert all(t.split() == t.split()[:6] * 8 for t in made)
    assert made[2].split()[:7] == ["a2", "b", "c", "d", "e", "f", "a2"]
    assert distinct(made[0]) < 0.2


# Panels


@pytest.mark.parametrize("which", [SELECTS, SCORES])
def test_a_panel_rates_every_answer_in_its_place(which: int, parts: list[Part], apart: Lab) -> None:
    made = panel(which, parts, apart)
    rng = np.random.default_rng(3)
    numbers = [0, 1, 1, 0, 0]
    prompts = [*asked(20 if which == SCORES else 10, 5).prompts]
    answers = [text(rng, WORDS[c]) for c in (0, 0, 1, 1)] + [""]
    whole = made.rate(numbers, prompts, answers)
    assert list(whole) == [CONCEPT, RELEVANCE, FLUENCY]
    for name, values in whole.items():
        assert values.shape == (5,)
        known = values[np.isfinite(values)]
        assert ((known >= 0) & (known <= 1)).all()
        for row in range(5):  # in any company
            alone = made.rate(numbers[row : row + 1], prompts[row : row + 1], answers[row : row + 1])[name]
            np.testing.assert_allclose(alone, values[row : row + 1], atol=1e-5)
    assert [whole[name][4] for name in (RELEVANCE, FLUENCY)] == [0, 0]


def test_the_panel_that_selects_knows_the_parts_concept(parts: list[Part], apart: Lab) -> None:
    made = panel(SELECTS, parts, apart)
    rng = np.random.default_rng(3)
    answers = [text(rng, WORDS[c]) for c in (0, 1) for _ in range(10)]
    for part in (0, 1):
        values = made.rate([part] * 20, asked(10, 20).prompts, answers)[CONCEPT]
        mine = np.arange(20) // 10 == part
        assert values[mine].mean() > 0.7 and values[~mine].mean() < 0.3


def test_an_empty_answer_scores_nothing(parts: list[Part], apart: Lab) -> None:
    made = panel(SELECTS, parts, apart)
    assert not made._scales[0].withheld
    for empty in ("", " \n\t"):
        rated = made.rate([0, 0], asked(10, 2).prompts, [empty, text(RNG, WORDS[0])])
        assert [values[0] for values in rated.values()] == [0, 0, 0]
        assert rated[CONCEPT][1] > 0 and rated[FLUENCY][1] > 0
    assert all((values == 0).all() for values in made.rate([0], asked(10, 1).prompts, [""]).values())


@pytest.mark.parametrize("reason", ["salad", "scale"])
def test_a_part_that_cannot_be_told_is_withheld_and_the_others_not(reason: str, parts: list[Part], apart: Lab) -> None:
    made = panel(SELECTS, parts, apart)
    one = made._scales[1]
    fooled = replace(one, report={**one.report, "salad": one.report["real"]})
    assert not fooled.withheld  # the panel that selects leaves salad to fluency
    made._scales[1] = replace(fooled, guarded=True) if reason == "salad" else replace(one, low=one.high)
    rated = made.rate([0, 1, 0, 1], asked(10, 4).prompts, [text(RNG, WORDS[0]), text(RNG, WORDS[1]), "", ""])
    np.testing.assert_array_equal(np.isnan(rated[CONCEPT]), [False, True, False, True])
    assert np.isfinite(rated[RELEVANCE]).all() and np.isfinite(rated[FLUENCY]).all()
    assert [told["withheld"] for told in made.report()["parts"]] == [False, True]


def test_where_a_program_can_tell_it_tells(parts: list[Part], apart: Lab) -> None:
    """Parts with a check need no texts for the judge, and others beside them keep theirs."""
    checked = replace(parts[0], check=lambda answer: answer.count("boats") / 4, reserved=None)
    for which in (SELECTS, SCORES):
        made = panel(which, [checked, parts[1]], apart)
        rated = made.rate([0, 0, 0], asked(10, 3).prompts, ["boats and boats", "flour", ""])
        np.testing.assert_array_equal(rated[CONCEPT], [0.5, 0, 0])
        told = made.report()
        assert told["parts"][0]["real"] > told["parts"][0]["other"] == 0
        assert not told["parts"][0]["withheld"] and "auroc" in told["parts"][1]


@pytest.mark.parametrize("which", [SELECTS, SCORES])
def test_the_report_holds_texts_whose_quality_is_known(which: int, parts: list[Part], apart: Lab) -> None:
    told = panel(which, parts, apart).report()
    assert told["likelihood_band"][0] < told["likelihood_band"][1]
    assert 0 < told["distinct"] <= 1
    assert len(told["parts"]) == 2
    for part in told["parts"]:
        scores = part.pop("scores")
        assert set(part) == {"auroc", "real", "other", "unsteered", "hard", "salad", "loops", "withheld"}
        assert all(0 <= part[name] <= 1 for name in part)
        assert all(value is None or 0 <= value <= 1 for value in scores.values())
        if which == SELECTS:
            assert part["auroc"] > 0.95
            assert part["other"] < 0.2 and part["real"] > 0.6
            assert part["other"] <= part["hard"] < part["real"]
    json.dumps(told, allow_nan=False)


def test_texts_of_known_quality_are_rated_as_any_answer(parts: list[Part], apart: Lab) -> None:
    parts = [replace(part, brief=replace(part.brief, request="Write of boats.")) for part in parts]
    made = panel(SELECTS, parts, apart)
    for number, part in enumerate(parts):
        scores = made.report()["parts"][number]["scores"]
        assert set(scores) == {"real", "salad", "loops", "echo", "request"}
        for name, (prompts, answers) in made._probes[number].items():
            assert len(prompts) == len(answers) > 0
            rated = made.rate([number] * len(answers), prompts, answers)
            assert scores[name] == pytest.approx(np.mean(3 / sum(1 / np.maximum(v, 1e-300) for v in rated.values())))
        assert (
            made._probes[number]["real"][1]
            == [text for text, of in zip(part.train.completions or (), part.train.truth, strict=True) if of == 1][
                :PROBES
            ]
        )
        assert set(made._probes[number]["request"][1]) == {part.brief.request}
    silent = [replace(part, brief=replace(part.brief, request="")) for part in parts]
    assert panel(SELECTS, silent, apart).report()["parts"][0]["scores"]["request"] is None


def test_without_fluency_no_likelihood_is_read(parts: list[Part], apart: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    made = panel(SCORES, parts, apart)
    whole = made.rate([0, 1], asked(10, 2).prompts, ["boats", "flour"])
    monkeypatch.setattr(apart, "likelihood", lambda said: 1 / 0)
    part = made.rate([0, 1], asked(10, 2).prompts, ["boats", "flour"], fluency=False)
    assert set(part) == {CONCEPT, RELEVANCE}
    for name, values in part.items():
        np.testing.assert_array_equal(values, whole[name])


def test_the_panels_learn_from_texts_of_their_own(
    parts: list[Part], apart: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Examples, bool]] = []
    fitted = ConceptScale.fitted

    def noted(texts: Examples, part: Part, usual: Any, read: Any, guarded: bool) -> ConceptScale:
        seen.append((texts, guarded))
        return fitted(texts, part, usual, read, guarded)

    monkeypatch.setattr(ConceptScale, "fitted", noted)
    for which in (SELECTS, SCORES):
        panel(which, parts, apart)
    assert [guarded for _, guarded in seen] == [False, False, True, True]
    for (first, _), (second, _), part in zip(seen[:2], seen[2:], parts, strict=True):
        assert part.reserved is not None
        assert (first, second) == part.reserved
        assert not set(first.completions or ()) & set(second.completions or ())
        assert not set(first.prompts) & set(second.prompts)


@pytest.mark.parametrize("which", [SELECTS, SCORES])
def test_the_other_panel_s_texts_change_nothing(which: int, parts: list[Part], apart: Lab) -> None:
    def rated(parts: list[Part]) -> dict[str, np.ndarray]:
        answers = [text(np.random.default_rng(i), WORDS[0]) for i in range(4)]
        made = panel(which, parts, apart)
        made._scales = [replace(s, report={**s.report, "salad": 0.0, "real": 1.0}) for s in made._scales]
        return dict(made.rate([0, 0, 1, 1], asked(10, 4).prompts, answers))

    def poisoned(half: int) -> list[Part]:
        changed = []
        for part in parts:
            assert part.reserved is not None
            texts = list(part.reserved)
            said = tuple(f"poison {i} {t}" for i, t in enumerate(reversed(texts[half].completions or ())))
            texts[half] = replace(texts[half], completions=said)
            changed.append(replace(part, reserved=(texts[0], texts[1])))
        return changed

    plain, same, changed = rated(parts), rated(poisoned(1 - which)), rated(poisoned(which))
    for name, values in plain.items():
        np.testing.assert_array_equal(values, same[name])
    assert not np.array_equal(plain[CONCEPT], changed[CONCEPT])


def test_a_part_without_texts_for_the_judge_is_told(parts: list[Part], apart: Lab) -> None:
    with pytest.raises(FairfightError, match=r"'concept 0' keeps no texts for an offline judge; choose another judge"):
        panel(SELECTS, [replace(parts[0], reserved=None)], apart)


def test_a_judge_may_read_without_the_model_under_study(
    parts: list[Part], apart: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    rows = [part.public for part in parts]
    texts = [text(rng, WORDS[c]) for c in (0, 0, 1, 1)]
    rated = ([0] * 4, [*asked(20, 4).prompts], texts)
    before = Offline().panel(SCORES, parts, rows, apart).rate(*rated)
    monkeypatch.setattr(judging, "states", lambda *_: pytest.fail("it read the model"))
    other = Offline(reads="minilm").panel(SCORES, parts, rows, apart).rate(*rated)
    assert not np.allclose(before[CONCEPT], other[CONCEPT])
    assert np.array_equal(before[FLUENCY], other[FLUENCY]) and np.array_equal(before[RELEVANCE], other[RELEVANCE])
    with pytest.raises(FairfightError, match=r"Unknown judge\.reads='eyes'; choose one of model, minilm"):
        Offline(reads="eyes")


def test_the_judge_s_identity_names_what_changes_its_judgements() -> None:
    assert Offline(reads="minilm").identity() == {**Offline().identity(), "reads": "minilm"}
    told = Offline().identity()
    assert told["name"] == "offline" and told["version"] == Offline.VERSION
    assert len(told["embeddings"]) == 64
