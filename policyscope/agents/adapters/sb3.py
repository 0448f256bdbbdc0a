"""Agents of Stable-Baselines3 and sb3-contrib from their zips, without either library.

Of a zip only the text of `data` and the weights in `policy.pth` are read; what is pickled inside
`data` never is. `open_trusted` at the end is the one place that imports stable_baselines3, for
files that hold a policy of their own and that the user trusts.
"""

import importlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from policyscope.agents.adapters.sb3_data import (
    checked,
    entry,
    find_normalization,
    read_choices,
    read_data,
)
from policyscope.agents.adapters.sb3_policies import (
    FAMILIES,
    Choices,
    Family,
    PolicyPlan,
    network_of,
    separate_extractor,
    without_copies,
)
from policyscope.agents.agent import Acted, Agent
from policyscope.agents.archives import UNREADABLE, Archive
from policyscope.agents.checkpoints import read_state_dict
from policyscope.agents.module_tree import rebuild
from policyscope.agents.noise import Noise
from policyscope.agents.normalization import Normalization, read_vecnormalize
from policyscope.agents.preprocessing import Observation, preprocess
from policyscope.agents.spaces import (
    Box,
    Discrete,
    MultiBinary,
    MultiDiscrete,
    Parts,
    Space,
    describe_space,
    parse_space,
)
from policyscope.agents.untrusted import Untrusted
from policyscope.errors import (
    InvalidInput,
    MissingExtra,
    PolicyscopeError,
    UntrustedFile,
)

DATA_BYTES = 256 << 20
TIME_LIMIT = 1000
"""TimeFeatureWrapper's own default for environments that do not say how long they last."""


class Sb3Agent(Agent):
    """A policy of Stable-Baselines3 or sb3-contrib with what stood between it and its environment.

    That is: normalisation by the statistics of VecNormalize, the remaining time that
    TimeFeatureWrapper appends, images turned and scaled, choices one-hot, and actions clipped to
    or spread over the bounds of the action space. Sampling follows the policy's distribution;
    value-based and deterministic agents take their best action, with or without noise.
    """

    def __init__(
        self,
        module: nn.Module,
        family: Family,
        observation_space: Space,
        *,
        normalization: Normalization | None = None,
        name: str = "agent",
        algorithm: str = "unknown",
        is_safe: bool = True,
    ) -> None:
        self.module = module
        self.family = family
        self.observation_space = observation_space
        self.normalization = normalization
        self.name = name
        self.algorithm = algorithm
        self.is_safe = is_safe
        self.time_limit = TIME_LIMIT
        self.may_tell_time = self._timed_part() is not None
        """Whether the environment may leave it to us to append the remaining time."""

    @property
    def action_space(self) -> Space:
        """What the agent does, with the bounds of its actions where they are known."""
        return self.family.space

    def act(self, observation: Observation, state: Any, noise: Noise | None) -> Acted:
        """Acts once for every row; see Agent."""
        memory = dict(state or {})
        observation = self._with_time(observation, memory)
        if self.normalization is not None:
            observation = self.normalization.apply(observation)
        scaled = self.family.choices.scale_images
        seen = preprocess(observation, self.observation_space, scaled)
        said = self.family.forward(self.module, seen, memory)
        memory |= said.memory
        return Acted(self.family.act(said, noise), said.outputs, memory or None)

    def initial_state(self, rows: int) -> Any:
        """Zeros by name, each [row, …]: recurrent layers and elapsed steps; None without either."""
        state = self.family.memory(self.module, rows)
        if self.may_tell_time:
            state["elapsed"] = torch.zeros(rows, dtype=torch.int64, device=self.device)
        return state or None

    def reset_state(self, state: Any, rows: Int[np.ndarray, " begun"]) -> Any:
        """`state` with these rows back at zero; the tensors passed in stay as they were."""
        if state is None:
            return None
        begun = torch.from_numpy(rows)
        return {
            name: tensor.index_fill(0, begun.to(tensor.device), 0) for name, tensor in state.items()
        }

    def network_of(self, path: str) -> str:
        """`policy`, `value`, `shared` or `target`, for the path of a module."""
        is_critical = hasattr(self.module, "value_net")
        shared = is_critical and separate_extractor(self.module) is None
        return network_of(path, is_shared=shared)

    def preprocessing(self) -> bytes:
        return b"" if self.normalization is None else self.normalization.as_bytes()

    def bind(
        self, observation_space: Any, action_space: Any, *, time_limit: int | None = None
    ) -> None:
        """Tells the agent which environment it is in, by gymnasium spaces.

        Fails on an environment that it cannot act in, settles whether the remaining time is
        appended (of `time_limit` steps), and takes over the bounds of actions where the file's
        text left them out or rounded them.
        """
        observed, acted = describe_space(observation_space), describe_space(action_space)
        self.may_tell_time = self._lacks_time(observed)
        if not self.may_tell_time and not is_alike(observed, self.observation_space):
            raise InvalidInput(
                f"The agent observes {self.observation_space}, the environment gives {observed}. "
                "Is this the environment it was trained in, with the same wrappers?"
            )
        if type(acted) is not type(self.action_space) or acted.shape != self.action_space.shape:
            raise InvalidInput(
                f"The agent acts in {self.action_space}, the environment in {acted}."
            )
        if isinstance(acted, Box) and is_close(self.action_space, acted):
            self.family.space = acted
        self.time_limit = time_limit or self.time_limit

    def _timed_part(self) -> str | None:
        """The part that a TimeFeatureWrapper would have extended; '' for the whole."""
        space, name = self.observation_space, ""
        if isinstance(space, Parts):
            name = "observation"
            space = space.spaces.get(name, space)
        return name if isinstance(space, Box) and len(space.shape) == 1 else None

    def _lacks_time(self, observed: Space) -> bool:
        """Whether the environment gives just one number less than the agent observes."""
        name, mine = self._timed_part(), self.observation_space
        if name and isinstance(observed, Parts) and isinstance(mine, Parts):
            observed, mine = observed.spaces.get(name, observed), mine.spaces[name]
        if name is None or not isinstance(observed, Box) or len(observed.shape) != 1:
            return False
        return observed.shape[0] + 1 == mine.shape[0]

    def _with_time(self, observation: Observation, memory: dict[str, Tensor]) -> Observation:
        """The observation with the remaining time where it lacks that; counts the step."""
        elapsed = memory.get("elapsed")
        if elapsed is None:
            return observation
        memory["elapsed"] = elapsed + 1
        name, mine = self._timed_part(), self.observation_space
        if not name or isinstance(observation, Tensor) or not isinstance(mine, Parts):
            return self._extended(observation, elapsed, mine)
        extended = self._extended(observation[name], elapsed, mine.spaces[name])
        return {key: extended if key == name else part for key, part in observation.items()}

    def _extended(self, observation: Any, elapsed: Tensor, mine: Space) -> Any:
        """The array with the share of time that is left, if it is one number too short."""
        if not isinstance(observation, Tensor) or observation.dim() != 2:
            return observation
        if observation.shape[1] + 1 != mine.shape[0]:
            return observation
        left = (1 - elapsed.double() / self.time_limit).to(observation.dtype)
        return torch.cat([observation, left[:, None]], 1)


def open_sb3(
    path: Path,
    *,
    algorithm: str | None = None,
    normalization: Path | None = None,
    trust: bool = False,
) -> Sb3Agent:
    """The agent in a zip that Stable-Baselines3 or sb3-contrib saved.

    The algorithm is told from the file unless given. Statistics of VecNormalize are read from
    `normalization`, or found beside the zip. With `trust`, a zip whose policy is code of its own
    is loaded by stable_baselines3 itself. Raises UntrustedFile, CorruptFile or InvalidInput.
    """
    source = Untrusted(path, b"")
    with Archive(source, lambda name: name in ("data", "policy.pth")) as archive:
        if missing := {"data", "policy.pth"} - {*archive.names}:
            raise source.damaged(f"it is no agent of Stable-Baselines3: no {sorted(missing)} in it")
        if archive.size("data") > DATA_BYTES:
            raise source.damaged(f"its data has {archive.size('data'):,} bytes")
        data = read_data(archive.read("data"))
        weights = archive.read("policy.pth")
    beside = normalization or find_normalization(path)
    statistics = read_vecnormalize(beside, trust=trust) if beside else None
    try:
        state = without_copies(read_state_dict(weights))
        algorithm = checked(algorithm, state, data)
        choices = read_choices(source, algorithm, state, data)
        agent = assemble(path, algorithm, choices, state, data)
    except UntrustedFile:
        if not trust:
            raise
        agent = open_trusted(path, algorithm, data)
    agent.normalization = statistics
    check_runs(agent)
    return agent


def open_named(spec: str, *, trust: bool = False) -> Sb3Agent:
    """The agent that `ALGO:PATH` or `PATH` names, which is what stands behind `sb3:`."""
    algorithm, colon, rest = spec.partition(":")
    if not colon or Path(spec).exists():
        return open_sb3(with_suffix(Path(spec)), trust=trust)
    return open_sb3(with_suffix(Path(rest)), algorithm=algorithm, trust=trust)


def with_suffix(path: Path) -> Path:
    """The path as SB3 saves to it, which adds `.zip` to names that have no suffix of their own."""
    zipped = path.with_name(f"{path.name}.zip")
    return zipped if not path.exists() and zipped.is_file() else path


def is_sb3(path: Path) -> bool:
    """Whether the file looks like a zip of Stable-Baselines3, by the names of its members only."""
    try:
        with zipfile.ZipFile(path) as file:
            return {"data", "policy.pth"} <= {*file.namelist()}
    except UNREADABLE:
        return False


def assemble(
    path: Path,
    algorithm: str,
    choices: Choices,
    state: Mapping[str, Tensor],
    data: Mapping[str, Any],
) -> Sb3Agent:
    """The agent whose weights, choices and spaces these are."""
    kind = FAMILIES[algorithm]
    if kind is FAMILIES["ars"] and not isinstance(parse_space(data.get("action_space")), Box):
        choices = Choices(choices.activation)
    module = rebuild(state, PolicyPlan(choices, kind.is_deterministic_actor))
    observed = parse_space(data.get("observation_space")) or guess_observed(module)
    acted = parse_space(data.get("action_space")) or guess_acted(module)
    family = kind(choices, acted)
    family.complete(module, observed)
    return Sb3Agent(module.eval(), family, observed, name=path.stem, algorithm=algorithm)


def guess_observed(module: nn.Module) -> Space:
    """A flat observation as wide as the first layer, for files whose text does not say."""
    first = next((one for one in module.modules() if isinstance(one, nn.Linear | nn.LSTM)), None)
    if first is None or any(isinstance(one, nn.Conv2d) for one in module.modules()):
        raise InvalidInput("The file does not say what the agent observes, and it is no vector.")
    return Box((first.in_features if isinstance(first, nn.Linear) else first.input_size,))


def guess_acted(module: nn.Module) -> Space:
    """Actions as the last layer of the policy tells them, for files whose text does not say."""
    names = dict(module.named_parameters())
    spread = next(
        (one for name, one in names.items() if name.rpartition(".")[2] == "log_std"), None
    )
    last = [one for one in module.modules() if isinstance(one, nn.Linear)]
    head = getattr(module, "action_net", None)
    if spread is not None:
        return Box((spread.shape[-1],))
    if isinstance(head, nn.Linear):
        return Discrete(head.out_features)
    raise InvalidInput(f"The file does not say what the agent does ({len(last)} layers were read).")


def is_alike(given: Space, mine: Space) -> bool:
    """Whether an environment that observes `given` can feed an agent that observes `mine`."""
    if isinstance(mine, Parts):
        return isinstance(given, Parts) and all(
            name in given.spaces and is_alike(given.spaces[name], part)
            for name, part in mine.spaces.items()
        )
    if isinstance(mine, Box) and isinstance(given, Box):
        shape = given.shape
        turned = (shape[2], shape[0], shape[1]) if len(shape) == 3 else shape
        return mine.shape in (shape, turned)
    return given == mine


def is_close(mine: Space, given: Box) -> bool:
    """Whether the environment's bounds are mine up to rounding, or mine are not known."""
    if not isinstance(mine, Box) or given.low is None or given.high is None:
        return False
    if mine.low is None or mine.high is None:
        return True
    return np.allclose(mine.low, given.low, 1e-4) and np.allclose(mine.high, given.high, 1e-4)


def check_runs(agent: Sb3Agent) -> None:
    """Raises InvalidInput when weights, spaces and statistics do not fit, before anything acts."""
    scaled = agent.family.choices.scale_images
    blank: Observation
    if isinstance(agent.observation_space, Parts):
        blank = {name: zeros(part) for name, part in agent.observation_space.spaces.items()}
    else:
        blank = zeros(agent.observation_space)
    if agent.normalization is not None:
        blank = agent.normalization.apply(blank)
    try:
        seen = preprocess(blank, agent.observation_space, scaled)
        with torch.no_grad():
            said = agent.family.forward(agent.module, seen, agent.family.memory(agent.module, 1))
    except PolicyscopeError:
        raise
    except (RuntimeError, AttributeError, KeyError, IndexError, TypeError) as error:
        raise InvalidInput(
            f"The weights of {agent.name!r} do not fit an {agent.algorithm} agent that observes "
            f"{agent.observation_space}: {error}"
        ) from error
    check_width(agent.action_space, said.outputs)


def zeros(space: Space) -> Tensor:
    """One row of an empty observation."""
    kind = torch.uint8 if isinstance(space, Box) and space.is_image else torch.float32
    return torch.zeros(1, *space.shape, dtype=kind)


def check_width(space: Space, outputs: Mapping[str, Tensor]) -> None:
    """Raises InvalidInput when the policy has not one output for each action or dimension."""
    head = next(outputs[name] for name in ("mean", "logits", "values") if name in outputs)
    match space:
        case Box():
            expected = {int(np.prod(space.shape))}
        case Discrete():
            expected = {space.n}
        case MultiDiscrete():
            expected = {sum(space.counts)}
        case MultiBinary():
            expected = {space.n, 2 * space.n}
        case Parts():
            expected = set[int]()
    if head.shape[1] not in expected:
        raise InvalidInput(f"The policy has {head.shape[1]} outputs, which do not fit {space}.")


def open_trusted(path: Path, algorithm: str | None, data: Mapping[str, Any]) -> Sb3Agent:
    """The agent as stable_baselines3 loads it, which runs the code in the file."""
    name = algorithm or ""
    home = "sb3_contrib" if name in ("tqc", "trpo", "ars", "qrdqn") or "_" in name else ""
    classes = {"recurrent_ppo": "RecurrentPPO", "maskable_ppo": "MaskablePPO"}
    try:
        library = importlib.import_module(home or "stable_baselines3")
    except ImportError as error:
        raise MissingExtra.of(home or "stable-baselines3", "sb3") from error
    kind = getattr(library, classes.get(name, name.upper()), None)
    if kind is None:
        raise InvalidInput(f"Say which algorithm made {path.name!r}, as sb3:ALGO:PATH.")
    off_policy = {"buffer_size": 1} if "buffer_size" in data else {}
    schedules = dict.fromkeys(("lr_schedule", "clip_range", "exploration_schedule"), float)
    model = kind.load(path, device="cpu", custom_objects=schedules, **off_policy)
    told = entry(data, "policy_kwargs")
    choices = Choices(
        nn.ReLU,
        scale_images=told.get("normalize_images") is not False,
        is_squashed=bool(model.policy.squash_output),
        uses_expln=bool(told.get("use_expln")),
        quantiles=int(getattr(model.policy, "n_quantiles", 200)),
    )
    family = FAMILIES[name](choices, describe_space(model.action_space))
    observed = describe_space(model.observation_space)
    module = model.policy.requires_grad_(False).eval()
    return Sb3Agent(module, family, observed, name=path.stem, algorithm=name, is_safe=False)
