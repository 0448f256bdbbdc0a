"""Agents of baby-a3c: four convolutions and a recurrent cell on Atari (A3C, arXiv 1602.01783).

Source: github.com/greydanus/baby-a3c (Apache-2.0). Its pictures are prepared inside `act`, because
they are part of what was learnt.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from policyscope.agents.agent import Acted, choose
from policyscope.agents.noise import Noise
from policyscope.agents.rebuilt import REBUILT, RebuiltAgent, Shapes, has_keys

ROWS_SEEN = slice(35, 195)
"""The rows of an Atari screen that hold the field of play."""
SIDE = 80
FILTERS = 32
LAST_MAP = 5 * 5


class BabyA3CNetwork(nn.Module):
    """Four convolutions (3 × 3, stride 2, ELU), a GRU or LSTM cell, and two linear heads."""

    def __init__(self, actions: int, channels: int, memory: int, cell: str) -> None:
        super().__init__()
        for number, inputs in enumerate((channels, FILTERS, FILTERS, FILTERS), start=1):
            self.add_module(f"conv{number}", nn.Conv2d(inputs, FILTERS, 3, stride=2, padding=1))
        kind = nn.GRUCell if cell == "gru" else nn.LSTMCell
        self.add_module(cell, kind(FILTERS * LAST_MAP, memory))
        self.cell = cell
        self.critic_linear = nn.Linear(memory, 1)
        self.actor_linear = nn.Linear(memory, actions)

    def forward(
        self, picture: Float[Tensor, "row channel 80 80"], state: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Logits [row, action], value [row, 1] and the next state."""
        hidden = picture
        for number in range(1, 5):
            hidden = F.elu(self.get_submodule(f"conv{number}")(hidden))
        cell = self.get_submodule(self.cell)
        given = state[0] if self.cell == "gru" else state
        held = cell(hidden.flatten(1), given)
        state = (held,) if self.cell == "gru" else held
        return self.actor_linear(state[0]), self.critic_linear(state[0]), state


@REBUILT.register("baby-a3c")
class BabyA3C(RebuiltAgent):
    """A recurrent Atari agent of baby-a3c; state: hidden (and cell) [row, memory].

    It takes whole screens [row, 210, 160, 3] of bytes, and also pictures [row, channel, 80, 80]
    that are prepared already.
    """

    networks: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("conv1", "conv2", "conv3", "conv4", "gru", "lstm"), "shared"),
        "critic_linear": "value",
    }
    algorithm = "A3C"

    def __init__(self, actions: int, channels: int = 1, memory: int = 256, cell: str = "gru"):
        self.memory = memory
        self.states = 1 if cell == "gru" else 2
        self.module = BabyA3CNetwork(actions, channels, memory, cell).eval()

    @classmethod
    def recognize(cls, shapes: Shapes) -> dict[str, Any] | None:
        cell = next((name for name in ("gru", "lstm") if f"{name}.weight_ih" in shapes), None)
        if cell is None or not has_keys(shapes, "conv4.weight", "actor_linear.weight"):
            return None
        if shapes[f"{cell}.weight_ih"][1] != FILTERS * LAST_MAP:
            return None
        return {
            "actions": shapes["actor_linear.weight"][0],
            "channels": shapes["conv1.weight"][1],
            "memory": shapes[f"{cell}.weight_hh"][1],
            "cell": cell,
        }

    def initial_state(self, rows: int) -> tuple[Tensor, ...]:
        return tuple(torch.zeros(rows, self.memory, device=self.device) for _ in range(self.states))

    def act(self, observation: Tensor, state: Any, noise: Noise | None) -> Acted:
        """Acts once for every row; see Agent."""
        picture = prepare(observation) if observation.dtype == torch.uint8 else observation
        logits, value, state = self.module(picture.to(self.device), state)
        return Acted(choose(logits, noise), {"logits": logits, "value": value.squeeze(-1)}, state)


def prepare(screen: UInt8[Tensor, "row ..."]) -> Float[Tensor, "row 1 80 80"]:
    """The field of play, grey, stretched to the full range, 80 × 80, from 0 to 1.

    As `scipy.misc.imresize` did: each picture's grey values are stretched to 0…255 and rounded
    before they are resized with an antialiased triangle filter.
    """
    if screen.dim() == 4 and screen.shape[-1] != 3:
        screen = screen.movedim(1, -1)
    grey = screen[:, ROWS_SEEN].double().mean(-1)
    lowest = grey.amin((1, 2), keepdim=True)
    span = grey.amax((1, 2), keepdim=True) - lowest
    bytes_ = ((grey - lowest) * (255 / torch.where(span > 0, span, 1.0))).add(0.5).floor()
    small = F.interpolate(
        bytes_.unsqueeze(1).to(torch.uint8),
        (SIDE, SIDE),
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )
    return small.float() / 255
