"""The loop: an agent acts in all rows of an environment, read and edited on the way.

    jobs ──▶ rows ──▶ observation ──▶ agent (reads, edits) ──▶ action ──▶ environment ──▶ rows …
                          │                  │                                │
                          └── metrics ───────┴──────────▶ block ◀─────────────┘

Everything at step t of a block belongs together: the observation, the metrics read from it, the
activations it caused, the action taken, and the reward and flags that action earned. The policy
runs once per step for all rows. A row that ends takes the next job; its reset is never a sample.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from policyscope.address import Site
from policyscope.agents.agent import Acted, Agent
from policyscope.agents.hooks import Hooks
from policyscope.agents.noise import AddressedNoise
from policyscope.envs.environment import Environment, Transition
from policyscope.envs.metric import Metric, Step, read_metric
from policyscope.errors import EnvironmentFailed, InvalidInput
from policyscope.interventions.intervention import Intervention
from policyscope.interventions.program import Program
from policyscope.recordings.block import Block
from policyscope.recordings.episode import Episode
from policyscope.rollouts.buffers import Buffers
from policyscope.rollouts.observation import as_tensors, observed
from policyscope.rollouts.rows import IDLE, Job, Rows, Start

BASICS = ("observation", "action", "reward", "terminated", "truncated", "outputs")
BLOCK_STEPS = 64
SPARSE = 0.7
"""The share of working rows from which dropping the others pays, measured on CartPole."""


@dataclass(frozen=True)
class Plan:
    """What a rollout reads, edits and keeps.

    `keep` names the basic columns wanted in the blocks; `reads` and `metrics` are always kept.
    `dtype` is how activations at `reads` are kept.
    """

    conditions: Sequence[Intervention] = (Intervention(),)
    reads: Sequence[Site] = ()
    metrics: Sequence[Metric] = ()
    deterministic: bool = False
    seed: int = 0
    keep: tuple[str, ...] = BASICS
    dtype: type[np.floating[Any]] = np.float32
    block_steps: int = BLOCK_STEPS
    max_steps: int | None = None
    compact: bool = False
    """Whether rows left without work may be dropped, where the environment can."""

    def __post_init__(self) -> None:
        if self.block_steps < 1:
            raise InvalidInput(f"block_steps is {self.block_steps}; expected at least 1.")


def rollout(
    agent: Agent,
    environment: Environment,
    jobs: Iterable[Job],
    plan: Plan | None = None,
    starts: Sequence[Start | None] | None = None,
) -> Generator[Block, None, None]:
    """Plays `jobs` in the rows of `environment`, and yields what happened block by block.

    `starts` resumes: each row's unfinished episode is played again up to where it was cut, unseen,
    and then goes on. Stops when all jobs have ended, or after `max_steps` samples. When the
    environment raises, what was filled is yielded first, then EnvironmentFailed is raised.
    """
    plan = plan or Plan()
    queue = iter(jobs)
    if starts is None:
        starts = [Start(job) for job in islice(queue, environment.rows)]
    starts = [*starts, *[None] * (environment.rows - len(starts))]
    program = Program(plan.conditions)
    reads = tuple(dict.fromkeys((*plan.reads, *program.requires)))
    with Hooks(agent.module, reads, program.edits) as hooks:
        loop = Loop(agent, environment, plan, program, hooks, Rows(list(starts), queue))
        loop.begin([0 if start is None else start.done for start in starts])
        yield from loop.play()


@dataclass
class Loop:
    """The state of one running rollout."""

    agent: Agent
    environment: Environment
    plan: Plan
    program: Program
    hooks: Hooks
    rows: Rows
    left: float = float("inf")

    def begin(self, done: Sequence[int]) -> None:
        """Starts every row, and replays the steps that are already recorded.

        Rows begin one after the other so that all reach the end of their replay together.
        """
        plan, count = self.plan, self.environment.rows
        self.left = float("inf") if plan.max_steps is None else max(plan.max_steps, 0)
        self.noise = AddressedNoise(plan.seed, count, plan.block_steps)
        self.agent.bind(self.environment.observation_space, self.environment.action_space)
        self.device = self.agent.device
        self._no_grad = torch.no_grad()
        self.read_names = [(site, str(site)) for site in plan.reads]
        self._unsampled: Int[np.ndarray, " row"] = np.empty(0, np.int64)
        self.state = self.agent.initial_state(count)
        # A recurrent state has no axis that we know to be the rows.
        self.can_compact = plan.compact and self.state is None
        self._assign()
        already = np.asarray(done)
        longest = int(already.max(initial=0))
        # All rows, the idle ones too: they are stepped with the others.
        self._reset(np.arange(count))
        self._settle()
        for left in range(longest, 0, -1):
            self._replay(already, left)
        if longest:
            self._reset(np.flatnonzero(already == 0))
            self.rows.step[:] = already

    def _replay(self, already: Int[np.ndarray, " row"], left: int) -> None:
        """One recorded step again, `left` steps before the first new one."""
        self._reset(np.flatnonzero(already == left))
        is_replaying = already >= left
        self.rows.step[:] = np.where(is_replaying, already - left, 0)
        transition = self._world(self._act().action)
        self.rows.total_reward += np.where(is_replaying, transition.reward, 0.0)
        ended = transition.terminated | transition.truncated
        # The last recorded step of a cut episode did not end it, so no step before it can either.
        if (ended & is_replaying).any():
            row = int(np.flatnonzero(ended & is_replaying)[0])
            raise EnvironmentFailed(
                f"{self.environment.id} does not repeat itself: with seed {self.rows.seed[row]} "
                f"episode {self.rows.episode[row]} now ends at step {self.rows.step[row]}, and was "
                f"recorded to step {already[row] - 1}. Record anew under another name.",
                row,
            )
        self._reset(np.flatnonzero(ended))
        self.noise.advance()

    def play(self) -> Iterator[Block]:
        """Plays until no row has work left."""
        pair = self._allocate()
        while self.rows.working and self.left > 0:
            buffers, ended = pair[0], []
            buffers.filled = 0
            try:
                while buffers.filled < self.plan.block_steps and self.left > 0:
                    self._step(buffers, ended)
                    if self._is_sparse():
                        break
            except EnvironmentFailed:
                if buffers.filled:
                    yield buffers.block(ended)
                raise
            yield buffers.block(ended)
            pair = self._compacted() or pair[::-1]

    def _step(self, buffers: Buffers, ended: list[Episode]) -> None:
        plan, rows = self.plan, self.rows
        observation = self.environment.observation
        buffers.episode[buffers.filled] = rows.episode
        buffers.step[buffers.filled] = rows.step
        if plan.metrics:
            step = Step(observation, self.environment, self.environment.info)
            for metric in plan.metrics:
                buffers.put(metric.name, read_metric(metric, step))
        if "observation" in plan.keep:
            for name, values in observed(observation).items():
                buffers.put(name, values)
        acted = self._act()
        self._keep_thoughts(buffers, acted)
        transition = self._world(acted.action)
        for name in ("reward", "terminated", "truncated"):
            if name in plan.keep:
                buffers.put(name, getattr(transition, name))
        self._spend(buffers)
        buffers.filled += 1
        self.noise.advance()
        over = rows.advance(transition)
        if len(over):
            self._end(over, transition, ended)

    def _keep_thoughts(self, buffers: Buffers, acted: Acted) -> None:
        plan = self.plan
        if "action" in plan.keep:
            buffers.put("action", acted.action)
        if "outputs" in plan.keep:
            for name, values in acted.outputs.items():
                buffers.put_tensor(name, values)
        for site, name in self.read_names:
            buffers.put_tensor(name, self.hooks.values[site])

    def _spend(self, buffers: Buffers) -> None:
        """Counts this step's samples; those beyond the last one asked for are not samples."""
        if self.left == float("inf"):
            return
        working = self.rows.working
        if working > self.left:
            self._unsampled = np.flatnonzero(self.rows.active)[int(self.left) :]
            buffers.episode[buffers.filled, self._unsampled] = IDLE
        self.left = max(self.left - working, 0)

    def _end(self, over: np.ndarray, transition: Transition, ended: list[Episode]) -> None:
        for row in over[self.rows.active[over]]:
            episode = self.rows.end(int(row), self.environment, transition)
            if episode is not None and row not in self._unsampled:
                ended.append(episode)
        if len(self.plan.conditions) > 1 and self.rows.active[over].any():
            self._assign()
        # Rows without work are begun again too: they are stepped with the others.
        self._reset(over)

    def _reset(self, rows: Int[np.ndarray, " begun"]) -> None:
        if not len(rows):
            return
        seeds = self.rows.seed[rows]
        try:
            self.environment.reset(rows, seeds.tolist())
        except Exception as error:
            raise self._blamed("reset", error, rows) from error
        begun = rows[self.rows.active[rows]]
        if len(begun):
            self.noise.begin(begun, self.rows.seed[begun], self.rows.upcoming)
        self.state = self.agent.reset_state(self.state, rows)

    def _act(self) -> Acted:
        observation = as_tensors(self.environment.observation, self.device)
        noise = None if self.plan.deterministic else self.noise
        # Not around the whole generator: between two blocks the caller may want gradients.
        with self._no_grad:
            acted = self.hooks.run(self._choose, observation, noise)
        self.state = acted.state
        return acted

    def _choose(self, observation: Any, noise: AddressedNoise | None) -> Acted:
        # Acting again at the same step, to learn shapes or to copy a read, meets the same numbers.
        if noise is not None:
            noise.rewind()
        return self.agent.act(observation, self.state, noise)

    def _world(self, action: np.ndarray) -> Transition:
        try:
            transition = self.environment.step(action)
        except Exception as error:
            raise self._blamed("step", error, np.flatnonzero(self.rows.active)) from error
        if self.state is not None:
            reward = torch.from_numpy(np.asarray(transition.reward, np.float32)).to(self.device)
            self.state = self.agent.rewarded(self.state, reward)
        return transition

    def _blamed(
        self, call: str, error: Exception, touched: Int[np.ndarray, " row"]
    ) -> EnvironmentFailed:
        """The error, with the episodes that were being played when it was raised."""
        rows = (touched[self.rows.active[touched]] if len(touched) else touched).tolist()
        if isinstance(error, EnvironmentFailed) and error.row is not None:
            rows = [error.row]
        where = "; ".join(
            f"episode {self.rows.episode[row]} (seed {self.rows.seed[row]}) "
            f"at step {self.rows.step[row]}"
            for row in rows[:3]
        )
        more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
        said = str(error) if isinstance(error, EnvironmentFailed) else f"{call} raised {error!r}"
        return EnvironmentFailed(
            f"{self.environment.id} failed while playing {where}{more}: {said}. "
            "Everything committed before is kept; mend the environment and go on with --resume."
        )

    def _assign(self) -> None:
        self.program.assign(torch.from_numpy(self.rows.condition).to(self.device))

    def _allocate(self) -> list[Buffers]:
        """Two sets of buffers, their shapes learnt by acting once without consequence."""
        acted = self._settle()
        rows, observation = self.environment.rows, self.environment.observation
        shapes: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
        if "observation" in self.plan.keep:
            for name, values in observed(observation).items():
                shapes[name] = (values.shape, values.dtype)
        basics: dict[str, tuple[tuple[int, ...], Any]] = {
            "action": (acted.action.shape, acted.action.dtype),
            "reward": ((rows,), np.float32),
            "terminated": ((rows,), np.bool_),
            "truncated": ((rows,), np.bool_),
        }
        for name, (shape, dtype) in basics.items():
            if name in self.plan.keep:
                shapes[name] = (shape, np.dtype(dtype))
        if "outputs" in self.plan.keep:
            for name, values in acted.outputs.items():
                shapes[name] = (tuple(values.shape), np.dtype(np.float32))
        for metric in self.plan.metrics:
            shapes[metric.name] = ((rows,), np.dtype(np.float32))
        for site in self.plan.reads:
            values = self.hooks.values[site]
            shapes[str(site)] = (tuple(values.shape), np.dtype(self.plan.dtype))
        return [Buffers(self.plan.block_steps, rows, shapes) for _ in range(2)]

    def _settle(self) -> Acted:
        """Acts once without consequence."""
        state = self.state
        acted = self._act()
        self.state = state
        return acted

    def _is_sparse(self) -> bool:
        """Whether so few rows have work left that the others are worth dropping now."""
        few = SPARSE * self.environment.rows if self.can_compact else 0
        return self.rows.working <= few

    def _compacted(self) -> list[Buffers] | None:
        """Buffers for the rows that have work left, once they are few."""
        keep = np.flatnonzero(self.rows.active)
        if not len(keep) or not self.can_compact or not self._is_sparse():
            return None
        self.can_compact = self.environment.keep(keep)
        if not self.can_compact:
            return None
        self.rows.keep(keep)
        self.noise.keep(keep)
        self._assign()
        return self._allocate()
