"""The protocol of track steer, watched through a contender, a model and a judge that take notes; and a real run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest

from arena.contract import Brief, Budget, ContenderMeta, Examples, FairfightError, Intervention, Part, Sites
from arena.dictionaries import Dictionaries
from arena.judging import SCORES, SELECTS
from arena.lab import Lab
from arena.meter import Meter
from arena.models import ModelIdentity
from results import measures
from results.record import Record, Steered, key
from runners import build
from runners.build import Contender
from runners.compose import raw
from runners.tracks import steer
from runners.tracks.outcome import Outcome
from tests.results.test_record import CELL
from tests.runners.test_detect import spy
from tests.tasks.test_axbench_steer import REGIME, made
from tests.tasks.toy_suite import write

BUDGET = Budget("b", 9)


class Talker:
    """Steers by a rewrite that tells what it is; notes what it was shown."""

    meta = ContenderMeta("talker", 1, "baseline", ("labels",))
    fits: ClassVar[list[tuple[str, Examples, Brief, float]]] = []

    def __init__(self, word: str = "a") -> None:
        self.word = word

    def wants(self, layers: int) -> Sites:
        return frozenset()

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        self.drawn_ = float(lab.rng.random())
        self.fits.append((self.word, train, brief, self.drawn_))
        return self

    def steer(self, strength: float) -> Intervention:
        told = f"{self.word} {strength:g} {self.drawn_:.6f}"
        return Intervention(rewrite=lambda text: f"{text}|{told}")


def talker(grid: Mapping[str, list[Any]] | None = None, **params: Any) -> Contender:
    return Contender("talker", Talker, {"word": "a", "strength": 1.0} | params, grid or {}, {})


STRENGTHS = {"strength": [1.0, 0.25, 4.0]}
Opinion = Callable[[int, int, str, float], float]  # panel, part, word, strength -> score


class Told:
    """A judge of a mind of its own."""

    apart = True

    def __init__(self, opinion: Opinion) -> None:
        self.opinion = opinion
        self.rated: list[tuple[int, str]] = []  # panel, prompt

    def identity(self) -> Mapping[str, Any]:
        return {"name": "told"}

    def panel(self, which: int, parts: Sequence[Part], asked: Sequence[Examples], lab: Lab) -> Any:
        judge = self

        class Panel:
            def rate(
                self, parts: Sequence[int], prompts: Sequence[str], answers: Sequence[str], fluency: bool = True
            ) -> Any:
                judge.rated += [(which, prompt) for prompt in prompts]
                assert all(a.startswith(f"{p}|") for p, a in zip(prompts, answers, strict=True))  # each in its place
                told = [answer.split("|")[1].split() for answer in answers]
                score = [judge.opinion(which, n, t[0], float(t[1])) for n, t in zip(parts, told, strict=True)]
                return {"concept": np.array(score), "relevance": np.ones(len(told)), "fluency": np.ones(len(told))}

            def report(self) -> dict[str, Any]:
                return {"which": which}

        return Panel()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("steer") / "toy")


@pytest.fixture
def parts(folder: Path) -> list[Part]:
    """Two concepts; each is asked in words of its own, so that notes tell them apart."""
    Talker.fits.clear()

    def own(examples: Examples | None, number: int) -> Any:
        assert examples is not None
        ids = tuple(f"{i[:-1]}{number}" for i in examples.ids)
        return replace(examples, ids=ids, prompts=tuple(f"{p} ({number})" for p in examples.prompts))

    split = made(folder, concepts=[0, 1]).split(REGIME, 0)
    return [
        replace(part, selection=own(part.selection, n), public=own(part.public, n), lockbox=own(part.lockbox, n))
        for n, part in enumerate(split.parts)
    ]


class Echo:
    """What the model would be asked: it says the words that it is given."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, int, float, int]] = []  # prompt, answer, most, temperature, seed

    def generate(
        self, prompts: Any, interventions: Any, most: int, *, temperature: float, seeds: Any, **_: Any
    ) -> list[str]:
        answers = [i.rewrite(p) if i.rewrite else p for p, i in zip(prompts, interventions, strict=True)]
        self.asked += [(p, a, most, temperature, s) for p, a, s in zip(prompts, answers, seeds, strict=True)]
        return answers

    def under(self, prompts: Sequence[str]) -> list[str]:
        """Under what each of some prompts was answered, in order."""
        return [answer.split("|")[1] for prompt, answer, *_ in self.asked if prompt in prompts]


@pytest.fixture
def echo(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Echo:
    made = Echo()
    monkeypatch.setattr(lab, "generate", made.generate)
    monkeypatch.setattr(lab, "damage", lambda made: np.arange(1.0, len(made) + 1))
    strengths = lambda made: [float((m.rewrite("") if m.rewrite else "|x 0").split("|")[1].split()[1]) for m in made]  # noqa: E731
    monkeypatch.setattr(lab, "side_effects", lambda made: {"accuracy": np.array(strengths(made))})
    return made


def run(contender: Contender, parts: list[Part], lab: Lab, opinion: Opinion, half: str = "public") -> Any:
    lab.judge = Told(opinion)
    return steer.run(contender, BUDGET, parts, half, lab)


def settings(out: Any) -> list[Any]:
    return [out.trials[trial]["params"] for trial in out.chosen]


def flat(*_: Any) -> float:
    return 0.5


def test_strengths_share_a_fit(parts: list[Part], lab: Lab, echo: Echo) -> None:
    out = run(talker(STRENGTHS | {"word": ["a", "b"]}), parts, lab, flat)
    assert len(out.trials) == 6
    assert sorted(word for word, *_ in Talker.fits) == ["a", "a", "b", "b"]  # words x parts, whatever the strengths
    Talker.fits.clear()
    run(talker(STRENGTHS), parts, lab, flat)
    assert len(Talker.fits) == 2


def test_a_fit_sees_its_part_s_training_texts_and_nothing_else(parts: list[Part], lab: Lab, echo: Echo) -> None:
    run(talker(STRENGTHS), parts, lab, flat)
    for (_, train, brief, _), part in zip(Talker.fits, parts, strict=True):
        assert train is part.train and brief is part.brief


def test_every_trial_answers_every_selection_prompt_once(parts: list[Part], lab: Lab, echo: Echo) -> None:
    out = run(talker(STRENGTHS | {"word": ["a", "b"]}), parts[:1], lab, flat)
    assert parts[0].selection is not None
    for prompt in parts[0].selection.prompts:
        told = [" ".join(t.split()[:2]) for t in echo.under([prompt])]
        assert sorted(told) == sorted(f"{t['params']['word']} {t['params']['strength']:g}" for t in out.trials)


def test_without_strength_each_trial_answers_once(parts: list[Part], lab: Lab, echo: Echo) -> None:
    bare = Contender("talker", Talker, {"word": "a"}, {"word": ["a", "b"]}, {})
    out = run(bare, parts[:1], lab, lambda _, __, word, ___: float(word == "b"))
    assert parts[0].selection is not None
    assert [t["params"] for t in out.trials] == [{"word": "a"}, {"word": "b"}]
    assert [len(echo.under([p])) for p in parts[0].selection.prompts] == [2] * 6
    assert all(told.split()[1] == "1" for told in echo.under(parts[0].selection.prompts))
    assert settings(out) == [{"word": "b"}]
    assert out.test.answer == tuple(f"{p}|b 1 {Talker.fits[1][3]:.6f}" for p in parts[0].public.prompts)


def test_ties_go_to_the_weaker(parts: list[Part], lab: Lab, echo: Echo) -> None:
    for order in ([1.0, 0.25, 4.0], [4.0, 1.0, 0.25], [0.25, 4.0, 1.0]):
        out = run(talker({"strength": order}, strength=order[0]), parts, lab, flat)
        assert settings(out) == [{"strength": 0.25}] * 2
    backwards = run(talker({"strength": [1.0, -0.5]}), parts, lab, flat)
    assert settings(backwards) == [{"strength": -0.5}] * 2
    words = run(talker({"word": ["a", "b", "c"]}), parts, lab, flat)
    assert words.chosen == [0, 0]  # of equally strong ones the first


def test_each_part_has_its_own_choice(parts: list[Part], lab: Lab, echo: Echo) -> None:
    liked = {0: 4.0, 1: 0.25}
    out = run(talker(STRENGTHS), parts, lab, lambda _, part, __, strength: 1 / (1 + abs(strength - liked[part])))
    assert settings(out) == [{"strength": 4.0}, {"strength": 0.25}]
    for part, strength in ((0, "4"), (1, "0.25")):
        rows = [a.split("|")[1].split()[1] for a, name in zip(out.test.answer, out.test.part, strict=True)
                if name == parts[part].name]  # fmt: skip
        assert rows == [strength] * len(parts[part].public)
        dev = [a.split("|")[1].split()[1] for a, name in zip(out.dev.answer, out.dev.part, strict=True)
               if name == parts[part].name]  # fmt: skip
        assert dev == [strength] * 6


def test_what_chooses_is_the_selection_s_panel_on_the_selection_s_prompts(
    parts: list[Part], lab: Lab, echo: Echo
) -> None:
    """The panel that scores would choose otherwise, and is not asked."""

    def divided(which: int, _: int, __: str, strength: float) -> float:
        return (strength if which == SELECTS else 8 - strength) / 8

    out = run(talker(STRENGTHS), parts, lab, divided)
    assert settings(out) == [{"strength": 4.0}] * 2
    chosen_by = {p for part in parts for p in part.selection.prompts}  # type: ignore[union-attr]
    judge: Any = lab.judge
    assert {prompt for which, prompt in judge.rated if which == SELECTS} == chosen_by
    asked = {p for part in parts for p in part.public.prompts}
    assert {prompt for which, prompt in judge.rated if which == SCORES} == asked
    np.testing.assert_array_equal(out.dev.score["concept"], 4 / 8)
    np.testing.assert_array_equal(out.test.score["concept"], 4 / 8)
    np.testing.assert_array_equal(out.untuned.score["concept"], 7 / 8)
    assert out.about == {"judge": {"selects": {"which": SELECTS}, "scores": {"which": SCORES}}}


def test_test_prompts_that_cannot_be_read_change_no_choice(parts: list[Part], lab: Lab, echo: Echo) -> None:
    def opinion(which: int, part: int, _: str, strength: float) -> float:
        return [1 / strength, strength / 4][part] if which == SELECTS else 0.1

    plain = run(talker(STRENGTHS), parts, lab, opinion)
    poisoned = [
        replace(part, public=replace(part.public, prompts=tuple(f"poison {i}" for i in range(len(part.public)))))
        for part in parts
    ]
    other = run(talker(STRENGTHS), poisoned, lab, opinion)
    assert (other.chosen, other.trials) == (plain.chosen, plain.trials)
    assert other.dev.answer == plain.dev.answer


def test_the_test_is_answered_once_by_the_chosen_trial_which_is_not_refitted(
    parts: list[Part], lab: Lab, echo: Echo
) -> None:
    out = run(talker(STRENGTHS), parts, lab, lambda _, __, ___, strength: strength / 8)
    drawn = [f"{d:.6f}" for *_, d in Talker.fits]
    assert len(Talker.fits) == 2
    for part, d in zip(parts, drawn, strict=True):
        for prompt in part.public.prompts:
            assert echo.under([prompt]) == [f"a 4 {d}", f"a 1 {d}"]  # the chosen one, then trial 1
        assert echo.under(part.lockbox.prompts) == []
    assert all(" 1 " in answer.split("|")[1] for answer in out.untuned.answer)
    echo.asked.clear()
    same = run(talker(STRENGTHS, strength=1.0), parts, lab, lambda _, __, ___, strength: float(strength == 1))
    assert [len(echo.under([p])) for p in parts[0].public.prompts] == [1] * len(parts[0].public)
    assert same.untuned.answer == same.test.answer


class Drawer(Talker):
    """Takes the best of some draws."""

    def steer(self, strength: float) -> Intervention:
        return replace(super().steer(strength), draws=4)


@pytest.fixture
def numbered(lab: Lab, echo: Echo, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[int]]:
    """Draws end on a number; those of each prompt."""
    plain, drawn = echo.generate, {}

    def generate(prompts: Any, interventions: Any, most: int, *, temperature: float, seeds: Any, **_: Any) -> list[str]:
        assert temperature == 1.0
        said = plain(prompts, interventions, most, temperature=temperature, seeds=seeds)
        for prompt, seed in zip(prompts, seeds, strict=True):
            drawn.setdefault(prompt, []).append(seed % 97)
        return [f"{answer} {seed % 97}" for answer, seed in zip(said, seeds, strict=True)]

    monkeypatch.setattr(lab, "generate", generate)
    return drawn


def marked(lab: Lab, parts: list[Part], grid: Mapping[str, list[Any]], opinion: Opinion = flat) -> Outcome:
    judge = Told(opinion)
    judge.panel = lambda which, *_: Marks(which, opinion)  # type: ignore[method-assign]
    lab.judge = judge
    return steer.run(Contender("drawer", Drawer, {"word": "a"}, grid, {}), BUDGET, parts, "public", lab)


def test_the_best_of_several_draws_is_the_selecting_panel_s(
    parts: list[Part], lab: Lab, numbered: dict[str, list[int]]
) -> None:
    """The answer of each prompt is the draw that the panel that selects likes best, whatever the other one says; what
    the two have in common, fluency, has no voice; and a trial is judged by one draw, for who chose cannot judge."""
    out = marked(lab, parts, {})
    assert isinstance(out.test, Steered) and isinstance(out.dev, Steered)
    for prompt, answer in zip(out.test.prompt, out.test.answer, strict=True):
        assert len(set(numbered[prompt])) == len(numbered[prompt]) == 4
        assert int(answer.split()[-1]) == max(numbered[prompt])
    assert all(len(numbered[prompt]) == 1 for prompt in out.dev.prompt)


def test_untuned_draws_are_chosen_among_as_the_others_are(
    parts: list[Part], lab: Lab, numbered: dict[str, list[int]]
) -> None:
    """Where one part chose another trial than the first, the panel is still that of all parts."""
    out = marked(lab, parts, {"word": ["a", "b"]}, lambda _, part, word, __: 0.9 if (part, word) == (1, "b") else 0.4)
    assert out.chosen == [0, 1]
    assert isinstance(out.untuned, Steered)
    for prompt, answer in zip(out.untuned.prompt, out.untuned.answer, strict=True):
        assert answer.split("|")[1].split()[0] == "a"
        assert int(answer.split()[-1]) == max(numbered[prompt])


def test_who_scores_does_not_choose_among_draws(
    parts: list[Part], lab: Lab, numbered: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = [replace(part, check=lambda text: 1.0) for part in parts]
    with pytest.raises(FairfightError, match="is what scores them; leave it out"):
        marked(lab, checked, {})
    monkeypatch.setattr(Told, "apart", False)
    with pytest.raises(FairfightError, match="is what scores them; leave it out"):
        marked(lab, parts, {})


class Marks:
    """The panel that selects likes large numbers at an answer's end and the other one small ones; fluency is none."""

    def __init__(self, which: int, opinion: Opinion) -> None:
        self.which, self.opinion = which, opinion

    def rate(self, parts: Sequence[int], prompts: Sequence[str], answers: Sequence[str], fluency: bool = True) -> Any:
        ends = np.array([int(answer.split()[-1]) for answer in answers])
        words = [answer.split("|")[1].split()[0] for answer in answers]
        liked = np.array([self.opinion(self.which, part, word, 1.0) for part, word in zip(parts, words, strict=True)])
        mark = liked + (1 if self.which == SELECTS else -1) * ends / 2000
        return {"concept": mark, "relevance": np.ones(len(ends)), "fluency": 1 - ends / 100}

    def report(self) -> dict[str, Any]:
        return {}


def test_the_lockbox_is_the_other_half(parts: list[Part], lab: Lab, echo: Echo) -> None:
    out = run(talker(STRENGTHS), parts, lab, flat, half="lockbox")
    assert out.test.id == tuple(i for part in parts for i in part.lockbox.ids)
    assert not echo.under([p for part in parts for p in part.public.prompts])


def test_rows_name_part_prompt_group_and_id(parts: list[Part], lab: Lab, echo: Echo) -> None:
    out = run(talker(STRENGTHS), parts, lab, flat)
    for rows, where in ((out.test, "public"), (out.untuned, "public"), (out.dev, "selection")):
        examples = [getattr(part, where) for part in parts]
        assert rows.id == tuple(i for e in examples for i in e.ids)
        assert rows.prompt == tuple(p for e in examples for p in e.prompts)
        assert rows.part == tuple(part.name for part, e in zip(parts, examples, strict=True) for _ in e.ids)
        np.testing.assert_array_equal(rows.group, np.concatenate([e.groups for e in examples]))
        assert set(rows.score) == {"concept", "relevance", "fluency"}


def test_every_trial_keeps_what_it_reached_in_each_part(parts: list[Part], lab: Lab, echo: Echo) -> None:
    out = run(talker(STRENGTHS), parts, lab, lambda which, part, _, strength: (strength + part) / 8)
    assert [t["params"]["strength"] for t in out.trials] == [1.0, *(t["params"]["strength"] for t in out.trials[1:])]
    for trial in out.trials:
        concept = [(trial["params"]["strength"] + part) / 8 for part in (0, 1)]
        expected = [3 / (1 / c + 2) for c in concept]
        assert trial["parts"] == pytest.approx(expected)
        assert trial["dev_score"] == pytest.approx(np.mean(expected))
        assert trial["damage"] == [1.0, 2.0]


def test_side_effects_are_those_of_the_chosen_trials(parts: list[Part], lab: Lab, echo: Echo) -> None:
    best = {0: 4.0, 1: 1.0}
    out = run(talker(STRENGTHS), parts, lab, lambda which, part, _, strength: 0.9 if strength == best[part] else 0.1)
    assert out.side_effects == {"accuracy": [4.0, 1.0]}


def test_where_nothing_can_be_told_trial_1_answers(parts: list[Part], lab: Lab, echo: Echo) -> None:
    def half_known(which: int, part: int, _: str, strength: float) -> float:
        return float("nan") if part == 0 else strength / 4

    out = run(talker(STRENGTHS), parts, lab, half_known)
    assert settings(out) == [{"strength": 1.0}, {"strength": 4.0}]
    assert [t["parts"][0] for t in out.trials] == [None] * 3
    assert out.trials[0]["dev_score"] == out.trials[0]["parts"][1]
    record = recorded(out)
    assert record.dev_score == pytest.approx(1.0)
    assert measures.main(record.test) == pytest.approx(1.0)  # type: ignore[arg-type]
    nothing = run(talker(STRENGTHS), parts, lab, lambda *_: float("nan"))
    assert nothing.chosen == [0, 0] and [t["dev_score"] for t in nothing.trials] == [None] * 3
    assert recorded(nothing).dev_score is None
    assert np.isnan(measures.main(nothing.test))
    assert Record.from_json(recorded(nothing).to_json()).to_json() == recorded(nothing).to_json()


def recorded(out: Any, **changes: Any) -> Record:
    """The outcome as a record."""
    cell = replace(CELL, track="steer", judge={"name": "told"}, **changes)
    return Record(
        key=key(cell), cell=cell, status="ok", provenance={},
        about={"task_family": "c", "contender_family": "baseline", "access": ["labels"], "model": "m", **out.about},
        test=out.test, untuned=out.untuned, dev=out.dev, trials=out.trials, chosen=out.chosen,
        spent={"total": {"lm_tokens": 10.0, "seconds": 1.0}},
    )  # fmt: skip


def test_randomness_depends_on_the_cell_alone(parts: list[Part], lab: Lab, echo: Echo) -> None:
    first = run(talker(STRENGTHS | {"word": ["a", "b"]}), parts, lab, flat)
    drawn = [d for *_, d in Talker.fits]
    assert len(set(drawn)) == 4  # a stream for each trial and part
    lab.rng.normal(size=100)
    again = run(talker(STRENGTHS | {"word": ["a", "b"]}), parts, lab, flat)
    assert [d for *_, d in Talker.fits[4:]] == drawn
    assert again.test.answer == first.test.answer


def test_all_contenders_draw_the_same_stream_for_a_prompt(parts: list[Part], lab: Lab, echo: Echo) -> None:
    """And a prompt's stream is its own, whatever the part's length and the trial."""
    warm = [replace(part, temperature=0.7, new_tokens=5 + n) for n, part in enumerate(parts)]
    run(talker(STRENGTHS), warm, lab, flat)
    seeds: dict[str, set[int]] = {}
    for prompt, _, _, temperature, seed in echo.asked:
        assert temperature == 0.7
        seeds.setdefault(prompt, set()).add(seed)
    assert all(len(s) == 1 for s in seeds.values())
    assert len({s for each in seeds.values() for s in each}) == len(seeds)
    before = dict(seeds)
    echo.asked.clear()
    run(talker(word="z"), warm, lab, flat)
    assert all(before[prompt] == {seed} for prompt, *_, seed in echo.asked)
    longest = {prompt: most for prompt, _, most, *_ in echo.asked}
    assert all(longest[prompt] == 5 + n for n in (0, 1) for prompt in warm[n].public.prompts)


def test_another_seed_draws_another_stream(parts: list[Part], lab: Lab, echo: Echo) -> None:
    warm = [replace(part, temperature=0.7) for part in parts]
    drawn = []
    for seed in (0, 1):
        lab.draws = seed
        echo.asked.clear()
        run(talker(STRENGTHS), warm, lab, flat)
        drawn.append({prompt: stream for prompt, *_, stream in echo.asked})
    assert drawn[0].keys() == drawn[1].keys()
    assert all(drawn[0][prompt] != drawn[1][prompt] for prompt in drawn[0])


def test_a_part_without_instructions_or_a_lab_without_judge_is_told(parts: list[Part], lab: Lab, echo: Echo) -> None:
    bare = replace(parts[1], selection=None)
    with pytest.raises(FairfightError, match=r"'references to flour' has no instructions to select by; raise task.sel"):
        run(talker(), [parts[0], bare], lab, flat)
    lab.judge = None
    with pytest.raises(FairfightError, match="Track steer needs a judge; choose one with judge=offline"):
        steer.run(talker(), BUDGET, parts, "public", lab)


def test_over_budget_is_over_budget(parts: list[Part], lab: Lab) -> None:
    small = Lab(lab._reader, Meter(2, max_lm_tokens=5), seed=0)
    small.judge = Told(flat)
    with pytest.raises(FairfightError, match=r"the budget allows 5; raise budget.lm_tokens or give it fewer trials"):
        steer.run(talker(STRENGTHS), BUDGET, parts, "public", small)


# Who may fight


def told(track: str, *names: str) -> str:
    with pytest.raises(FairfightError) as caught:
        build.contenders({name: raw("contender", name) for name in names}, [], track)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_steer_is_told_in_a_sentence() -> None:
    found = told("steer", "diff_in_means", "mlp")
    assert found.startswith("mlp does not steer, which is what this task is about; choose among ")
    able = found.partition("choose among ")[2].rstrip(".").split(", ")
    assert {"caa", "diff_in_means", "no_intervention", "loreft"} <= set(able)
    assert not {"mlp", "majority", "sae_shuffled"} & set(able)
    build.contenders({name: raw("contender", name) for name in able}, [], "steer")  # each of them does


def test_what_cannot_detect_is_told_in_a_sentence() -> None:
    found = told("detect", "caa")
    assert found.startswith("caa does not detect, which is what this task is about; choose among ")
    assert "linear_probe" in found and "caa" not in found.partition("among")[2]


def test_a_wrapper_of_what_cannot_steer_cannot() -> None:
    assert told("steer", "sae_shuffled").startswith("sae_shuffled does not steer")
    (wrapped,) = build.contenders({"random_sae_max_pool": raw("contender", "random_sae_max_pool")}, [], "steer")
    assert wrapped.params["draws"] == 1
    assert wrapped.params["of.strength"] == wrapped.grid["of.strength"][0]  # tuned as what it wraps is
    assert build.strength_of({"of.strength": 0.5}) == 0.5
    assert not hasattr(wrapped.make(**{"of.strength": 0.5}).of, "strength")


def test_a_track_s_settings_take_their_place_there_alone() -> None:
    node = raw("contender", "diff_in_means")
    (detects,) = build.contenders({"diff_in_means": node}, [])
    (steers,) = build.contenders({"diff_in_means": node}, [], "steer")
    assert "strength" not in detects.params and detects.params["pooling"] == node["pooling"] == "last"
    assert steers.params["pooling"] == "mean" and steers.params["strength"] == node["steer"]["strength"]
    assert dict(steers.grid) == node["steer"]["grid"] and dict(detects.grid) == node["grid"]


@pytest.mark.parametrize("name", [c for c in build.options("contender") if "steer" in raw("contender", c)])
def test_what_a_contender_does_elsewhere_is_no_part_of_a_detection_s_key(name: str, folder: Path) -> None:
    """Keys of the records that there are: with the section, without it, and with another in its place."""
    from tasks.axbench_detect import AxbenchDetect

    task = AxbenchDetect(str(folder))

    def key_of(node: dict[str, Any], track: str = "detect") -> str:
        (contender,) = build.contenders({name: node}, [], track)
        model = ModelIdentity("m", "r", "float32")
        return key(build.cell(task, contender, model, REGIME, BUDGET, Dictionaries({}), half="public", seed=0))

    node = raw("contender", name)
    bare = {k: v for k, v in node.items() if k != "steer"}
    other = node | {"steer": dict(node["steer"]) | {"strength": 77.0}}
    assert key_of(node) == key_of(bare) == key_of(other)
    assert len({key_of(node, "steer"), key_of(other, "steer"), key_of(node)}) == 3


def test_the_judge_is_part_of_a_steered_cell_s_key_alone(folder: Path) -> None:
    from tasks.axbench_detect import AxbenchDetect

    def cell(task: Any, judge: Any, contender: Contender) -> Any:
        model = ModelIdentity("m", "r", "float32")
        return build.cell(task, contender, model, REGIME, BUDGET, Dictionaries({}), half="public", seed=0, judge=judge)

    steered = [cell(made(folder), judge, talker()) for judge in (Told(flat), None)]
    assert steered[0].judge == {"name": "told"} and key(steered[0]) != key(steered[1])
    assert cell(AxbenchDetect(str(folder)), Told(flat), spy()).judge is None


def test_choosing_among_draws_pays_for_no_panel(parts: list[Part], lab: Lab, numbered: dict[str, list[int]]) -> None:
    """What it takes to fit the panel, and fluency, are not the contender's; what it rates by is."""
    phases: list[str] = []
    rated: list[bool] = []

    class Open(Told):
        def panel(self, which: int, parts: Sequence[Part], asked: Sequence[Examples], lab: Lab) -> Any:
            phases.append(next(name for name, ledger in lab.meter.ledgers.items() if ledger in lab.meter._open))
            made = super().panel(which, parts, asked, lab)
            rate = made.rate
            made.rate = lambda p, q, a, fluency=True: (rated.append(fluency), rate(p, q, a))[1]
            return made

    lab.judge = Open(lambda which, part, word, strength: 0.5)
    steer.run(Contender("drawer", Drawer, {"word": "a"}, {}, {}), BUDGET, parts, "public", lab)
    assert len(phases) == 3 and set(phases) == {"judge"}
    assert False in rated and True in rated
