"""What holds for every contender and every task that `conf/` names, found by globbing."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from arena.contract import POOLINGS, Brief, Examples, FairfightError, Intervention, Part, Regime
from arena.interventions import EMBEDDINGS, Add
from arena.lab import Lab
from arena.scores import margins
from results.metrics import auroc
from runners import build
from runners.compose import options, plain, raw
from runners.tracks import steer
from runners.trials import along, draw
from tasks.grouping import fold
from tests.conftest import BRIEF, examples
from tests.tasks.toy_suite import BRIEF as BOATS
from tests.tasks.toy_suite import dialogues

ACCESS = {"labels", "description", "gradients", "internals", "logprobs", "unlabelled text", "other weights", "judge"}
THREE = Brief("Is this review good, bad or odd?", ("bad", "good", "odd"), ("bad", "good", "odd"), "review")
CONTENDERS = options("contender")
DETECTORS, STEERERS = ([c for c in CONTENDERS if track in build.tracks(raw("contender", c))] for track in build.DOES)
QUICK: Mapping[str, Mapping[str, Any]] = {  # where the defaults take longer than a test may
    "supervised_vector": {"epochs": 1},
    "reft_r1": {"epochs": 1},
    "reps": {"epochs": 1, "pairs": 8, "new_tokens": 6},
    "loreft": {"epochs": 1},
    "lora_steering": {"epochs": 1},
    "bitfit": {"epochs": 1},
    "sae_by_label": {"passages": 60, "contexts": 2},
    "random_sae_by_label": {"of.passages": 60, "of.contexts": 2},
    "full_finetune_steering": {"epochs": 1},
    "soft_prompt_steering": {"epochs": 1},
    "best_of_n": {"n": 2},
    "caa": {"new_tokens": 6},
}
TASKS = [t for t in options("task") if "???" not in map(str, plain("task", t).values())]


def contender(name: str, track: str = "detect") -> build.Contender:
    return build.contenders({name: raw("contender", name)}, [], track)[0]


def imbalanced(n: int = 60, share: float = 0.05) -> Examples:
    data = examples(4 * n)
    positive = np.flatnonzero(data.truth == 1)[: max(2, round(share * n))]
    negative = np.flatnonzero(data.truth == 0)[: n - len(positive)]
    return data.take(np.sort(np.concatenate([positive, negative])))


DIALOGUES = dialogues(24)
SUITE_BRIEF = replace(BOATS, request="Write of boats {now}.")
STRENGTHLESS_EDITS = {"loreft", "lora_steering", "bitfit", "full_finetune_steering"}

CASES: Mapping[str, tuple[Examples, Brief]] = {
    "binary": (examples(60), BRIEF),
    "three_classes": (examples(60, classes=3), THREE),
    "four_examples": (examples(4), BRIEF),
    "five_percent_positive": (imbalanced(), BRIEF),
}


def test_every_contender_fights_somewhere() -> None:
    assert set(DETECTORS) | set(STEERERS) == set(CONTENDERS)
    assert {"linear_probe", "diff_in_means", "random_sae"} <= set(DETECTORS)
    assert {"caa", "diff_in_means", "random_sae_max_pool"} <= set(STEERERS)
    # A wrapper does what it wraps.
    assert "sae_shuffled" not in STEERERS and "random_sae" not in STEERERS and "no_intervention" not in DETECTORS


@pytest.mark.parametrize(
    ("name", "track"), [(c, track) for c in CONTENDERS for track in build.tracks(raw("contender", c))]
)
class TestContender:
    def test_yaml_and_class_agree(self, name: str, track: str) -> None:
        c = contender(name, track)
        assert c.name == name
        # A wrapper may come several times, once for each contender that it is the control of.
        assert name == c.meta.name or (c.of is not None and name.startswith(f"{c.meta.name}_"))
        assert c.meta.family in {"method", "baseline", "control"}
        assert c.meta.version >= 1
        assert c.target.__module__.split(".")[0] == ("methods" if c.meta.family == "method" else "baselines")
        assert set(c.meta.access) <= ACCESS

    def test_every_hyperparameter_is_in_the_yaml(self, name: str, track: str) -> None:
        c = contender(name, track)
        own = {"of" if p.startswith("of.") else p for p in c.params if p != build.STRENGTH or track == "detect"}
        assert set(inspect.signature(c.target).parameters) == own

    def test_the_default_leads_its_grid_and_path(self, name: str, track: str) -> None:
        c = contender(name, track)
        assert {k: v[0] for k, v in {**c.grid, **c.path}.items()} == {k: c.params[k] for k in {**c.grid, **c.path}}

    def test_a_method_names_a_control_that_exists(self, name: str, track: str) -> None:
        meta = contender(name, track).meta
        if meta.family == "method":
            assert meta.control in (DETECTORS if track == "detect" else STEERERS)
            assert contender(str(meta.control), track).meta.family == "control"

    def test_the_docstring_gives_shapes_and_source(self, name: str, track: str) -> None:
        doc = contender(name, track).target.__doc__ or ""
        assert track == "steer" or "n, classes]" in doc or name == "majority"
        assert "ource" in doc or contender(name, track).meta.family == "control"

    def test_the_constructor_only_stores(self, name: str, track: str) -> None:
        c = contender(name, track)
        stored = vars(c.make())
        of = stored.pop("of", None)
        own = {k: v for k, v in c.params.items() if not k.startswith("of.")}
        assert stored == {k: v for k, v in own.items() if k != build.STRENGTH}
        assert {f"of.{k}": v for k, v in vars(of).items()}.items() <= c.params.items() if of else not c.of


@pytest.mark.parametrize("name", DETECTORS)
class TestDetector:
    @pytest.mark.parametrize("case", CASES)
    def test_every_trial_fits_and_scores(self, name: str, case: str, lab: Lab) -> None:
        data, brief = CASES[case]
        c = contender(name)
        for setting in draw(c.params, c.grid, 3):
            for step in along(c.params, c.path)[:2]:
                made = c.make(**setting, **step)
                sites = made.wants(lab.layers)
                assert all(0 <= s.layer < lab.layers and s.pooling in POOLINGS for s in sites)
                lab.reseed(0)
                assert made.fit(data, brief, lab) is made
                scores = made.score(data.unlabelled(), lab)
                assert scores.shape[-2:] == (len(data), len(brief.classes))
                assert np.isfinite(scores).all()

    def test_reads_only_the_sites_it_wants(self, name: str, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        read = set()
        get = lab._reader.get
        monkeypatch.setattr(lab._reader, "get", lambda prompts, site: read.add(site) or get(prompts, site))
        random = lab._reader.untrained
        random_get = random.get
        note = lambda site: read.add(site._replace(untrained=True))  # noqa: E731
        monkeypatch.setattr(random, "get", lambda prompts, site: note(site) or random_get(prompts, site))
        made = contender(name).make()
        made.fit(examples(20), BRIEF, lab).score(examples(20).unlabelled(), lab)
        assert read == set(made.wants(lab.layers))

    def test_the_same_seed_gives_the_same_scores(self, name: str, lab: Lab) -> None:
        answers = []
        for _ in range(2):
            lab.reseed(3, 1)
            answers.append(contender(name).make().fit(examples(), BRIEF, lab).score(examples().unlabelled(), lab))
        np.testing.assert_array_equal(*answers)

    def test_scoring_needs_no_labels_and_no_neighbours(self, name: str, lab: Lab) -> None:
        lab.reseed(0)
        made = contender(name).make().fit(examples(), BRIEF, lab)
        whole = made.score(examples().unlabelled(), lab)
        alone = made.score(examples().take([7]).unlabelled(), lab)
        np.testing.assert_allclose(whole[..., 7:8, :], alone, rtol=1e-4, atol=1e-4)


def steerer(name: str, lab: Lab, **overrides: Any) -> Any:
    """A fitted steerer; no run gives it more than its training texts and what a person would be told."""
    lab.reseed(0)
    return contender(name, "steer").make(**(QUICK.get(name, {}) | overrides)).fit(DIALOGUES, SUITE_BRIEF, lab)


def answers(lab: Lab, *interventions: Intervention) -> list[list[str]]:
    """What the model says under each of some interventions, row by row."""
    prompts = [f"tell me about {word}" for word in ("rivers", "bread", "the old bridge")]
    each = [one for one in interventions for _ in prompts]
    said = lab.generate(prompts * len(interventions), each, 8)
    return [said[start : start + len(prompts)] for start in range(0, len(said), len(prompts))]


@pytest.mark.parametrize("name", STEERERS)
class TestSteerer:
    def test_every_trial_fits_and_steers(self, name: str, lab: Lab) -> None:
        c = contender(name, "steer")
        for setting in draw(c.params, c.grid, 3):
            made = c.make(**(QUICK.get(name, {}) | setting))
            sites = made.wants(lab.layers)
            assert all(0 <= s.layer < lab.layers and s.pooling in POOLINGS for s in sites)
            lab.reseed(0)
            assert made.fit(DIALOGUES, SUITE_BRIEF, lab) is made
            done = made.steer(build.strength_of({**c.params, **setting}) or 1.0)
            assert isinstance(done, Intervention)
            assert all(EMBEDDINGS <= edit.layer < lab.layers for edit in done.edits)
            assert all(isinstance(said, str) for said in answers(lab, done)[0])

    def test_it_does_something(self, name: str, lab: Lab) -> None:
        done = steerer(name, lab).steer(20.0)
        assert name == "no_intervention" or done.edits or done.rewrite or done.bias or done.pull or done.weights
        if name not in {"no_intervention", *STRENGTHLESS_EDITS}:  # an epoch of these changes little
            steered, plain = answers(lab, done, Intervention())
            assert steered != plain

    def test_strength_is_a_factor(self, name: str, lab: Lab) -> None:
        """Twice as strong is twice as far, and nothing else: trials that differ in it share a fit."""
        made = steerer(name, lab)
        one, two = made.steer(1.0), made.steer(2.0)
        assert len(one.edits) == len(two.edits)
        factor = 1.0 if build.strength_of(contender(name, "steer").params) is None else 2.0
        for a, b in zip(one.edits, two.edits, strict=True):
            assert b.strength == factor * a.strength
            assert a.arrays().keys() == b.arrays().keys()
            assert all(np.array_equal(a.arrays()[k], b.arrays()[k]) for k in a.arrays())
        assert two.bias == {word: factor * value for word, value in one.bias.items()}
        assert two.pull == factor * one.pull
        assert (one.rewrite is None) == (two.rewrite is None)
        if one.rewrite and two.rewrite:
            assert one.rewrite("tell me") == two.rewrite("tell me") != "tell me"

    def test_reads_only_the_sites_it_wants(self, name: str, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        read = set()
        get = lab._reader.get
        monkeypatch.setattr(lab._reader, "get", lambda prompts, site: read.add(site) or get(prompts, site))
        steerer(name, lab)
        assert read == steer.wants(contender(name, "steer"), 1, lab.layers)

    def test_the_same_seed_gives_the_same_intervention(self, name: str, lab: Lab) -> None:
        one, two = (steerer(name, lab).steer(1.0) for _ in range(2))
        assert len(one.edits) == len(two.edits)
        for a, b in zip(one.edits, two.edits, strict=True):
            assert (type(a), a.layer, a.strength, a.where, a.ends, a.module) == (
                type(b), b.layer, b.strength, b.where, b.ends, b.module,
            )  # fmt: skip
            for key, array in a.arrays().items():
                np.testing.assert_array_equal(array, b.arrays()[key])
        assert one.bias == two.bias
        assert (one.weights or {}).keys() == (two.weights or {}).keys()
        assert all(np.array_equal(change, (two.weights or {})[p]) for p, change in (one.weights or {}).items())
        if one.rewrite and two.rewrite:
            assert one.rewrite("tell me") == two.rewrite("tell me")

    def test_all_that_it_uses_it_says(self, name: str, lab: Lab) -> None:
        """Labels turned around, another description: nothing changes where `access` does not name them."""
        c = contender(name, "steer")
        turned = replace(DIALOGUES, labels=1 - DIALOGUES.truth)
        renamed = replace(SUITE_BRIEF, concept="cheese", request="Write of cheese.", question="Is this cheese?")
        for what, train, brief in (("labels", turned, SUITE_BRIEF), ("description", DIALOGUES, renamed)):
            if what not in c.meta.access:
                lab.reseed(0)
                made = c.make(**QUICK.get(name, {})).fit(train, brief, lab).steer(1.0)
                same = steerer(name, lab).steer(1.0)
                assert answers(lab, made) == answers(lab, same)
                for a, b in zip(made.edits, same.edits, strict=True):
                    assert all(np.array_equal(a.arrays()[k], b.arrays()[k]) for k in a.arrays())


STRONG = [c for c in STEERERS if build.strength_of(contender(c, "steer").params) is not None]


@pytest.mark.parametrize("name", STRONG)
def test_strength_zero_changes_nothing(name: str, lab: Lab) -> None:
    made = steerer(name, lab)
    off, plain = answers(lab, made.steer(0.0), Intervention())
    assert off == plain
    assert all(edit.strength == 0 for edit in made.steer(0.0).edits) and made.steer(0.0).rewrite is None
    assert not any(made.steer(0.0).bias.values())


@pytest.mark.parametrize("name", ["diff_in_means", "mass_mean", "pca_direction", "lat"])
def test_directions_lead_to_the_texts_that_hold_the_concept(name: str, lab: Lab) -> None:
    (edit,) = steerer(name, lab).steer(1.0).edits
    assert isinstance(edit, Add)
    states = lab.activations(DIALOGUES.texts, next(iter(contender(name, "steer").make().wants(lab.layers))))
    gap = states[DIALOGUES.truth == 1].mean(0) - states[DIALOGUES.truth == 0].mean(0)
    assert edit.vector @ gap > 0


@pytest.mark.parametrize("name", ["diff_in_means", "random_direction", "caa", "lat", "pca_direction"])
def test_directions_push_as_far_as_states_are_long(name: str, lab: Lab) -> None:
    (edit,) = steerer(name, lab).steer(0.25).edits
    assert isinstance(edit, Add)
    site = next(iter(contender(name, "steer").make().wants(lab.layers)))
    norm = np.linalg.norm(lab.activations(DIALOGUES.texts, site), axis=1).mean()
    assert np.linalg.norm(edit.vector) == pytest.approx(norm, rel=0.2 if name == "caa" else 1e-4)
    assert edit.strength == 0.25


def test_a_prompt_asks_for_what_is_wanted(lab: Lab) -> None:
    for template in raw("contender", "prompt_steering")["grid"]["template"]:
        rewrite = steerer("prompt_steering", lab, template=template).steer(1.0).rewrite
        told = rewrite("Where is the bridge?")
        assert "Where is the bridge?" in told and "Write of boats {now}." in told
        assert rewrite("{0} {request}").count("{0} {request}") == 1  # braces of an instruction are its own
    shown = steerer("prompt_steering", lab, shots=2).steer(1.0).rewrite("Where?")
    own = [text for text, y in zip(DIALOGUES.completions or (), DIALOGUES.truth, strict=True) if y]
    assert own[0] in shown and own[1] in shown and own[2] not in shown
    with pytest.raises(FairfightError, match=r"Unknown template='loud'; choose one of "):
        steerer("prompt_steering", lab, template="loud")


@pytest.mark.parametrize("name", ["bag_of_words", "linear_probe", "diff_in_means"])
def test_a_separable_task_is_learned(name: str, lab: Lab) -> None:
    """A sign error or a class mix-up would show as an AUROC far below one half."""
    made = contender(name).make(**({"pooling": "mean", "layer": 0} if name != "bag_of_words" else {}))
    train, test = examples(400, seed=1), examples(200, seed=2)
    made.fit(train, BRIEF, lab)
    assert auroc(test.truth, made.score(test.unlabelled(), lab)) > 0.6


@pytest.mark.parametrize("name", ["linear_probe", "diff_in_means", "random_direction"])
@pytest.mark.parametrize("layer", [2, -1, 1.5, 99])
def test_an_unknown_layer_names_the_known(name: str, layer: float, lab: Lab) -> None:
    with pytest.raises(FairfightError, match=r"layer=.*(0\.\.1|0 to 1)"):
        contender(name).make(layer=layer).wants(lab.layers)


def test_labels_are_out_of_reach_in_score() -> None:
    with pytest.raises(FairfightError, match="out of reach"):
        _ = examples().unlabelled().truth


def test_groups_tell_nothing_in_score() -> None:
    """Groups are numbered in the order of the data, which may be sorted by label."""
    data = examples(40).take(np.argsort(examples(40).truth, kind="stable"))
    assert data.groups.tolist() != list(range(40))
    assert data.unlabelled().groups.tolist() == list(range(40))


@pytest.mark.parametrize(
    "name", [c for c in DETECTORS if c not in {"majority", "zero_shot", "few_shot", "shuffled_labels"}]
)
def test_scores_of_different_fits_compare(name: str, lab: Lab) -> None:
    """Thresholds are set on out-of-fold scores and used after a refit: an offset per fit would spoil them."""
    data, test = examples(300, seed=3), examples(100, seed=4)
    scores = []
    for number, half in enumerate((np.arange(300) // 2 % 2 == 0, np.arange(300) // 2 % 2 == 1)):
        lab.reseed(number)  # as folds are
        answer = np.asarray(
            contender(name).make().fit(data.take(np.flatnonzero(half)), BRIEF, lab).score(test.unlabelled(), lab)
        )
        gap = answer[..., 1] - answer[..., 0]
        scores.append(gap if gap.ndim == 2 else gap[None])
    shift = np.abs(scores[0].mean(1) - scores[1].mean(1)) / scores[0].std(1)
    assert np.median(shift) < 1


def test_a_margin_beyond_what_probabilities_hold_is_still_a_score() -> None:
    from sklearn.linear_model import LogisticRegression

    features = np.array([[-1.0], [1.0]] * 5)
    model = LogisticRegression(C=1e6).fit(features, [0, 1] * 5)
    scores = margins(model, np.array([[-500.0], [400.0], [500.0]]), 2)
    assert np.isfinite(scores).all()
    assert (np.diff(scores[:, 1]) > 0).all()
    seen = margins(LogisticRegression().fit(features, [0, 2] * 5), features, 3)
    assert seen.shape == (10, 3)
    assert (seen[:, 1] < seen[:, [0, 2]].min(axis=1)).all()


def test_random_directions_are_averaged_as_draws(lab: Lab) -> None:
    lab.reseed(0)
    made = contender("random_direction").make().fit(examples(), BRIEF, lab)
    scores = made.score(examples().unlabelled(), lab)
    assert scores.shape == (20, 60, 2)
    areas = [auroc(examples().truth, draw) for draw in scores]
    assert len(set(areas)) > 10
    assert min(areas) > 0.3  # the sign was fitted


def suite_keeps_the_rules(one: Part, two: Part) -> None:
    """A part of a suite, split by two seeds."""
    asked = [(part.selection, part.public, part.lockbox) for part in (one, two)]
    for mine, theirs in zip(*asked, strict=True):
        assert mine is not None and theirs is not None
        assert mine.ids == theirs.ids and mine.labels is None and mine.completions is None
    assert one.train.ids != two.train.ids
    assert one.train.completions is not None and set(one.train.truth) == {0, 1}
    everywhere = [e for e in (*asked[0], one.train, *(one.reserved or ())) if e is not None]
    texts = [set(map(fold, examples.prompts)) for examples in everywhere]
    for place, these in enumerate(texts[:3]):  # what is asked is asked once, and taught to nobody
        assert these and not any(these & others for i, others in enumerate(texts) if i != place)
    assert (one.check is not None) or (one.reserved is not None)
    assert one.brief.concept and one.brief.request and one.new_tokens > 0
    if one.reserved is not None:
        first, second = (set(half.completions or ()) for half in one.reserved)
        learned = set(one.train.completions)
        assert first and second and not (first & second or first & learned or second & learned)


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
class TestTask:
    def made(self, name: str) -> Any:
        return build.task(plain("task", name), [], raw("model", "smollm2_135m"))

    def test_splits_keep_the_rules(self, name: str) -> None:
        task = self.made(name)
        regime = Regime("quick", labels=128, test=100, folds=3, shrink=0.25)
        if task.meta.track == "steer":
            for mine, theirs in zip(*(task.split(regime, seed).parts for seed in (0, 1)), strict=True):
                suite_keeps_the_rules(mine, theirs)
            return
        one, two = (task.split(regime, seed).parts[0] for seed in (0, 1))
        assert one.public.ids == two.public.ids
        assert one.lockbox.ids == two.lockbox.ids
        assert one.train.ids != two.train.ids
        for part in (one, two):
            groups = [set(e.groups.tolist()) for e in (part.train, part.public, part.lockbox)]
            assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
            assert sorted(np.concatenate(part.folds)) == list(range(len(part.train)))
            for held_out in part.folds:
                inside = set(part.train.groups[held_out].tolist())
                assert not inside & set(np.delete(part.train.groups, held_out).tolist())
                assert len(set(part.train.truth[held_out])) == len(task.brief.classes)
        larger = task.split(Regime("more", labels=128, test=150, folds=3, shrink=0.25), 0).parts[0]
        assert larger.public.ids[: len(one.public)] == one.public.ids

    def test_says_who_it_is(self, name: str) -> None:
        meta, brief = self.made(name).meta, self.made(name).brief
        assert meta.name and meta.family and meta.source and meta.licence and meta.citation
        assert meta.track in build.DOES
        assert len(meta.revision) >= 40
        assert brief.question.endswith("?")
        assert len(brief.classes) == len(brief.words) == len(set(brief.words))
