"""CleanRL agents whose networks are more than layers in a row: PPO with an LSTM, PPO on Procgen.

Source: github.com/vwxyzjn/cleanrl (MIT), ppo_atari_lstm.py and ppo_procgen.py. CleanRL's other
agents are plain networks and need nothing here: see `feedforward`.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from policyscope.agents.agent import Acted, choose
from policyscope.agents.noise import Noise
from policyscope.agents.rebuilt import REBUILT, RebuiltAgent, Shapes, has_keys, image

NATURE = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
"""Channels, kernel and stride of the convolutions (Mnih et al., Nature 518, 2015)."""
NETWORKS = {"network": "shared", "lstm": "shared", "actor": "policy", "critic": "value"}


class OneStepLSTM(nn.Module):
    """The first layer of an `nn.LSTM`, one step at a time: rows first, under the same names."""

    def __init__(self, inputs: int, memory: int) -> None:
        super().__init__()
        self.weight_ih_l0 = nn.Parameter(torch.zeros(4 * memory, inputs))
        self.weight_hh_l0 = nn.Parameter(torch.zeros(4 * memory, memory))
        self.bias_ih_l0 = nn.Parameter(torch.zeros(4 * memory))
        self.bias_hh_l0 = nn.Parameter(torch.zeros(4 * memory))

    def forward(
        self, seen: Float[Tensor, "row unit"], state: tuple[Tensor, Tensor]
    ) -> tuple[Float[Tensor, "row memory"], Float[Tensor, "row memory"]]:
        """The next hidden and cell state."""
        weights = (self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0)
        return torch.lstm_cell(seen, state, *weights)


class LSTMNetwork(nn.Module):
    """Mnih's convolutions, an LSTM and two linear heads."""

    def __init__(self, channels: int, hidden: int, memory: int, actions: int, area: int) -> None:
        super().__init__()
        layers = list[nn.Module]()
        for outputs, kernel, stride in NATURE:
            layers += [nn.Conv2d(channels, outputs, kernel, stride), nn.ReLU()]
            channels = outputs
        layers += [nn.Flatten(), nn.Linear(area, hidden), nn.ReLU()]
        self.network = nn.Sequential(*layers)
        self.lstm = OneStepLSTM(hidden, memory)
        self.actor = nn.Linear(memory, actions)
        self.critic = nn.Linear(memory, 1)

    def forward(
        self, picture: Float[Tensor, "row channel height width"], state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Logits [row, action], value [row, 1] and the next state."""
        state = self.lstm(self.network(picture), state)
        return self.actor(state[0]), self.critic(state[0]), state


@REBUILT.register("cleanrl-lstm")
class CleanRLLSTM(RebuiltAgent):
    """CleanRL's PPO with an LSTM on Atari; state: (hidden, cell), each [row, memory]."""

    networks: ClassVar[Mapping[str, str]] = NETWORKS
    algorithm = "PPO"

    def __init__(self, channels: int, hidden: int, memory: int, actions: int, area: int) -> None:
        self.channels, self.memory = channels, memory
        self.module = LSTMNetwork(channels, hidden, memory, actions, area).eval()

    @classmethod
    def recognize(cls, shapes: Shapes) -> dict[str, Any] | None:
        needed = ("network.0.weight", "network.7.weight", "lstm.weight_hh_l0", "actor.weight")
        if not has_keys(shapes, *needed) or "lstm.weight_hh_l1" in shapes:
            return None
        hidden, area = shapes["network.7.weight"]
        return {
            "channels": shapes["network.0.weight"][1],
            "hidden": hidden,
            "memory": shapes["lstm.weight_hh_l0"][1],
            "actions": shapes["actor.weight"][0],
            "area": area,
        }

    def initial_state(self, rows: int) -> tuple[Tensor, Tensor]:
        zeros = torch.zeros(rows, self.memory, device=self.device)
        return zeros, zeros.clone()

    def act(self, observation: Tensor, state: Any, noise: Noise | None) -> Acted:
        """Acts once for every row; see Agent."""
        picture = image(observation, self.channels, next(self.module.parameters()))
        logits, value, state = self.module(picture, state)
        return Acted(choose(logits, noise), {"logits": logits, "value": value.squeeze(-1)}, state)


class ResidualBlock(nn.Module):
    """Two convolutions, each after a ReLU, around which the input is carried."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(
        self, maps: Float[Tensor, "row channel height width"]
    ) -> Float[Tensor, "row channel height width"]:
        """The maps after this block."""
        return maps + self.conv1(F.relu(self.conv0(F.relu(maps))))


class ConvSequence(nn.Module):
    """A convolution, pooling by two, and two residual blocks (IMPALA, arXiv 1802.01561)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.res_block0 = ResidualBlock(outputs)
        self.res_block1 = ResidualBlock(outputs)

    def forward(
        self, maps: Float[Tensor, "row channel height width"]
    ) -> Float[Tensor, "row filter half_height half_width"]:
        """The maps after this sequence, half as wide."""
        pooled = F.max_pool2d(self.conv(maps), 3, stride=2, padding=1)
        return self.res_block1(self.res_block0(pooled))


class ProcgenNetwork(nn.Module):
    """IMPALA's convolutions and two linear heads."""

    def __init__(self, channels: tuple[int, ...], area: int, hidden: int, actions: int) -> None:
        super().__init__()
        sequences = [ConvSequence(*pair) for pair in pairwise(channels)]
        rest = (nn.Flatten(), nn.ReLU(), nn.Linear(area, hidden), nn.ReLU())
        self.network = nn.Sequential(*sequences, *rest)
        self.actor = nn.Linear(hidden, actions)
        self.critic = nn.Linear(hidden, 1)

    def forward(self, picture: Float[Tensor, "row channel height width"]) -> tuple[Tensor, Tensor]:
        """Logits [row, action] and value [row, 1]."""
        hidden = self.network(picture)
        return self.actor(hidden), self.critic(hidden)


@REBUILT.register("cleanrl-procgen")
class CleanRLProcgen(RebuiltAgent):
    """CleanRL's PPO on Procgen's pictures [row, 64, 64, 3]."""

    networks: ClassVar[Mapping[str, str]] = NETWORKS
    algorithm = "PPO"

    def __init__(self, channels: tuple[int, ...], area: int, hidden: int, actions: int) -> None:
        self.channels = channels
        self.module = ProcgenNetwork(channels, area, hidden, actions).eval()

    @classmethod
    def recognize(cls, shapes: Shapes) -> dict[str, Any] | None:
        if not has_keys(shapes, "network.0.res_block0.conv0.weight", "actor.weight"):
            return None
        convs = [shape for name, shape in shapes.items() if name.endswith(".conv.weight")]
        linear = f"network.{len(convs) + 2}.weight"
        if not convs or linear not in shapes:
            return None
        hidden, area = shapes[linear]
        channels = (convs[0][1], *(shape[0] for shape in convs))
        actions = shapes["actor.weight"][0]
        return {"channels": channels, "area": area, "hidden": hidden, "actions": actions}

    def act(self, observation: Tensor, state: Any, noise: Noise | None) -> Acted:
        """Acts once for every row; see Agent."""
        picture = image(observation, self.channels[0], next(self.module.parameters()))
        logits, value = self.module(picture)
        return Acted(choose(logits, noise), {"logits": logits, "value": value.squeeze(-1)}, state)
