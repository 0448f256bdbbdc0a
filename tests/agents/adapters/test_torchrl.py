"""TorchRL's actors and plain TensorDict modules as agents."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from policyscope.agents.adapters.torchrl import TorchRLAgent
from policyscope.agents.noise import AddressedNoise
from policyscope.agents.sites import list_sites
from policyscope.errors import InvalidInput
from policyscope.testing.agents import AgentContract

tensordict_nn = pytest.importorskip("tensordict.nn")
with pytest.MonkeyPatch.context() as patch:
    # Where procgen is installed without the old gym, torchrl's import of it fails.
    patch.setitem(sys.modules, "procgen", None)
    modules = pytest.importorskip("torchrl.modules")
TensorDictModule = tensordict_nn.TensorDictModule


def seeded(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def mlp(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, outputs))


def discrete(distribution=torch.distributions.Categorical):
    return modules.ProbabilisticActor(
        TensorDictModule(mlp(4, 3), in_keys=["observation"], out_keys=["logits"]),
        in_keys=["logits"],
        distribution_class=distribution,
    )


def continuous():
    network = nn.Sequential(mlp(4, 4), tensordict_nn.NormalParamExtractor())
    return modules.ProbabilisticActor(
        TensorDictModule(network, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        distribution_class=modules.TanhNormal,
        distribution_kwargs={"low": -2.0, "high": 2.0},
    )


def values():
    return modules.QValueActor(mlp(4, 3), action_space="categorical", in_keys=["observation"])


def actor_and_value():
    return modules.ActorValueOperator(
        TensorDictModule(nn.Linear(4, 8), in_keys=["observation"], out_keys=["hidden"]),
        modules.ProbabilisticActor(
            TensorDictModule(nn.Linear(8, 3), in_keys=["hidden"], out_keys=["logits"]),
            in_keys=["logits"],
            distribution_class=torch.distributions.Categorical,
        ),
        modules.ValueOperator(nn.Linear(8, 1), in_keys=["hidden"]),
    )


class TestDiscrete(AgentContract):
    def make(self):
        return TorchRLAgent(seeded(discrete))


class TestOneHot(AgentContract):
    def make(self):
        return TorchRLAgent(seeded(lambda: discrete(modules.OneHotCategorical)))


class TestContinuous(AgentContract):
    def make(self):
        return TorchRLAgent(seeded(continuous))


class TestValues(AgentContract):
    def make(self):
        return TorchRLAgent(seeded(values))


class TestActorAndValue(AgentContract):
    def make(self):
        return TorchRLAgent(seeded(actor_and_value))


class TestRecurrent(AgentContract):
    def make(self):
        cell = modules.GRUModule(
            input_size=4,
            hidden_size=5,
            in_keys=["observation", "memory"],
            out_keys=["hidden", ("next", "memory")],
        )
        head = TensorDictModule(nn.Linear(5, 3), in_keys=["hidden"], out_keys=["logits"])
        actor = modules.ProbabilisticActor(
            tensordict_nn.TensorDictSequential(cell, head),
            in_keys=["logits"],
            distribution_class=torch.distributions.Categorical,
        )
        begin = lambda rows: {"memory": torch.zeros(rows, 1, 5)}  # noqa: E731
        return TorchRLAgent(actor, initial_state=begin)

    def test_every_listed_site_is_readable(self):
        """TorchRL's GRU takes its state layer first, so that entry has no row axis in front."""


@pytest.mark.parametrize(
    ("make", "outputs"),
    [
        (discrete, {"logits"}),
        (continuous, {"mean", "log_std"}),
        (values, {"values"}),
        (actor_and_value, {"logits", "value"}),
    ],
)
def test_outputs_have_our_names(make, outputs):
    agent = TorchRLAgent(seeded(make))
    with torch.no_grad():
        acted = agent.act(torch.ones(3, 4), None, None)
    assert set(acted.outputs) == outputs
    if "value" in outputs:
        assert acted.outputs["value"].shape == (3,)


def test_without_noise_the_action_is_torchrls_own():
    from tensordict import TensorDict
    from torchrl.envs.utils import ExplorationType, set_exploration_type

    for make in (discrete, continuous, values):
        module, observation = seeded(make), torch.randn(6, 4)
        with torch.no_grad(), set_exploration_type(ExplorationType.DETERMINISTIC):
            theirs = module(TensorDict({"observation": observation}, batch_size=[6]))["action"]
            ours = TorchRLAgent(module).act(observation, None, None).action
        np.testing.assert_array_equal(ours, theirs.numpy())


def test_samples_are_of_the_actors_distribution_and_within_its_bounds():
    agent, rows = TorchRLAgent(seeded(continuous)), 4000
    noise = AddressedNoise(0, rows)
    noise.begin(np.arange(rows), np.arange(rows))
    with torch.no_grad():
        acted = agent.act(torch.ones(rows, 4), None, noise)
    assert np.abs(acted.action).max() < 2
    normal = np.arctanh(acted.action / 2)
    mean, std = acted.outputs["mean"][0].numpy(), acted.outputs["log_std"][0].exp().numpy()
    # TanhNormal scales its location; the width alone tells that samples are its own.
    np.testing.assert_allclose(normal.std(0), std, rtol=0.06)
    np.testing.assert_allclose(np.sign(normal.mean(0)), np.sign(mean))


def test_the_value_operator_is_told_apart():
    agent = TorchRLAgent(seeded(actor_and_value))
    sites = list_sites(agent, torch.ones(2, 4))
    networks = {info.site.path: agent.network_of(info.site.path) for info in sites}
    assert networks["module.2.module"] == "value"
    assert networks["module.1.module.0.module"] == "policy"


def test_modules_without_keys_are_refused():
    with pytest.raises(InvalidInput, match="Linear has no in_keys"):
        TorchRLAgent(nn.Linear(4, 2))
