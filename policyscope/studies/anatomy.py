"""The modules of an agent as a tree, and which of its sites are worth recording first.

Recorded first is what every agent has, whatever it is made of: what the last hidden layer of each
network reads and what it gives, and the last map of a convolution. Not what is observed, which is
recorded anyway, and not the outputs.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

from torch import nn

from policyscope.address import Site
from policyscope.agents.agent import Agent
from policyscope.agents.sites import SiteInfo
from policyscope.table import Column, Table

NETWORKS = ("policy", "value", "shared")
"""Those that act or judge; what is only trained with, or never used, is not suggested."""


@dataclass(frozen=True)
class ModuleInfo:
    """One module: where it lies in the tree, and what goes in and comes out."""

    path: str
    depth: int
    type: str
    parameters: int
    """Of the module and everything inside it."""
    entering: tuple[SiteInfo, ...]
    leaving: tuple[SiteInfo, ...]
    """Both empty where acting does not run the module."""
    network: str
    """`policy`, `value`, `shared` …; several joined by + where its parts are of several."""

    def to_json(self) -> dict[str, Any]:
        """The entry of `inspect --json`."""
        return {
            "path": self.path,
            "type": self.type,
            "parameters": self.parameters,
            "in": [list(site.shape) for site in self.entering],
            "out": [list(site.shape) for site in self.leaving],
            "network": self.network,
        }


def module_tree(agent: Agent, sites: Sequence[SiteInfo]) -> tuple[ModuleInfo, ...]:
    """Every module of the agent, parents before their parts; `sites` are all it reaches."""
    modules = {path: module for path, module in agent.module.named_modules() if path}
    return tuple(
        ModuleInfo(
            path=path,
            depth=path.count("."),
            type=type(module).__name__,
            parameters=sum(parameter.numel() for parameter in module.parameters()),
            entering=tuple(s for s in sites if s.site.path == path and s.site.side == "in"),
            leaving=tuple(s for s in sites if s.site.path == path and s.site.side == "out"),
            network=network_of(agent, path, modules),
        )
        for path, module in modules.items()
    )


def network_of(agent: Agent, path: str, modules: Iterable[str]) -> str:
    """The network of a module, which is that of its parts where it has any."""
    below = [other for other in modules if other.startswith(f"{path}.")]
    parts = [one for one in below if not any(other.startswith(f"{one}.") for other in below)]
    return "+".join(dict.fromkeys(agent.network_of(part) for part in parts or [path]))


def tree_table(title: str, modules: Sequence[ModuleInfo], note: str = "") -> Table:
    """One row per module, its parts indented below it; of what never runs only the top."""
    run = {module.path for module in modules if module.entering}
    shown = [
        module
        for module in modules
        if holds(run, module.path) or holds(run, module.path.rpartition(".")[0] or ".")
    ]
    columns = (
        Column("module", side="left"),
        Column("type", side="left"),
        Column("in", side="left"),
        Column("out", side="left"),
        Column("parameters", ","),
        Column("network", side="left"),
    )
    rows = tuple(
        (
            "  " * module.depth + module.path,
            module.type,
            " ".join(map(say, module.entering)) or ("" if holds(run, module.path) else "not run"),
            " ".join(map(say, module.leaving)),
            module.parameters or None,
            module.network,
        )
        for module in shown
    )
    return Table(title, columns, rows, note)


def holds(run: Collection[str], path: str) -> bool:
    """Whether a module, or a part of it, is among those that `run`; `.` is the agent."""
    return path == "." or any(one == path or one.startswith(f"{path}.") for one in run)


def say(info: SiteInfo) -> str:
    """`64`, `.0:800` for the first of several tensors, `2 (logits)` for an output."""
    shape = "×".join(map(str, info.shape)) or "1"
    call = "" if info.site.call is None else f"[{info.site.call}]"
    index = "" if info.site.index is None else f".{info.site.index}"
    return f"{call}{index}{':' * bool(call or index)}{shape}" + (
        "" if info.role == "hidden" else f" ({info.role})"
    )


# --- what to record ------------------------------------------------------------------------------


def suggest_sites(agent: Agent, sites: Sequence[SiteInfo]) -> tuple[Site, ...]:
    """The sites to record first, in the order they are reached; none where no layer is hidden."""
    modules = dict(agent.module.named_modules())
    layers = [info for info in sites if is_layer(modules[info.site.path], info)]
    if not layers:
        return ()
    seen = {root(info) for info in sites if info.role == "observation"} | {root(layers[0])}
    hidden = ("hidden", "observation")
    outputs = {s.site.path for s in sites if s.site.side == "out" and s.role not in hidden}
    candidates = last_maps(modules, sites)
    for network in NETWORKS:
        candidates += last_hidden(modules, layers, network, outputs)
    kept: dict[Site, SiteInfo] = {}
    for info in candidates:
        is_vector_or_map = len(info.shape) in (1, 3) and info.dtype.startswith(("float", "bfloat"))
        if info.role == "hidden" and is_vector_or_map and root(info) not in seen:
            kept.setdefault(root(info), info)
    chosen = {info.site for info in kept.values()}
    return tuple(info.site for info in sites if info.site in chosen)


def is_layer(module: nn.Module, info: SiteInfo) -> bool:
    """Whether this is what first enters a module that has weights of its own."""
    site = info.site
    has_weights = any(one.dim() > 1 for one in module.parameters(recurse=False))
    return has_weights and site.side == "in" and not site.index and not site.call


def root(info: SiteInfo) -> Site:
    """The first site at which the same tensor was."""
    return info.same_as or info.site


def last_hidden(
    modules: dict[str, nn.Module], layers: Sequence[SiteInfo], network: str, outputs: set[str]
) -> list[SiteInfo]:
    """What the last hidden layers of a network read, and what the layers after them read."""
    own = [info for info in layers if info.network == network]
    found: list[SiteInfo] = []
    for line in lines_of(own, outputs):
        # Heads side by side, such as mean and width, read the same.
        heads = [info for info in line if root(info) == root(line[-1])]
        hidden, after = [info for info in line if info not in heads], heads[:1]
        if network == "shared":
            hidden, after = line, following(layers, line[-1])
        # A map that is flattened is suggested as a map.
        if hidden and not follows_convolution(modules, layers, hidden[-1]):
            found.append(hidden[-1])
        found += after
    return found


def lines_of(layers: Sequence[SiteInfo], outputs: set[str]) -> list[list[SiteInfo]]:
    """The layers in lines that end where an output is given: a module may hold two networks."""
    lines: list[list[SiteInfo]] = [[]]
    for info in layers:
        lines[-1].append(info)
        if info.site.path in outputs:
            lines.append([])
    return [line for line in lines if line]


def following(layers: Sequence[SiteInfo], one: SiteInfo) -> list[SiteInfo]:
    """The layer that is reached right after this one, if any is."""
    return [after for before, after in pairwise(layers) if before is one]


def follows_convolution(
    modules: dict[str, nn.Module], layers: Sequence[SiteInfo], info: SiteInfo
) -> bool:
    """Whether a layer that is no convolution comes right after one."""
    before = next((a for a, b in pairwise(layers) if b is info), None)
    return (
        before is not None
        and isinstance(modules[before.site.path], nn.Conv2d)
        and not isinstance(modules[info.site.path], nn.Conv2d)
    )


def last_maps(modules: dict[str, nn.Module], sites: Sequence[SiteInfo]) -> list[SiteInfo]:
    """The last map that convolutions make, after their activation where that is a module."""
    convolutions = [
        number
        for number, info in enumerate(sites)
        if isinstance(modules[info.site.path], nn.Conv2d) and info.network in NETWORKS
    ]
    if not convolutions:
        return []
    last = convolutions[-1]
    channels = sites[last].shape[0]
    maps = [
        info
        for info in sites[last:]
        if len(info.shape) == 3 and info.shape[0] == channels and prod(info.shape[1:]) > 1
    ]
    return maps[-1:]
