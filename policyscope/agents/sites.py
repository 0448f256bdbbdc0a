"""Listing what can be read inside an agent, with shapes, from one probing forward."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from policyscope.address import Side, Site
from policyscope.agents.agent import Agent
from policyscope.agents.hooks import leaves, rows_first


@dataclass(frozen=True)
class SiteInfo:
    """One place where an activation can be read or edited."""

    site: Site
    shape: tuple[int, ...]
    """Without the row axis."""
    dtype: str
    role: str
    """`observation`, the name of an output such as `logits`, or `hidden`."""
    network: str = "policy"
    """`policy`, `value`, `shared` …: which of the agent's networks it lies in."""
    same_as: Site | None = None
    """The first site where this very tensor was, perhaps in another shape; None if this is it."""

    def to_json(self) -> dict[str, Any]:
        """The entry of `inspect --json`."""
        return {
            "address": str(self.site),
            "shape": list(self.shape),
            "dtype": self.dtype,
            "role": self.role,
            "network": self.network,
        }


def list_sites(agent: Agent, observation: Any) -> list[SiteInfo]:
    """Every site of the agent in the order it is reached, seen by acting once on `observation`.

    `observation` is what the agent takes, [row, …]. Only the module's own children are listed, not
    the whole module.
    """
    reached: list[tuple[str, Side, int, list[Tensor]]] = []
    calls: dict[str, int] = {}
    handles = []

    def rows(module: nn.Module, value: Any) -> list[Tensor]:
        return [rows_first(module, leaf, index) for index, leaf in enumerate(leaves(value))]

    def listen(path: str, module: nn.Module) -> None:
        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            calls[path] = calls.get(path, 0) + 1
            reached.append((path, "in", calls[path] - 1, rows(module, (args, kwargs))))

        def after(module: nn.Module, args: Any, output: Any) -> None:
            reached.append((path, "out", calls[path] - 1, rows(module, output)))

        handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(module.register_forward_hook(after))

    for path, module in agent.module.named_modules():
        if path:
            listen(path, module)
    try:
        with torch.no_grad():
            acted = agent.act(observation, agent.initial_state(len(leaves(observation)[0])), None)
    finally:
        for handle in handles:
            handle.remove()

    def role(tensor: Tensor) -> str:
        if any(tensor.data_ptr() == part.data_ptr() for part in leaves(observation)):
            return "observation"
        for name, output in acted.outputs.items():
            if tensor.data_ptr() == output.data_ptr():
                return name
        return "hidden"

    first: dict[tuple[int, int], Site] = {}

    def describe(site: Site, tensor: Tensor) -> SiteInfo:
        earlier = first.setdefault((tensor.data_ptr(), tensor.numel()), site)
        return SiteInfo(
            site=site,
            shape=tuple(tensor.shape[1:]),
            dtype=str(tensor.dtype).removeprefix("torch."),
            role=role(tensor),
            network=agent.network_of(site.path),
            same_as=None if earlier == site else earlier,
        )

    return [
        describe(
            Site(
                path,
                side,
                index if len(tensors) > 1 else None,
                call if calls[path] > 1 else None,
            ),
            tensor,
        )
        for path, side, call, tensors in reached
        for index, tensor in enumerate(tensors)
    ]
