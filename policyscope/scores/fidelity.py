"""Fidelity: does the agent still behave when it thinks in the dictionary's words only?

Return kept = (R_spliced − R_ablated) / (R_untouched − R_ablated): 1 when the reconstruction does as
well as the activation itself, 0 when it does no better than the site's mean. All three play the
same seeds with the same action noise; the interval resamples seeds (percentile bootstrap). Where
the untouched agent does no better than the ablated one the share has no meaning. Where that is so
in more resamples than an interval leaves outside on one side, their quantiles would be of the
agreeable resamples only, so there is no interval.

On recorded states the outputs themselves are compared, with intervals over episodes: how often the
action stays, and the unexplained variance of the value and of what the choice rests on (the parts
of `rollouts.sensitivity`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from policyscope.agents.agent import Acted, Agent
from policyscope.agents.hooks import Hooks
from policyscope.dictionaries.dictionary import Dictionary
from policyscope.envs.environment import Environment
from policyscope.interventions.ablate import ablate
from policyscope.interventions.intervention import Intervention
from policyscope.interventions.program import Program
from policyscope.interventions.splice import splice
from policyscope.interventions.target import writes_of
from policyscope.rollouts.agreement import action_distance, is_chosen, same_action
from policyscope.rollouts.evaluate import evaluate_conditions
from policyscope.rollouts.sensitivity import parts_of
from policyscope.rollouts.states import States
from policyscope.scores.unexplained import UnexplainedByEpisode
from policyscope.statistics.estimate import Estimate, episode_mean

REPLICATES = 2000
TAIL = 0.025
"""The share of resamples that a 95 % interval leaves outside on either side."""
ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class ReturnKept:
    """The share of return that the spliced reconstruction keeps, with its interval.

    NaN when the untouched agent does no better than the ablated one: then there is nothing to keep.
    The interval is NaN too where that is so in more than 2.5 % of the resamples.
    """

    value: float
    low: float
    high: float
    untouched: float
    spliced: float
    ablated: float
    episodes: int
    undefined: float = 0.0
    """The share of resamples in which the untouched agent does no better than the ablated one."""

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "not known"
        if np.isnan(self.low):
            return f"{self.value:.0%}, no interval"
        return f"{self.value:.0%} [{self.low:.0%}, {self.high:.0%}]"

    @property
    def reason(self) -> str:
        """Why there is no value or no interval; empty where there are both."""
        if np.isnan(self.value):
            return "the untouched agent does no better than the ablated one: nothing to keep"
        if np.isnan(self.low):
            return (
                f"in {self.undefined:.0%} of resamples the untouched agent does no better than "
                "the ablated one: play more episodes"
            )
        return ""


@dataclass(frozen=True)
class Agreement:
    """How the outputs on recorded states change when the reconstruction is spliced in."""

    actions: float
    """Share of states with the same most likely action; NaN for continuous actions."""
    kl: float
    """Mean KL divergence of the policy from the spliced policy, in nats.

    NaN without logits, and where an action has several parts: a softmax over the logits of all of
    them is not the policy.
    """
    states: int
    distance: float = float("nan")
    """How far continuous actions move, in their standard deviations; NaN for choices."""
    episodes: int = 0
    """How many episodes the states are from."""
    same: Estimate | None = None
    """`actions` with its interval; None for continuous actions."""
    unexplained: Mapping[str, Estimate] = field(default_factory=dict)
    """Of each part of the outputs, `action` and `value`, the unexplained variance."""


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
    untouched, spliced, ablated = returns.mean(1)
    value = kept_share(returns.mean(1, keepdims=True))[0]
    low, high, undefined = interval_of(value, kept_share(returns[:, draws].mean(-1)))
    return ReturnKept(
        float(value),
        low,
        high,
        float(untouched),
        float(spliced),
        float(ablated),
        len(seeds),
        undefined,
    )


def interval_of(
    value: float, resampled: Float[np.ndarray, " replicate"]
) -> tuple[float, float, float]:
    """The 95 % interval and the share of undefined resamples; NaN where there is no interval."""
    undefined = float(np.isnan(resampled).mean())
    if np.isnan(value) or undefined > TAIL:
        return np.nan, np.nan, undefined
    low, high = np.nanquantile(resampled, [TAIL, 1 - TAIL])
    return float(low), float(high), undefined


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

    A recurrent agent is asked in the state it was in. None where there are no states, or its own
    state is not known.
    """
    if states.obstacle(agent):
        return None
    program = Program([splice(dictionary)])
    before: list[np.ndarray] = []
    after: list[np.ndarray] = []
    divergence: list[Tensor] = []
    unexplained: dict[str, UnexplainedByEpisode] = {}
    with torch.no_grad(), Hooks(agent.module, program.requires, program.edits) as hooks:
        for part in states.chunks(ROWS_AT_ONCE):
            seen = part.to(agent.device)
            plain = agent.act(*seen, None)
            program.assign(torch.zeros(len(part), dtype=torch.long, device=agent.device))
            spliced = hooks.run(agent.act, *seen, None)
            before.append(plain.action)
            after.append(spliced.action)
            divergence.append(kl_of(plain, spliced))
            now = parts_of(spliced)
            for name, numbers in parts_of(plain).items():
                fold = unexplained.setdefault(name, UnexplainedByEpisode())
                fold.update(numbers.cpu().numpy(), now[name].cpu().numpy(), part.episode)
    plain_actions, spliced_actions = np.concatenate(before), np.concatenate(after)
    same = same_action(plain_actions, spliced_actions)
    return Agreement(
        actions=float(same.mean()),
        kl=float(torch.cat(divergence).mean()),
        states=len(states),
        distance=action_distance(plain_actions, spliced_actions),
        episodes=states.episodes,
        same=episode_mean(same, states.episode) if is_chosen(plain_actions) else None,
        unexplained={name: fold.result() for name, fold in unexplained.items()},
    )


def kl_of(plain: Acted, spliced: Acted) -> Float[Tensor, " step"]:
    """KL(plain ‖ spliced) of two softmax policies per state; NaN where they are not such."""
    is_one_choice = is_chosen(plain.action) and plain.action[0].size == 1
    logits = plain.outputs.get("logits")
    # A single logit is that of a yes or no.
    if logits is None or not is_one_choice or logits.shape[-1] < 2:
        return torch.full((len(plain.action),), torch.nan)
    p, q = logits.log_softmax(-1), spliced.outputs["logits"].log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)
