"""What a feature does to the agent's outputs: through the weights, and measured by ablation.

Direct: the mean directional derivative of each output along the feature's decoder direction. Where
only linear layers follow the site this is the product of the weights, exactly.
Measured: the output with the feature as it is, minus the output with the feature set to zero and
the reconstruction error kept, averaged over recorded states in which it fires.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from policyscope.agents.agent import Agent
from policyscope.agents.hooks import Hooks
from policyscope.dictionaries.dictionary import Dictionary
from policyscope.errors import PolicyscopeError
from policyscope.interventions.ablate import ablate
from policyscope.interventions.code import by_position
from policyscope.interventions.program import Program
from policyscope.interventions.target import reads_of, writes_of
from policyscope.rollouts.states import States

OUTPUTS = ("logits", "values", "mean")
ROWS_AT_ONCE = 4096
STATES_PER_FEATURE = 256


@dataclass(frozen=True, eq=False)
class ActionEffects:
    """The effect of every feature on every number of one output, such as each action's logit.

    `measured` and its interval (Student t over episode means) are NaN for a feature that fires in
    none of the states; `states` and `episodes` are what the measurement rests on. `direct` is NaN
    where the agent cannot be differentiated. Where the agent cannot be asked at all there is no
    output, and no action. `reason` says why something is missing.
    """

    output: str | None
    direct: Float[np.ndarray, "feature action"]
    measured: Float[np.ndarray, "feature action"]
    low: Float[np.ndarray, "feature action"]
    high: Float[np.ndarray, "feature action"]
    states: Int[np.ndarray, " feature"]
    episodes: Int[np.ndarray, " feature"]
    reason: str = ""


def action_effects(
    agent: Agent,
    dictionary: Dictionary,
    states: States,
    *,
    seed: int = 0,
) -> ActionEffects:
    """The effects of every feature, over recorded states.

    A recurrent agent is asked in the state it was in, which `sample_states` recalls; what the edit
    then does to later states is not part of the effect.
    """
    if reason := states.obstacle(agent):
        return no_effects(dictionary, reason)
    output = output_of(agent, states[:1])
    if output is None:
        return no_effects(dictionary, f"The agent gives none of {', '.join(OUTPUTS)}.")
    direct, reason = direct_effects(agent, dictionary, states, output)
    codes = codes_of(agent, dictionary, states)
    actions = direct.shape[1]
    shape = (len(dictionary), actions)
    measured, low, high = (np.full(shape, np.nan) for _ in range(3))
    counts, episodes = (np.zeros(len(dictionary), np.int64) for _ in range(2))
    generator = np.random.default_rng(seed)
    chosen = [
        sample_firing(codes[:, feature].numpy(), generator) for feature in range(len(dictionary))
    ]
    changes = ablation_changes(agent, dictionary, states, output, chosen)
    for feature, (where, change) in enumerate(zip(chosen, changes, strict=True)):
        counts[feature] = len(where)
        episodes[feature] = len(np.unique(states.episode[where]))
        if len(where):
            measured[feature], low[feature], high[feature] = episode_interval(
                change, states.episode[where]
            )
    return ActionEffects(output, direct.numpy(), measured, low, high, counts, episodes, reason)


def no_effects(dictionary: Dictionary, reason: str) -> ActionEffects:
    """No effect on any action, and why."""
    nothing, none = np.zeros((len(dictionary), 0)), np.zeros(len(dictionary), np.int64)
    return ActionEffects(None, nothing, nothing, nothing, nothing, none, none, reason)


def output_of(agent: Agent, state: States) -> str | None:
    """Which output says what the agent will do."""
    with torch.no_grad():
        outputs = agent.act(*state.to(agent.device), None).outputs
    return next((name for name in OUTPUTS if name in outputs and outputs[name].dim() == 2), None)


def codes_of(agent: Agent, dictionary: Dictionary, states: States) -> Float[Tensor, "step feature"]:
    """The codes of recorded states; of a map, the strongest position of each feature."""
    site = reads_of(dictionary)
    parts = []
    with torch.no_grad(), Hooks(agent.module, [site]) as hooks:
        for seen in states.chunks(ROWS_AT_ONCE):
            hooks.run(agent.act, *seen.to(agent.device), None)
            codes = dictionary.encode(by_position(hooks.values[site]))
            parts.append(codes.flatten(1, -2).amax(1) if codes.dim() > 2 else codes)
    return torch.cat(parts).cpu()


def direct_effects(
    agent: Agent, dictionary: Dictionary, states: States, output: str
) -> tuple[Float[Tensor, "feature action"], str]:
    """The direct effects, or NaN and the reason why there are none.

    An `act` that was written for playing may leave torch on the way, as `.numpy()` does, which is
    an error where gradients are wanted.
    """
    try:
        gradient = output_gradients(agent, dictionary, states, output)
    except (PolicyscopeError, torch.OutOfMemoryError):
        raise
    except RuntimeError as error:
        with torch.no_grad():
            plain = agent.act(*states[:1].to(agent.device), None).outputs[output]
        unknown = torch.full((len(dictionary), plain.shape[1]), torch.nan)
        return unknown, f"The agent's act cannot be differentiated: {error}"
    return dictionary.directions().cpu() @ gradient.T, ""


def output_gradients(
    agent: Agent, dictionary: Dictionary, states: States, output: str
) -> Float[Tensor, "action unit"]:
    """The mean gradient of each output number by the activation that the dictionary writes."""
    site = writes_of(dictionary)
    total: Tensor | None = None
    for seen in states.chunks(ROWS_AT_ONCE):
        written: list[Tensor] = []

        def watch(activation: Tensor, values: object, written: list[Tensor] = written) -> Tensor:
            written.append(torch.zeros_like(activation).requires_grad_())
            return activation + written[0]

        with torch.enable_grad(), Hooks(agent.module, edits={site: watch}) as hooks:
            numbers = hooks.run(agent.act, *seen.to(agent.device), None).outputs[output]
            rows = [gradient_of(number.sum(), written[0]) for number in numbers.unbind(1)]
        # A map's gradient is summed over positions: the effect of the feature everywhere at once.
        summed = torch.stack(
            [by_position(row).reshape(-1, dictionary.d_out).sum(0) for row in rows]
        )
        total = summed if total is None else total + summed
    assert total is not None
    return (total / len(states)).detach().cpu()


def gradient_of(number: Float[Tensor, ""], by: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The gradient of `number`; zero where it does not depend on `by`."""
    if not number.requires_grad:
        return torch.zeros_like(by)
    return torch.autograd.grad(number, by, retain_graph=True, materialize_grads=True)[0]


def sample_firing(
    code: Float[np.ndarray, " step"], generator: np.random.Generator
) -> Int[np.ndarray, " state"]:
    """Up to 256 states in which the feature fires, drawn without replacement."""
    firing = np.flatnonzero(code > 0)
    if len(firing) <= STATES_PER_FEATURE:
        return firing
    return np.sort(generator.choice(firing, STATES_PER_FEATURE, replace=False))


def ablation_changes(
    agent: Agent,
    dictionary: Dictionary,
    states: States,
    output: str,
    chosen: Sequence[Int[np.ndarray, " _"]],
) -> list[Float[np.ndarray, "_ action"]]:
    """What each feature adds to the output in the states chosen for it, many features at once."""
    program = Program([ablate(feature) for feature in dictionary])
    feature = np.repeat(np.arange(len(chosen)), [len(where) for where in chosen])
    state = np.concatenate(chosen) if chosen else np.zeros(0, np.int64)
    parts: list[np.ndarray] = []
    rows = states.chunk_size(ROWS_AT_ONCE)
    with torch.no_grad(), Hooks(agent.module, program.requires, program.edits) as hooks:
        for first in range(0, len(state), rows):
            seen = states[state[first : first + rows]].to(agent.device)
            condition = torch.from_numpy(feature[first : first + rows])
            plain = agent.act(*seen, None).outputs[output]
            program.assign(condition.to(agent.device))
            without = hooks.run(agent.act, *seen, None).outputs[output]
            parts.append((plain - without).cpu().numpy())
    change = np.concatenate(parts) if parts else np.zeros((0, 0))
    return np.split(change, np.cumsum([len(where) for where in chosen])[:-1])


def episode_interval(
    change: Float[np.ndarray, "state action"], episode: Int[np.ndarray, " state"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean over states and its 95 % interval, by Student t over the means of episodes."""
    # Here, because it takes long to import and little needs it.
    from scipy import special

    mean = change.mean(0)
    _, group = np.unique(episode, return_inverse=True)
    count = np.bincount(group)
    if len(count) < 2:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    sums = np.zeros((len(count), change.shape[1]))
    np.add.at(sums, group, change)
    # Ratio estimator: episodes weigh as many states as they gave.
    residual = sums - count[:, None] * mean
    error = np.sqrt((residual**2).sum(0) / (len(count) * (len(count) - 1))) / count.mean()
    half = special.stdtrit(len(count) - 1, 0.975) * error
    return mean, mean - half, mean + half
