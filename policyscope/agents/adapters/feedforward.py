"""Linear and convolutional networks rebuilt from bare weights, whatever their layers are called.

Layers are joined where their widths meet: into `nn.Sequential`s where names are numbers
(`actor.0`, `actor.2`), one after the other where they are not (`fc1`, `fc2`). What branches off is
a head. Shapes cannot tell the activation, nor what the last layer's numbers mean; KNOWN lists what
public repositories of such networks use, and for any other network both are asked for.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt, log
from typing import Any

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from policyscope.agents.actions import draw
from policyscope.agents.agent import Acted, choose
from policyscope.agents.noise import Noise
from policyscope.agents.rebuilt import REBUILT, RebuiltAgent, Shapes, flat, image
from policyscope.errors import InvalidInput

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "leaky-relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "selu": nn.SELU,
}

HEADS = ("logits", "values", "action", "gaussian", "squashed")
"""What the policy's numbers are.

`logits` and `values` (Q-values) are one number per action; `action` is tanh(number) times the
largest action; `gaussian` is a mean, and `squashed` the mean of what goes through tanh.
"""

CONTINUOUS: dict[tuple[int, int], float] = {
    (2, 1): 1.0,  # MountainCarContinuous
    (3, 1): 2.0,  # Pendulum
    (4, 1): 3.0,  # InvertedPendulum
    (8, 2): 1.0,  # LunarLanderContinuous, Swimmer
    (9, 1): 1.0,  # InvertedDoublePendulum-v5
    (11, 1): 1.0,  # InvertedDoublePendulum
    (11, 2): 1.0,  # Reacher
    (10, 2): 1.0,  # Reacher-v5
    (11, 3): 1.0,  # Hopper
    (17, 6): 1.0,  # HalfCheetah, Walker2d
    (23, 7): 2.0,  # Pusher
    (24, 4): 1.0,  # BipedalWalker
    (27, 8): 1.0,  # Ant-v4
    (105, 8): 1.0,  # Ant-v5
    (111, 8): 1.0,  # Ant-v2, Ant-v3
    (348, 17): 0.4,  # Humanoid-v5
    (376, 17): 0.4,  # Humanoid-v4
}
"""(Observation width, action width) of Gymnasium's continuous tasks -> their largest action."""

STRIDES: dict[tuple[int, ...], tuple[int, ...]] = {(8, 4, 3): (4, 2, 1), (8, 4): (4, 2)}
"""Kernel sizes -> strides of the networks of Mnih et al. (Nature 518, 2015; arXiv 1312.5602)."""
FRAMES = (84, 64, 96, 80, 42, 10)
"""Sides of square pictures to try when a linear layer must follow a convolution."""

POLICY = {"actor", "pi", "policy", "action", "mu", "mean", "logits", "p", "net", "network", "main"}
VALUE = {"critic", "v", "vf", "value", "values", "baseline", "c"}
QUALITY = {"q", "qf", "qnet", "advantage", "adv", "a"}
LOG_STD = {"logstd", "std"}
TARGET = {"target", "old"}


@dataclass(frozen=True)
class Known:
    """What one public repository uses where its weights do not say."""

    policy: str
    """Regular expression of the policy head's path."""
    activation: str
    head: str
    source: str
    beside: str = ""
    """Regular expression that some other tensor's name must match."""
    also: str = ""
    """Who uses the same names otherwise."""


KNOWN = (
    Known(r"actor_mean\.\d+", "tanh", "gaussian", "github.com/vwxyzjn/cleanrl ppo_continuous"),
    Known(r"fc_mu", "relu", "action", "github.com/vwxyzjn/cleanrl ddpg, td3", "action_scale"),
    Known(r"fc_mean", "relu", "squashed", "github.com/vwxyzjn/cleanrl sac", "fc_logstd"),
    Known(
        r"actor\.\d+",
        "tanh",
        "logits",
        "github.com/vwxyzjn/cleanrl ppo and github.com/nikhilbarhate99/PPO-PyTorch",
        r"critic\.\d+",
    ),
    Known(r"action_layer\.\d+", "tanh", "logits", "github.com/nikhilbarhate99/PPO-PyTorch"),
    Known(r"actor", "relu", "logits", "github.com/vwxyzjn/cleanrl ppo_atari", r"network\.0"),
    Known(r"network\.\d+", "relu", "values", "github.com/vwxyzjn/cleanrl dqn, c51"),
    Known(r"Q\.\d+", "relu", "values", "github.com/XinJingHao/DRL-Pytorch DQN"),
    Known(r"P\.\d+", "relu", "logits", "github.com/XinJingHao/DRL-Pytorch SAC-Discrete"),
    Known(r"A", "relu", "values", "github.com/XinJingHao/DRL-Pytorch Duel-DDQN", r"V\.weight"),
    Known(r"fc2", "relu", "values", "github.com/XinJingHao/DRL-Pytorch DQN-Atari", r"conv\.0"),
    Known(
        r"l3",
        "tanh",
        "action",
        "github.com/XinJingHao/DRL-Pytorch TD3",
        also="github.com/sfujim/TD3 has the same names with activation=relu",
    ),
    Known(r"mu_layer", "relu", "squashed", "github.com/XinJingHao/DRL-Pytorch SAC", r"a_net\.0"),
    Known(r"pi\.logits_net\.\d+", "tanh", "logits", "github.com/openai/spinningup ppo"),
    Known(r"pi\.mu_net\.\d+", "tanh", "gaussian", "github.com/openai/spinningup ppo"),
    Known(r"pi\.mu_layer", "relu", "squashed", "github.com/openai/spinningup sac"),
    Known(r"pi\.pi\.\d+", "relu", "action", "github.com/openai/spinningup ddpg, td3"),
    Known(r"mean_linear", "relu", "squashed", "github.com/pranz24/pytorch-soft-actor-critic"),
    Known(r"layer3", "relu", "values", "pytorch.org tutorial reinforcement_q_learning"),
)
"""The first that fits is taken."""

TANH_STD = 0.1
"""The noise that PPO-PyTorch's continuous actor, which ends in tanh, comes down to."""
DISCRETE = {(4, 2), (8, 4)}
"""Widths of CartPole and LunarLander, where DRL-Pytorch's l1, l2, l3 are PPO's softmax actor."""


@dataclass(frozen=True)
class Layer:
    """One layer as its weights show it; `outputs` and `inputs` are channels for a convolution."""

    path: str
    kind: str
    """`linear`, `conv`, `norm` (over the last axis) or `batch` (over rows)."""
    inputs: int
    outputs: int
    kernel: tuple[int, ...] = ()
    has_bias: bool = True


@dataclass(frozen=True)
class Stage:
    """Layers that run after each other: a numbered `nn.Sequential`, or one layer by itself."""

    path: str
    """The Sequential's path or the layer's own; empty for numbered layers on the first level."""
    layers: tuple[Layer, ...]
    after: int | None = None
    """The number of the stage it takes its input from; None reads the observation."""
    is_sequence: bool = False

    @property
    def inputs(self) -> int:
        """How many numbers or channels it takes."""
        return self.layers[0].inputs

    @property
    def outputs(self) -> int:
        """How many numbers or channels it gives."""
        return self.layers[-1].outputs

    @property
    def words(self) -> set[str]:
        """The words of its path, in lower case."""
        return set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", self.path).lower()))


# ── From shapes to stages ────────────────────────────────────────────────────────────────────────


def find_layers(shapes: Shapes) -> tuple[list[Layer], list[str]]:
    """The layers in the order of the file, and the names of tensors that are no layer's."""
    layers, left = list[Layer](), list[str]()
    for name, shape in shapes.items():
        path, _, last = name.rpartition(".")
        if last in ("bias", "running_mean", "running_var", "num_batches_tracked"):
            if f"{path}.weight" not in shapes:
                left.append(name)
        elif last != "weight" or not path or len(shape) not in (1, 2, 4):
            left.append(name)
        else:
            layers.append(layer_of(path, shape, shapes))
    return layers, left


def layer_of(path: str, shape: tuple[int, ...], shapes: Shapes) -> Layer:
    """The layer whose weight has this shape."""
    if len(shape) == 1:
        kind = "batch" if f"{path}.running_mean" in shapes else "norm"
        return Layer(path, kind, shape[0], shape[0])
    kind = "linear" if len(shape) == 2 else "conv"
    return Layer(path, kind, shape[1], shape[0], shape[2:], f"{path}.bias" in shapes)


def find_stages(layers: Sequence[Layer]) -> list[Stage]:
    """The stages, each after the one whose width it takes."""
    stages = list[Stage]()
    for layer in layers:
        parent, _, number = layer.path.rpartition(".")
        last = stages[-1] if stages else None
        if number.isdigit() and last and last.is_sequence and last.path == parent:
            stages[-1] = Stage(parent, (*last.layers, layer), last.after, True)
        else:
            path = parent if number.isdigit() else layer.path
            stage = Stage(path, (layer,), None, number.isdigit())
            stages.append(Stage(path, (layer,), source_of(stage, stages), stage.is_sequence))
    return stages


def source_of(stage: Stage, before: Sequence[Stage]) -> int | None:
    """Which earlier stage this one takes its input from: the latest whose width fits.

    Stages side by side (`fc1`, `fc2`) are joined whenever their widths meet; a numbered sequence
    that is as wide as the observation reads the observation.
    """
    if not before:
        return None
    parent = stage.path.rpartition(".")[0]
    fitting = [index for index, other in enumerate(before) if fits(other, stage)]
    beside = [
        index
        for index in fitting
        if not stage.is_sequence and before[index].path.rpartition(".")[0] == parent
    ]
    if beside:
        return beside[-1]
    reads_observation = stage.inputs == before[0].inputs and stage.layers[0].kind == "linear"
    return fitting[-1] if fitting and not reads_observation else None


def fits(one: Stage, other: Stage) -> bool:
    """Whether `other` can follow `one`; a convolution is flattened before a linear layer."""
    last, first = one.layers[-1], other.layers[0]
    if last.kind == "conv" and first.kind == "linear":
        side = isqrt(first.inputs // last.outputs)
        return first.inputs == last.outputs * side**2
    return last.outputs == first.inputs and (last.kind == "conv") == (first.kind == "conv")


# ── From stages to a module ──────────────────────────────────────────────────────────────────────


def place(root: nn.Module, path: str, module: nn.Module) -> None:
    """Adds `module` at a dotted path, with empty modules on the way."""
    *parents, name = path.split(".")
    for parent in parents:
        if parent not in root._modules:
            root.add_module(parent, nn.Module())
        root = root.get_submodule(parent)
    root.add_module(name, module)


def place_tensor(root: nn.Module, name: str, tensor: Tensor, *, is_learnt: bool) -> None:
    """Adds a tensor that belongs to no layer, at a dotted path."""
    path, _, last = name.rpartition(".")
    if path not in dict(root.named_modules()):
        place(root, path, nn.Module())
    owner = root.get_submodule(path)
    if is_learnt:
        owner.register_parameter(last, nn.Parameter(tensor))
    else:
        owner.register_buffer(last, tensor)


def bare(layer: Layer, stride: int = 1, padding: int = 0) -> nn.Module:
    """The torch module of one layer."""
    if layer.kind == "linear":
        return nn.Linear(layer.inputs, layer.outputs, bias=layer.has_bias)
    if layer.kind == "conv":
        size = (layer.kernel[0], layer.kernel[1])
        return nn.Conv2d(
            layer.inputs, layer.outputs, size, stride, padding=padding, bias=layer.has_bias
        )
    return nn.LayerNorm(layer.outputs) if layer.kind == "norm" else nn.BatchNorm1d(layer.outputs)


class Branches(nn.Module):
    """The stages as modules under the file's own names; forward gives the output of every head."""

    def __init__(
        self,
        stages: Sequence[Stage],
        heads: Sequence[int],
        activation: str,
        strides: Sequence[int] = (),
        padding: int = 0,
    ) -> None:
        super().__init__()
        self.stages = tuple(stages)
        self.heads = tuple(heads)
        self.wanted = sorted({index for head in heads for index in self.line(head)})
        self.activate = ACTIVATIONS[activation]()
        # Not a child: it stands between layers, and one child called often has no clear address.
        self.__dict__["activate"] = self._modules.pop("activate")
        steps = iter(strides)
        for index, stage in enumerate(self.stages):
            layers = [
                bare(layer, next(steps, 1), padding) if layer.kind == "conv" else bare(layer)
                for layer in stage.layers
            ]
            if stage.is_sequence:
                self._add_sequence(index, layers, activation)
            else:
                place(self, stage.path, layers[0])

    def line(self, index: int | None) -> list[int]:
        """The stages from the observation to stage `index`."""
        if index is None:
            return []
        return [*self.line(self.stages[index].after), index]

    def _add_sequence(self, index: int, layers: list[nn.Module], activation: str) -> None:
        """Fills the numbers that have no weights: activation first, flattening before a linear."""
        stage = self.stages[index]
        numbers = [int(layer.path.rpartition(".")[2]) for layer in stage.layers]
        named = dict(zip(numbers, layers, strict=True))
        for place_in_line, number in enumerate(numbers[:-1]):
            gap = range(number + 1, numbers[place_in_line + 1])
            here, following = stage.layers[place_in_line], stage.layers[place_in_line + 1]
            named |= dict.fromkeys(gap, nn.Identity()) | {n: nn.Identity() for n in gap}
            if gap:
                named[gap[0]] = ACTIVATIONS[activation]()
            if here.kind == "conv" and following.kind == "linear":
                named[gap[-1] if len(gap) > 1 else number] = (
                    nn.Flatten() if len(gap) > 1 else nn.Sequential(named[number], nn.Flatten())
                )
        if index not in self.heads:
            named[numbers[-1] + 1] = ACTIVATIONS[activation]()
        if stage.path:
            sequence = nn.Sequential()
            for number in sorted(named):
                sequence.add_module(str(number), named[number])
            place(self, stage.path, sequence)
        else:
            for number in sorted(named):
                self.add_module(str(number), named[number])

    def forward(
        self, observation: Float[Tensor, "row ..."]
    ) -> dict[int, Float[Tensor, "row output"]]:
        """The output of every head, by the number of its stage."""
        outputs = dict[int | None, Tensor]({None: observation})
        for index in self.wanted:
            outputs[index] = self._run(index, outputs[self.stages[index].after])
        return {head: outputs[head] for head in self.heads}

    def _run(self, index: int, hidden: Tensor) -> Tensor:
        stage = self.stages[index]
        if stage.layers[0].kind == "linear" and hidden.dim() > 2:
            hidden = hidden.flatten(1)
        if not stage.is_sequence:
            hidden = self.get_submodule(stage.path)(hidden)
            return hidden if self._is_last(index) else self.activate(hidden)
        if stage.path:
            return self.get_submodule(stage.path)(hidden)
        for number in sorted(int(name) for name in self._modules if name.isdigit()):
            hidden = self.get_submodule(str(number))(hidden)
        return hidden

    def _is_last(self, index: int) -> bool:
        """Whether no activation follows: a head, or a layer whose norm comes next."""
        after = [stage for stage in self.stages if stage.after == index]
        return index in self.heads or any(s.layers[0].kind in ("norm", "batch") for s in after)


# ── The agent ────────────────────────────────────────────────────────────────────────────────────


@REBUILT.register("feedforward")
class FeedForward(RebuiltAgent):
    """A policy of linear and convolutional layers, with or without a value beside it.

    Covers agents of CleanRL, PPO-PyTorch, DRL-Pytorch, Spinning Up and hand-written modules of the
    same kinds; KNOWN names the repositories. `shapes` are those of the file. `policy` and `value`
    are paths of heads. `activation` is one of ACTIVATIONS, `head` one of HEADS. `max_action` scales
    `action` and `squashed`, and clips `gaussian`, where the file holds no `action_scale`. `std` is
    the width of the noise around `action`. `strides` and `frame` (the side of the picture) are for
    convolutions other than Mnih's; strides are joined by `-`, such as 4-2-1.
    """

    is_generic = True

    def __init__(
        self,
        shapes: Shapes,
        policy: str,
        activation: str,
        head: str,
        value: str | None = None,
        max_action: float | None = None,
        std: float = 0.0,
        strides: str | int | None = None,
        padding: int = 0,
        frame: int | None = None,
        source: str | None = None,
    ) -> None:
        layers, rest = find_layers(shapes)
        self.stages = find_stages(layers)
        self.head = one_of("head", head, HEADS)
        one_of("activation", activation, ACTIVATIONS)
        self.policy = self._find(policy)
        self.value = None if value is None else self._find(value)
        self.width = head_width(self.stages, self.policy)
        self.log_std = next((i for i, s in enumerate(self.stages) if s.words & LOG_STD), None)
        heads = [i for i in (self.policy, self.value, self.log_std) if i is not None]
        steps = tuple(int(step) for step in str(strides or "").split("-") if step)
        convs = [layer for index in self._line(self.policy) for layer in self.stages[index].layers]
        steps = steps or find_strides([x for x in convs if x.kind == "conv"], convs, frame, padding)
        self.module = Branches(self.stages, heads, activation, steps, padding).eval()
        self.rest = {name: shapes[name] for name in rest}
        for name in rest:
            place_tensor(self.module, name, torch.zeros(shapes[name]), is_learnt=is_width(name))
        self.std = std
        self.is_given = {"head": source is None, "max_action": max_action is not None}
        self.max_action: float | Tensor = max_action or CONTINUOUS.get(self.sizes, 1.0)
        self.assumed = self._assumptions(activation, max_action, source)

    @classmethod
    def recognize(cls, shapes: Shapes) -> dict[str, Any] | None:
        layers, rest = find_layers(shapes)
        if not any(layer.kind == "linear" for layer in layers):
            return None
        if any(not is_beside(name) for name in rest):
            return None
        stages = find_stages(layers)
        policy = policy_head(stages)
        if policy is None:
            return None
        arguments: dict[str, Any] = {"shapes": dict(shapes), "policy": stages[policy].path}
        path = layers_path(stages[policy])
        known = next((k for k in KNOWN if is_known(k, path, shapes)), None)
        value = value_head(stages, policy)
        if value is not None:
            arguments["value"] = stages[value].path
        if known is None:
            return arguments
        sizes = (head_width(stages, policy), stages[policy].outputs)
        head, std = known.head, 0.0
        if known.policy in (r"actor\.\d+", r"action_layer\.\d+") and sizes in CONTINUOUS:
            head, std = "action", TANH_STD
        if known.policy == "l3" and sizes in DISCRETE:
            head = "logits"
        return arguments | {
            "activation": known.activation,
            "head": head,
            "std": std,
            "source": known.source + (f"; {known.also}" if known.also else ""),
        }

    @classmethod
    def choices(cls, argument: str) -> list[str]:
        return list({"activation": ACTIVATIONS, "head": HEADS}.get(argument, ()))

    @property
    def sizes(self) -> tuple[int, int]:
        """Observation width (channels, for pictures) and the policy head's width."""
        return self.width, self.stages[self.policy].outputs

    def bind(self, observation_space: Any, action_space: Any) -> None:
        """Takes the action bounds of the environment, and mends a guess that they contradict."""
        high = getattr(action_space, "high", None)
        if not self.is_given["head"]:
            if high is None and self.head == "action":
                self.head = "logits"
            elif high is not None and self.head == "logits":
                self.head, self.std = "action", TANH_STD
        if high is not None and not self.is_given["max_action"]:
            self.max_action = torch.as_tensor(high).float()

    def network_of(self, path: str) -> str:
        lines = {
            "policy": self._line(self.policy) + self._line(self.log_std),
            "value": self._line(self.value),
        }
        for index, stage in enumerate(self.stages):
            root = stage.path or path.split(".")[0]
            if path == root or path.startswith(f"{root}.") or root.startswith(f"{path}."):
                among = [name for name, line in lines.items() if index in line]
                if len(among) == 1:
                    return among[0]
                return "shared" if among else "target" if stage.words & TARGET else "unused"
        return "policy"

    def act(self, observation: Num[Tensor, "row ..."], state: Any, noise: Noise | None) -> Acted:
        """Acts once for every row; see Agent."""
        like = next(self.module.parameters())
        pixels = self.stages[self._line(self.policy)[0]].layers[0].kind == "conv"
        seen = image(observation, self.width, like) if pixels else flat(observation, like)
        outputs = self.module(seen)
        policy = outputs[self.policy]
        value = None if self.value is None else outputs[self.value]
        if self.head in ("logits", "values"):
            acted = self._choose(policy, value, noise)
        else:
            log_std = None if self.log_std is None else outputs[self.log_std]
            acted = self._move(policy, log_std, noise)
        beside = {} if value is None else {"value": value.squeeze(-1)}
        return Acted(acted.action, {**acted.outputs, **beside}, state)

    def _choose(self, policy: Tensor, value: Tensor | None, noise: Noise | None) -> Acted:
        if self.head == "logits":
            return Acted(choose(policy, noise), {"logits": policy})
        if "atoms" in self.rest:
            # Categorical DQN (arXiv 1707.06887): the mean over the atoms of every action.
            atoms = self.module.get_buffer("atoms")
            shares = policy.unflatten(-1, (-1, len(atoms))).softmax(-1)
            policy = (shares * atoms).sum(-1)
        if value is not None:
            # Dueling heads (arXiv 1511.06581, equation 9).
            policy = value + policy - policy.mean(-1, keepdim=True)
        return Acted(choose(policy, None), {"values": policy})

    def _move(self, mean: Tensor, log_std: Tensor | None, noise: Noise | None) -> Acted:
        scale, bias = (
            self._buffer("action_scale", self.max_action),
            self._buffer("action_bias", 0.0),
        )
        log_std = self._log_std(mean, log_std)
        if self.head == "action":
            mean = torch.tanh(mean) * scale + bias
            action = mean if log_std is None else draw(mean, log_std, noise)
            action = torch.minimum(torch.maximum(action, bias - scale), bias + scale)
            return Acted(action.detach().cpu().numpy(), {"mean": mean})
        if log_std is None:
            raise InvalidInput(f"Head {self.head} needs a width. Say it: std=0.1, for example.")
        action = draw(mean, log_std, noise)
        if self.head == "squashed":
            action = torch.tanh(action) * scale + bias
        else:
            action = torch.minimum(torch.maximum(action, -scale), scale)
        return Acted(action.detach().cpu().numpy(), {"mean": mean, "log_std": log_std})

    def _log_std(self, mean: Tensor, log_std: Tensor | None) -> Tensor | None:
        """The width of the noise, from a layer, a parameter or the argument; None without noise."""
        if log_std is None:
            name = next((name for name in self.rest if is_width(name)), None)
            if name is not None:
                return self.module.get_parameter(name).expand_as(mean)
            return torch.full_like(mean, log(self.std)) if self.std else None
        if self.log_std is not None and self.stages[self.log_std].path == "fc_logstd":
            # CleanRL's SAC: tanh, then stretched to [-5, 2].
            return -5 + 3.5 * (torch.tanh(log_std) + 1)
        return log_std.clamp(-20, 2)

    def _buffer(self, name: str, otherwise: float | Tensor) -> Tensor:
        like = next(self.module.parameters())
        held = self.module.get_buffer(name) if name in self.rest else otherwise
        return torch.as_tensor(held, dtype=like.dtype, device=like.device)

    def _find(self, path: str) -> int:
        found = [
            i for i, stage in enumerate(self.stages) if path in (stage.path, layers_path(stage))
        ]
        if not found:
            known = ", ".join(stage.path or "the numbered layers" for stage in self.stages)
            raise InvalidInput(
                f"There is no head called {path!r} in these weights; known: {known}."
            )
        return found[0]

    def _line(self, index: int | None) -> list[int]:
        if index is None:
            return []
        return [*self._line(self.stages[index].after), index]

    def _assumptions(
        self, activation: str, max_action: float | None, source: str | None
    ) -> tuple[str, ...]:
        said = list[str]()
        if source is not None:
            said.append(f"Activation {activation} and head {self.head}, as in {source}.")
        if self.head in ("action", "gaussian", "squashed") and "action_scale" not in self.rest:
            if max_action is None:
                said.append(
                    f"Largest action {self.max_action:g}, unless the environment says otherwise."
                )
            if self.head == "gaussian":
                said.append("Observations as they come: the file holds no statistics of them.")
        return tuple(said)


# ── Which stage is which ─────────────────────────────────────────────────────────────────────────


def one_of(name: str, given: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    """`given`, if it is one of the known words."""
    if given not in known:
        raise InvalidInput(f"{name} is {given!r}; known: {', '.join(known)}.")
    return given


def is_beside(name: str) -> bool:
    """Whether a tensor that is no layer's is one that policies carry: widths, scales, atoms."""
    return name.rpartition(".")[2] in ("action_scale", "action_bias", "atoms") or is_width(name)


def is_width(name: str) -> bool:
    """Whether a tensor that is no layer's is the logarithm of a standard deviation."""
    return name.rpartition(".")[2].endswith(("logstd", "log_std", "log_sigma"))


def is_known(known: Known, path: str, shapes: Shapes) -> bool:
    """Whether this entry describes the network with the policy head at `path`."""
    beside = not known.beside or any(re.match(known.beside, name) for name in shapes)
    return beside and re.fullmatch(known.policy, path) is not None


def layers_path(stage: Stage) -> str:
    """The path of the stage's last layer."""
    return stage.layers[-1].path


def head_width(stages: Sequence[Stage], head: int) -> int:
    """How wide the observation is that leads to this head."""
    after = stages[head].after
    return stages[head].inputs if after is None else head_width(stages, after)


def leaves_of(stages: Sequence[Stage]) -> list[int]:
    """The stages that no other takes its input from."""
    sources = {stage.after for stage in stages}
    return [index for index in range(len(stages)) if index not in sources]


def policy_head(stages: Sequence[Stage]) -> int | None:
    """The head that acts: named as one, or the only one that is no value and no width."""
    leaves = [index for index in leaves_of(stages) if not stages[index].words & (TARGET | LOG_STD)]
    if any(stages[index].layers[-1].kind != "linear" for index in leaves):
        return None
    acting = [index for index in leaves if stages[index].words & POLICY] or [
        index
        for index in leaves
        if not stages[index].words & VALUE or (len(leaves) == 1 and stages[index].outputs > 1)
    ]
    ranked = sorted(acting, key=lambda index: bool(stages[index].words & VALUE))
    return ranked[0] if ranked else None


def value_head(stages: Sequence[Stage], policy: int) -> int | None:
    """The head that gives one number from the same observation, if there is one."""
    width = head_width(stages, policy)
    for index in leaves_of(stages):
        stage = stages[index]
        named = stage.words & VALUE and not stage.words & TARGET
        if index != policy and named and stage.outputs == 1 and head_width(stages, index) == width:
            return index
    return None


def find_strides(
    convs: Sequence[Layer], layers: Sequence[Layer], frame: int | None, padding: int
) -> tuple[int, ...]:
    """The strides of the convolutions, where the next linear layer confirms them.

    Raises InvalidInput with the argument to give when they cannot be told.
    """
    if not convs:
        return ()
    kernels = tuple(layer.kernel[0] for layer in convs)
    steps = STRIDES.get(kernels)
    linear = next(layer for layer in layers if layer.kind == "linear")
    for side in (frame,) if frame else FRAMES:
        if steps and linear.inputs == convs[-1].outputs * after(side, kernels, steps, padding) ** 2:
            return steps
    raise InvalidInput(
        f"The strides of {len(convs)} convolutions with kernels {', '.join(map(str, kernels))} "
        f"before {linear.inputs} numbers cannot be read from weights. Say them: strides=4-2-1"
        " (and padding=…, if it is not 0)."
    )


def after(side: int, kernels: Sequence[int], strides: Sequence[int], padding: int) -> int:
    """The side of a square picture after these convolutions."""
    for kernel, stride in zip(kernels, strides, strict=True):
        side = (side + 2 * padding - kernel) // stride + 1
    return side
