"""Generated and matched tasks: what gives them away, and what must not."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from baselines.surface import _look
from tasks.capitals import Capitals
from tasks.continents import CONTINENTS, Continents
from tasks.elements import Elements
from tasks.requests import Requests

pytestmark = pytest.mark.slow


def words_alone(task: Any, **how: Any) -> float:
    data = task.data[0]
    model = make_pipeline(TfidfVectorizer(token_pattern=r"\w+", **how), LogisticRegression())
    said = cross_val_predict(
        model, data.prompts, data.truth, groups=data.groups, cv=GroupKFold(5), method="predict_proba"
    )
    return float(roc_auc_score(data.truth, said[:, 1]))


@pytest.mark.parametrize("task", [Capitals(), Continents(), Elements()], ids=lambda t: t.meta.name)
def test_words_tell_nothing_of_facts(task: Any) -> None:
    examples, report = task.data
    assert report.groups == len(task.pairs())
    assert examples.truth.mean() == 0.5
    assert 0.4 < words_alone(task, ngram_range=(1, 2)) < 0.6
    names = [subject for pair in task.pairs() for subject, _ in pair]
    assert len(names) == len(set(names))


def test_every_answer_is_as_often_right_as_wrong() -> None:
    examples = Continents().data[0]
    for continent in CONTINENTS.values():
        labels = [y for p, y in zip(examples.prompts, examples.truth, strict=True) if f" {continent}." in f" {p}"]
        assert not labels or np.mean(labels) == 0.5


def test_first_letters_tell_nothing_of_elements() -> None:
    for (name, symbol), (other, other_symbol) in Elements().pairs():
        fits = [name[0] == symbol[0], other[0] == other_symbol[0]]
        assert fits[0] == fits[1]
        assert not fits[0] or symbol[0] == other_symbol[0]


def test_words_tell_of_requests_and_form_a_little() -> None:
    """As the task says of itself: how a request begins tells next to nothing, its surface some, its words much."""
    examples, report = Requests().data
    assert report.rows == 244
    assert examples.truth.mean() == 0.5
    person = np.array([bool({"i", "me", "my"} & set(p.casefold().split())) for p in examples.prompts])
    assert abs(person[examples.truth == 0].mean() - person[examples.truth == 1].mean()) < 0.3
    opening = [" ".join(p.split()[:2]) for p in examples.prompts]
    model = make_pipeline(TfidfVectorizer(token_pattern=r"\S+"), LogisticRegression())
    assert out_of_fold(model, opening, examples) < 0.6
    lengths = np.array([[len(p)] for p in examples.prompts])
    assert out_of_fold(LogisticRegression(), lengths, examples) < 0.7
    scaled = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    surface, words = (
        out_of_fold(scaled, np.array([_look(text) for text in examples.prompts]), examples),
        words_alone(Requests()),
    )
    told = re.findall(r"0\.\d\d", str(Requests.__doc__))[:2]
    assert told == [f"{words:.2f}", f"{surface:.2f}"]
    assert 0.85 < words < 0.9 and 0.7 < surface < 0.75
    assert any("words tell" in flag for flag in Requests.flags)
    assert not any("\n" in p for p in examples.prompts)


def out_of_fold(model: Any, features: Any, examples: Any) -> float:
    said = cross_val_predict(
        model, features, examples.truth, groups=examples.groups, cv=GroupKFold(5), method="predict_proba"
    )
    return float(roc_auc_score(examples.truth, said[:, 1]))
