"""Live play: an agent under somebody's eyes and hands, and its unedited twin beside it.

Row 0 is the agent as edited or held by hand, row 1 its twin: the same episode with the same noise
and nobody's interference. `look` acts without consequence, so that a change of the edits shows at
once, even while the world stands still; `advance` lets the world answer. Going back restores a
snapshot where the world can, and plays the episode again from its seed where it cannot.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import InitVar, dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped, UInt8
from torch import Tensor

from policyscope.agents.agent import Acted, Agent
from policyscope.agents.hooks import Hooks
from policyscope.agents.noise import uniform_at
from policyscope.agents.recurrent_state import RecurrentState, row_axes
from policyscope.dictionaries.dictionary import Dictionary
from policyscope.envs.ending import name_ending
from policyscope.envs.environment import Environment, Transition, row_of
from policyscope.envs.metric import Metric, Step, read_metric
from policyscope.envs.snapshots import Snapshot, restore, save
from policyscope.errors import EnvironmentFailed, InvalidInput
from policyscope.interventions.code import by_position
from policyscope.interventions.intervention import Intervention
from policyscope.interventions.program import Program
from policyscope.interventions.target import reads_of
from policyscope.rollouts.observation import as_tensors, observed

AGENT, TWIN = 0, 1
SNAPSHOT_STEPS = 64
MOST_SNAPSHOTS = 256
"""Of a longer episode every second one is dropped: two Atari consoles are 0.2 MB each time."""


@dataclass(frozen=True, eq=False)
class Sight:
    """What is to be seen at one step, before the world answers. Rows: the agent, then its twin."""

    seed: int
    step: int
    action: Shaped[np.ndarray, "row ..."]
    outputs: dict[str, Float[np.ndarray, "row ..."]]
    codes: Float[np.ndarray, "row feature"]
    """Of a map, each feature's strongest position. An autoencoder reads what was edited."""
    metrics: dict[str, Float[np.ndarray, " row"]]
    total: Float[np.ndarray, " row"]
    """The return so far."""
    diverged: int | None
    """The step at which the agent first did otherwise than its twin."""
    endings: tuple[str | None, ...]
    """How each row's episode ended; None while it goes on."""


@dataclass(slots=True)
class Past:
    """One step that is over: what it takes to come back to it."""

    action: Shaped[np.ndarray, "row ..."]
    state: Any
    """What a recurrent agent thought before the step."""
    total: Float[np.ndarray, " row"]
    ended: list[str | None]
    snapshots: list[Snapshot] | None = None


@dataclass
class Now:
    """The noise of one step: the numbers of a recorded rollout at the same address."""

    seed: int
    episode_seed: Int[np.ndarray, " row"]
    step: int
    draw: int = 0

    def uniform(self, count: int) -> Float[Tensor, "row count"]:
        """As `AddressedNoise` gives them at this step of these episodes."""
        steps = np.full(len(self.episode_seed), self.step)
        numbers = uniform_at(self.seed, self.episode_seed, steps, count, self.draw)
        self.draw += 1
        return torch.from_numpy(numbers)


@dataclass(eq=False)
class Live:
    """One agent at play; `with` closes its world."""

    agent: Agent
    # Not kept: whoever gives it mostly keeps this, and would go only when cycles are looked for.
    make_environment: InitVar[Callable[[int], Environment]]
    dictionary: Dictionary
    metrics: Sequence[Metric] = ()
    deterministic: bool = False
    noise_seed: int = 0
    has_twin: bool = True
    seed: int = field(default=0, init=False)
    step: int = field(default=0, init=False)
    held: Any = field(default=None, init=False)
    """The action a person holds the agent to; None while it decides by itself."""

    def __post_init__(self, make_environment: Callable[[int], Environment]) -> None:
        self.rows = 2 if self.has_twin else 1
        self.environment = make_environment(self.rows)
        if self.environment.rows != self.rows:
            raise InvalidInput(
                f"{self.environment.id} made {self.environment.rows} rows where {self.rows} play."
            )
        self.agent.bind(self.environment.observation_space, self.environment.action_space)
        self.can_save = True
        self.axes = () if self.agent.initial_state(1) is None else row_axes(self.agent)
        self.edit(Intervention())
        self.begin(0)

    def __enter__(self) -> "Live":
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the world."""
        self.environment.close()

    def edit(self, intervention: Intervention) -> None:
        """From now on the agent is edited so, its twin never."""
        conditions = (intervention, Intervention())
        program = Program(conditions[: self.rows])
        program.assign(torch.arange(self.rows, device=self.agent.device))
        self.program, self.intervention = program, intervention

    # --- playing -----------------------------------------------------------------------------

    def begin(self, seed: int) -> None:
        """Both rows begin the episode with this seed."""
        self.seed = seed
        self.past: list[Past] = []
        self.ended: list[str | None] = [None] * self.rows
        self.total = np.zeros(self.rows)
        self.step = 0
        self._snapshot_steps = SNAPSHOT_STEPS
        self.held = None
        self.diverged: int | None = None
        self._apart: int | None = None
        self.state = self.agent.initial_state(self.rows)
        self.environment.reset(np.arange(self.rows), [seed] * self.rows)

    def look(self) -> Sight:
        """What the agent and its twin see, think and would do now."""
        reads = reads_of(self.dictionary)
        observation = as_tensors(self.environment.observation, self.agent.device)
        now = Now(self.noise_seed, np.full(self.rows, self.seed), self.step)
        plain = Hooks(self.agent.module, (reads, *self.program.requires), self.program.edits)
        with torch.no_grad(), plain as hooks:
            acted = hooks.run(self._choose, observation, now)
            codes = self._codes(hooks.values[reads])
        self._acted = acted
        action = np.array(acted.action)
        if self.held is not None:
            action[AGENT] = self.held
        self._action = action
        if self.has_twin and self.diverged is None and self._differs(action):
            self.diverged = self.step
        step = Step(self.environment.observation, self.environment, self.environment.info)
        return Sight(
            seed=self.seed,
            step=self.step,
            action=action,
            outputs={name: value.cpu().numpy() for name, value in acted.outputs.items()},
            codes=codes,
            metrics={metric.name: read_metric(metric, step) for metric in self.metrics},
            total=self.total.copy(),
            diverged=self.diverged,
            endings=tuple(self.ended),
        )

    def advance(self) -> None:
        """Lets the world answer what `look` showed; does nothing when the agent's episode is over.

        A twin whose episode is over stays where it is.
        """
        if self.is_over:
            return
        snapshots = self._snapshots()
        if self._apart is None and not np.array_equal(self._action[:1], self._action[-1:]):
            self._apart = self.step
        past = Past(self._action, self.state, self.total.copy(), list(self.ended), snapshots)
        self.past.append(past)
        self._answer(self._action, self._acted.state)

    @property
    def is_over(self) -> bool:
        """Whether the agent's episode has ended."""
        return self.ended[AGENT] is not None

    @property
    def is_together(self) -> bool:
        """Whether both rows have done and observe the very same, and so look the same too."""
        if not self.has_twin or self._apart is not None:
            return False
        parts = observed(self.environment.observation).values()
        return all(np.array_equal(part[AGENT], part[TWIN], equal_nan=True) for part in parts)

    def picture(self, row: int = AGENT) -> UInt8[np.ndarray, "height width 3"]:
        """What one row looks like now."""
        return self.environment.picture(row)

    # --- going back --------------------------------------------------------------------------

    def rewind(self, step: int) -> None:
        """Back to `step` of this episode, everything after it forgotten."""
        if not 0 <= step <= self.step:
            raise InvalidInput(f"Step {step} is not between 0 and {self.step}, where play is now.")
        start = self._return_to(step)
        for past in self.past[start:step]:
            self._again(past)
        kept = self.past[step] if step < len(self.past) else None
        if kept is not None:
            self.state, self.total, self.ended = kept.state, kept.total.copy(), list(kept.ended)
        del self.past[step:]
        self.step = step
        if self.diverged is not None and self.diverged >= step:
            self.diverged = None
        if self._apart is not None and self._apart >= step:
            self._apart = None

    def branch(self) -> None:
        """The twin becomes a copy of the agent as it is now: what follows is compared from here."""
        if not self.has_twin:
            raise InvalidInput("There is no twin to compare with. Start with one.")
        for past in self.past:
            past.action = np.repeat(past.action[:1], self.rows, axis=0)
            past.total = np.repeat(past.total[:1], self.rows)
            past.ended = [past.ended[AGENT]] * self.rows
            past.state = self._both(past.state)
            if past.snapshots is not None:
                past.snapshots = [past.snapshots[AGENT]] * self.rows
        self.total = np.repeat(self.total[:1], self.rows)
        self.ended = [self.ended[AGENT]] * self.rows
        self.state = self._both(self.state)
        self.diverged = self._apart = None
        current = self._save()
        if current is not None:
            restore(self.environment, {TWIN: current[AGENT]})
            return
        for past in self.past[self._return_to(self.step) : self.step]:
            self._again(past)

    # --- inside ------------------------------------------------------------------------------

    def _both(self, state: Any) -> Any:
        """The agent's own state in all rows."""
        if state is None:
            return None
        return RecurrentState(state, self.axes)[np.zeros(self.rows, np.int64)].state

    def _choose(self, observation: Any, now: Now) -> Acted:
        now.draw = 0
        return self.agent.act(observation, self.state, None if self.deterministic else now)

    def _codes(self, activation: Tensor) -> Float[np.ndarray, "row feature"]:
        codes = self.dictionary.encode(by_position(activation))
        return (codes.flatten(1, -2).amax(1) if codes.dim() > 2 else codes).cpu().numpy()

    def _differs(self, action: Shaped[np.ndarray, "row ..."]) -> bool:
        return not np.allclose(action[AGENT], action[TWIN]) or self.ended[AGENT] != self.ended[TWIN]

    def _answer(self, action: Shaped[np.ndarray, "row ..."], state: Any) -> None:
        transition = self._step(action)
        if state is not None:
            reward = torch.from_numpy(np.asarray(transition.reward, np.float32))
            state = self.agent.rewarded(state, reward.to(self.agent.device))
        self.state = state
        for row in range(self.rows):
            if self.ended[row] is None:
                self.total[row] += transition.reward[row]
                self.ended[row] = self._ending(row, transition)
        self._begin_again(transition)
        self.step += 1

    def _ending(self, row: int, transition: Transition) -> str | None:
        terminated = bool(transition.terminated[row])
        if not (terminated or transition.truncated[row]):
            return None
        observation = row_of(self.environment.observation, row)
        reward = float(transition.reward[row])
        return name_ending(self.environment.id, observation, terminated, reward)

    def _begin_again(self, transition: Transition) -> None:
        """A twin whose episode is over goes on unseen: it is stepped with the agent."""
        over = np.flatnonzero(transition.terminated | transition.truncated)
        if self.ended[AGENT] is None and len(over):
            self.environment.reset(over, [self.seed] * len(over))

    def _again(self, past: Past) -> None:
        """One step that is over, played once more."""
        transition = self._step(past.action)
        over = np.flatnonzero(transition.terminated | transition.truncated)
        if len(over):
            self.environment.reset(over, [self.seed] * len(over))

    def _step(self, action: Shaped[np.ndarray, "row ..."]) -> Transition:
        try:
            return self.environment.step(action)
        except Exception as error:
            raise EnvironmentFailed(f"{self.environment.id} failed at a step: {error!r}") from error

    def _snapshots(self) -> list[Snapshot] | None:
        """The worlds of all rows where it is time again; however long it plays, they stay few."""
        if self.step >= MOST_SNAPSHOTS * self._snapshot_steps:
            self._snapshot_steps *= 2
            for step, past in enumerate(self.past):
                if step % self._snapshot_steps:
                    past.snapshots = None
        return None if self.step % self._snapshot_steps else self._save()

    def _save(self) -> list[Snapshot] | None:
        """The worlds of all rows; None where they cannot be copied."""
        if not self.can_save:
            return None
        with suppress(InvalidInput):
            return save(self.environment)
        self.can_save = False
        return None

    def _return_to(self, step: int) -> int:
        """Brings the worlds to the last moment before `step` that can be restored; its number."""
        for start in range(min(step, len(self.past) - 1), -1, -1):
            snapshots = self.past[start].snapshots
            if snapshots is not None:
                restore(self.environment, dict(enumerate(snapshots)))
                return start
        self.environment.reset(np.arange(self.rows), [self.seed] * self.rows)
        return 0
