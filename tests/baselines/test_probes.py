"""Probes against their closed forms and peers, and what they must not do twice along a path."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from arena.contract import Budget, FairfightError, Part, Regime, Site
from arena.lab import REMEMBERED, Lab
from arena.probing import Decomposition
from baselines import attention_probe, linear_probe, surface
from baselines.attention_probe import AttentionProbe
from baselines.bag_of_words import BagOfWords
from baselines.boosted_trees import BoostedTrees
from baselines.knn import Knn
from methods.ccs import Ccs
from runners import build
from runners.compose import raw
from runners.tracks import detect
from tasks.splitting import split
from tests.conftest import BRIEF, examples

TRAIN, TEST = examples(150, seed=1), examples(60, seed=2)
FOLDS = 4


@pytest.fixture
def part() -> Part:
    return split("t", BRIEF, examples(300), Regime("r", 120, 40, FOLDS), 0)


def counted(monkeypatch: pytest.MonkeyPatch, where: Any, name: str) -> list[Any]:
    """The calls of a function or method from now on: their last argument."""
    calls: list[Any] = []
    original: Callable[..., Any] = getattr(where, name)

    def counting(*arguments: Any, **named: Any) -> Any:
        calls.append(arguments[-1])
        return original(*arguments, **named)

    monkeypatch.setattr(where, name, counting)
    return calls


# Of each: what is done once for each fold and for the refit (`fits`), or also for the rows that each is asked about:
# a fold's, the test's, and those few that are asked again.
@pytest.mark.parametrize(
    ("name", "where", "does", "asked"),
    [
        ("bag_of_words", TfidfVectorizer, "fit_transform", 0),
        ("bag_of_words", TfidfVectorizer, "transform", 1),
        ("knn", NearestNeighbors, "kneighbors", 1),
        ("linear_probe", Decomposition, "rotate", 1),
        ("pca_logreg", Decomposition, "rotate", 1),
        ("multi_site_probe", Decomposition, "rotate", 1),
        ("shuffled_labels", Decomposition, "rotate", 1),
        ("attention_probe", attention_probe, "_usual", 0),
    ],
)
def test_what_a_path_does_not_change_is_done_once(
    name: str, where: Any, does: str, asked: int, part: Part, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    contender = build.contenders({name: raw("contender", name)}, [])[0]
    trials = 1
    if name == "attention_probe":  # has no path; its trials read one layer
        contender, trials = replace(contender, params={**contender.params, "epochs": 1}), 4
    calls = counted(monkeypatch, where, does)
    out = detect.run(contender, Budget("b", trials), [part], "public", lab)
    steps = sum(len(t["path"]) for t in out.trials)
    assert steps >= 4 and len(calls) == FOLDS + 1 + asked


def test_a_text_is_looked_at_once(part: Part, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = counted(monkeypatch, surface, "_look")
    contender = build.contenders({"surface": raw("contender", "surface")}, [])[0]
    detect.run(contender, Budget("b", 1), [part], "public", lab)
    assert sorted(looks) == sorted({*part.train.prompts, *part.public.prompts})


def test_a_suite_of_many_parts_repeats_nothing_either(part: Part, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `once` remembers must last from step to step, not from one end of the suite to the other."""
    parts = [
        replace(part, name=str(k), train=replace(part.train, ids=tuple(f"{k} {i}" for i in part.train.ids)))
        for k in range(REMEMBERED // FOLDS + 2)
    ]
    made = counted(monkeypatch, linear_probe, "decompose")
    contender = build.contenders({"linear_probe": raw("contender", "linear_probe")}, [])[0]
    detect.run(replace(contender, path={"C": [0.01, 1.0]}), Budget("b", 1), parts, "public", lab)
    assert len(made) <= (FOLDS + 2) * len(parts)  # each fold, the refit, and the untuned one if C = 1 has won


@pytest.mark.parametrize("k", raw("contender", "knn")["path"]["k"] + [149, 500])
def test_neighbours_vote_as_in_scikit_learn(k: int, lab: Lab) -> None:
    """Also of what other steps left behind."""
    for step in (1, 16, k):
        made = Knn(layer=1, k=step).fit(TRAIN, BRIEF, lab)
        found = [made.score(asked.unlabelled(), lab) for asked in (TRAIN, TEST)]
    peer = make_pipeline(StandardScaler(), KNeighborsClassifier(min(k, len(TRAIN)), weights="distance"))
    states = [lab.activations(asked.prompts, Site(1)).astype(float) for asked in (TRAIN, TEST)]
    peer.fit(states[0], TRAIN.truth)
    for ours, theirs in zip(found, states, strict=True):
        np.testing.assert_allclose(ours, peer.predict_proba(theirs), atol=1e-12)


def test_a_state_that_was_taught_answers_alone(lab: Lab) -> None:
    made = Knn(layer=1, k=2).fit(TRAIN, BRIEF, lab)
    near = np.array([[0.0, 1e-9], [1.0, 3.0]]), np.array([[0, 1], [0, 1]])
    made.near_ = cast("Any", SimpleNamespace(nearest=lambda *_: near))
    assert TRAIN.truth[:2].tolist() == [0, 1]
    np.testing.assert_allclose(made.score(TEST.take([0, 1]).unlabelled(), lab), [[1, 0], [0.75, 0.25]])


@pytest.mark.parametrize("analyzer", ["word", "char_wb"])
def test_remembered_words_are_scikit_learn_s(analyzer: str, lab: Lab) -> None:
    pattern = r"(?u)\b\w+\b" if analyzer == "word" else None
    for C in (1.0, 0.1, 100.0):
        made = BagOfWords(ngrams=3, sublinear=True, analyzer=analyzer, C=C).fit(TRAIN, BRIEF, lab)
        words = TfidfVectorizer(ngram_range=(1, 3), sublinear_tf=True, analyzer=analyzer, token_pattern=pattern)
        peer = make_pipeline(words, LogisticRegression(C=C, max_iter=1000)).fit(TRAIN.prompts, TRAIN.truth)
        for _ in range(2):
            scores = made.score(TEST.unlabelled(), lab)
            np.testing.assert_array_equal(scores[:, 1] * 2, peer.decision_function(TEST.prompts))


@pytest.mark.parametrize("heads", [1, 3])
def test_attention_pools_by_what_a_token_is_like(heads: int, lab: Lab) -> None:
    """torch's own attention, with a query per head that asks for more than the mean."""
    asked = TEST.take(np.arange(20)).unlabelled()
    made = AttentionProbe(layer=1, heads=heads, epochs=1).fit(TRAIN, BRIEF, lab)
    rng = torch.Generator().manual_seed(0)
    made.query_ = 3 * torch.randn(made.query_.shape, generator=rng)
    made.value_ = torch.randn(made.value_.shape, generator=rng)
    wanted, means = [], []
    for states in lab.token_activations(asked.prompts, 1):
        h = torch.from_numpy((states[1:] - made.mean_) / made.scale_).float()
        pooled = torch.nn.functional.scaled_dot_product_attention(made.query_[None], h[None], h[None])[0]
        wanted.append((pooled.flatten() @ made.value_ + made.bias_).detach().numpy())
        means.append((h.mean(0).repeat(heads) @ made.value_ + made.bias_).detach().numpy())
    found = made.score(asked, lab)
    np.testing.assert_allclose(found, np.array(wanted), atol=1e-3)
    assert np.abs(found - np.array(means)).max() > 1


def test_attention_learns_where_to_look(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """One token in forty is marked and tells the class; the others drown it in their mean."""
    rng = np.random.default_rng(0)
    told = {}
    for text, label in zip((*TRAIN.prompts, *TEST.prompts), (*TRAIN.truth, *TEST.truth), strict=True):
        states = rng.normal(size=(41, 8)).astype(np.float32)
        states[:, 1] *= 4
        states[rng.integers(1, 41), :2] = 12, 4 * (2 * label - 1)
        told[text] = states
    monkeypatch.setattr(lab, "token_activations", lambda texts, _: [told[text] for text in texts])
    lab.reseed(0)
    scores = AttentionProbe(lr=0.03, epochs=60).fit(TRAIN, BRIEF, lab).score(TEST.unlabelled(), lab)
    assert ((scores[:, 1] > scores[:, 0]) == TEST.truth).mean() > 0.95
    means = np.array([told[text][1:, 1].mean() for text in TEST.prompts])
    assert ((means > 0) == TEST.truth).mean() < 0.7


@pytest.mark.parametrize("classes", [2, 3])
def test_the_search_of_ccs_descends_its_loss(classes: int, lab: Lab) -> None:
    """Each start by itself and by hand, with the gradient as the loss's formula gives it."""
    rng = np.random.default_rng(0)
    states = torch.from_numpy(rng.normal(size=(30, classes, 8)).astype(np.float32))
    lab.reseed(3)
    found = Ccs(tries=4, epochs=40, lr=0.05)._search(states, lab)
    lab.reseed(3)
    starts = lab.rng.normal(size=(8, 4))
    ends = []
    for start in (starts / np.linalg.norm(starts, axis=0)).T:
        w, b = (torch.tensor(x, dtype=torch.float32, requires_grad=True) for x in (start, 0.0))
        optimiser = torch.optim.AdamW([w, b], lr=0.05, weight_decay=0.01)
        for _ in range(40):
            p = torch.sigmoid(states @ w + b)
            loss = ((p.sum(1) - 1) ** 2 + (1 - p.amax(1)) ** 2).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        ends.append((loss.item(), w.detach().numpy(), b.item()))
    _, weight, bias = min(ends, key=lambda end: end[0])
    np.testing.assert_allclose(found[0], weight, atol=1e-4)
    assert found[1] == pytest.approx(bias, abs=1e-4)


def test_trees_of_xgboost_without_it_name_its_extra(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(
        FairfightError, match=r"^engine=xgboost needs the extra `xgboost`: pip install .*\[xgboost\]'\.$"
    ):
        BoostedTrees(layer=1, engine="xgboost").fit(TRAIN, BRIEF, lab)
    with pytest.raises(FairfightError, match=r"engine='lightgbm'; choose sklearn or xgboost"):
        BoostedTrees(layer=1, engine="lightgbm").fit(TRAIN, BRIEF, lab)
