"""Looking at an agent before anything else: its sites, spaces and size."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from policyscope.address import Site
from policyscope.agents.agent import Acted, Agent
from policyscope.agents.loading import open_agent
from policyscope.agents.sites import SiteInfo, list_sites
from policyscope.envs.environment import Environment, blank_observation
from policyscope.envs.make import make
from policyscope.envs.metric import metrics_of
from policyscope.errors import InvalidInput, PolicyscopeError
from policyscope.rollouts.observation import as_tensors
from policyscope.studies.anatomy import ModuleInfo, module_tree, suggest_sites, tree_table
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
    assumed: tuple[str, ...] = ()
    """What the agent's file does not say and was taken as usual."""
    modules: tuple[ModuleInfo, ...] = ()
    suggested: tuple[Site, ...] = ()
    """What to record first: around the last hidden layers."""

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
            (str(s.site), "×".join(map(str, s.shape)) or "1", s.dtype, s.role, s.network)
            for s in self.sites
        )
        return Table(f"Sites of {self.name}", columns, rows, self.facts())

    def tree(self) -> Table:
        """One row per module, indented, with shapes, parameters and networks; what to record."""
        note = f"{self.facts()}\n{self.advice()}"
        return tree_table(f"Modules of {self.name}", self.modules, note)

    def facts(self) -> str:
        """The agent and what it acts in, in one line."""
        return (
            f"{self.algorithm} · {self.parameters:,} parameters · {self.environment} · observes "
            f"{' '.join(self.observation_space.split())} · acts {self.action_space} · "
            f"metrics: {', '.join(self.metrics) or 'none built in'}"
        )

    def advice(self) -> str:
        """What to record first, as arguments of `record`."""
        if not self.suggested:
            return "Every module can be read, as PATH:in and PATH:out."
        return f"Record these: --site {' '.join(map(str, self.suggested))}"

    def __str__(self) -> str:
        return str(self.tree())

    def __rich__(self) -> Any:
        return self.tree().__rich__()

    def _repr_html_(self) -> str:
        return self.tree()._repr_html_()

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
            "assumed": list(self.assumed),
            "modules": [module.to_json() for module in self.modules],
            "suggested": [str(site) for site in self.suggested],
        }


def inspect(agent: str | Agent, env: str | None = None, *, trust: bool = False) -> Inspection:
    """What can be read inside `agent` acting in `env` (by default the one it was made for)."""
    opened = open_agent(agent, trust=trust) if isinstance(agent, str) else agent
    where = env or opened.environment
    if where is None:
        raise InvalidInput(
            f"{opened.name} does not say in which environment it acts. "
            "Give one: --env ID, as Gymnasium names it."
        )
    environment = make(where, 1)
    try:
        return inspect_in(opened, environment)
    finally:
        environment.close()


def inspect_in(agent: Agent, environment: Environment) -> Inspection:
    """What can be read inside `agent` when it acts in `environment`.

    Raises InvalidInput where it cannot act there: the observation does not fit, or its actions.
    """
    agent.bind(environment.observation_space, environment.action_space)
    observation = as_tensors(blank_observation(environment), agent.device)
    try:
        sites = list_sites(agent, observation)
        with torch.no_grad():
            acted = agent.act(observation, agent.initial_state(1), None)
    except PolicyscopeError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise InvalidInput(
            f"{agent.name} cannot act in {environment.id}, which observes "
            f"{environment.observation_space}: {error}"
        ) from error
    check_action(agent, environment, acted)
    return Inspection(
        name=agent.name,
        algorithm=agent.algorithm,
        environment=environment.id,
        observation_space=str(environment.observation_space),
        action_space=str(environment.action_space),
        parameters=agent.parameters,
        fingerprint=agent.fingerprint(),
        sites=tuple(sites),
        metrics=tuple(metric.name for metric in metrics_of(environment.id)),
        safe=agent.is_safe,
        assumed=agent.assumed,
        modules=module_tree(agent, sites),
        suggested=suggest_sites(agent, sites),
    )


def check_action(agent: Agent, environment: Environment, acted: Acted) -> None:
    """Raises InvalidInput unless the environment takes actions such as the agent's."""
    space, action = environment.action_space, acted.action[0]
    choices, logits = getattr(space, "n", None), acted.outputs.get("logits")
    fits = np.shape(action) == space.shape
    if fits and choices is not None:
        fits = space.contains(action) and (logits is None or logits.shape[-1] == choices)
    if not fits:
        given = f"an action of shape {list(np.shape(action))}"
        if logits is not None:
            given = f"one of {logits.shape[-1]} actions, counted from 0"
        raise InvalidInput(
            f"{agent.name} cannot act in {environment.id}: it chooses {given}, and the "
            f"environment takes {space}."
        )
