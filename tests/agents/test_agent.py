"""What agents share: choosing, counting, fingerprints."""

import numpy as np
import torch
from torch import nn

from policyscope.agents.adapters.torch import TorchAgent
from policyscope.agents.agent import choose
from policyscope.agents.noise import AddressedNoise, uniform_at

ROWS = 20_000


class Fixed:
    """Noise that says what it was told to."""

    def __init__(self, numbers):
        self.numbers = numbers

    def uniform(self, count):
        assert count == self.numbers.shape[1]
        return self.numbers


def test_actions_are_sampled_from_the_softmax():
    wanted = torch.tensor([0.6, 0.3, 0.1])
    numbers = uniform_at(5, np.arange(ROWS), np.zeros(ROWS, np.int64), 3)
    actions = choose(wanted.log().expand(ROWS, 3), Fixed(torch.from_numpy(numbers)))
    shares = np.bincount(actions, minlength=3) / ROWS
    # Five standard deviations of a share near one half.
    np.testing.assert_allclose(shares, wanted, atol=5 * 0.5 / ROWS**0.5)


def test_without_noise_the_most_likely_is_chosen():
    assert choose(torch.tensor([[0.0, 2.0, 1.0], [3.0, 2.0, 1.0]]), None).tolist() == [1, 0]


def test_noise_at_its_ends_keeps_every_choice_finite():
    ends = torch.tensor([[2**-24, 1 - 2**-24], [1 - 2**-24, 2**-24]])
    assert choose(torch.zeros(2, 2), Fixed(ends)).tolist() == [1, 0]
    assert choose(torch.tensor([[40.0, 0.0]]), Fixed(ends[:1])).tolist() == [0]


def test_agents_that_share_noise_differ_only_where_their_logits_do():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 3, generator=generator)
    changed = logits.clone()
    changed[::10] = changed[::10].flip(1) * 9
    first, other = (choose(given, AddressedNoise(1, rows=200)) for given in (logits, changed))
    differs = np.flatnonzero(first != other)
    assert len(differs) > 0
    assert (differs % 10 == 0).all()


def test_parameters_are_counted_and_placed():
    agent = TorchAgent(nn.Linear(4, 3))
    assert agent.parameters == 15
    assert agent.device == torch.device("cpu")
    assert TorchAgent(nn.Identity()).device == torch.device("cpu")
    assert TorchAgent(nn.Identity()).parameters == 0


def test_the_fingerprint_includes_buffers_and_names():
    norm = TorchAgent(nn.BatchNorm1d(3))
    before = norm.fingerprint()
    norm.module.running_mean += 1
    assert norm.fingerprint() != before

    ones, named = nn.Linear(2, 2, bias=False), nn.Module()
    nn.init.ones_(ones.weight)
    named.register_parameter("other", ones.weight)
    assert TorchAgent(ones).fingerprint() != TorchAgent(named).fingerprint()
