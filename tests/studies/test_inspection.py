"""What can be read inside an agent, and whether it can act where it is asked to."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from policyscope.agents.adapters.function import FunctionAgent
from policyscope.agents.adapters.torch import TorchAgent
from policyscope.agents.architectures import MLP
from policyscope.agents.loading import open_file
from policyscope.envs.make import make
from policyscope.errors import InvalidInput
from policyscope.rollouts.record import record_rollout
from policyscope.studies.inspection import Inspection, inspect


def test_sites_are_those_that_the_forward_reaches(agent_file: Path) -> None:
    found = inspect(str(agent_file))
    assert found.environment == "CartPole-v1"
    assert found.parameters == 4 * 16 + 16 + 16 * 8 + 8 + 8 * 2 + 2
    shapes = {str(site.site): site.shape for site in found.sites}
    assert shapes["fc2:in"] == (16,)
    assert shapes["fc3:out"] == (2,)
    assert found.metrics[:2] == ("cart_position", "cart_velocity")
    assert "fc2:in" in str(found.table())
    assert "Record these: --site fc2:in fc3:in" in str(found)
    assert "fc2:in" in found._repr_html_()


def test_looking_changes_nothing(agent_file: Path) -> None:
    agent = open_file(agent_file)
    before = agent.fingerprint()
    inspect(agent)
    assert agent.fingerprint() == before
    assert not any(module._forward_hooks for module in agent.module.modules())


def test_agent_must_say_where_it_acts() -> None:
    with pytest.raises(InvalidInput, match="Give one: --env"):
        inspect(TorchAgent(MLP([4, 2])))


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ([4, 3], "chooses one of 3 actions"),
        ([4, 1], "of 1 actions"),
        ([5, 2], "which observes Box"),
    ],
)
def test_agent_of_another_world_is_refused(sizes: list[int], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        inspect(TorchAgent(MLP(sizes)), "CartPole-v1")


def test_module_that_chokes_on_the_observation_is_refused() -> None:
    class Chokes(torch.nn.Module):
        def forward(self, observation: torch.Tensor) -> torch.Tensor:
            return observation[:, [7]]

    with pytest.raises(InvalidInput, match="cannot act in CartPole-v1"):
        inspect(TorchAgent(Chokes()), "CartPole-v1")


# --- the tree, and what to record ----------------------------------------------------------------


def act_by(forward):
    """An act that takes what `forward` gives: logits alone, or logits and a value."""

    def act(observation):
        logits, *value = forward(observation)
        outputs = {"logits": logits, **({"value": value[0][:, 0]} if value else {})}
        return logits.argmax(-1), outputs

    return act


def looked_at(module, forward, networks=None) -> Inspection:
    return inspect(FunctionAgent(module, act_by(forward), networks=networks), "CartPole-v1")


def layers(*sizes: int) -> nn.Sequential:
    made = [part for pair in pairwise(sizes) for part in (nn.Linear(*pair), nn.Tanh())]
    return nn.Sequential(*made[:-1])


def test_tree_has_every_module_with_shapes_and_parameters() -> None:
    module = nn.ModuleDict({"body": layers(4, 8, 6), "head": nn.Linear(6, 2)})
    module["spare"] = layers(3, 3, 3)
    found = looked_at(module, lambda seen: [module["head"](module["body"](seen))])
    shown = {one.path: one for one in found.modules}
    assert list(shown)[:3] == ["body", "body.0", "body.1"]
    assert shown["body"].parameters == 4 * 8 + 8 + 8 * 6 + 6
    assert [one.shape for one in shown["body.2"].leaving] == [(6,)]
    assert shown["body.2"].depth == 1
    assert shown["body.1"].type == "Tanh"
    lines = str(found).splitlines()
    assert any(line.startswith("  body.0  Linear") for line in lines)
    assert any("2 (logits)" in line for line in lines)
    # Of what never runs, only the top.
    assert any(line.startswith("spare") and "not run" in line for line in lines)
    assert not any("spare.0" in line for line in lines)
    entry = found.to_json()["modules"][0]
    assert entry == {
        "path": "body",
        "type": "Sequential",
        "parameters": 94,
        "in": [[4]],
        "out": [[6]],
        "network": "policy",
    }


@pytest.mark.parametrize("networks", [{"actor": "policy", "critic": "value"}, {}])
def test_policy_and_value_network_are_both_suggested(networks: dict[str, str]) -> None:
    module = nn.ModuleDict({"actor": layers(4, 8, 6, 2), "critic": layers(4, 5, 3, 1)})
    found = looked_at(module, lambda x: (module["actor"](x), module["critic"](x)), networks)
    assert found.to_json()["suggested"] == [
        "actor.2:in",
        "actor.4:in",
        "critic.2:in",
        "critic.4:in",
    ]


def test_what_two_heads_share_is_suggested_once() -> None:
    module = nn.ModuleDict({"body": layers(4, 8, 6), "a": nn.Linear(6, 2), "v": nn.Linear(6, 1)})

    def forward(seen):
        hidden = module["body"](seen).tanh()
        return module["a"](hidden), module["v"](hidden)

    found = looked_at(module, forward, {"body": "shared", "v": "value"})
    assert [str(site) for site in found.suggested] == ["body.2:in", "a:in"]
    networks = {one.path: one.network for one in found.modules}
    assert networks == networks | {"body": "shared", "a": "policy", "v": "value"}


def test_last_map_is_suggested_and_not_what_flattens_it() -> None:
    module = nn.ModuleDict(
        {
            "conv": nn.Sequential(nn.Conv2d(1, 3, 2, padding=1), nn.ReLU(), nn.Conv2d(3, 5, 2)),
            "hidden": nn.Linear(5 * 2 * 2, 6),
            "head": nn.Linear(6, 2),
        }
    )

    def forward(seen):
        return [module["head"](module["hidden"](module["conv"](seen.view(-1, 1, 2, 2)).flatten(1)))]

    assert [str(site) for site in looked_at(module, forward).suggested] == ["conv:out", "head:in"]


def test_what_a_recurrent_cell_gives_is_suggested() -> None:
    cell, head = nn.GRUCell(4, 6), nn.Linear(6, 2)
    module = nn.ModuleDict({"cell": cell, "head": head})

    def act(observation, state):
        state = cell(observation, state)
        logits = head(state)
        return logits.argmax(-1), {"logits": logits}, state

    agent = FunctionAgent(module, act, lambda rows: torch.zeros(rows, 6))
    assert [str(site) for site in inspect(agent, "CartPole-v1").suggested] == ["head:in"]


def test_nothing_is_suggested_where_nothing_is_hidden() -> None:
    found = inspect(TorchAgent(MLP([4, 2])), "CartPole-v1")
    assert found.suggested == ()
    assert "PATH:in and PATH:out" in str(found)


@pytest.mark.parametrize("sizes", [[4, 8, 2], [4, 8, 8, 2], [4, 8, 8, 8, 2]])
def test_what_is_suggested_can_be_recorded(sizes: list[int], tmp_path: Path) -> None:
    agent = TorchAgent(MLP(sizes))
    sites = inspect(agent, "CartPole-v1").suggested
    recording = record_rollout(
        agent, lambda rows: make("CartPole-v1", rows), tmp_path / "main", sites=sites, steps=20
    )
    assert {str(site) for site in sites} <= set(recording.columns)
