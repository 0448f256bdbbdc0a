"""Metrics: found by name, read, checked, and those of a user."""

import sys

import numpy as np
import pytest

from policyscope.envs import metric as metrics
from policyscope.envs.make import make
from policyscope.envs.metric import (
    Metric,
    Step,
    Words,
    find_metrics,
    metric,
    metrics_of,
    read_metric,
)
from policyscope.errors import InvalidInput, UnknownName

NAMES = ["cart_position", "cart_velocity", "pole_angle", "pole_angular_velocity"]


@pytest.fixture(autouse=True)
def _own_list(monkeypatch):
    monkeypatch.setattr(metrics, "METRICS", list(metrics.METRICS))


def step_of(rows=3):
    env = make("CartPole-v1", rows)
    env.reset(np.arange(rows), list(range(rows)))
    return Step(env.observation, env)


def test_cartpole_has_its_four_state_variables():
    found = metrics_of("CartPole-v1")
    assert [known.name for known in found] == NAMES
    assert [known.unit for known in found] == ["m", "m/s", "rad", "rad/s"]
    step = step_of()
    read = np.stack([read_metric(known, step) for known in found], axis=1)
    np.testing.assert_array_equal(read, step.observation)
    assert metrics_of("Nowhere-v0") == []


def test_metrics_are_found_by_name_in_the_order_asked_for():
    found = find_metrics("CartPole-v1", ["pole_angle", "cart_position"])
    assert [known.name for known in found] == ["pole_angle", "cart_position"]
    assert find_metrics("CartPole-v1", found) == found


def test_an_unknown_metric_comes_with_a_suggestion():
    with pytest.raises(UnknownName) as raised:
        find_metrics("CartPole-v1", ["pole_angel"])
    assert str(raised.value) == (
        "No metric for CartPole-v1 called 'pole_angel'. Did you mean 'pole_angle'? "
        f"Known: {', '.join(NAMES)}."
    )


def test_a_metric_given_twice_is_refused():
    with pytest.raises(InvalidInput, match=r"Metrics given twice: pole_angle\."):
        find_metrics("CartPole-v1", ["pole_angle", "cart_position", "pole_angle"])


def test_a_decorated_function_is_a_metric_of_its_environments():
    @metric(unit="m", environments=("CartPole-v1",), words=Words("near", "away"))
    def distance(step):
        return np.abs(step.observation[:, 0])

    @metric(unit="1", name="anywhere")
    def constant(step):
        return np.ones(step.environment.rows)

    assert isinstance(distance, Metric)
    assert [known.name for known in metrics_of("CartPole-v1")] == [*NAMES, "distance", "anywhere"]
    assert metrics_of("Nowhere-v1") == [constant]
    read = read_metric(distance, step_of())
    assert read.dtype == np.float32
    assert (read > 0).all()


def test_a_metric_defined_again_replaces_the_first():
    def define(value):
        @metric(unit="m", environments=("CartPole-v1",))
        def pole_angle(step):
            return np.full(step.environment.rows, value)

        return pole_angle

    define(1.0)
    last = define(2.0)
    assert [known.name for known in metrics_of("CartPole-v1")] == NAMES
    assert find_metrics("CartPole-v1", ["pole_angle"]) == [last]


@pytest.mark.parametrize("shape", [(), (1,), (3, 1)])
def test_a_metric_of_the_wrong_shape_is_named(shape):
    wrong = Metric("odd", "m", lambda step: np.zeros(shape, np.float32))
    with pytest.raises(InvalidInput) as raised:
        read_metric(wrong, step_of())
    assert str(raised.value) == (
        f"Metric 'odd' returned shape {list(shape)}; expected one number per row, [3]."
    )


def test_a_metric_of_the_users_module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "metrics_of_mine.py").write_text(
        "from policyscope.envs.metric import metric\n"
        "@metric(unit='m')\n"
        "def height(step): return step.observation[:, 0]\n"
        "def bare(step): return step.observation[:, 0]\n"
    )
    assert find_metrics("CartPole-v1", ["metrics_of_mine:height"])[0].name == "height"
    with pytest.raises(InvalidInput, match=r"'metrics_of_mine:bare' is not a metric\. Decorate"):
        find_metrics("CartPole-v1", ["metrics_of_mine:bare"])
    with pytest.raises(
        UnknownName, match="called 'heigth'. Did you mean 'height'".replace(".", r"\.")
    ):
        find_metrics("CartPole-v1", ["metrics_of_mine:heigth"])
    with pytest.raises(UnknownName, match="there is no module 'no_such_metrics'"):
        find_metrics("CartPole-v1", ["no_such_metrics:height"])
    sys.modules.pop("metrics_of_mine")
