"""Torch modules as agents: the contract, and what is refused."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from policyscope.agents.adapters.torch import TorchAgent
from policyscope.agents.architectures import MLP
from policyscope.agents.noise import AddressedNoise
from policyscope.errors import InvalidInput
from policyscope.testing.agents import AgentContract


def seeded(build):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build()


class TestLogits(AgentContract):
    def make(self):
        return TorchAgent(seeded(lambda: MLP([4, 8, 6, 3])))


class TestValues(AgentContract):
    def make(self):
        return TorchAgent(seeded(lambda: MLP([4, 8, 2], activation="tanh")), head="values")


class TestInPlaceAndNormalized(AgentContract):
    """Activations that are overwritten, and buffers beside the weights."""

    def make(self):
        return TorchAgent(
            seeded(
                lambda: nn.Sequential(
                    nn.Linear(4, 6), nn.ReLU(inplace=True), nn.BatchNorm1d(6), nn.Linear(6, 2)
                )
            )
        )


class TestPixels(AgentContract):
    # A convolution of one row sums in another order than one of five.
    absolute_tolerance = 1e-5

    def make(self):
        return TorchAgent(
            seeded(lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(27, 4)))
        )

    def observations(self, rows, seed=0):
        return (
            super()
            .observations(rows * 50 // 4 + 1, seed)
            .reshape(-1)[: rows * 50]
            .view(rows, 2, 5, 5)
        )


class Says(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, observation: Tensor):
        return self.answer


def test_values_are_never_sampled():
    agent = TorchAgent(Says(torch.tensor([[1.0, 1.1], [0.2, 0.1]])), head="values")
    acted = agent.act(torch.zeros(2, 4), None, AddressedNoise(0, rows=2))
    assert acted.action.tolist() == [1, 0]
    assert list(acted.outputs) == ["values"]


def test_the_module_is_put_into_evaluation_mode():
    assert not TorchAgent(nn.Sequential(nn.Dropout())).module.training


@pytest.mark.parametrize(
    ("answer", "given"),
    [
        (torch.zeros(3), r"Says returned \[3\]"),
        ((torch.zeros(3, 2), torch.zeros(3)), "Says returned a tuple"),
    ],
)
def test_anything_but_one_number_per_action_is_refused(answer, given):
    agent = TorchAgent(Says(answer))
    with pytest.raises(InvalidInput, match=f"{given}; expected one tensor"):
        agent.act(torch.zeros(3, 4), None, None)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_dtype_acts_and_has_a_fingerprint(dtype):
    agent = TorchAgent(seeded(lambda: MLP([4, 8, 2])).to(dtype))
    acted = agent.act(torch.ones(3, 4, dtype=dtype), None, AddressedNoise(0, rows=3))
    assert acted.outputs["logits"].dtype == dtype
    assert acted.action.shape == (3,)
    assert acted.action.dtype == np.int64
    assert len(agent.fingerprint()) == 16
