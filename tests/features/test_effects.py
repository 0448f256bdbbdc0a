"""What a feature does to the outputs, in networks whose weights say what it must be."""

from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from policyscope.agents.actions import within
from policyscope.agents.adapters.torch import TorchAgent
from policyscope.agents.agent import Acted, Agent
from policyscope.agents.recurrent_state import RecurrentState
from policyscope.agents.spaces import Box
from policyscope.dictionaries.relu import ReLU
from policyscope.errors import UnknownName
from policyscope.features import effects
from policyscope.features.effects import ActionEffects, action_effects, episode_interval
from policyscope.rollouts.states import States
from policyscope.testing.planted import features, layered, summing_agent, unit_features

IDENTITY = [[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]
HEAD = [[0.5, 0.0, -2.0], [0.0, 1.0, 0.25]]
DIRECTIONS = [[1.0, 0.0, 0.0], [1.0, -1.0, 0.5], [0.0, 0.0, 4.0]]
LINEAR = TorchAgent(layered((IDENTITY, [0.0] * 3), (HEAD, [0.125, -1.0])))
CODER = features(IDENTITY, DIRECTIONS, reads="fc2:in", writes="fc2:in")
STATES = torch.tensor(
    [[1.0, 0.0, 0.0], [2.0, 0.0, 0.5], [0.5, 3.0, 0.0], [4.0, 0.0, 0.0], [0.0, 0.0, 0.25]]
)
EPISODE = np.array([0, 0, 1, 2, 2])


def found(agent: Agent = LINEAR, dictionary: ReLU = CODER, states: Tensor = STATES) -> Any:
    return action_effects(agent, dictionary, States(states, EPISODE[: len(states)]))


def test_direct_equals_the_weights_exactly_for_a_linear_head() -> None:
    np.testing.assert_array_equal(found().direct, np.array(DIRECTIONS) @ np.array(HEAD).T)
    assert found().output == "logits"


def test_measured_equals_activation_times_weight_for_a_linear_head() -> None:
    """Setting z to 0 takes z · direction away: the mean over the states in which z > 0."""
    truth = np.array(DIRECTIONS) @ np.array(HEAD).T
    result: ActionEffects = found()
    for feature in range(3):
        firing = STATES[:, feature].numpy()
        firing = firing[firing > 0]
        np.testing.assert_allclose(result.measured[feature], firing.mean() * truth[feature])
    assert result.states.tolist() == [4, 1, 2]
    assert result.episodes.tolist() == [3, 1, 2]
    assert np.isnan(result.low[1]).all()
    assert (result.low[0] < result.measured[0])[0]


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_direct_equals_the_finite_difference_otherwise(activation: str) -> None:
    torch.manual_seed(0)
    weights = [torch.randn(3, 3).tolist(), torch.randn(3, 3).tolist(), torch.randn(2, 3).tolist()]
    network = layered(
        *((weight, [0.1] * len(weight)) for weight in weights), activation=activation
    ).double()
    states = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).double()
    dictionary = features(IDENTITY, DIRECTIONS, reads="fc1:out", writes="fc1:out").double()
    result = found(TorchAgent(network), dictionary, states)

    def output(push: Tensor) -> Float[np.ndarray, " action"]:
        with torch.no_grad():
            hidden = network.get_submodule("fc1")(states) + push
            for name in ("fc2", "fc3"):
                hidden = network.get_submodule(name)(getattr(torch, activation)(hidden))
        return hidden.mean(0).numpy()

    small = 1e-6
    for feature in range(3):
        push = small * dictionary.direction(feature)
        difference = (output(push) - output(-push)) / (2 * small)
        np.testing.assert_allclose(result.direct[feature], difference, rtol=1e-4, atol=1e-6)


def test_a_transcoder_is_ablated_where_it_writes() -> None:
    across = features(
        IDENTITY, [[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], reads="fc1:in", writes="fc2:out"
    )
    result: ActionEffects = found(dictionary=across)
    np.testing.assert_array_equal(result.direct, [[1, 0], [0, 2], [1, 1]])
    np.testing.assert_allclose(result.measured[2], [0.375, 0.375])


def test_a_feature_that_never_fires_has_no_measured_effect() -> None:
    negative = features([[-1.0, 0.0, 0.0]], [[1.0, 0, 0]], reads="fc2:in", writes="fc2:in")
    result: ActionEffects = found(dictionary=negative)
    assert result.states.tolist() == [0]
    assert np.isnan(result.measured).all()
    np.testing.assert_array_equal(result.direct, [[0.5, 0.0]])


def test_what_the_output_does_not_depend_on_has_no_effect() -> None:
    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.aside = nn.Linear(3, 2), nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            self.aside(x)
            return self.fc1(x)

    agent = TorchAgent(Aside())
    result: ActionEffects = found(agent, unit_features(3, "aside:out"))
    assert (result.direct == 0).all()
    assert (result.measured[0] == 0).all()


def test_many_states_are_sampled_and_split_into_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    whole: ActionEffects = found()
    monkeypatch.setattr(effects, "ROWS_AT_ONCE", 2)
    split: ActionEffects = found()
    np.testing.assert_allclose(split.measured, whole.measured)
    np.testing.assert_allclose(split.direct, whole.direct)
    monkeypatch.setattr(effects, "STATES_PER_FEATURE", 2)
    assert found().states.tolist() == [2, 1, 2]


def test_values_are_an_output_too() -> None:
    assert found(TorchAgent(LINEAR.module, head="values")).output == "values"


class Speechless(TorchAgent):
    """Gives actions and nothing else."""

    def act(self, observation: Tensor, state: Any, noise: Any) -> Acted:
        return Acted(super().act(observation, state, noise).action)


class Recurrent(TorchAgent):
    """Has a state."""

    def initial_state(self, rows: int) -> Any:
        return torch.zeros(rows)


class Continuous(TorchAgent):
    """Acts with its mean, as close to it as the bounds allow."""

    def act(self, observation: Tensor, state: Any, noise: Any) -> Acted:
        mean = super().act(observation, state, noise).outputs["logits"]
        bounds = np.array([-1.0, -1.0]), np.array([1.0, 1.0])
        return Acted(
            within(mean, Box((2,), low=bounds[0], high=bounds[1]), is_scaled=False), {"mean": mean}
        )


def test_continuous_actions_have_effects_on_their_mean() -> None:
    result = found(Continuous(LINEAR.module))
    assert result.output == "mean"
    np.testing.assert_array_equal(result.direct, found().direct)
    np.testing.assert_array_equal(result.measured, found().measured)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(Speechless, "gives none of logits, values, mean"), (Recurrent, "was not recalled")],
)
def test_an_agent_that_cannot_be_asked_has_none_and_a_reason(kind: Any, reason: str) -> None:
    result: ActionEffects = found(kind(LINEAR.module))
    assert result.output is None
    assert result.direct.shape == result.measured.shape == result.low.shape == (3, 0)
    assert result.states.tolist() == result.episodes.tolist() == [0, 0, 0]
    assert reason in result.reason


def test_effects_on_a_recurrent_agent_are_those_in_the_state_it_was_in() -> None:
    """Its head reads the sum of state and observation, so a feature fires for both together."""
    agent = summing_agent()
    memory = torch.tensor([[0.0, 8.0, 0.0], [0.0, 0.0, 4.0], [1.0, 2.0, 0.0]])
    states = States(STATES[:3], EPISODE[:3], RecurrentState(memory, (0,)))
    result = action_effects(agent, unit_features(3), states)
    head = np.array([[0, 0, 0.25], [0, 0.0625, 0]])
    np.testing.assert_array_equal(result.direct, head.T)
    total = (memory + STATES[:3]).numpy()
    firing = np.array([column[column > 0].mean() for column in total.T])
    np.testing.assert_allclose(result.measured, firing[:, None] * head.T)
    assert result.states.tolist() == [(column > 0).sum() for column in total.T]


def test_the_interval_knows_that_steps_of_an_episode_are_alike() -> None:
    change = np.array([[1.0], [3.0]]).repeat(50, axis=0)
    episode = np.array([0, 1]).repeat(50)
    mean, low, high = episode_interval(change, episode)
    assert mean == 2.0
    # Two episodes: t with one degree of freedom, 12.7, times a standard error of 1.
    np.testing.assert_allclose(high - mean, 12.706, rtol=1e-3)
    np.testing.assert_allclose(mean - low, 12.706, rtol=1e-3)


class Undetached(TorchAgent):
    """An act as one writes it for playing: it leaves torch without a thought of gradients."""

    def act(self, observation: Tensor, state: Any, noise: Any) -> Acted:
        mean = super().act(observation, state, noise).outputs["logits"]
        return Acted(np.tanh(mean.numpy()), {"mean": mean})


def test_an_act_that_cannot_be_differentiated_has_measured_effects_and_a_reason() -> None:
    result, plain = found(Undetached(LINEAR.module)), found()
    assert np.isnan(result.direct).all()
    assert result.direct.shape == plain.direct.shape
    assert "cannot be differentiated: Can't call numpy()" in result.reason
    np.testing.assert_allclose(result.measured, plain.measured)
    assert plain.reason == ""


def test_other_errors_of_the_agent_are_not_hidden() -> None:
    with pytest.raises(UnknownName, match="nowhere"):
        found(dictionary=features(IDENTITY, DIRECTIONS, reads="fc2:in", writes="nowhere:in"))
