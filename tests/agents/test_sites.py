"""Listing sites: order, shapes, roles, and addresses that tell tensors and calls apart."""

import pytest
import torch
from torch import nn

from policyscope.agents.adapters.torch import TorchAgent
from policyscope.agents.architectures import MLP
from policyscope.agents.sites import list_sites


def listed(module, width=4):
    agent = TorchAgent(module)
    return {str(info.site): info for info in list_sites(agent, torch.ones(3, width))}


def test_an_mlp_lists_both_sides_of_every_layer_in_order():
    sites = listed(MLP([4, 8, 6, 2]))
    assert {name: (info.shape, info.role) for name, info in sites.items()} == {
        "fc1:in": ((4,), "observation"),
        "fc1:out": ((8,), "hidden"),
        "fc2:in": ((8,), "hidden"),
        "fc2:out": ((6,), "hidden"),
        "fc3:in": ((6,), "hidden"),
        "fc3:out": ((2,), "logits"),
    }
    assert list(sites) == ["fc1:in", "fc1:out", "fc2:in", "fc2:out", "fc3:in", "fc3:out"]


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 5, batch_first=True)
        self.head = nn.Linear(5, 2)

    def forward(self, observation):
        out, _ = self.lstm(observation[:, None])
        return self.head(out[:, 0])


def test_tensors_of_a_tuple_are_counted():
    sites = listed(Recurrent())
    assert sites["lstm:out.0"].shape == (1, 5)
    assert {"lstm:in", "lstm:out.1", "lstm:out.2"} <= sites.keys()
    assert "lstm:out" not in sites


class Looped(nn.Module):
    def __init__(self):
        super().__init__()
        self.core = nn.Linear(4, 4)

    def forward(self, observation):
        return self.core(self.core(observation))


def test_calls_are_counted_when_there_are_several():
    sites = listed(Looped())
    assert list(sites) == ["core[0]:in", "core[0]:out", "core[1]:in", "core[1]:out"]
    assert sites["core[1]:out"].role == "logits"


class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, observation):
        self.fc(observation)
        raise ZeroDivisionError


@pytest.mark.parametrize("network", [MLP([4, 2]), Broken()])
def test_listing_leaves_no_hook_behind(network):
    agent = TorchAgent(network)
    try:
        list_sites(agent, torch.ones(1, 4))
    except ZeroDivisionError:
        assert isinstance(network, Broken)
    for module in network.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_the_json_entry_is_plain():
    assert listed(MLP([4, 2]).double().to(torch.float32))["fc1:out"].to_json() == {
        "address": "fc1:out",
        "shape": [2],
        "dtype": "float32",
        "role": "logits",
        "network": "policy",
    }
