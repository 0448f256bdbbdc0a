"""Recurrent agents of baby-a3c, BabyAI and CleanRL, and AlphaZero and DRL-Pytorch: the contract."""

import numpy as np
import pytest
import torch
from torch import nn

from policyscope.agents.adapters.alpha_zero import AlphaZero
from policyscope.agents.adapters.baby_a3c import BabyA3C, prepare
from policyscope.agents.adapters.babyai import BabyAI
from policyscope.agents.adapters.cleanrl import CleanRLLSTM, CleanRLProcgen, OneStepLSTM
from policyscope.agents.adapters.drl_pytorch import UnitPPO
from policyscope.agents.adapters.trajectory_transformer import Size, TrajectoryTransformer
from policyscope.agents.noise import AddressedNoise
from policyscope.testing.agents import AgentContract


def seeded(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        agent = make()
        with torch.no_grad():
            for parameter in agent.module.parameters():
                # Some are made of zeros, to be filled from a file.
                parameter.copy_(torch.randn_like(parameter) * 0.1)
        return agent


def integers(rows, seed, high, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, high, (rows, *shape), generator=generator).byte()


class OfPictures(AgentContract):
    """Convolutions of one row sum in another order than those of five."""

    relative_tolerance = 1e-4
    absolute_tolerance = 1e-5


class TestBabyA3C(OfPictures):
    def make(self):
        return seeded(lambda: BabyA3C(actions=3, memory=8))

    def observations(self, rows, seed=0):
        return integers(rows, seed, 256, 210, 160, 3)


class TestBabyA3CWithLSTM(TestBabyA3C):
    def make(self):
        return seeded(lambda: BabyA3C(actions=3, memory=8, cell="lstm"))


class TestBabyAI(OfPictures):
    def make(self):
        return seeded(lambda: BabyAI(actions=4, width=6, memory=5, prefix="model."))

    def observations(self, rows, seed=0):
        return integers(rows, seed, 4, 7, 7, 3)


class TestCleanRLLSTM(OfPictures):
    def make(self):
        return seeded(lambda: CleanRLLSTM(channels=1, hidden=8, memory=6, actions=4, area=3136))

    def observations(self, rows, seed=0):
        return integers(rows, seed, 256, 1, 84, 84)


class TestCleanRLProcgen(OfPictures):
    def make(self):
        return seeded(lambda: CleanRLProcgen((3, 4, 4), area=4 * 16 * 16, hidden=8, actions=15))

    def observations(self, rows, seed=0):
        return integers(rows, seed, 256, 64, 64, 3)


class TestAlphaZero(OfPictures):
    def make(self):
        return seeded(lambda: AlphaZero(5, 5, 25, blocks=2, filters=4, hidden=6, pad=3))

    def observations(self, rows, seed=0):
        return (integers(rows, seed, 4, 5, 5, 5) == 0).to(torch.int8)


class TestTrajectoryTransformer(AgentContract):
    absolute_tolerance = 1e-5
    steps = 6

    def make(self):
        size = Size(
            **{"width": 8, "blocks": 2, "heads": 2, "head_width": 4, "hidden": 12, "tokens": 11},
            **{
                "observation": 20 * 9,
                "actions": 5,
                "times": 4,
                "is_gated": True,
                "is_normed": True,
            },
        )
        return seeded(lambda: TrajectoryTransformer(size))

    def observations(self, rows, seed=0):
        return integers(rows, seed, 3, 3, 3, 3)


@pytest.mark.parametrize("kind", ["beta", "wide", "fixed"])
class TestUnitPPO:
    def test_actions_are_sampled_within_bounds_around_their_mean(self, kind):
        agent = seeded(lambda: UnitPPO(kind, inputs=3, hidden=8, actions=2, max_action=2.0))
        observation = torch.zeros(4000, 3)
        noise = AddressedNoise(0, 4000)
        noise.begin(np.arange(4000), np.arange(4000))
        with torch.no_grad():
            sampled = agent.act(observation, None, noise)
            mean = agent.act(observation[:1], None, None).action[0]
        assert np.abs(sampled.action).max() <= 2.0
        if kind == "beta":
            # Nothing is clipped: the mean of 4,000 is within four standard errors of a width of 2.
            np.testing.assert_allclose(sampled.action.mean(0), mean, atol=4 * 2 / 4000**0.5)


class TestUnitPPOContract(AgentContract):
    width = 3

    def make(self):
        return seeded(lambda: UnitPPO("beta", inputs=3, hidden=8, actions=2))


def test_one_step_at_a_time_is_torchs_own_lstm():
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        whole, step = nn.LSTM(5, 3), OneStepLSTM(5, 3)
        step.load_state_dict(whole.state_dict())
        seen, state = torch.randn(4, 2, 5), (torch.zeros(2, 3), torch.zeros(2, 3))
        expected, _ = whole(seen)
        for moment in range(4):
            state = step(seen[moment], state)
            torch.testing.assert_close(state[0], expected[moment])


def test_a_screen_becomes_the_field_of_play_stretched_to_the_full_range():
    screen = torch.full((1, 210, 160, 3), 100, dtype=torch.uint8)
    screen[:, 35:115] = 50
    screen[:, :35] = 255
    picture = prepare(screen)
    assert picture.shape == (1, 1, 80, 80)
    assert picture[0, 0, 0, 0] == 0.0
    assert picture[0, 0, -1, -1] == 1.0


def test_a_screen_of_one_colour_is_black():
    assert prepare(torch.full((1, 210, 160, 3), 7, dtype=torch.uint8)).max() == 0.0


def test_stones_are_never_played_onto():
    agent = seeded(lambda: AlphaZero(5, side=5, actions=25, blocks=1, filters=4, hidden=6, pad=3))
    board = torch.zeros(1, 5, 5, 5)
    board[:, 0] = 1
    board[0, 0, 2, 3] = 0
    with torch.no_grad():
        assert agent.act(board, None, None).action.tolist() == [13]
        assert agent.act(board, None, None).outputs["logits"].isfinite().all()


def test_rewards_are_taken_off_what_is_still_wanted():
    agent = TestTrajectoryTransformer().make()
    state = agent.initial_state(2)
    later = agent.rewarded(state, torch.tensor([0.25, 0.0]))
    assert later["wanted"].tolist() == [0.75, 1.0]
    assert state["wanted"].tolist() == [1.0, 1.0]
