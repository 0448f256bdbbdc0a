"""Sensitivity: how far an agent's outputs move when the activation at a site changes a little.

A change e of the activation moves the outputs by J e, where J is their Jacobian. The mean square of
that over recorded states is eᵀ M e with M = E[JᵀJ], the Gauss–Newton metric (Martens 2020, arXiv
1412.1193, section 8). It is kept as a factor A with AᵀA = M: eigenvectors of M, each times the root
of its eigenvalue, the small ones left out. ‖A e‖² is exact where linear layers follow, elsewhere it
holds to first order.

Two parts of the outputs count, each divided by its standard deviation over the states:

    action   logits or action values less their mean over the actions, on which no choice depends;
             the mean of a Gaussian in standard deviations of the policy
    value    the state value, or the mean of the action values

Of a map every position is a sample, as for dictionaries: e is an error at one position.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from policyscope.address import Site
from policyscope.agents.agent import Acted, Agent
from policyscope.agents.hooks import Hooks
from policyscope.dictionaries.behaviour import Behaviour
from policyscope.errors import InvalidInput, NotEnoughData, PolicyscopeError, UnknownName
from policyscope.interventions.code import by_position
from policyscope.rollouts.agreement import is_chosen
from policyscope.rollouts.states import States

PARTS = ("action", "value")
POLICIES = ("values", "logits", "mean")
ROWS_AT_ONCE = 1024
SHARE = 0.999
"""Of the mean square that the factor keeps."""


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """What an error at a site does to the outputs: ‖factor · e‖² is their mean squared change."""

    site: Site
    factor: Float[Tensor, "output unit"]
    parts: tuple[str, ...]
    """The parts of the outputs that count, of those that the agent has."""
    states: int

    def __repr__(self) -> str:
        rank, units = self.factor.shape
        said = " and ".join(self.parts)
        return f"Sensitivity({said} to {rank} of {units} directions at '{self.site}')"

    def behaviour(self, y: Float[Tensor, "step unit"], weight: float) -> Behaviour:
        """What a fit is told to explain of the activations `y`, and how much it is to count."""
        return Behaviour.of(self.factor, y, weight)


def sensitivity(
    agent: Agent,
    site: Site,
    states: States,
    *,
    outputs: Sequence[str] = PARTS,
    share: float = SHARE,
) -> Sensitivity:
    """How the outputs of `agent` react to small changes at `site`, over recorded states.

    `outputs` names the parts that count; those that the agent has not are left out. A recurrent
    agent is asked in the state it was in, and what a change does to later states does not count.
    NotEnoughData without states or outputs that vary over them; InvalidInput where the outputs do
    not depend on the site or cannot be differentiated.
    """
    for name in outputs:
        if name not in PARTS:
            raise UnknownName.among("part of the outputs", name, PARTS)
    if obstacle := states.obstacle(agent):
        raise NotEnoughData(obstacle)
    scales = scales_of(agent, states, outputs)
    try:
        metric = mean_square(agent, site, states, scales)
    except (PolicyscopeError, torch.OutOfMemoryError):
        raise
    except RuntimeError as error:
        raise InvalidInput(f"The agent's act cannot be differentiated: {error}") from error
    if not metric.trace() > 0:
        raise InvalidInput(
            f"Nothing that '{site}' says reaches the outputs ({', '.join(scales)}) of the same "
            "step. Choose a site on the way to them."
        )
    return Sensitivity(site, factor_of(metric, share), tuple(scales), len(states))


def parts_of(acted: Acted) -> dict[str, Float[Tensor, "row number"]]:
    """The parts of the outputs, as numbers on which the action, or the value, depends."""
    outputs = {name: numbers.flatten(1) for name, numbers in rows_of(acted.outputs).items()}
    parts: dict[str, Tensor] = {}
    name = next((name for name in POLICIES if name in outputs), None)
    if name is not None:
        numbers = outputs[name]
        is_one_choice = is_chosen(acted.action) and acted.action[0].size == 1
        if name == "mean" and "log_std" in outputs:
            numbers = numbers / outputs["log_std"].detach().exp()
        elif is_one_choice and numbers.shape[1] > 1:
            numbers = numbers - numbers.mean(1, keepdim=True)
        parts["action"] = numbers
    if "values" in outputs:
        parts["value"] = outputs["values"].mean(1, keepdim=True)
    elif "value" in outputs:
        parts["value"] = outputs["value"]
    return parts


def rows_of(outputs: Mapping[str, Tensor]) -> dict[str, Float[Tensor, "row number"]]:
    """The outputs that are numbers, with an axis for how many of them a row has."""
    return {
        name: numbers.unsqueeze(-1) if numbers.dim() == 1 else numbers
        for name, numbers in outputs.items()
        if numbers.is_floating_point()
    }


def scales_of(
    agent: Agent, states: States, outputs: Sequence[str]
) -> dict[str, Float[Tensor, " number"]]:
    """What the numbers of each part are divided by, so that each part has variance one in all."""
    seen: dict[str, list[Tensor]] = {}
    has_std = True
    with torch.no_grad():
        for some in states.chunks(ROWS_AT_ONCE):
            acted = agent.act(*some.to(agent.device), None)
            has_std = "mean" not in acted.outputs or "log_std" in acted.outputs
            for name, numbers in parts_of(acted).items():
                seen.setdefault(name, []).append(numbers)
    scales: dict[str, Tensor] = {}
    for name in outputs:
        if name in seen:
            variance = torch.cat(seen[name]).double().var(0, correction=0)
            total = variance.sum()
            if name == "action" and not has_std:
                # A policy without a spread of its own: every number in its own deviations.
                total = variance.where(variance > 0, torch.inf) * (variance > 0).sum()
            if total.max() > 0:
                scales[name] = total.sqrt().expand_as(variance).float()
    if not scales:
        raise NotEnoughData(
            f"None of the outputs {', '.join(outputs)} is there and varies over the "
            f"{len(states)} states, so nothing can depend on a change of the activation."
        )
    return scales


def mean_square(
    agent: Agent, site: Site, states: States, scales: Mapping[str, Float[Tensor, " number"]]
) -> Float[Tensor, "unit unit"]:
    """E[JᵀJ] of the scaled outputs over states, and over the positions of a map."""
    total: Tensor | None = None
    count = 0
    for some in states.chunks(ROWS_AT_ONCE):
        leaf: list[Tensor] = []

        def watch(activation: Tensor, values: object, leaf: list[Tensor] = leaf) -> Tensor:
            leaf.append(activation.detach().requires_grad_())
            # A copy, because what follows may write into it, as an in-place ReLU does.
            return leaf[-1].clone()

        with torch.enable_grad(), Hooks(agent.module, edits={site: watch}) as hooks:
            parts = parts_of(hooks.run(agent.act, *some.to(agent.device), None))
            numbers = torch.cat([parts[name] / scale for name, scale in scales.items()], dim=1)
            gradients = [gradient_of(number.sum(), leaf[-1]) for number in numbers.unbind(1)]
        count += by_position(leaf[-1])[..., 0].numel()
        for gradient in gradients:
            rows = by_position(gradient).flatten(0, -2).double()
            square = rows.T @ rows
            total = square if total is None else total + square
    assert total is not None
    return total / count


def gradient_of(number: Float[Tensor, ""], by: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The gradient of `number`; zero where it does not depend on `by`."""
    if not number.requires_grad:
        return torch.zeros_like(by)
    return torch.autograd.grad(number, by, retain_graph=True, materialize_grads=True)[0]


def factor_of(metric: Float[Tensor, "unit unit"], share: float) -> Float[Tensor, "output unit"]:
    """A with AᵀA = `metric` but for the smallest eigenvalues, together less than 1 − `share`."""
    values, vectors = torch.linalg.eigh(metric)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    left = 1 - values.cumsum(0) / values.sum()
    # Beyond the rank there is only rounding, whatever the share.
    is_known = values > values[0] * len(values) * torch.finfo(values.dtype).eps
    rank = min(int((left > 1 - share).sum()) + 1, int(is_known.sum()))
    return (values[:rank].sqrt()[:, None] * vectors[:, :rank].T).float()
