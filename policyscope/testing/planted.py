"""Planted truth: environments, agents and dictionaries whose every number is known beforehand.

A method is believed once it has found what was planted, and has found nothing where nothing was.

    CountingEnvironment   observation, reward and length tell seed and step: alignment shows
    PayingEnvironment     pays for action 1: a push towards it helps, by a known amount
    NoiseEnvironment      pays noise with mean zero: no push can help, whatever it changes
    layered, features     networks and dictionaries with weights that are given, not fitted
    planted_dictionary    activations that are sums of a few known directions: a fit shows

Weights and observations are small multiples of a power of two, so that float arithmetic is exact
and results can be compared bit for bit, whatever the size of the batch.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import gymnasium
import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from policyscope.address import Site
from policyscope.agents.adapters.function import FunctionAgent
from policyscope.agents.adapters.torch import TorchAgent
from policyscope.agents.agent import Acted, choose
from policyscope.agents.architectures import MLP
from policyscope.agents.hooks import Hooks
from policyscope.agents.noise import Noise, uniform_at
from policyscope.dictionaries.relu import ReLU
from policyscope.envs.environment import Environment, Transition
from policyscope.interventions.intervention import Intervention
from policyscope.interventions.program import Program

REWARD_KEY = 2**60
"""Of the rewards' own noise: under a run's seed they would be what its actions are drawn from."""

DIRECTIONS_KEY, STEPS_KEY = 2**30, 2**31
"""Of planted dictionaries' own numbers: a fit of the same seed would be born with the truth.

Torch's generator on the CPU looks at 32 bits of a seed only.
"""

Vector = Sequence[float | int]
Matrix = Sequence[Vector]


class PlantedEnvironment(Environment):
    """Rows that count: the observation is (seed, step, last action), two actions, a fixed length.

    `raises` maps (seed, step) to what is raised when that action is taken, and (seed, -1) to what
    is raised when that episode is begun. `acted` counts the actions of all rows.
    """

    id = "Planted-v0"
    length = 8

    def __init__(
        self, rows: int, raises: Mapping[tuple[int, int], BaseException] | None = None
    ) -> None:
        self.arguments: Mapping[str, Any] = {}
        self.rows = rows
        self.raises = dict(raises or {})
        self.acted = 0
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)
        self.seed = np.zeros(rows, np.int64)
        self.time = np.zeros(rows, np.int64)
        self.observation = np.zeros((rows, 3), np.float32)

    def reset(self, rows: Int[np.ndarray, " begun"], seeds: Sequence[int]) -> None:
        """Begins an episode in each of `rows`; see Environment."""
        for seed in seeds:
            self._raise(seed, -1)
        self.seed[rows] = seeds
        self.time[rows] = 0
        self._show(rows, np.zeros(len(rows)))

    def step(self, action: Shaped[np.ndarray, "row ..."]) -> Transition:
        """Acts once in every row; see Environment."""
        if self.raises:
            for seed, time in zip(self.seed.tolist(), self.time.tolist(), strict=True):
                self._raise(seed, time)
        reward = self.reward(action)
        self.time += 1
        self.acted += self.rows
        self._show(np.arange(self.rows), action)
        over = self.time >= self.lengths()
        truncated = over & (self.seed % 2 == 1)
        return Transition(reward, over & ~truncated, truncated)

    def keep(self, rows: Int[np.ndarray, " kept"]) -> bool:
        """Goes on with these rows only; see Environment."""
        self.rows = len(rows)
        self.seed, self.time = self.seed[rows], self.time[rows]
        self.observation = self.observation[rows]
        return True

    def reward(self, action: Shaped[np.ndarray, "row ..."]) -> Float[np.ndarray, " row"]:
        """What the action of every row earns."""
        return np.zeros(self.rows, np.float32)

    def lengths(self) -> Int[np.ndarray, " row"]:
        """How long the episode of every row is; odd seeds are truncated, even ones terminate."""
        return np.full(self.rows, self.length)

    def _show(self, rows: Int[np.ndarray, " shown"], action: Shaped[np.ndarray, " shown"]) -> None:
        # In place: who keeps an observation without copying it is found out.
        self.observation[rows] = np.stack([self.seed[rows], self.time[rows], action], axis=1)

    def _raise(self, seed: int, step: int) -> None:
        if (seed, step) in self.raises:
            raise self.raises[seed, step]


def counting_length(seed: int) -> int:
    """How many steps the episode of a seed has in CountingEnvironment: 1 to 13."""
    return 1 + seed * 7 % 13


class CountingEnvironment(PlantedEnvironment):
    """Every number says which seed and step it belongs to, and lengths differ by seed."""

    id = "Counting-v0"

    def reward(self, action: Shaped[np.ndarray, "row ..."]) -> Float[np.ndarray, " row"]:
        """64 · seed + 2 · step + action."""
        return (64 * self.seed + 2 * self.time + action).astype(np.float32)

    def lengths(self) -> Int[np.ndarray, " row"]:
        """See `counting_length`."""
        return np.array([counting_length(seed) for seed in self.seed.tolist()])


class PayingEnvironment(PlantedEnvironment):
    """Action 1 earns 1, action 0 nothing."""

    id = "Paying-v0"

    def reward(self, action: Shaped[np.ndarray, "row ..."]) -> Float[np.ndarray, " row"]:
        """1 for action 1."""
        return action.astype(np.float32)


class NoiseEnvironment(PlantedEnvironment):
    """Rewards are noise with mean zero, addressed by (seed, step, action).

    An edit that changes actions changes the return, but never its expectation.
    """

    id = "Noise-v0"
    length = 4

    def reward(self, action: Shaped[np.ndarray, "row ..."]) -> Float[np.ndarray, " row"]:
        """Uniform in (−½, ½)."""
        numbers = uniform_at(REWARD_KEY, self.seed, self.time, 2)
        return numbers[np.arange(self.rows), action] - np.float32(0.5)


def layered(*layers: tuple[Matrix, Vector], activation: str = "relu") -> MLP:
    """An MLP (sites fc1, fc2, …) with these (weight, bias) pairs."""
    sizes = [len(layers[0][0][0]), *(len(bias) for _, bias in layers)]
    network = MLP(sizes, activation)
    with torch.no_grad():
        for number, (weight, bias) in enumerate(layers, start=1):
            layer = cast(nn.Linear, network.get_submodule(f"fc{number}"))
            layer.weight.copy_(torch.tensor(weight, dtype=torch.float32))
            layer.bias.copy_(torch.tensor(bias, dtype=torch.float32))
    return network


def counting_agent() -> TorchAgent:
    """Acts by chance and step: `fc2:in` is (seed, step, last action, 1), the logits (½, step/8)."""
    hidden = ([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], [0.0, 0, 0, 1])
    head = ([[0.0, 0, 0, 0.5], [0, 0.125, 0, 0]], [0.0, 0])
    return TorchAgent(layered(hidden, head), name="counting")


def paying_agent() -> TorchAgent:
    """Prefers action 0 by one nat: `fc2:in` is (1, 1, 1), and `FEATURE_LOGITS` are its head."""
    hidden = ([[0.0] * 3] * 3, [1.0] * 3)
    head = (np.transpose(FEATURE_LOGITS).tolist(), [0.0, -1.0])
    return TorchAgent(layered(hidden, head), name="paying")


def summing_agent() -> FunctionAgent:
    """A recurrent agent whose state is the sum of what it has observed.

    `fc2:in` is that sum, the present observation included: its logits are a quarter of the third
    number and a sixteenth of the second, in planted environments the last actions and the steps.
    """
    identity = ([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]], [0.0] * 3)
    head = ([[0.0, 0, 0.25], [0, 0.0625, 0]], [0.0, 0.0])
    network = layered(identity, head)

    def act(observation: Tensor, state: Tensor, noise: Noise | None) -> Acted:
        total = state + network.get_submodule("fc1")(observation)
        logits = network.get_submodule("fc2")(total)
        return Acted(choose(logits, noise), {"logits": logits}, total)

    return FunctionAgent(network, act, lambda rows: torch.zeros(rows, 3), name="summing")


FEATURE_LOGITS = ((0.0, 1.0), (0.0, 0.0), (0.0, -1.0))
"""What one unit of each feature of `unit_features(3)` adds to the two logits of `paying_agent`:
the first helps in PayingEnvironment, the second does nothing, the third hurts."""


def action_chance(difference: float | int) -> float:
    """How often action 1 is taken when its logit is larger by `difference`."""
    return float(1 / (1 + np.exp(-difference)))


def features(
    encoder: Matrix,
    directions: Matrix,
    *,
    reads: str,
    writes: str,
    bias: Vector | None = None,
    name: str = "planted",
) -> ReLU:
    """A ReLU dictionary: z = relu(encoder · x), and feature j writes z_j · directions[j] + bias."""
    dictionary = ReLU(len(encoder))
    dictionary.build(len(encoder[0]), len(directions[0]), torch.Generator().manual_seed(0))
    dictionary.name = name
    dictionary.reads, dictionary.writes = Site.parse(reads), Site.parse(writes)
    with torch.no_grad():
        linear = cast(nn.Linear, dictionary.encoder[0])
        linear.weight.copy_(torch.tensor(encoder, dtype=torch.float32))
        linear.bias.zero_()
        dictionary.decoder.weight.copy_(torch.tensor(directions, dtype=torch.float32).T)
        if bias is None:
            dictionary.decoder.bias.zero_()
        else:
            dictionary.decoder.bias.copy_(torch.tensor(bias))
    return dictionary


def unit_features(units: int, site: str = "fc2:in", name: str = "planted") -> ReLU:
    """One feature for the positive part of every unit."""
    unit = np.eye(units).tolist()
    return features(unit, unit, reads=site, writes=site, name=name)


def perfect_dictionary(units: int, site: str = "fc2:in") -> ReLU:
    """A dictionary that reconstructs exactly: x = relu(x) − relu(−x)."""
    signed = np.concatenate([np.eye(units), -np.eye(units)]).tolist()
    return features(signed, signed, reads=site, writes=site, name="perfect")


def silent_dictionary(mean: Float[Tensor, " unit"], site: str = "fc2:in") -> ReLU:
    """A dictionary that says the same whatever it reads: `mean`."""
    zeros = [[0.0] * len(mean)]
    return features(zeros, zeros, reads=site, writes=site, bias=mean.tolist(), name="silent")


def planted_directions(features: int, units: int, seed: int = 0) -> Float[Tensor, "feature unit"]:
    """Random directions of unit norm: more of them than units have room for without overlap."""
    generator = torch.Generator().manual_seed(DIRECTIONS_KEY + seed)
    return nn.functional.normalize(torch.randn(features, units, generator=generator), dim=1)


def planted_parts(features: int, units: int, seed: int = 0) -> Float[Tensor, "feature unit"]:
    """As `planted_directions`, but never negative, and each of about an eighth of the units."""
    generator = torch.Generator().manual_seed(DIRECTIONS_KEY + seed)
    rows = torch.rand(features, units, generator=generator)
    touched = torch.rand(features, units, generator=generator) < 1 / 8
    # Each touches at least the unit of its own number.
    touched |= torch.arange(units) == torch.arange(features)[:, None] % units
    return nn.functional.normalize(rows * touched, dim=1)


def planted_dictionary(
    directions: Float[Tensor, "feature unit"],
    steps: int,
    *,
    active: tuple[int, int] = (3, 6),
    noise: float = 0.05,
    seed: int = 0,
) -> tuple[Float[Tensor, "step unit"], Float[Tensor, "step feature"]]:
    """Activations that are sums of a few directions, and how much of each is in them.

    Each step has as many features as are drawn from `active`, both ends included, all equally
    likely, with amounts uniform in [½, 3/2); every unit has Gaussian noise of deviation `noise`.
    """
    generator = torch.Generator().manual_seed(STEPS_KEY + seed)
    features, units = directions.shape
    fewest, most = active
    count = torch.randint(fewest, most + 1, (steps, 1), generator=generator)
    places = torch.rand(steps, features, generator=generator).topk(most, dim=1).indices
    amounts = 0.5 + torch.rand(steps, most, generator=generator)
    amounts = amounts * (torch.arange(most) < count)
    codes = torch.zeros(steps, features).scatter(1, places, amounts)
    return codes @ directions + noise * torch.randn(steps, units, generator=generator), codes


def edited_forward(
    network: nn.Module,
    conditions: Sequence[Intervention],
    x: Float[Tensor, "row ..."],
    condition: Sequence[int] | None = None,
    reads: Sequence[str] = (),
) -> tuple[Tensor, dict[str, Tensor]]:
    """The output of `network`, and what was read, with row i under its condition (i, if not given).

    Without gradients, as in a rollout.
    """
    program = Program(conditions)
    rows = list(range(len(x))) if condition is None else list(condition)
    program.assign(torch.tensor(rows))
    sites = [Site.parse(read) for read in reads]
    with torch.no_grad(), Hooks(network, [*program.requires, *sites], program.edits) as hooks:
        output = hooks.run(network, x)
        return output, {str(site): hooks.values[site].clone() for site in sites}


def is_same(
    left: Mapping[str, Shaped[np.ndarray, "..."]], right: Mapping[str, Shaped[np.ndarray, "..."]]
) -> bool:
    """Whether two sets of columns are equal bit for bit, their names and types included."""
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype
        and left[name].shape == right[name].shape
        and left[name].tobytes() == right[name].tobytes()
        for name in left
    )
