"""What holds for every contender and every task that `conf/` names, found by globbing."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from arena.contract import POOLINGS, Brief, Examples, FairfightError, Regime
from arena.lab import Lab
from arena.scores import margins
from results.metrics import auroc
from runners import build
from runners.compose import options, plain, raw
from runners.trials import along, draw
from tests.conftest import BRIEF, examples

ACCESS = {"labels", "description", "gradients", "internals", "logprobs", "unlabelled text", "other weights"}
THREE = Brief("Is this review good, bad or odd?", ("bad", "good", "odd"), ("bad", "good", "odd"), "review")
CONTENDERS = options("contender")
TASKS = [t for t in options("task") if "???" not in map(str, plain("task", t).values())]


def contender(name: str) -> build.Contender:
    return build.contenders({name: raw("contender", name)}, [])[0]


def imbalanced(n: int = 60, share: float = 0.05) -> Examples:
    data = examples(4 * n)
    positive = np.flatnonzero(data.truth == 1)[: max(2, round(share * n))]
    negative = np.flatnonzero(data.truth == 0)[: n - len(positive)]
    return data.take(np.sort(np.concatenate([positive, negative])))


CASES: Mapping[str, tuple[Examples, Brief]] = {
    "binary": (examples(60), BRIEF),
    "three_classes": (examples(60, classes=3), THREE),
    "four_examples": (examples(4), BRIEF),
    "five_percent_positive": (imbalanced(), BRIEF),
}


@pytest.mark.parametrize("name", CONTENDERS)
class TestContender:
    def test_yaml_and_class_agree(self, name: str) -> None:
        c = contender(name)
        assert c.name == name
        # A wrapper may come several times, once for each contender that it is the control of.
        assert name == c.meta.name or (c.of is not None and name.startswith(f"{c.meta.name}_"))
        assert c.meta.family in {"method", "baseline", "control"}
        assert c.meta.version >= 1
        assert c.target.__module__.split(".")[0] == ("methods" if c.meta.family == "method" else "baselines")
        assert set(c.meta.access) <= ACCESS

    def test_every_hyperparameter_is_in_the_yaml(self, name: str) -> None:
        own = {"of" if p.startswith("of.") else p for p in contender(name).params}
        assert set(inspect.signature(contender(name).target).parameters) == own

    def test_the_default_leads_its_grid_and_path(self, name: str) -> None:
        c = contender(name)
        assert {k: v[0] for k, v in {**c.grid, **c.path}.items()} == {k: c.params[k] for k in {**c.grid, **c.path}}

    def test_a_method_names_a_control_that_exists(self, name: str) -> None:
        meta = contender(name).meta
        if meta.family == "method":
            assert meta.control in CONTENDERS
            assert contender(str(meta.control)).meta.family == "control"

    def test_the_docstring_gives_shapes_and_source(self, name: str) -> None:
        doc = contender(name).target.__doc__ or ""
        assert "n, classes]" in doc or name == "majority"
        assert "ource" in doc or contender(name).meta.family == "control"

    def test_the_constructor_only_stores(self, name: str) -> None:
        c = contender(name)
        stored = vars(c.make())
        of = stored.pop("of", None)
        assert stored == {k: v for k, v in c.params.items() if not k.startswith("of.")}
        assert {f"of.{k}": v for k, v in vars(of).items()}.items() <= c.params.items() if of else not c.of

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


@pytest.mark.parametrize("name", ["bag_of_words", "linear_probe", "diff_in_means"])
def test_a_separable_task_is_learned(name: str, lab: Lab) -> None:
    """A sign error or a class mix-up would show as an AUROC far below one half."""
    made = contender(name).make(**({"pooling": "mean", "layer": 0} if name != "bag_of_words" else {}))
    train, test = examples(400, seed=1), examples(200, seed=2)
    made.fit(train, BRIEF, lab)
    assert auroc(test.truth, made.score(test.unlabelled(), lab))[0] > 0.6


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
    "name", [c for c in CONTENDERS if c not in {"majority", "zero_shot", "few_shot", "shuffled_labels"}]
)
def test_scores_of_different_fits_compare(name: str, lab: Lab) -> None:
    """Thresholds are set on out-of-fold scores and used after a refit: an offset per fit would spoil them."""
    data, test = examples(300, seed=3), examples(100, seed=4)
    scores = []
    for half in (np.arange(300) // 2 % 2 == 0, np.arange(300) // 2 % 2 == 1):
        lab.reseed(0)
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
    areas = [auroc(examples().truth, draw)[0] for draw in scores]
    assert len(set(areas)) > 10
    assert min(areas) > 0.3  # the sign was fitted


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
class TestTask:
    def made(self, name: str) -> Any:
        return build.task(plain("task", name), [], raw("model", "smollm2_135m"))

    def test_splits_keep_the_rules(self, name: str) -> None:
        task = self.made(name)
        regime = Regime("quick", labels=128, test=100, folds=3, shrink=0.25)
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
        assert meta.track == "detect"
        assert len(meta.revision) >= 40
        assert brief.question.endswith("?")
        assert len(brief.classes) == len(brief.words) == len(set(brief.words))
