"""AlphaZero networks on square boards: a residual tower with a policy and a value head.

Source: github.com/michaelnny/alpha_zero (MIT), after Silver et al., "A general reinforcement
learning algorithm that masters chess, shogi, and Go through self-play", Science 362, 2018.
"""

from collections.abc import Mapping
from math import isqrt
from typing import Any, ClassVar

import torch.nn.functional as F
from jaxtyping import Float, Num
from torch import Tensor, nn

from policyscope.agents.agent import Acted, choose
from policyscope.agents.noise import Noise
from policyscope.agents.rebuilt import REBUILT, RebuiltAgent, Shapes, has_keys

PLANES_PER_BOARD = 2
"""Own stones and the opponent's, the newest board first; one more plane says who plays."""


def convolution(inputs: int, outputs: int, kernel: int = 3, padding: int = 1) -> list[nn.Module]:
    """A convolution without bias and its batch norm."""
    return [
        nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=False),
        nn.BatchNorm2d(outputs),
    ]


class ResidualBlock(nn.Module):
    """Two convolutions around which the input is carried."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.conv_block1 = nn.Sequential(*convolution(filters, filters), nn.ReLU())
        self.conv_block2 = nn.Sequential(*convolution(filters, filters))

    def forward(
        self, board: Float[Tensor, "row channel height width"]
    ) -> Float[Tensor, "row channel height width"]:
        """The maps after this block."""
        return F.relu(self.conv_block2(self.conv_block1(board)) + board)


class AlphaZeroNetwork(nn.Module):
    """A convolution, residual blocks, and two heads."""

    def __init__(
        self, planes: int, side: int, actions: int, blocks: int, filters: int, hidden: int, pad: int
    ) -> None:
        super().__init__()
        area = (side + 2 * pad - 2) ** 2
        self.conv_block = nn.Sequential(*convolution(planes, filters, padding=pad), nn.ReLU())
        self.res_blocks = nn.Sequential(*(ResidualBlock(filters) for _ in range(blocks)))
        self.policy_head = nn.Sequential(
            *convolution(filters, 2, 1, 0), nn.ReLU(), nn.Flatten(), nn.Linear(2 * area, actions)
        )
        self.value_head = nn.Sequential(
            *convolution(filters, 1, 1, 0),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(area, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
            nn.Tanh(),
        )

    def forward(
        self, board: Float[Tensor, "row plane height width"]
    ) -> tuple[Float[Tensor, "row action"], Float[Tensor, "row 1"]]:
        """Logits of every move, and the value for the player to move, from -1 to 1."""
        features = self.res_blocks(self.conv_block(board))
        return self.policy_head(features), self.value_head(features)


@REBUILT.register("alpha-zero")
class AlphaZero(RebuiltAgent):
    """The policy and value of an AlphaZero network, without its tree search.

    Boards are [row, plane, side, side]: own and opposing stones, the newest pair of planes first,
    and last a plane of ones for the first player. Moves onto stones are never chosen; `logits` are
    as the network gives them.
    """

    networks: ClassVar[Mapping[str, str]] = {
        "conv_block": "shared",
        "res_blocks": "shared",
        "policy_head": "policy",
        "value_head": "value",
    }
    algorithm = "AlphaZero"

    def __init__(
        self, planes: int, side: int, actions: int, blocks: int, filters: int, hidden: int, pad: int
    ) -> None:
        self.side = side
        self.module = AlphaZeroNetwork(planes, side, actions, blocks, filters, hidden, pad).eval()

    @classmethod
    def recognize(cls, shapes: Shapes) -> dict[str, Any] | None:
        needed = ("conv_block.0.weight", "policy_head.4.weight", "value_head.4.weight")
        if not has_keys(shapes, *needed):
            return None
        actions, twice_area = shapes["policy_head.4.weight"]
        area = isqrt(twice_area // 2)
        # Gomoku's first convolution is padded by 3, so that its maps are wider than the board.
        fitting = [pad for pad in (1, 3) if actions - (area - 2 * pad + 2) ** 2 in (0, 1)]
        if not fitting:
            return None
        filters, planes = shapes["conv_block.0.weight"][:2]
        return {
            "planes": planes,
            "side": area - 2 * fitting[0] + 2,
            "actions": actions,
            "blocks": len({name.split(".")[1] for name in shapes if name.startswith("res_blocks")}),
            "filters": filters,
            "hidden": shapes["value_head.4.weight"][0],
            "pad": fitting[0],
        }

    def act(
        self, observation: Num[Tensor, "row plane height width"], state: Any, noise: Noise | None
    ) -> Acted:
        """Acts once for every row; see Agent."""
        board = observation.to(next(self.module.parameters()))
        logits, value = self.module(board)
        taken = board[:, :PLANES_PER_BOARD].sum(1).flatten(1) > 0
        # In Go the last action is to pass, which no stone forbids.
        taken = F.pad(taken, (0, logits.shape[-1] - taken.shape[-1]))
        action = choose(logits.masked_fill(taken, float("-inf")), noise)
        return Acted(action, {"logits": logits, "value": value.squeeze(-1)}, state)
