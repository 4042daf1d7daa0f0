"""What probes share, against numpy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from arena.contract import FairfightError, depth
from arena.probing import Directions, decompose, leading, signed

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(30, 80), (80, 30), (40, 40)])
@pytest.mark.parametrize("standardise", [True, False])
def test_decomposition_gives_the_states_back(shape: tuple[int, int], standardise: bool) -> None:
    states = RNG.normal(size=shape) * np.geomspace(1, 1e-3, shape[1]) + 3
    d = decompose(states, standardise)
    back = d.rotated @ d.directions * d.scale + d.mean
    np.testing.assert_allclose(back, states, atol=1e-6)
    np.testing.assert_allclose(d.directions @ d.directions.T, np.eye(len(d.values)), atol=1e-6)
    np.testing.assert_allclose(d.rotate(states), d.rotated, atol=1e-6)
    assert (np.diff(d.values) <= 1e-9).all()


def test_constant_and_repeated_states_decompose() -> None:
    for states in (np.ones((5, 7)), np.repeat(RNG.normal(size=(1, 7)), 6, axis=0), RNG.normal(size=(1, 7))):
        d = decompose(states)
        assert np.isfinite(d.rotated).all() and np.isfinite(d.rotate(states + 1)).all()


@pytest.mark.parametrize("C", [1e-3, 1.0])
def test_a_rotated_regression_is_the_plain_one(C: float) -> None:
    states, new = RNG.normal(size=(60, 90)), RNG.normal(size=(20, 90))
    labels = (states[:, 0] > 0).astype(int)
    plain = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=5000, tol=1e-10)).fit(states, labels)
    d = decompose(states)
    rotated = LogisticRegression(C=C, max_iter=5000, tol=1e-10).fit(d.rotated, labels)
    np.testing.assert_allclose(
        rotated.decision_function(d.rotate(new)), plain.decision_function(new), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("shape", [(50, 20), (20, 50), (2, 9), (1, 4)])
def test_the_leading_direction_is_the_svd_s(shape: tuple[int, int]) -> None:
    states = RNG.normal(size=shape)
    expected = np.linalg.svd(states)[2][0]
    assert abs(leading(states) @ expected) == pytest.approx(1, abs=1e-6)
    assert not leading(np.zeros((4, 3))).any()


def test_signs_point_where_the_class_lies() -> None:
    states = np.array([[1.0, 0], [2, 0], [-1, 0], [-2, 0]])
    labels = np.array([1, 1, 0, 0])
    np.testing.assert_array_equal(signed(np.array([-1.0, 0]), states, labels, 2), [[-1, 0], [1, 0]])


def test_scores_of_directions_are_centred_and_scaled() -> None:
    states = RNG.normal(size=(40, 6)) * 100
    vectors, centres = RNG.normal(size=(2, 6)), np.tile(states.mean(0), (2, 1))
    scores = Directions(vectors, centres, states).score(states)
    np.testing.assert_allclose(scores.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(scores.std(0), 1)


def test_a_layer_is_a_block_or_a_share_below_one() -> None:
    """1 and 1.0 are one number to a key, and would be two blocks."""
    assert [depth(layer, 30) for layer in (0, 1, 29, 0.0, 0.5, 0.99)] == [0, 1, 29, 0, 15, 29]
    for layer in (1.0, -0.1, 2.5):
        with pytest.raises(FairfightError, match="is no share of the depth"):
            depth(layer, 30)
