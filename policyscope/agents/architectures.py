"""Network shapes that a weights file can name, so that opening it runs no code of its own."""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from policyscope.errors import InvalidInput
from policyscope.registry import Registry

ARCHITECTURES: Registry[Callable[..., nn.Module]] = Registry(
    "architecture", "policyscope.architectures"
)

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "tanh": F.tanh}


@ARCHITECTURES.register("mlp")
class MLP(nn.Module):
    """Linear layers fc1, fc2, … with a functional activation between them.

    Because the activation is a function and not a module, the hidden layer after fc1 is read as
    the input of what follows: `fc2:in`.
    """

    def __init__(self, sizes: Sequence[int], activation: str = "relu") -> None:
        super().__init__()
        if len(sizes) < 2 or min(sizes) < 1:
            raise InvalidInput(f"sizes is {list(sizes)}; expected two or more positive widths.")
        if activation not in ACTIVATIONS:
            raise InvalidInput(f"activation is {activation!r}; known: {', '.join(ACTIVATIONS)}.")
        self.activation = activation
        self.depth = len(sizes) - 1
        for layer in range(self.depth):
            self.add_module(f"fc{layer + 1}", nn.Linear(sizes[layer], sizes[layer + 1]))

    def forward(self, observation: Tensor) -> Tensor:
        """The last layer's output, [row, sizes[-1]]."""
        hidden = observation
        for layer in range(1, self.depth):
            hidden = ACTIVATIONS[self.activation](self.get_submodule(f"fc{layer}")(hidden))
        return self.get_submodule(f"fc{self.depth}")(hidden)
