"""A module and an act function are an agent; what cannot be repeated is refused."""

import numpy as np
import pytest
import torch
from torch import nn

from policyscope.agents.adapters.function import FunctionAgent, from_parts
from policyscope.agents.agent import choose
from policyscope.errors import InvalidInput
from policyscope.testing.agents import AgentContract


def seeded(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


class TestStateless(AgentContract):
    def make(self):
        module = seeded(lambda: nn.Linear(4, 3))
        wrapped = nn.Sequential(module)

        def act(observation, state, noise):
            logits = wrapped(observation)
            return choose(logits, noise), {"logits": logits}

        return FunctionAgent(wrapped, act)


class TestRecurrent(AgentContract):
    def make(self):
        module = seeded(lambda: nn.ModuleDict({"cell": nn.GRUCell(4, 5), "head": nn.Linear(5, 2)}))

        def act(observation, state):
            hidden = module["cell"](observation, state["hidden"])
            logits = module["head"](hidden)
            return logits.argmax(-1), {"logits": logits}, {"hidden": hidden}

        return FunctionAgent(module, act, lambda rows: {"hidden": torch.zeros(rows, 5)})


def test_an_action_alone_is_enough():
    agent = FunctionAgent(nn.Linear(4, 2), lambda observation: observation[:, :2])
    acted = agent.act(torch.ones(3, 4), None, None)
    assert acted.action.shape == (3, 2)
    assert isinstance(acted.action, np.ndarray)
    assert acted.outputs == {}


def test_the_networks_that_are_told_are_known_by_their_paths():
    agent = FunctionAgent(nn.Linear(4, 2), lambda observation: observation, networks={"v": "value"})
    assert [agent.network_of(path) for path in ("v.0", "v", "pi")] == ["value", "value", "policy"]


def test_randomness_that_is_not_of_the_noise_is_refused():
    agent = FunctionAgent(nn.Linear(4, 2), lambda observation: torch.rand(len(observation)))
    with torch.random.fork_rng(), pytest.raises(InvalidInput, match="torch's global generator"):
        agent.act(torch.ones(3, 4), None, None)


def test_a_function_may_return_the_parts():
    agent = from_parts(
        (nn.Linear(4, 2), lambda seen, state: (seen, {}, state), torch.zeros), "mine"
    )
    assert agent.name == "mine"
    assert agent.initial_state(3).shape == (3,)
    with pytest.raises(InvalidInput, match=r"returned \(Linear\); expected \(module, act\)"):
        from_parts((nn.Linear(4, 2),))
    with pytest.raises(InvalidInput, match="cannot be called"):
        from_parts((nn.Linear(4, 2), 3))


@pytest.mark.parametrize("act", [lambda: None, lambda a, b, c, d: None])
def test_functions_of_other_arguments_are_refused(act):
    with pytest.raises(InvalidInput, match=r"expected \(observation\)"):
        FunctionAgent(nn.Linear(4, 2), act)


@pytest.mark.parametrize(
    ("answer", "message"),
    [(3, "returned int"), ((torch.ones(1), 3), "and int"), ((1, 2, 3, 4), "a tuple of 4")],
)
def test_answers_that_are_no_actions_are_refused(answer, message):
    agent = FunctionAgent(nn.Linear(4, 2), lambda observation: answer)
    with pytest.raises(InvalidInput, match=message):
        agent.act(torch.ones(1, 4), None, None)
