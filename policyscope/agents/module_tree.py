"""A tree of torch modules from the names and shapes in a state dict.

The names say how modules nest, the shapes say what they are; a `Plan` says the little that neither
does. Weights are put in place, never copied or drawn.
"""

import re
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from policyscope.errors import InvalidInput

LAYERS = 1_000
"""More than any policy has; a hostile index must not make us fill the gap before it."""


class Part(nn.Module):
    """A module that only holds others."""


class Plan:
    """What names and shapes do not say; the defaults suit plain multi-layer perceptrons."""

    def between(self, path: str) -> nn.Module:
        """The activation between the layers of the sequence at `path`."""
        return nn.ReLU()

    def after(self, path: str) -> Sequence[nn.Module]:
        """What follows the last layer of the sequence at `path`."""
        return ()

    def stride(self, path: str, kernel: int) -> int:
        """The stride of the convolution at `path`."""
        return 1

    def part(self, path: str, names: set[str]) -> nn.Module:
        """The empty module at `path` that will hold children of these names."""
        return Part()


def rebuild(state: Mapping[str, Tensor], plan: Plan) -> nn.Module:
    """The tree of modules that holds exactly these weights, ready to run, in evaluation mode.

    Raises InvalidInput for names or shapes that belong to no known layer.
    """
    try:
        with torch.device("meta"):
            module = grow("", state, plan)
    except (KeyError, RecursionError) as error:
        raise InvalidInput(f"The weights have names that no module can have: {error}") from error
    floats = {name: to_float(tensor) for name, tensor in state.items()}
    try:
        module.load_state_dict(floats, assign=True)
    except RuntimeError as error:
        raise InvalidInput(f"The weights do not fit together: {error}") from error
    return module.requires_grad_(False).eval()


def to_float(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """The weights in the precision that observations have."""
    return tensor.float() if tensor.is_floating_point() else tensor


def grow(path: str, state: Mapping[str, Tensor], plan: Plan) -> nn.Module:
    """The module at `path` whose own state, without the path, this is."""
    if any(name.startswith("weight_ih_l") for name in state):
        return recurrent(path, state)
    if "weight" in state:
        return layer(path, state, plan)
    children: dict[str, dict[str, Tensor]] = {}
    held: dict[str, Tensor] = {}
    for name, tensor in state.items():
        head, dot, rest = name.partition(".")
        if not dot:
            held[head] = tensor
        else:
            children.setdefault(head, {})[rest] = tensor
    if children and not held and all(name.isdecimal() for name in children):
        return sequence(path, {int(name): part for name, part in children.items()}, plan)
    module = plan.part(path, {*children, *held})
    for name, tensor in held.items():
        module.register_parameter(name, nn.Parameter(torch.empty(tensor.shape), False))
    for name, part in children.items():
        module.add_module(name, grow(f"{path}.{name}" if path else name, part, plan))
    return module


def sequence(path: str, layers: Mapping[int, Mapping[str, Tensor]], plan: Plan) -> nn.Sequential:
    """Layers at their own numbers, and activations at the numbers without weights."""
    if max(layers) > LAYERS:
        raise InvalidInput(f"{path} has a layer number {max(layers)}; expected at most {LAYERS}.")
    modules = [
        grow(f"{path}.{index}", layers[index], plan) if index in layers else plan.between(path)
        for index in range(max(layers) + 1)
    ]
    return nn.Sequential(*modules, *plan.after(path))


def layer(path: str, state: Mapping[str, Tensor], plan: Plan) -> nn.Module:
    """The layer whose weight has this shape."""
    weight, has_bias = state["weight"], "bias" in state
    if not weight.numel():
        raise InvalidInput(f"{path}.weight has shape {list(weight.shape)}, which holds nothing.")
    match weight.dim():
        case 1 if "running_mean" in state:
            return nn.BatchNorm1d(len(weight))
        case 1:
            return nn.LayerNorm(len(weight), bias=has_bias)
        case 2:
            return nn.Linear(weight.shape[1], weight.shape[0], has_bias)
        case 4:
            out, into, height, width = weight.shape
            stride = plan.stride(path, height)
            return nn.Conv2d(into, out, (height, width), stride, bias=has_bias)
    raise InvalidInput(f"{path}.weight has shape {list(weight.shape)}, which fits no known layer.")


def recurrent(path: str, state: Mapping[str, Tensor]) -> nn.LSTM:
    """The LSTM whose weights have these names and shapes."""
    layers = {int(found[1]) for name in state if (found := re.search(r"_l(\d+)$", name))}
    weight = state.get("weight_ih_l0")
    if weight is None or weight.dim() != 2 or layers != set(range(len(layers))):
        raise InvalidInput(f"{path} has weights of an LSTM, but not of all its layers.")
    has_bias = "bias_ih_l0" in state
    return nn.LSTM(weight.shape[1], weight.shape[0] // 4, len(layers), bias=has_bias)
