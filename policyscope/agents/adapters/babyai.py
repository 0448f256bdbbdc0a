"""Recurrent agents of the BabyAI architecture `bow_endpool_res`, without instructions.

Source: github.com/mila-iqia/babyai (ICLR 2019, arXiv 1810.08272), as used in
github.com/jbloomAus/DecisionTransformerInterpretability, src/models/trajectory_lstm.py (MIT).
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from policyscope.agents.agent import Acted, choose
from policyscope.agents.noise import Noise
from policyscope.agents.rebuilt import REBUILT, RebuiltAgent, Shapes, has_keys

PARTS = 3
"""A MiniGrid cell is (object, colour, state)."""
POOL = 7
HIDDEN = 64


class BagOfWords(nn.Module):
    """One embedding per value of object, colour and state; a cell is their sum."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.most = words // PARTS

    def forward(
        self, cells: Int[Tensor, "row part height width"]
    ) -> Float[Tensor, "row channel height width"]:
        """A map of embeddings."""
        offsets = torch.arange(PARTS, device=cells.device).view(1, PARTS, 1, 1) * self.most
        return self.embedding(cells + offsets).sum(1).permute(0, 3, 1, 2)


class BabyAINetwork(nn.Module):
    """Embedded cells, two convolutions, one maximum over the view, an LSTM cell and two heads."""

    def __init__(self, actions: int, words: int, width: int, memory: int) -> None:
        super().__init__()
        self.image_conv = nn.Sequential(
            BagOfWords(words, width),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.film_pool = nn.MaxPool2d(POOL, stride=2)
        self.memory_rnn = nn.LSTMCell(width, memory)
        self.actor = head(memory, actions)
        self.critic = head(memory, 1)

    def forward(
        self, cells: Int[Tensor, "row part height width"], state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Logits [row, action], value [row, 1] and the next state."""
        seen = F.relu(self.film_pool(self.image_conv(cells))).flatten(1)
        hidden, cell = self.memory_rnn(seen, state)
        return self.actor(hidden), self.critic(hidden), (hidden, cell)


def head(inputs: int, outputs: int) -> nn.Sequential:
    """Two linear layers with tanh between."""
    return nn.Sequential(nn.Linear(inputs, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, outputs))


class Prefixed(nn.Module):
    """A network under the name `model`, where its file has it so."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *given: Any) -> Any:
        """What the network gives."""
        return self.model(*given)


@REBUILT.register("babyai-lstm")
class BabyAI(RebuiltAgent):
    """A PPO agent with an LSTM cell on MiniGrid's partial views [row, 7, 7, 3].

    State: (hidden, cell), each [row, memory]. A Dict observation is read at `image`.
    """

    algorithm = "PPO"

    def __init__(
        self, actions: int, words: int = 27, width: int = 128, memory: int = 128, prefix: str = ""
    ) -> None:
        self.memory = memory
        self.prefix = prefix
        network = BabyAINetwork(actions, words, width, memory)
        self.module = (Prefixed(network) if prefix else network).eval()

    @classmethod
    def recognize(cls, shapes: Shapes) -> dict[str, Any] | None:
        for prefix in ("", "model."):
            if has_keys(
                shapes,
                f"{prefix}image_conv.0.embedding.weight",
                f"{prefix}memory_rnn.weight_hh",
                f"{prefix}actor.2.weight",
            ):
                words, width = shapes[f"{prefix}image_conv.0.embedding.weight"]
                return {
                    "actions": shapes[f"{prefix}actor.2.weight"][0],
                    "words": words,
                    "width": width,
                    "memory": shapes[f"{prefix}memory_rnn.weight_hh"][1],
                    "prefix": prefix,
                }
        return None

    def network_of(self, path: str) -> str:
        part = path.removeprefix(self.prefix).split(".")[0]
        return {"actor": "policy", "critic": "value"}.get(part, "shared")

    def initial_state(self, rows: int) -> tuple[Tensor, Tensor]:
        zeros = torch.zeros(rows, self.memory, device=self.device)
        return zeros, zeros.clone()

    def act(
        self, observation: Tensor | Mapping[str, Tensor], state: Any, noise: Noise | None
    ) -> Acted:
        """Acts once for every row; see Agent."""
        view = observation["image"] if isinstance(observation, Mapping) else observation
        cells = view.to(self.device).long().permute(0, 3, 1, 2)
        logits, value, state = self.module(cells, state)
        return Acted(choose(logits, noise), {"logits": logits, "value": value.squeeze(-1)}, state)
