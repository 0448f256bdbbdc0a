"""Sensitivity: ‖A e‖² is the mean squared change of the outputs, exactly or to first order."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from policyscope.address import Site
from policyscope.agents.adapters.torch import TorchAgent
from policyscope.agents.agent import Acted, Agent
from policyscope.agents.architectures import MLP
from policyscope.agents.hooks import Hooks
from policyscope.errors import InvalidInput, NotEnoughData, UnknownName
from policyscope.rollouts import sensitivity as module
from policyscope.rollouts.sensitivity import factor_of, parts_of, scales_of, sensitivity
from policyscope.rollouts.states import States

SITE = Site.parse("fc2:in")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def states(count: int = 200, width: int = 4, seed: int = 0) -> States:
    return States(normal(count, width, seed=seed), np.arange(count))


def network(*sizes: int, activation: str = "tanh", seed: int = 0) -> MLP:
    made = MLP(sizes, activation)
    with torch.no_grad():
        for index, parameter in enumerate(made.parameters()):
            parameter.copy_(0.7 * normal(*parameter.shape, seed=100 * seed + index))
    return made


def moved(agent: Agent, site: Site, error: Tensor, over: States) -> float:
    """The mean squared change of the scaled outputs when `error` is added at the site."""
    seen, scales = over.to(agent.device), scales_of(agent, over, module.PARTS)

    def said(change: Tensor) -> Tensor:
        with torch.no_grad(), Hooks(agent.module, edits={site: lambda a, _: a + change}) as hooks:
            parts = parts_of(hooks.run(agent.act, *seen, None))
        return torch.cat([parts[name] / scale for name, scale in scales.items()], 1)

    difference = (said(error) - said(torch.zeros_like(error))).double()
    return float(difference.square().sum(1).mean())


@pytest.mark.parametrize("head", ["values", "logits"])
@pytest.mark.parametrize("seed", range(3))
def test_of_a_linear_head_it_is_exact(head: Any, seed: int) -> None:
    """However large the error: nothing that is not linear follows."""
    agent = TorchAgent(network(4, 12, 5, seed=seed), head=head)
    found = sensitivity(agent, SITE, states(), share=1.0)
    # One direction fewer than actions, since what all have in common is no choice; a value more.
    assert len(found.factor) == (5 if head == "values" else 4)
    error = 10 * normal(12, seed=seed + 7)
    expected = moved(agent, SITE, error, states())
    np.testing.assert_allclose((found.factor @ error).square().sum(), expected, rtol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_of_a_random_network_it_is_right_to_first_order(seed: int) -> None:
    """The smaller the error, the closer: what is wrong shrinks as fast as the error does."""
    agent = TorchAgent(network(4, 10, 8, 3, seed=seed), head="values")
    found = sensitivity(agent, SITE, states(), share=1.0)
    direction = normal(10, seed=seed + 7)
    wrong = []
    for size in (0.1, 0.01):
        predicted = float((found.factor @ (size * direction)).square().sum())
        wrong.append(abs(moved(agent, SITE, size * direction, states()) / predicted - 1))
    assert wrong[1] < 0.02
    assert wrong[1] < 0.3 * wrong[0] or wrong[0] < 1e-3


def test_the_share_that_is_kept_bounds_what_is_missed() -> None:
    metric = torch.diag(torch.tensor([100.0, 10.0, 0.06, 0.04, 0.0])).double()
    for share, rank in ((0.9, 1), (0.99, 2), (0.9995, 3), (1.0, 4)):
        factor = factor_of(metric, share)
        assert len(factor) == rank
        assert float((factor.double().T @ factor.double()).trace()) >= share * 110.1 - 1e-4


def test_parts_count_alike_whatever_their_scale() -> None:
    """Values of a thousand say no more about an action than values of one."""
    first, second = (TorchAgent(network(4, 12, 5), head="values") for _ in range(2))
    with torch.no_grad():
        second.module.fc2.weight.mul_(1000.0)  # pyright: ignore
        second.module.fc2.bias.mul_(1000.0).add_(3.0)  # pyright: ignore
    ours, theirs = (sensitivity(agent, SITE, states()) for agent in (first, second))
    torch.testing.assert_close(
        ours.factor.T @ ours.factor, theirs.factor.T @ theirs.factor, rtol=1e-3, atol=1e-5
    )


def test_outputs_are_chosen_by_name() -> None:
    agent = TorchAgent(network(4, 12, 5), head="values")
    both = sensitivity(agent, SITE, states(), share=1.0)
    alone = [sensitivity(agent, SITE, states(), outputs=[p], share=1.0) for p in module.PARTS]
    assert [len(one.factor) for one in alone] == [4, 1]
    torch.testing.assert_close(
        both.factor.T @ both.factor,
        sum(one.factor.T @ one.factor for one in alone),
        rtol=1e-4,
        atol=1e-6,
    )
    logits = sensitivity(TorchAgent(network(4, 12, 5)), SITE, states())
    assert logits.parts == ("action",)
    assert repr(logits) == "Sensitivity(action to 4 of 12 directions at 'fc2:in')"
    with pytest.raises(UnknownName, match="No part of the outputs called 'advantage'"):
        sensitivity(agent, SITE, states(), outputs=["advantage"])


class Maps(nn.Module):
    """A convolution and a linear head that reads the whole map, in place rectified."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(3 * 4 * 5, 4)
        with torch.no_grad():
            for index, parameter in enumerate(self.parameters()):
                parameter.copy_(0.3 * normal(*parameter.shape, seed=index))

    def forward(self, observation: Tensor) -> Tensor:
        return self.head(self.relu(self.conv(observation)).flatten(1))


def test_of_a_map_every_position_is_a_sample() -> None:
    """An error at one position, drawn at random, is what ‖A e‖² is of."""
    agent = TorchAgent(Maps())
    seen = States(normal(40, 2, 6, 7), np.arange(40))
    site = Site.parse("relu:out")
    found = sensitivity(agent, site, seen, share=1.0)
    assert found.factor.shape[1] == 3
    error = normal(3, seed=9)
    changes = []
    for row in range(4):
        for column in range(5):
            here = torch.zeros(3, 4, 5)
            here[:, row, column] = error
            changes.append(moved(agent, site, here, seen))
    np.testing.assert_allclose((found.factor @ error).square().sum(), np.mean(changes), rtol=1e-4)
    # In place rectified right after the leaf: still differentiable.
    assert sensitivity(agent, Site.parse("conv:out"), seen).factor.shape[1] == 3


class Gaussian(TorchAgent):
    """Acts with two numbers of very different sizes, with or without a spread of its own."""

    log_std: Tensor | None = None

    def act(self, observation: Any, state: Any, noise: Any) -> Acted:
        mean = self.module(observation) * torch.tensor([1.0, 100.0])
        spread = {} if self.log_std is None else {"log_std": self.log_std.expand_as(mean)}
        return Acted(mean.detach().numpy(), {"mean": mean, **spread})


def test_quantities_are_measured_in_the_policys_own_deviations() -> None:
    agent = Gaussian(network(4, 12, 2))
    plain = sensitivity(agent, SITE, states(2000), share=1.0)
    head = agent.module.fc2.weight.detach()  # pyright: ignore
    # Without a spread each number counts in its own deviations over the states: alike.
    gain = (plain.factor @ head.T).square().sum(0) / head.norm(dim=1) ** 2
    scaled = head / agent.module(states(2000).observation).std(0).detach()[:, None]
    torch.testing.assert_close(
        plain.factor.T @ plain.factor, scaled.T @ scaled / 2, rtol=1e-2, atol=1e-3
    )
    assert gain.min() > 0
    agent.log_std = torch.tensor([0.0, float(np.log(100.0))])
    own = sensitivity(agent, SITE, states(2000), share=1.0)
    total = agent.module(states(2000).observation).detach().var(0).sum()
    torch.testing.assert_close(
        own.factor.T @ own.factor, head.T @ head / total, rtol=1e-2, atol=1e-3
    )


class Recurrent(TorchAgent):
    """Has a state, which these states do not know."""

    def initial_state(self, rows: int) -> Any:
        return torch.zeros(rows)


class Silent(TorchAgent):
    """Leaves torch on the way, so that no gradient comes back."""

    def act(self, observation: Any, state: Any, noise: Any) -> Acted:
        hidden = self.module(torch.from_numpy(observation.numpy()))
        return Acted(np.zeros(len(observation), int), {"logits": torch.tensor(hidden.numpy())})


def test_it_says_what_it_cannot_do() -> None:
    agent = TorchAgent(network(4, 12, 5))
    with pytest.raises(NotEnoughData, match="no recorded states"):
        sensitivity(agent, SITE, states(0))
    with pytest.raises(NotEnoughData, match="a state of its own"):
        sensitivity(Recurrent(network(4, 12, 5)), SITE, states())
    with pytest.raises(NotEnoughData, match="None of the outputs value is there"):
        sensitivity(agent, SITE, states(), outputs=["value"])
    with pytest.raises(UnknownName, match="fc9"):
        sensitivity(agent, Site.parse("fc9:in"), states())
    with pytest.raises(InvalidInput, match="cannot be differentiated"):
        sensitivity(Silent(network(4, 12, 5)), SITE, states())


def test_a_site_beside_the_way_to_the_outputs_is_refused() -> None:
    agent = TorchAgent(network(4, 12, 5))
    aside = nn.Linear(4, 3)
    agent.module.add_module("aside", aside)
    forward = agent.module.forward

    def both(observation: Tensor) -> Tensor:
        aside(observation)
        return forward(observation)

    agent.module.forward = both
    with pytest.raises(InvalidInput, match="Nothing that 'aside:out' says reaches the outputs"):
        sensitivity(agent, Site.parse("aside:out"), states())


def test_states_are_taken_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = TorchAgent(network(4, 12, 5), head="values")
    whole = sensitivity(agent, SITE, states())
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 7)
    parts = sensitivity(agent, SITE, states())
    torch.testing.assert_close(
        whole.factor.T @ whole.factor, parts.factor.T @ parts.factor, rtol=1e-4, atol=1e-6
    )
