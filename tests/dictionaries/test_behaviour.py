"""Behaviour: an unexplained variance, of what the activations make the agent do."""

import numpy as np
import pytest
import torch
from torch import Tensor

from policyscope.dictionaries.behaviour import Behaviour
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
