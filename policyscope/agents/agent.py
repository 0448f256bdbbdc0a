"""An agent: a torch module, and how it turns observations into actions."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from policyscope.agents.noise import Noise, as_gumbel, drawn


@dataclass(frozen=True)
class Acted:
    """What one step of an agent gave, for every row."""

    action: Shaped[np.ndarray, "row ..."]
    outputs: Mapping[str, Tensor] = field(default_factory=dict)
    """What the agent says beside its action: `logits`, `values`, `mean`; each [row, …]."""
    state: Any = None
    """Recurrent state to hand to the next step; None where the agent has none."""


class Agent(ABC):
    """A torch module and how to act with it.

    Adapters implement `act`; recurrent ones also `initial_state` and `reset_state`. `module` must
    be the module whose forward `act` runs: hooks are bound to it.
    """

    module: nn.Module
    name: str = "agent"
    algorithm: str = "unknown"
    environment: str | None = None
    """The environment it was made for, where the file says so."""
    is_safe: bool = True
    """Whether it was opened without running code of its file."""
    files: tuple[Path, ...] = ()
    """The files it was opened from, the checkpoint first; copies of them are the agent."""
    reopen: str = "{}"
    """What opens it again, `{}` standing for the path of the checkpoint."""
    assumed: tuple[str, ...] = ()
    """What its file does not say and was taken as usual; each a sentence."""

    @abstractmethod
    def act(self, observation: Any, state: Any, noise: Noise | None) -> Acted:
        """Acts once for every row; without `noise` it takes the most likely action.

        `observation` is a tensor [row, …], or several of them by name where the environment
        observes parts.
        """

    def bind(self, observation_space: Any, action_space: Any) -> None:  # noqa: B027 (optional)
        """Learns the spaces of the environment it is to act in (Gymnasium's, of one row).

        Called before acting; an agent whose file does not say its spaces needs them.
        """

    def network_of(self, path: str) -> str:
        """Which network the module at `path` belongs to: `policy`, `value`, `shared` …"""
        return "policy"

    def rewarded(self, state: Any, reward: Float[Tensor, " row"]) -> Any:
        """`state` after the reward of the action just taken, for agents that act on it."""
        return state

    def initial_state(self, rows: int) -> Any:
        """The recurrent state at the start of an episode, for `rows` rows."""
        return None

    def reset_state(self, state: Any, rows: Int[np.ndarray, " begun"]) -> Any:
        """`state` with these rows put back to the start of an episode."""
        return state

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        first = next(self.module.parameters(), None)
        return torch.device("cpu") if first is None else first.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of number the parameters are, which observations must have too."""
        first = next(self.module.parameters(), None)
        return torch.float32 if first is None else first.dtype

    @property
    def parameters(self) -> int:
        """How many numbers the module has learnt."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    def preprocessing(self) -> bytes:
        """Whatever numbers, beside the weights, are applied to observations; part of who it is."""
        return b""

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with any weight or preprocessing (sha256)."""
        digest = hashlib.sha256(self.preprocessing())
        for name, tensor in sorted(self.module.state_dict().items()):
            digest.update(name.encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            # As bytes, because numpy lacks some of torch's dtypes.
            digest.update(flat.view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]


def choose(logits: Float[Tensor, "row action"], noise: Noise | None) -> Int[np.ndarray, " row"]:
    """One action per row: the most likely, or with noise a sample from softmax(logits).

    Samples by the Gumbel-max trick, so two policies that share their noise differ in their action
    only where their logits truly differ (Maddison, Tarlow & Minka, arXiv 1411.0030, section 2).
    """
    if noise is not None:
        logits = logits + drawn(noise, logits.shape[-1], as_gumbel).to(logits.device)
    return logits.argmax(-1).cpu().numpy()
