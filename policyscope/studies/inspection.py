"""Looking at an agent before anything else: its sites, spaces and size."""

from dataclasses import dataclass
from typing import Any

import torch

from policyscope.agents.agent import Agent
from policyscope.agents.loading import open_agent
from policyscope.agents.sites import SiteInfo, list_sites
from policyscope.envs.environment import Environment
from policyscope.envs.make import make
from policyscope.envs.metric import metrics_of
from policyscope.errors import InvalidInput
from policyscope.table import Column, Table


@dataclass(frozen=True)
class Inspection:
    """What can be read inside an agent, and what it acts in."""

    name: str
    algorithm: str
    environment: str
    observation_space: str
    action_space: str
    parameters: int
    fingerprint: str
    sites: tuple[SiteInfo, ...]
    metrics: tuple[str, ...]
    safe: bool

    def table(self) -> Table:
        """One row per site."""
        columns = (
            Column("site", side="left"),
            Column("shape", side="left"),
            Column("type", side="left"),
            Column("role", side="left"),
            Column("network", side="left"),
        )
        rows = tuple(
            (str(s.site), "×".join(map(str, s.shape)) or "1", s.dtype, s.role, s.network) for s in self.sites
        )
        note = (
            f"{self.algorithm} · {self.parameters:,} parameters · {self.environment} · observes "
            f"{self.observation_space} · acts {self.action_space} · "
            f"metrics: {', '.join(self.metrics) or 'none built in'}"
        )
        return Table(f"Sites of {self.name}", columns, rows, note)

    def __str__(self) -> str:
        return str(self.table())

    def __rich__(self) -> Any:
        return self.table().__rich__()

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def to_json(self) -> dict[str, Any]:
        """The document of `inspect --json`."""
        return {
            "name": self.name,
            "algorithm": self.algorithm,
            "environment": self.environment,
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "parameters": self.parameters,
            "fingerprint": self.fingerprint,
            "sites": [site.to_json() for site in self.sites],
            "metrics": list(self.metrics),
            "safe": self.safe,
        }


def inspect(agent: str | Agent, env: str | None = None) -> Inspection:
    """What can be read inside `agent` acting in `env` (by default the one it was made for)."""
    opened = open_agent(agent) if isinstance(agent, str) else agent
    where = env or opened.environment
    if where is None:
        raise InvalidInput(
            f"{opened.name} does not say in which environment it acts. Give one: --env CartPole-v1."
        )
    environment = make(where, 1)
    try:
        return inspect_in(opened, environment)
    finally:
        environment.close()


def inspect_in(agent: Agent, environment: Environment) -> Inspection:
    """What can be read inside `agent` when it acts in `environment`."""
    observation = torch.as_tensor(environment.observation_space.sample()[None])
    return Inspection(
        name=agent.name,
        algorithm=agent.algorithm,
        environment=environment.id,
        observation_space=str(environment.observation_space),
        action_space=str(environment.action_space),
        parameters=agent.parameters,
        fingerprint=agent.fingerprint(),
        sites=tuple(list_sites(agent, observation.to(agent.device))),
        metrics=tuple(metric.name for metric in metrics_of(environment.id)),
        safe=agent.is_safe,
    )
