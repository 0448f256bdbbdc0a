"""Any torch module as an agent: its forward gives logits or action values over discrete actions."""

from typing import Any, Literal

from torch import Tensor, nn

from policyscope.agents.agent import Acted, Agent, choose
from policyscope.agents.noise import Noise
from policyscope.errors import InvalidInput

Head = Literal["logits", "values"]


class TorchAgent(Agent):
    """A module whose forward takes observations [row, …] and gives one number per action.

    `head` says what the numbers are: `logits`, of which actions are sampled (or the largest is
    taken without noise), or `values` (Q-values), of which the largest is always taken.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        head: Head = "logits",
        name: str = "agent",
        algorithm: str = "unknown",
        environment: str | None = None,
    ) -> None:
        if head not in ("logits", "values"):
            raise InvalidInput(f"head is {head!r}; expected 'logits' or 'values'.")
        self.module = module.eval()
        self.head: Head = head
        self.name = name
        self.algorithm = algorithm
        self.environment = environment

    def act(self, observation: Tensor, state: Any, noise: Noise | None) -> Acted:
        """Acts once for every row; see Agent."""
        numbers = self.module(observation.to(self.dtype))
        if not isinstance(numbers, Tensor) or numbers.dim() != 2:
            kind = type(numbers).__name__
            given = list(numbers.shape) if isinstance(numbers, Tensor) else f"a {kind}"
            raise InvalidInput(
                f"{type(self.module).__name__} returned {given}; "
                f"expected one tensor [row, action] of {self.head}. For any other output write an "
                "Agent with an act method and pass it as module:function."
            )
        action = choose(numbers, noise if self.head == "logits" else None)
        return Acted(action=action, outputs={self.head: numbers}, state=state)
