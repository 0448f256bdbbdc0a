"""Behaviour: an unexplained variance, of what the activations make the agent do."""

import numpy as np
import pytest
import torch
from torch import Tensor

from policyscope.dictionaries.behaviour import Behaviour
from policyscope.dictionaries.coordinates import Coordinates
from policyscope.dictionaries.dictionary import DICTIONARIES
from policyscope.dictionaries.fit import fit
from policyscope.errors import InvalidInput


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_nothing_is_unexplained_without_error_and_all_of_it_by_the_mean() -> None:
    y = 3 + normal(500, 6)
    behaviour = Behaviour.of(normal(2, 6, seed=1), y, weight=1.0)
    assert float(behaviour.unexplained(torch.zeros_like(y))) == 0
    np.testing.assert_allclose(behaviour.unexplained(y - y.mean(0)), 1.0, rtol=1e-5)


def test_what_the_agent_does_not_hear_does_not_count() -> None:
    y = normal(500, 6)
    behaviour = Behaviour.of(torch.eye(6)[:2], y, weight=1.0)
    error = torch.zeros(500, 6)
    error[:, 2:] = normal(500, 4, seed=2)
    assert float(behaviour.unexplained(error)) == 0


def test_activations_without_behaviour_are_refused() -> None:
    y = torch.zeros(10, 3)
    y[:, 2] = torch.arange(10.0)
    with pytest.raises(InvalidInput, match="do not move the agent's outputs at all"):
        Behaviour.of(torch.eye(3)[:2], y, weight=1.0)


def test_the_metric_is_the_sum_of_both_errors() -> None:
    y = 3 + 2 * normal(500, 6)
    behaviour = Behaviour.of(normal(2, 6, seed=1), y, weight=0.7)
    error = normal(500, 6, seed=2)
    metric = behaviour.metric(y, 1.0)
    variance = (y - y.mean(0)).square().sum(-1).mean()
    expected = error.square().sum(-1).mean() + 0.7 * variance * behaviour.unexplained(error)
    found = ((error @ metric) * error).sum(-1).mean()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("reads_itself", [True, False])
@pytest.mark.parametrize("name", sorted(set(DICTIONARIES.names()) - {"raw", "nmf", "cross-layer"}))
def test_coordinates_fold_away(name: str, reads_itself: bool) -> None:
    y = 3 + normal(400, 6)
    x = y if reads_itself else 1 - 2 * normal(400, 5, seed=3)
    choices = {"k": 2} if "k" in DICTIONARIES.get(name).__dataclass_fields__ else {}
    dictionary = DICTIONARIES.get(name)(width=4, **choices)
    dictionary.build(x.shape[1], 6, torch.Generator().manual_seed(0))
    for seed, weight in enumerate(dictionary.parameters()):
        weight.data.add_(normal(*weight.shape, seed=seed + 10), alpha=0.3)
    behaviour = Behaviour.of(normal(2, 6, seed=1), y, weight=3.0)
    scaling = dictionary.scaling(x, y) if dictionary.schedule.scale else None
    coordinates = Coordinates.of(x, y, scaling, behaviour)
    there = coordinates.apply(x, y)
    with torch.no_grad():
        error = coordinates.straight(dictionary(there[0]) - there[1])
        coordinates.fold(dictionary)
        units = 1.0 if scaling is None else scaling.y_units
        torch.testing.assert_close(dictionary(x) - y, error * units, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["topk", "pca", "relu"])
def test_a_fit_to_behaviour_explains_what_the_agent_hears(name: str) -> None:
    """The agent hears one direction out of twelve, and that is the one that varies least."""
    y = normal(4000, 12) * torch.linspace(2, 0.5, 12)
    behaviour = Behaviour.of(torch.eye(12)[-1:], y, weight=3.0)
    choices = {"k": 2} if name == "topk" else {}
    left = {}
    for asked in (None, behaviour):
        dictionary = DICTIONARIES.get(name)(width=4, **choices)
        schedule = dictionary.schedule.changed(epochs=20, learning_rate=3e-3)
        found = fit(dictionary, y, y, schedule=schedule, behaviour=asked).dictionary
        left[asked] = float(behaviour.unexplained((found(y) - y).detach()))
    assert left[None] > 0.5
    assert left[behaviour] < 0.25


def test_raw_units_cannot_be_fitted_to_behaviour() -> None:
    y = normal(100, 3)
    behaviour = Behaviour.of(torch.eye(3)[:1], y, weight=1.0)
    with pytest.raises(InvalidInput, match="Raw cannot be fitted to behaviour"):
        fit(DICTIONARIES.get("raw")(), y, y, behaviour=behaviour)
