"""The policies of Stable-Baselines3 and sb3-contrib as plain modules under their own names.

Written from the published behaviour of both libraries, version 2.9; neither is imported. A policy
here is the modules of `policy.pth`, and a family says how they act together.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from policyscope.agents.actions import choose_each, decide, draw, within
from policyscope.agents.agent import choose
from policyscope.agents.module_tree import Part, Plan
from policyscope.agents.noise import Noise
from policyscope.agents.preprocessing import Observation
from policyscope.agents.spaces import Box, Discrete, MultiBinary, MultiDiscrete, Parts, Space
from policyscope.errors import InvalidInput

NATURE_STRIDES = {8: 4, 4: 2, 3: 1}
"""Kernel -> stride of the convolutions of Mnih et al., Nature 518 (2015), the only ones in SB3."""
SAC_LOG_STD = (-20.0, 2.0)
SDE_EPSILON = 1e-6
Memory = Mapping[str, Tensor]


@dataclass(frozen=True)
class Choices:
    """What a policy was told when it was made, beside its weights."""

    activation: type[nn.Module]
    scale_images: bool = True
    is_squashed: bool = False
    uses_expln: bool = False
    clip_mean: float = 2.0
    quantiles: int = 200


@dataclass(frozen=True)
class Said:
    """What one forward of a policy gave, before an action is taken from it."""

    outputs: Mapping[str, Tensor]
    memory: Memory = field(default_factory=dict)


class FlattenExtractor(nn.Module):
    """Features that are the observation itself, flat."""

    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()

    def forward(self, observation: Float[Tensor, "row ..."]) -> Float[Tensor, "row feature"]:
        """[row, feature]."""
        return self.flatten(observation)


class NatureCNN(nn.Module):
    """Convolutions `cnn`, then a layer `linear`."""

    cnn: nn.Sequential
    linear: nn.Sequential

    def forward(self, image: Float[Tensor, "row channel height width"]) -> Tensor:
        """[row, feature]."""
        return self.linear(self.cnn(image))


class CombinedExtractor(nn.Module):
    """One extractor for every part of an observation, their features side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.extractors: nn.Module = Part()

    def forward(self, parts: Mapping[str, Tensor]) -> Float[Tensor, "row feature"]:
        """[row, feature]."""
        each = self.extractors.named_children()
        return torch.cat([extractor(parts[name]) for name, extractor in each], 1)

    def complete(self, space: Parts) -> None:
        """Puts the extractors in the order of `space`, adding those that have no weights."""
        known, ordered = dict(self.extractors.named_children()), Part()
        if foreign := known.keys() - space.spaces.keys():
            raise InvalidInput(f"There are weights for parts {sorted(foreign)} it cannot observe.")
        for name in space.spaces:
            ordered.add_module(name, known.get(name) or nn.Flatten())
        self.extractors = ordered


@dataclass(frozen=True)
class PolicyPlan(Plan):
    """How the names in a `policy.pth` become modules."""

    choices: Choices
    is_deterministic_actor: bool = False

    def between(self, path: str) -> nn.Module:
        return nn.ReLU() if is_convolutional(path) else self.choices.activation()

    def after(self, path: str) -> Sequence[nn.Module]:
        last = path.rpartition(".")[2]
        if is_convolutional(path):
            return [nn.ReLU(), nn.Flatten()] if last == "cnn" else [nn.ReLU()]
        if last in ("policy_net", "value_net", "shared_net", "latent_pi") and "." in path:
            return [self.choices.activation()]
        if last == "mu":
            clip = self.choices.clip_mean
            return [nn.Tanh()] if self.is_deterministic_actor else [nn.Hardtanh(-clip, clip)]
        if path == "action_net":
            return [nn.Tanh()] if self.choices.is_squashed else []
        return ()

    def stride(self, path: str, kernel: int) -> int:
        if kernel not in NATURE_STRIDES:
            raise InvalidInput(f"{path} has a kernel of {kernel}; expected 8, 4 or 3 of NatureCNN.")
        return NATURE_STRIDES[kernel]

    def part(self, path: str, names: set[str]) -> nn.Module:
        if names == {"cnn", "linear"}:
            return NatureCNN()
        return CombinedExtractor() if names == {"extractors"} else Part()


def is_convolutional(path: str) -> bool:
    """Whether the sequence at `path` belongs to a NatureCNN, whose activation is fixed."""
    owner, _, last = path.rpartition(".")
    return last in ("cnn", "linear") and "extractor" in owner


def add_extractor(owner: nn.Module, space: Space) -> None:
    """Gives `owner` the features extractor that `space` needs and that its weights did not name."""
    if not hasattr(owner, "features_extractor"):
        made = CombinedExtractor() if isinstance(space, Parts) else FlattenExtractor()
        owner.add_module("features_extractor", made)
    for name in ("features_extractor", "vf_features_extractor"):
        extractor = getattr(owner, name, None)
        if isinstance(extractor, CombinedExtractor) and isinstance(space, Parts):
            extractor.complete(space)
        elif isinstance(extractor, CombinedExtractor | Part):
            raise InvalidInput(f"The weights of {name} do not fit an observation of {space}.")


class Family(ABC):
    """How policies of one kind act: a forward through their modules, then an action."""

    owner: ClassVar[str] = ""
    """The module that observes; its features extractor comes first."""
    modules: ClassVar[str]
    """What the names of the weights begin with, as a regular expression."""
    is_deterministic_actor: ClassVar[bool] = False

    def __init__(self, choices: Choices, space: Space) -> None:
        self.choices = choices
        self.space = space

    def complete(self, module: nn.Module, space: Space) -> None:
        """Adds the modules without weights."""
        add_extractor(module.get_submodule(self.owner), space)

    @abstractmethod
    def forward(self, module: nn.Module, observation: Observation, memory: Memory) -> Said:
        """Runs the networks once for every row."""

    @abstractmethod
    def act(self, said: Said, noise: Noise | None) -> Shaped[np.ndarray, "row ..."]:
        """The actions, deterministic without noise."""

    def memory(self, module: nn.Module, rows: int) -> dict[str, Tensor]:
        """What the networks remember at the start of an episode, row axis first."""
        return {}

    @property
    def box(self) -> Box:
        """The space of continuous actions."""
        if not isinstance(self.space, Box):
            raise InvalidInput(f"The agent acts in a Box; the file says {self.space}.")
        return self.space


class ActorCritic(Family):
    """PPO, A2C, TRPO, MaskablePPO and RecurrentPPO: a policy and a value network."""

    modules = (
        r"(vf_)?features_extractor\.|mlp_extractor\.(policy|value|shared)_net\.\d+\.|"
        r"lstm_(actor|critic)\.|critic\.|(action|value)_net\.|log_std$"
    )

    def complete(self, module: Any, space: Space) -> None:
        super().complete(module, space)
        if not hasattr(module, "mlp_extractor"):
            module.add_module("mlp_extractor", Part())
        for name in ("policy_net", "value_net"):
            if not hasattr(module.mlp_extractor, name):
                module.get_submodule("mlp_extractor").add_module(name, nn.Sequential())

    def forward(self, module: Any, observation: Observation, memory: Memory) -> Said:
        """Runs policy and value network; their features extractor once where they share it."""
        actor = critic = module.features_extractor(observation)
        if separate := separate_extractor(module):
            critic = separate(observation)
        actor, critic, memory = self.recall(module, actor, critic, memory)
        if (shared := part_of(module.mlp_extractor, "shared_net")) is not None:
            actor = critic = shared(actor)
        latent = module.mlp_extractor.policy_net(actor)
        head = module.action_net(latent)
        value = module.value_net(module.mlp_extractor.value_net(critic))[:, 0]
        if not isinstance(self.space, Box):
            return Said({"logits": head, "value": value}, memory)
        log_std = spread(module.log_std, latent, head, self.choices)
        return Said({"mean": head, "log_std": log_std, "value": value}, memory)

    def recall(
        self, module: Any, actor: Tensor, critic: Tensor, memory: Memory
    ) -> tuple[Tensor, Tensor, Memory]:
        """The features as the recurrent layers see them, where there are any."""
        recurrent: Any = part_of(module, "lstm_actor")
        if recurrent is None:
            return actor, critic, {}
        actor_seen, kept = remember(recurrent, actor, memory, "actor")
        if part_of(module, "lstm_critic") is not None:
            critic_seen, more = remember(module.lstm_critic, critic, memory, "critic")
            kept |= more
        elif part_of(module, "critic") is not None:
            critic_seen = module.critic(critic)
        else:
            critic_seen = actor_seen
        return actor_seen, critic_seen, kept

    def memory(self, module: nn.Module, rows: int) -> dict[str, Tensor]:
        memory = {}
        for name in ("actor", "critic"):
            lstm = getattr(module, f"lstm_{name}", None)
            if isinstance(lstm, nn.LSTM):
                device = next(lstm.parameters()).device
                zeros = torch.zeros(rows, lstm.num_layers, lstm.hidden_size, device=device)
                memory |= {f"{name}_hidden": zeros, f"{name}_cell": zeros}
        return memory

    def act(self, said: Said, noise: Noise | None) -> Shaped[np.ndarray, "row ..."]:
        match self.space:
            case Discrete():
                return choose(said.outputs["logits"], noise)
            case MultiDiscrete(counts):
                return choose_each(said.outputs["logits"], counts, noise)
            case MultiBinary(n) if said.outputs["logits"].shape[1] == 2 * n:
                # MaskablePPO keeps a logit for no and one for yes.
                return choose_each(said.outputs["logits"], [2] * n, noise).astype(np.int8)
            case MultiBinary():
                return decide(said.outputs["logits"], noise).astype(np.int8)
        action = draw(said.outputs["mean"], said.outputs["log_std"], noise)
        squashed = self.choices.is_squashed
        return within(action.tanh() if squashed else action, self.box, is_scaled=squashed)


class SquashedActor(Family):
    """SAC and TQC: a Gaussian squashed by tanh; the critics need an action and never run."""

    owner = "actor"
    modules = r"(actor|critic)(_target)?\.(features_extractor|latent_pi|mu|log_std|qf\d+)(\.|$)"

    def forward(self, module: Any, observation: Observation, memory: Memory) -> Said:
        actor = module.actor
        latent = actor.latent_pi(actor.features_extractor(observation))
        mean = actor.mu(latent)
        if isinstance(actor.log_std, nn.Module):
            log_std = actor.log_std(latent).clamp(*SAC_LOG_STD)
        else:
            log_std = spread(actor.log_std, latent, mean, self.choices)
        return Said({"mean": mean, "log_std": log_std})

    def complete(self, module: nn.Module, space: Space) -> None:
        super().complete(module, space)
        actor = module.get_submodule(self.owner)
        if not hasattr(actor, "latent_pi"):
            actor.add_module("latent_pi", nn.Sequential())

    def act(self, said: Said, noise: Noise | None) -> Shaped[np.ndarray, "row ..."]:
        action = draw(said.outputs["mean"], said.outputs["log_std"], noise).tanh()
        return within(action, self.box, is_scaled=True)


class DeterministicActor(Family):
    """TD3 and DDPG: the actor is its action, with or without noise."""

    owner = "actor"
    modules = SquashedActor.modules
    is_deterministic_actor = True

    def forward(self, module: Any, observation: Observation, memory: Memory) -> Said:
        return Said({"mean": module.actor.mu(module.actor.features_extractor(observation))})

    def act(self, said: Said, noise: Noise | None) -> Shaped[np.ndarray, "row ..."]:
        return within(said.outputs["mean"], self.box, is_scaled=True)


class QNetwork(Family):
    """DQN: the action of the largest value, with or without noise."""

    owner = "q_net"
    modules = r"q_net(_target)?\.(features_extractor|q_net)\."

    def forward(self, module: Any, observation: Observation, memory: Memory) -> Said:
        return Said({"values": module.q_net.q_net(module.q_net.features_extractor(observation))})

    def act(self, said: Said, noise: Noise | None) -> Shaped[np.ndarray, "row ..."]:
        return choose(said.outputs["values"], None)


class QuantileNetwork(QNetwork):
    """QR-DQN: as DQN, with the mean of each action's quantiles as its value."""

    owner = "quantile_net"
    modules = r"quantile_net(_target)?\.(features_extractor|quantile_net)\."

    def forward(self, module: Any, observation: Observation, memory: Memory) -> Said:
        net = module.quantile_net
        flat = net.quantile_net(net.features_extractor(observation))
        quantiles = flat.view(len(flat), self.choices.quantiles, -1)
        return Said({"quantiles": quantiles, "values": quantiles.mean(1)})


class Searched(Family):
    """ARS: one linear layer or a small network, found without gradients; always deterministic."""

    modules = r"action_net\."

    def forward(self, module: Any, observation: Observation, memory: Memory) -> Said:
        head = module.action_net(module.features_extractor(observation))
        return Said({"mean" if isinstance(self.space, Box) else "logits": head})

    def act(self, said: Said, noise: Noise | None) -> Shaped[np.ndarray, "row ..."]:
        if not isinstance(self.space, Box):
            return choose(said.outputs["logits"], None)
        return within(said.outputs["mean"], self.space, is_scaled=self.choices.is_squashed)


def separate_extractor(module: nn.Module) -> nn.Module | None:
    """The value network's own features extractor; None where it shares the policy's."""
    own = part_of(module, "vf_features_extractor")
    return None if own is part_of(module, "features_extractor") else own


def part_of(module: nn.Module, name: str) -> nn.Module | None:
    """The child of that name, if there is one.

    For `hasattr` torch makes an error, and swallows it, where there is none: asked at every step,
    that took a tenth of the time in which a small policy acts.
    """
    return module._modules.get(name)


def remember(
    lstm: nn.LSTM, features: Float[Tensor, "row feature"], memory: Memory, name: str
) -> tuple[Float[Tensor, "row unit"], dict[str, Tensor]]:
    """One step of an LSTM for every row, and what it remembers of it, row axis first."""
    names = (f"{name}_hidden", f"{name}_cell")
    # The LSTM wants its layers before the rows, and a sequence, here of one step, before both.
    before = tuple(memory[one].transpose(0, 1).contiguous() for one in names)
    seen, after = lstm(features[None], before)
    kept = (part.transpose(0, 1) for part in after)
    return seen[0], dict(zip(names, kept, strict=True))


def spread(
    log_std: Float[Tensor, "..."],
    latent: Float[Tensor, "row unit"],
    mean: Float[Tensor, "row dim"],
    choices: Choices,
) -> Float[Tensor, "row dim"]:
    """The logarithm of the standard deviation of every action.

    With generalised state-dependent exploration (Raffin et al., arXiv 2005.05719) it depends on
    the state; there SB3 draws its noise once for many steps, here every step draws its own, with
    the same distribution at each step.
    """
    if log_std.dim() == 1:
        return log_std.expand_as(mean)
    positive = torch.log1p(log_std.clamp(min=0) + SDE_EPSILON) + 1
    std = torch.where(log_std > 0, positive, log_std.exp()) if choices.uses_expln else log_std.exp()
    variance = latent**2 @ (std.expand(-1, mean.shape[1]) ** 2)
    return 0.5 * torch.log(variance + SDE_EPSILON)


FAMILIES: Mapping[str, type[Family]] = {
    **dict.fromkeys(("ppo", "a2c", "trpo", "maskable_ppo", "recurrent_ppo"), ActorCritic),
    **dict.fromkeys(("sac", "tqc"), SquashedActor),
    **dict.fromkeys(("td3", "ddpg"), DeterministicActor),
    "dqn": QNetwork,
    "qrdqn": QuantileNetwork,
    "ars": Searched,
}


def without_copies(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights, without the further names that SB3 saves a shared features extractor under."""
    kept = dict(state)
    for prefix in ("pi_", "vf_"):
        names = [name for name in state if name.startswith(f"{prefix}features_extractor.")]
        if all(is_same(state[name], state.get(name.removeprefix(prefix))) for name in names):
            kept = {name: tensor for name, tensor in kept.items() if name not in names}
    return kept


def is_same(one: Tensor, other: Tensor | None) -> bool:
    """Whether two tensors hold the same numbers."""
    return other is not None and one.shape == other.shape and torch.equal(one, other)


def network_of(path: str, *, is_shared: bool) -> str:
    """Which network the module at `path` belongs to: policy, value, both (shared) or target."""
    head, _, rest = path.partition(".")
    if head.endswith("_target"):
        return "target"
    if head in ("critic", "lstm_critic", "value_net", "vf_features_extractor"):
        return "value"
    if head == "mlp_extractor" and rest.startswith("value_net"):
        return "value"
    if (head == "features_extractor" and is_shared) or path == "mlp_extractor":
        return "shared"
    return "shared" if rest.startswith("shared_net") else "policy"
