"""Fidelity: a perfect dictionary keeps everything, a silent one nothing."""

from typing import Any

import numpy as np
import pytest
import torch

from policyscope.agents.adapters.torch import TorchAgent
from policyscope.agents.agent import Acted
from policyscope.agents.recurrent_state import RecurrentState
from policyscope.dictionaries.relu import ReLU
from policyscope.rollouts.states import States
from policyscope.scores import fidelity
from policyscope.scores.fidelity import (
    ReturnKept,
    agreement,
    interval_of,
    kept_share,
    kl_of,
    return_kept,
)
from policyscope.testing.planted import (
    PayingEnvironment,
    layered,
    paying_agent,
    perfect_dictionary,
    silent_dictionary,
    summing_agent,
    unit_features,
)

# Its logits are one apart while it acts, and turn over where the site is silenced.
SITE_MEAN = torch.tensor([0.0, 1.0, 1.0])
SEEDS = range(40)
STATES = States(torch.zeros(8, 3), np.arange(8))


def kept(dictionary: ReLU, mean: torch.Tensor = SITE_MEAN) -> ReturnKept:
    return return_kept(paying_agent(), PayingEnvironment, dictionary, mean, seeds=SEEDS)


def test_a_perfect_dictionary_keeps_everything() -> None:
    found = kept(perfect_dictionary(3))
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
    assert found.spliced == found.untouched > found.ablated
    assert found.episodes == len(SEEDS)
    assert str(found) == "100% [100%, 100%]"


def test_a_silent_dictionary_keeps_nothing() -> None:
    found = kept(silent_dictionary(SITE_MEAN))
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    assert found.spliced == found.ablated


def test_a_dictionary_of_one_half_keeps_a_part() -> None:
    half = unit_features(3)
    with torch.no_grad():
        half.decoder.weight[0] *= 0.5
    found = kept(half)
    assert found.low < found.value < found.high
    assert 0 < found.value < 1


def test_where_ablation_does_no_harm_there_is_nothing_to_keep() -> None:
    found = kept(perfect_dictionary(3), torch.tensor([2.0, 1.0, 1.0]))
    assert np.isnan([found.value, found.low, found.high]).all()
    assert found.undefined > 0.5
    assert str(found) == "not known"
    assert "does no better than the ablated one" in found.reason


@pytest.mark.parametrize(("undefined", "has_interval"), [(20, False), (2, True), (0, True)])
def test_an_interval_is_not_made_of_the_agreeable_resamples_only(
    undefined: int, has_interval: bool
) -> None:
    shares = np.linspace(0, 1, 100)
    shares[:undefined] = np.nan
    low, high, share = interval_of(0.5, shares)
    assert share == undefined / 100
    assert (not np.isnan([low, high]).any()) == has_interval
    found = ReturnKept(0.5, low, high, 2.0, 1.5, 1.0, 10, share)
    assert (str(found) == "50%, no interval") == (not has_interval)
    assert (found.reason == "") == has_interval
    assert np.isnan(interval_of(np.nan, np.ones(100))[:2]).all()


def test_kept_share_is_the_place_between_ablated_and_untouched() -> None:
    returns = np.array([[10.0, 10.0, 1.0], [4.0, 12.0, 1.0], [2.0, 2.0, 1.0]])
    np.testing.assert_array_equal(kept_share(returns), [0.25, 1.25, np.nan])


def test_outputs_agree_fully_under_a_perfect_dictionary() -> None:
    found = agreement(paying_agent(), perfect_dictionary(3), STATES)
    assert found is not None
    assert (found.actions, found.kl, found.states) == (1.0, 0.0, 8)


def test_kl_is_that_of_the_two_policies() -> None:
    found = agreement(paying_agent(), silent_dictionary(torch.tensor([3.0, 1.0, 1.0])), STATES)
    assert found is not None
    assert found.actions == 0.0
    p, q = (torch.tensor([0.0, logit]).log_softmax(0) for logit in (-1.0, 1.0))
    np.testing.assert_allclose(found.kl, (p.exp() * (p - q)).sum(), rtol=1e-5)


def test_agreement_is_unknown_without_states_and_kl_without_logits() -> None:
    assert agreement(paying_agent(), perfect_dictionary(3), STATES[:0]) is None
    values = TorchAgent(paying_agent().module, head="values")
    found = agreement(values, perfect_dictionary(3), STATES)
    assert found is not None
    assert found.actions == 1.0
    assert np.isnan(found.kl)


def test_the_value_and_the_preferences_are_explained_apart() -> None:
    """The first hidden unit moves both action values alike, the second sets them apart."""
    hidden = (np.eye(2).tolist(), [4.0, 4.0])
    agent = TorchAgent(layered(hidden, ([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0])), head="values")
    generator = torch.Generator().manual_seed(0)
    states = States(torch.rand(400, 2, generator=generator), np.arange(400) // 20)
    half = unit_features(2)
    with torch.no_grad():
        half.decoder.weight[0] *= 0.5
    found = agreement(agent, half, states)
    assert found is not None
    assert found.unexplained["action"].value < 1e-9
    value = found.unexplained["value"]
    expected = (0.5 * (4 + states.observation[:, 0])).square().mean() / states.observation[
        :, 0
    ].var()  # pyright: ignore
    np.testing.assert_allclose(value.value, expected, rtol=0.01)
    assert value.low < value.value < value.high
    assert found.same is not None
    assert (found.same.value, found.same.episodes) == (1.0, 20)


class Continuous(TorchAgent):
    """Acts with the numbers that its module gives."""

    def act(self, observation: Any, state: Any, noise: Any) -> Acted:
        return Acted(self.module(observation).numpy())


def test_continuous_actions_have_a_distance_and_no_share_of_equal_ones() -> None:
    agent = Continuous(layered(([[0.0, 1.0, 0.0]], [0.0]), ([[2.0]], [0.0])))
    states = States(torch.tensor([[0.0, step, 0.0] for step in range(8)]), np.arange(8))
    found = agreement(agent, silent_dictionary(torch.zeros(1)), states)
    assert found is not None
    assert np.isnan(found.actions)
    assert np.isnan(found.kl)
    numbers = 2.0 * np.arange(8)
    np.testing.assert_allclose(found.distance, numbers.mean() / numbers.std(), rtol=1e-6)


@pytest.mark.parametrize(
    ("action", "logits", "is_known"),
    [([0, 1], (2, 2), True), ([[0], [1]], (2, 2), True), ([[0, 1], [1, 0]], (2, 4), False),
     ([[True], [False]], (2, 1), False), ([0.5, 0.1], (2, 2), False)],
)  # fmt: skip
def test_kl_is_of_one_choice_among_several(
    action: list[Any], logits: tuple[int, int], is_known: bool
) -> None:
    """The logits of several parts are no softmax together, and one logit is a yes or no."""
    acted = Acted(np.array(action), {"logits": torch.zeros(logits)})
    assert np.isfinite(kl_of(acted, acted).numpy()).all() == is_known


def test_a_recurrent_agent_is_compared_in_the_state_it_was_in() -> None:
    """Whose third number, a quarter of the first logit, only the state knows."""
    agent, memory = summing_agent(), torch.zeros(8, 3)
    memory[:, 2] = torch.arange(8) - 3.5
    assert agreement(agent, perfect_dictionary(3), STATES) is None
    states = States(STATES.observation, STATES.episode, RecurrentState(memory, (0,)))
    found = agreement(agent, perfect_dictionary(3), states)
    assert found is not None
    assert (found.actions, found.kl, found.states, found.episodes) == (1.0, 0.0, 8, 8)
    # Under silence the first of equal logits is taken, as it is where the third number is positive.
    silent = agreement(agent, silent_dictionary(torch.zeros(3)), states)
    assert silent is not None
    assert silent.actions == 0.5


@pytest.mark.parametrize("rows", [1, 3])
def test_states_are_taken_in_batches(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fidelity, "ROWS_AT_ONCE", rows)
    found = agreement(paying_agent(), perfect_dictionary(3), STATES)
    assert found is not None
    assert found.states == 8
