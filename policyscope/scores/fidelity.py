"""Fidelity: does the agent still behave when it thinks in the dictionary's words only?

Return kept = (R_spliced − R_ablated) / (R_untouched − R_ablated): 1 when the reconstruction does as
well as the activation itself, 0 when it does no better than the site's mean. All three play the
same seeds with the same action noise; the interval resamples seeds (percentile bootstrap).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from policyscope.agents.agent import Agent
from policyscope.agents.hooks import Hooks
from policyscope.dictionaries.dictionary import Dictionary
from policyscope.envs.environment import Environment
from policyscope.interventions.ablate import ablate
from policyscope.interventions.intervention import Intervention
from policyscope.interventions.program import Program
from policyscope.interventions.splice import splice
from policyscope.interventions.target import writes_of
from policyscope.rollouts.evaluate import evaluate_conditions
from policyscope.rollouts.observation import States

REPLICATES = 2000
ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class ReturnKept:
    """The share of return that the spliced reconstruction keeps, with its interval.

    NaN when the untouched agent does no better than the ablated one: then there is nothing to keep.
    """

    value: float
    low: float
    high: float
    untouched: float
    spliced: float
    ablated: float
    episodes: int

    def __str__(self) -> str:
        return f"{self.value:.0%} [{self.low:.0%}, {self.high:.0%}]"


@dataclass(frozen=True)
class Agreement:
    """How the outputs on recorded states change when the reconstruction is spliced in."""

    actions: float
    """Share of states with the same most likely action."""
    kl: float
    """Mean KL divergence of the policy from the spliced policy, in nats; NaN without logits."""
    states: int


def return_kept(
    agent: Agent,
    make_environment: Callable[[int], Environment],
    dictionary: Dictionary,
    site_mean: Float[Tensor, "..."],
    *,
    seeds: Sequence[int],
    deterministic: bool = False,
    seed: int = 0,
) -> ReturnKept:
    """Plays the untouched, the spliced and the mean-ablated agent with the same seeds."""
    played = evaluate_conditions(
        agent,
        make_environment,
        {
            "untouched": Intervention(),
            "spliced": splice(dictionary),
            "ablated": ablate(writes_of(dictionary), site_mean),
        },
        seeds,
        deterministic=deterministic,
        seed=seed,
        label="Splicing",
    )
    returns = played.outcomes.total_reward
    generator = np.random.default_rng(seed)
    draws = generator.integers(len(seeds), size=(REPLICATES, len(seeds)))
    resampled = kept_share(returns[:, draws].mean(-1))
    low, high = (
        np.nanquantile(resampled, [0.025, 0.975]) if np.isfinite(resampled).any() else (np.nan,) * 2
    )
    untouched, spliced, ablated = returns.mean(1)
    value = kept_share(returns.mean(1, keepdims=True))[0]
    return ReturnKept(
        float(value),
        float(low),
        float(high),
        float(untouched),
        float(spliced),
        float(ablated),
        len(seeds),
    )


def kept_share(
    returns: Float[np.ndarray, "three replicate"],
) -> Float[np.ndarray, " replicate"]:
    """(spliced − ablated) / (untouched − ablated); NaN where the untouched agent is no better."""
    untouched, spliced, ablated = returns
    better = untouched > ablated
    gap = np.where(better, untouched - ablated, 1.0)
    return np.where(better, (spliced - ablated) / gap, np.nan)


def agreement(agent: Agent, dictionary: Dictionary, states: States) -> Agreement | None:
    """The outputs with and without the reconstruction, on recorded states.

    None for agents with recurrent state, whose state a recording does not keep.
    """
    if agent.initial_state(1) is not None or len(states) == 0:
        return None
    program = Program([splice(dictionary)])
    same: list[np.ndarray] = []
    divergence: list[Tensor] = []
    with torch.no_grad(), Hooks(agent.module, program.requires, program.edits) as hooks:
        for part in states.chunks(ROWS_AT_ONCE):
            seen = part.to(agent.device)
            plain = agent.act(seen, None, None)
            program.assign(torch.zeros(len(part), dtype=torch.long, device=agent.device))
            spliced = hooks.run(agent.act, seen, None, None)
            same.append((plain.action == spliced.action).reshape(len(part), -1).all(1))
            divergence.append(kl_of(plain.outputs, spliced.outputs))
    return Agreement(
        actions=float(np.concatenate(same).mean()),
        kl=float(torch.cat(divergence).mean()),
        states=len(states),
    )


def kl_of(plain: Any, spliced: Any) -> Float[Tensor, " step"]:
    """KL(plain ‖ spliced) of two softmax policies per state; NaN where there are no logits."""
    if "logits" not in plain:
        return torch.full((1,), torch.nan)
    p, q = plain["logits"].log_softmax(-1), spliced["logits"].log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)
