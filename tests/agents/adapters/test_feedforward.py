"""Plain networks rebuilt from weights act as the modules they were saved from."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gymnasium.spaces import Box, Discrete
from torch import nn

from policyscope.agents.adapters.feedforward import FeedForward, find_layers, find_stages
from policyscope.agents.adapters.state_dict import open_named, open_state_dict
from policyscope.agents.noise import AddressedNoise
from policyscope.agents.sites import list_sites
from policyscope.errors import InvalidInput, UnknownName
from policyscope.testing.agents import AgentContract

ROWS = 5


def mlp(*sizes, activation=nn.Tanh, end=None):
    layers = [
        layer for one, other in pairwise(sizes) for layer in (nn.Linear(one, other), activation())
    ]
    return nn.Sequential(*layers[:-1], *([end] if end else []))


def tree(**children):
    """A module that only holds others."""
    module = nn.Module()
    for name, child in children.items():
        if isinstance(child, nn.Parameter):
            module.register_parameter(name, child)
        elif isinstance(child, torch.Tensor):
            module.register_buffer(name, child)
        else:
            module.add_module(name, child)
    return module


def vectors(width):
    return torch.randn(ROWS, width, generator=torch.Generator().manual_seed(1))


def pixels(*shape):
    return torch.randint(0, 256, (ROWS, *shape), generator=torch.Generator().manual_seed(1)).byte()


def nature():
    return [
        *(nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU()),
        *(nn.Conv2d(64, 64, 3, 1), nn.ReLU(), nn.Flatten()),
    ]


def ppo():
    module = tree(actor=mlp(4, 8, 8, 2), critic=mlp(4, 8, 8, 1))
    x = vectors(4)
    return module, x, {"logits": module.actor(x), "value": module.critic(x)[:, 0]}


def ppo_pytorch_continuous():
    module = tree(actor=mlp(24, 8, 8, 4, end=nn.Tanh()), critic=mlp(24, 8, 8, 1))
    x = vectors(24)
    return module, x, {"mean": module.actor(x), "value": module.critic(x)[:, 0]}


def ppo_pytorch_older():
    parts = {"affine": nn.Linear(8, 6), "action_layer": mlp(8, 6, 6, 4, end=nn.Softmax(-1))}
    module = tree(**parts, value_layer=mlp(8, 6, 6, 1))
    x = vectors(8)
    value = module.value_layer(x)[:, 0]
    return module, x, {"logits": module.action_layer[:-1](x), "value": value}


def ppo_continuous():
    module = tree(
        critic=mlp(11, 8, 8, 1),
        actor_mean=mlp(11, 8, 8, 3),
        actor_logstd=nn.Parameter(torch.randn(1, 3)),
    )
    x = vectors(11)
    mean = module.actor_mean(x)
    log_std = module.actor_logstd.expand_as(mean)
    return module, x, {"mean": mean, "log_std": log_std, "value": module.critic(x)[:, 0]}


def dqn():
    module = tree(network=mlp(4, 12, 8, 2, activation=nn.ReLU))
    x = vectors(4)
    return module, x, {"values": module.network(x)}


def sac():
    parts = {"fc1": nn.Linear(11, 8), "fc2": nn.Linear(8, 8), "fc_mean": nn.Linear(8, 3)}
    scale, bias = torch.full((3,), 2.0), torch.full((3,), 0.5)
    module = tree(**parts, fc_logstd=nn.Linear(8, 3), action_scale=scale, action_bias=bias)
    x = vectors(11)
    hidden = F.relu(module.fc2(F.relu(module.fc1(x))))
    log_std = -5 + 0.5 * 7 * (torch.tanh(module.fc_logstd(hidden)) + 1)
    return module, x, {"mean": module.fc_mean(hidden), "log_std": log_std}


def td3():
    module = tree(l1=nn.Linear(376, 8), l2=nn.Linear(8, 8), l3=nn.Linear(8, 17))
    x = vectors(376)
    hidden = torch.tanh(module.l2(torch.tanh(module.l1(x))))
    return module, x, {"mean": 0.4 * torch.tanh(module.l3(hidden))}


def dueling():
    sequence = mlp(8, 6, 6, 6, activation=nn.ReLU)[:-1]
    module = tree(hidden=sequence, V=nn.Linear(6, 1), A=nn.Linear(6, 4))
    x = vectors(8)
    hidden = module.hidden(x)
    value, advantage = module.V(hidden), module.A(hidden)
    values = value + advantage - advantage.mean(-1, keepdim=True)
    return module, x, {"values": values, "value": value[:, 0]}


def spinning_up():
    pi = tree(logits_net=mlp(4, 8, 8, 2, end=nn.Identity()))
    module = tree(pi=pi, v=tree(v_net=mlp(4, 8, 8, 1)))
    x = vectors(4)
    return module, x, {"logits": pi.logits_net(x), "value": module.v.v_net(x)[:, 0]}


def atari_ppo():
    trunk = nn.Sequential(*nature(), nn.Linear(3136, 16), nn.ReLU())
    module = tree(network=trunk, actor=nn.Linear(16, 6), critic=nn.Linear(16, 1))
    x = pixels(4, 84, 84)
    hidden = module.network(x / 255)
    return module, x, {"logits": module.actor(hidden), "value": module.critic(hidden)[:, 0]}


def atari_dqn():
    module = tree(network=nn.Sequential(*nature(), nn.Linear(3136, 9), nn.ReLU(), nn.Linear(9, 4)))
    x = pixels(4, 84, 84)
    return module, x, {"values": module.network(x / 255)}


def atari_c51():
    atoms = torch.linspace(-10, 10, 5)
    layers = (*nature(), nn.Linear(3136, 9), nn.ReLU(), nn.Linear(9, 4 * 5))
    module = tree(network=nn.Sequential(*layers), atoms=atoms)
    x = pixels(4, 84, 84)
    shares = module.network(x / 255).view(ROWS, 4, 5).softmax(2)
    return module, x, {"values": (shares * atoms).sum(2)}


def atari_dueling():
    parts = {"fc": nn.Linear(3136, 9), "A": nn.Linear(9, 6), "V": nn.Linear(9, 1)}
    module = tree(conv=nn.Sequential(*nature()), **parts)
    x = pixels(84, 84, 4)
    hidden = F.relu(module.fc(module.conv(x.permute(0, 3, 1, 2) / 255)))
    value, advantage = module.V(hidden), module.A(hidden)
    values = value + advantage - advantage.mean(-1, keepdim=True)
    return module, x, {"values": values, "value": value[:, 0]}


MODULES = [
    *(ppo, ppo_pytorch_continuous, ppo_pytorch_older, ppo_continuous, dqn, sac, td3, dueling),
    *(spinning_up, atari_ppo, atari_dqn, atari_c51, atari_dueling),
]


def saved(folder, module):
    torch.save(module.state_dict(), folder / "agent.pt")
    return folder / "agent.pt"


@pytest.mark.parametrize("make", MODULES, ids=lambda make: make.__name__)
def test_it_says_what_the_module_it_was_saved_from_says(tmp_path, make):
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        module, observation, expected = make()
    agent = open_state_dict(saved(tmp_path, module))
    assert isinstance(agent, FeedForward)
    with torch.no_grad():
        acted = agent.act(observation, None, None)
    assert acted.outputs.keys() == expected.keys()
    for name, output in expected.items():
        torch.testing.assert_close(acted.outputs[name], output)
    assert agent.module.state_dict().keys() == module.state_dict().keys()
    assert agent.assumed


def test_of_several_networks_in_one_file_the_actor_is_opened(tmp_path):
    # As CleanRL saves TD3: (actor, first critic, second critic).
    scale = {"action_scale": torch.ones(1, 3), "action_bias": torch.zeros(1, 3)}
    actor = tree(fc1=nn.Linear(11, 8), fc2=nn.Linear(8, 8), fc_mu=nn.Linear(8, 3), **scale)
    critic = tree(fc1=nn.Linear(14, 8), fc2=nn.Linear(8, 8), fc3=nn.Linear(8, 1))
    torch.save((actor.state_dict(), critic.state_dict()), tmp_path / "td3.cleanrl_model")
    agent = open_state_dict(tmp_path / "td3.cleanrl_model")
    hidden = F.relu(actor.fc2(F.relu(actor.fc1(vectors(11)))))
    with torch.no_grad():
        expected = torch.tanh(actor.fc_mu(hidden))
        torch.testing.assert_close(agent.act(vectors(11), None, None).outputs["mean"], expected)
    assert agent.assumed[0] == "Weights found under '[0]' in the checkpoint."


def test_policy_and_value_are_told_apart_where_they_branch(tmp_path):
    agent = open_state_dict(saved(tmp_path, atari_ppo()[0]))
    of = {path: agent.network_of(path) for path in ("network", "network.7", "actor", "critic")}
    shared = {"network": "shared", "network.7": "shared"}
    assert of == {**shared, "actor": "policy", "critic": "value"}


def test_what_the_agent_never_runs_is_unused(tmp_path):
    agent = open_state_dict(saved(tmp_path, ppo_pytorch_older()[0]))
    assert agent.network_of("affine") == "unused"
    assert "affine" not in {info.site.path for info in list_sites(agent, vectors(8))}


def test_activations_in_numbered_sequences_are_sites_of_their_own(tmp_path):
    agent = open_state_dict(saved(tmp_path, ppo()[0]))
    sites = {str(info.site) for info in list_sites(agent, vectors(4))}
    assert {"actor:out", "actor.1:out", "actor.3:out", "critic.1:out"} <= sites


def test_what_weights_cannot_say_is_asked_for(tmp_path):
    path = saved(tmp_path, mlp(3, 8, 2))
    with pytest.raises(InvalidInput) as raised:
        open_state_dict(path)
    assert str(raised.value) == (
        f"{str(path)!r} holds a feedforward network, but weights do not say its activation and "
        f"head. Say it: torch:feedforward,activation=relu,head=logits:{path} (activation: relu, "
        "tanh, elu, gelu, silu, leaky-relu, sigmoid, softplus, selu) (head: logits, values, "
        "action, gaussian, squashed)"
    )


@pytest.mark.parametrize("activation", ["relu", "tanh", "elu", "gelu", "silu"])
def test_the_activation_and_head_that_are_said_are_used(tmp_path, activation):
    kind = {"relu": nn.ReLU, "tanh": nn.Tanh, "elu": nn.ELU, "gelu": nn.GELU, "silu": nn.SiLU}
    module = mlp(3, 8, 2, activation=kind[activation])
    path = saved(tmp_path, module)
    agent = open_named(f"feedforward,activation={activation},head=values:{path}")
    with torch.no_grad():
        outputs = agent.act(vectors(3), None, None).outputs
        torch.testing.assert_close(outputs["values"], module(vectors(3)))


def test_layers_beside_each_other_are_joined_where_their_widths_meet(tmp_path):
    parts = {"fc1": nn.Linear(3, 8), "ln1": nn.LayerNorm(8), "fc2": nn.Linear(8, 2)}
    module = tree(**parts, critic1=nn.Linear(3, 6), critic2=nn.Linear(6, 1))
    agent = open_named(f"feedforward,activation=relu,head=logits:{saved(tmp_path, module)}")
    x = vectors(3)
    with torch.no_grad():
        outputs = agent.act(x, None, None).outputs
        expected = module.fc2(F.relu(module.ln1(module.fc1(x))))
        torch.testing.assert_close(outputs["logits"], expected)
        torch.testing.assert_close(
            outputs["value"], module.critic2(F.relu(module.critic1(x)))[:, 0]
        )


def test_target_networks_and_critics_of_actions_are_kept_but_never_run(tmp_path):
    module = tree(
        actor=mlp(3, 8, 2),
        critic=mlp(5, 8, 1),
        target_actor=mlp(3, 8, 2),
        actor_log_std=nn.Parameter(torch.ones(2)),
    )
    agent = open_named(f"feedforward,activation=relu,head=action:{saved(tmp_path, module)}")
    assert agent.value is None
    assert agent.network_of("target_actor.0") == "target"
    assert {s.site.path.split(".")[0] for s in list_sites(agent, vectors(3))} == {"actor"}


def test_strides_nobody_knows_are_asked_for_and_used_when_said(tmp_path):
    layers = (nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 49, 5))
    path = saved(tmp_path, nn.Sequential(*layers))
    with pytest.raises(InvalidInput, match=r"strides .* cannot be read .*strides=4-2-1"):
        open_named(f"feedforward,activation=relu,head=values:{path}")
    agent = open_named(f"feedforward,activation=relu,head=values,strides=2:{path}")
    x = pixels(15, 15, 3)
    with torch.no_grad():
        expected = nn.Sequential(*layers)(x.permute(0, 3, 1, 2) / 255)
        torch.testing.assert_close(agent.act(x, None, None).outputs["values"], expected)


def test_the_environment_settles_what_the_weights_left_open(tmp_path):
    agent = open_state_dict(saved(tmp_path, tree(actor=mlp(5, 8, 2), critic=mlp(5, 8, 1))))
    agent.bind(None, Discrete(2))
    assert agent.head == "logits"
    agent.bind(None, Box(-3, 3, (2,)))
    with torch.no_grad():
        action = agent.act(100 * vectors(5), None, None).action
    assert agent.head == "action"
    assert action.shape == (ROWS, 2)
    assert 1 < np.abs(action).max() <= 3


@pytest.mark.parametrize("make", [ppo_continuous, sac, td3, ppo_pytorch_continuous])
def test_sampled_actions_stay_within_the_bounds(tmp_path, make):
    agent = open_state_dict(saved(tmp_path, make()[0]))
    x, noise = 50 * vectors(agent.width), AddressedNoise(0, ROWS)
    with torch.no_grad():
        action = agent.act(x, None, noise).action
    assert np.abs(action).max() <= (2.5 if make is sac else 1.0)


def test_unknown_words_are_refused_with_the_known_ones(tmp_path):
    path = saved(tmp_path, mlp(3, 8, 2))
    with pytest.raises(InvalidInput, match="activation is 'rellu'; known: relu"):
        open_named(f"feedforward,activation=rellu,head=logits:{path}")
    with pytest.raises(UnknownName, match="Did you mean 'activation'"):
        open_named(f"feedforward,activaton=relu,head=logits:{path}")
    with pytest.raises(InvalidInput, match="no head called 'actor'"):
        open_named(f"feedforward,activation=relu,head=logits,policy=actor:{path}")


def test_stages_follow_each_other_by_width():
    shapes = {"a.0.weight": (8, 3), "a.2.weight": (2, 8), "b.weight": (5, 2), "c.weight": (1, 3)}
    stages = find_stages(find_layers(shapes)[0])
    assert [(stage.path, stage.after) for stage in stages] == [("a", None), ("b", 0), ("c", None)]


class TestDiscrete(AgentContract):
    def make(self):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            shapes = {k: tuple(v.shape) for k, v in ppo()[0].state_dict().items()}
            return FeedForward(**FeedForward.recognize(shapes))


class TestContinuous(AgentContract):
    width = 11

    def make(self):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            shapes = {k: tuple(v.shape) for k, v in sac()[0].state_dict().items()}
            agent = FeedForward(**FeedForward.recognize(shapes))
            agent.module.action_scale += 1
            return agent
