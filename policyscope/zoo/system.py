"""What the zoo holds: an environment, a way to train an agent for it, and where to look inside."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from policyscope.agents.agent import Agent
from policyscope.agents.agent_file import save_agent
from policyscope.agents.loading import open_file
from policyscope.document import check_place
from policyscope.errors import InvalidInput, UnknownName
from policyscope.table import Column, Table
from policyscope.zoo import cartpole


@dataclass(frozen=True)
class System:
    """One agent of the zoo, as it is trained by `train(seed, quick)`."""

    name: str
    environment: str
    about: str
    algorithm: str
    architecture: str
    arguments: dict[str, Any]
    layers: dict[str, tuple[str, str]]
    """For each layer worth a transcoder: the site it reads and the site it writes."""
    train: Callable[[int, bool], tuple[nn.Module, dict[str, Any]]]


def train_cartpole(seed: int, quick: bool) -> tuple[nn.Module, dict[str, Any]]:
    """The source's policy and what its training says of itself."""
    trained = cartpole.train(seed, target=cartpole.QUICK_TARGET if quick else cartpole.TARGET)
    return trained.policy, {
        "episodes": trained.final.episodes,
        "steps": trained.final.steps,
        "validation_return": trained.final.validation_return,
        "validation_episodes": cartpole.VALIDATION_EPISODES,
        "target": trained.target,
        "on_target": trained.is_on_target,
        "checkpoints": len(trained.checkpoints),
        "seed": seed,
    }


ZOO: dict[str, System] = {
    "cartpole": System(
        name="cartpole",
        environment=cartpole.ENVIRONMENT,
        about="MLP 4-128-64-2 trained by REINFORCE until 100 validation episodes average 200",
        algorithm="REINFORCE",
        architecture="mlp",
        arguments={"sizes": [4, 128, 64, 2], "activation": "relu"},
        layers={"layer1": ("fc1:in", "fc2:in"), "layer2": ("fc2:in", "fc3:in")},
        train=train_cartpole,
    )
}


def find(name: str) -> System:
    """The system called `name`; UnknownName with a suggestion."""
    if name not in ZOO:
        raise UnknownName.among("agent in the zoo", name, ZOO)
    return ZOO[name]


def train_agent(name: str, out: Path, *, seed: int = 0, quick: bool = False) -> dict[str, Any]:
    """Trains the agent called `name`, writes it to `out`, and returns what its training says."""
    system = find(name)
    if out.suffix != ".safetensors":
        raise InvalidInput(f"Agents are kept as .safetensors files; {str(out)!r} is none.")
    check_place(out)
    module, facts = system.train(seed, quick)
    save_agent(
        out,
        module,
        architecture=system.architecture,
        arguments=system.arguments,
        name=f"zoo:{name}",
        algorithm=system.algorithm,
        environment=system.environment,
    )
    return {"name": name, "environment": system.environment, "file": str(out), **facts}


def open_agent(name: str, *, trust: bool = False) -> Agent:
    """The agent `zoo:NAME`, trained with seed 0 the first time it is asked for and then kept."""
    find(name)
    kept = cache_folder() / f"{name}-seed0.safetensors"
    if not kept.exists():
        train_agent(name, kept)
    return open_file(kept)


def cache_folder() -> Path:
    """Where trained agents are kept: $POLICYSCOPE_CACHE, or the user's cache folder."""
    chosen = os.environ.get("POLICYSCOPE_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "policyscope" / "zoo"


def zoo_table() -> Table:
    """One row per agent."""
    columns = (
        Column("name", side="left"),
        Column("environment", side="left"),
        Column("algorithm", side="left"),
        Column("about", side="left"),
    )
    rows = tuple((s.name, s.environment, s.algorithm, s.about) for s in ZOO.values())
    return Table(
        "Zoo", columns, rows, "Train one: policyscope zoo train NAME --out FILE.safetensors"
    )
