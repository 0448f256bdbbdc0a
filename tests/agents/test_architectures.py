"""Networks that a weights file can name."""

import pytest
import torch

from policyscope.agents.architectures import ARCHITECTURES, MLP
from policyscope.errors import InvalidInput, UnknownName


def test_the_layers_have_the_names_and_sizes_asked_for():
    shapes = {name: tuple(weight.shape) for name, weight in MLP([4, 128, 64, 2]).named_parameters()}
    assert {name: shape for name, shape in shapes.items() if name.endswith("weight")} == {
        "fc1.weight": (128, 4),
        "fc2.weight": (64, 128),
        "fc3.weight": (2, 64),
    }


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_activation_stands_between_layers_and_not_after_the_last(activation):
    network, x = MLP([3, 5, 2], activation), torch.randn(7, 3)
    between = getattr(torch, activation)(network.fc1(x))
    assert torch.equal(network(x), network.fc2(between))


def test_sizes_and_activations_that_cannot_work_are_refused():
    for sizes in ([4], [4, 0, 2], []):
        with pytest.raises(InvalidInput, match="expected two or more positive widths"):
            MLP(sizes)
    with pytest.raises(InvalidInput, match="activation is 'swish'; known: relu, tanh"):
        MLP([4, 2], "swish")


def test_an_unknown_architecture_is_told_what_there_is():
    with pytest.raises(UnknownName, match=r"No architecture called 'mpl'\. Did you mean 'mlp'"):
        ARCHITECTURES.get("mpl")
