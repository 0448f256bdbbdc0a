from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from policyscope.agents.module_tree import Plan, rebuild
from policyscope.errors import InvalidInput


class Tanh(Plan):
    def between(self, path: str) -> nn.Module:
        return nn.Tanh()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=5), st.booleans())
def test_rebuilding_a_saved_network_gives_the_same_network(sizes: list[int], bias: bool) -> None:
    layers: list[nn.Module] = []
    for into, out in pairwise(sizes):
        layers += [nn.Linear(into, out, bias=bias), nn.Tanh()]
    network = nn.Sequential(*layers[:-1])
    rebuilt = rebuild({f"net.{key}": one for key, one in network.state_dict().items()}, Tanh())
    observation = torch.randn(3, sizes[0])
    with torch.no_grad():
        assert torch.equal(rebuilt.get_submodule("net")(observation), network(observation))


def test_every_known_layer_is_told_by_its_weights() -> None:
    made = nn.ModuleDict(
        {
            "conv": nn.Conv2d(3, 4, 5),
            "linear": nn.Linear(2, 3, bias=False),
            "norm": nn.LayerNorm(4),
            "batch": nn.BatchNorm1d(4),
            "lstm": nn.LSTM(3, 5, 2),
        }
    )
    rebuilt = rebuild(made.state_dict(), Plan())
    for name, layer in made.items():
        assert repr(rebuilt.get_submodule(name)) == repr(layer)
    assert not any(parameter.requires_grad for parameter in rebuilt.parameters())


def test_rebuilding_draws_no_random_numbers() -> None:
    before = torch.random.get_rng_state()
    rebuild({"net.weight": torch.ones(3, 2)}, Plan())
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"net.weight": torch.ones(2, 2, 2)}, "no known layer"),
        ({"net.weight": torch.ones(0, 2)}, "holds nothing"),
        ({"net.weight": torch.ones(2, 2), "net.bias": torch.ones(3)}, "do not fit"),
        ({"net.9999.weight": torch.ones(2, 2)}, "layer number 9999"),
        ({"net.weight_ih_l1": torch.ones(4, 2)}, "not of all its layers"),
        ({"": torch.ones(2)}, "names"),
    ],
)
def test_weights_of_no_network_are_refused(state: dict[str, torch.Tensor], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        rebuild(state, Plan())
