"""One session of live play as the page sees it: what it asks for, and what it is told.

Every session has a deep copy of the agent and a dictionary of its own. Edits are hooks on the
agent's module, and two sessions whose hooks sat on one module would edit each other's forward.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from policyscope.dictionaries.dictionary import Dictionary
from policyscope.envs.action_names import describe_actions
from policyscope.envs.environment import Environment
from policyscope.envs.families import arguments_to_read
from policyscope.envs.make import make_drawable
from policyscope.errors import InvalidInput, MissingExtra, PolicyscopeError
from policyscope.interventions.ablate import ablate
from policyscope.interventions.clamp import clamp
from policyscope.interventions.intervention import Intervention
from policyscope.interventions.scale import scale
from policyscope.interventions.steer import steer
from policyscope.rollouts.live import AGENT, TWIN, Live
from policyscope.studies.labels import Labels
from policyscope.studies.study import Study
from policyscope.studio.known import Knowledge
from policyscope.studio.wire import encode, png
from policyscope.studio.words import Firing, explain, keys_of

MOST_SHOWN = 32
MOST_EDITS = 64
MOST_PINNED = 64
FASTEST = 240.0
"""Steps per second."""


@dataclass(frozen=True)
class Start:
    """Begin an episode."""

    dictionary: str
    seed: int = 0
    deterministic: bool = False
    fps: float = 30.0
    twin: bool = True

    def __post_init__(self) -> None:
        check_rate(self.fps)
        if not 0 <= self.seed < 2**32:
            raise InvalidInput(f"seed is {self.seed}; expected 0 to {2**32 - 1}.")


@dataclass(frozen=True)
class Change:
    """One edit of one feature; `value` counts in maxima of the feature, or multiplies (scale)."""

    feature: int
    kind: Literal["steer", "clamp", "scale", "ablate"]
    value: float = 0.0


def check_rate(fps: float) -> None:
    """Raises InvalidInput for a speed that cannot be played at."""
    if not 0 < fps <= FASTEST:
        raise InvalidInput(f"fps is {fps}; expected more than 0 and at most {FASTEST:g}.")


def labels_of(
    study: Study, dictionary: Dictionary, rules: Mapping[int, Mapping[str, Any] | None]
) -> dict[int, str]:
    """What features are called, see `Labels.called`; never by a refuted word."""
    labels = Labels(study.directory)
    found = {
        index: labels.called(dictionary.name, index, rules.get(index))
        for index in range(len(dictionary))
    }
    return {
        index: label["text"]
        for index, label in found.items()
        if label.get("text") and label.get("status") != "refuted"
    }


@dataclass(eq=False)
class Play:
    """An agent at play with its edits, its explanation, and everything that was done to it."""

    study: Study
    start: Start
    pinned: tuple[int, ...] = ()
    knowledge: Knowledge | None = None
    """Shared by all sessions of the study."""
    episode: int = field(default=-1, init=False)

    def __post_init__(self) -> None:
        self.dictionary = self.study.dictionary(self.start.dictionary)
        known = (self.knowledge or Knowledge(self.study)).of(self.dictionary)
        self.maxima = known.maxima
        self.labels = labels_of(self.study, self.dictionary, known.rules)
        metrics = self.study.metrics()
        self.can_draw = True
        self.live = Live(
            deepcopy(self.study.agent),
            self.maker([metric.name for metric in metrics]),
            self.dictionary,
            metrics,
            deterministic=self.start.deterministic,
            has_twin=self.start.twin,
        )
        space = self.live.environment.action_space
        self.actions = describe_actions(self.study.environment_id, space)
        self.is_discrete = self.actions["kind"] == "discrete"
        self.changes: tuple[Change, ...] = ()
        self.begin(self.start.seed)

    def maker(self, metrics: Sequence[str]) -> Callable[[int], Environment]:
        """What makes the rows: such that they can be seen, where that can be had."""
        identity = self.study.environment_id
        arguments = self.study.manifest.environment["arguments"]
        arguments = arguments_to_read(identity, arguments, metrics)

        def made(rows: int) -> Environment:
            try:
                return make_drawable(identity, rows, **arguments)
            except MissingExtra:
                self.can_draw = False
                return self.study.maker(self.study.metrics())(rows)

        return made

    def close(self) -> None:
        """Frees the world."""
        self.live.close()

    # --- what is asked for -------------------------------------------------------------------

    def begin(self, seed: int) -> None:
        """The episode with this seed; edits stay."""
        self.live.begin(seed)
        self.episode += 1
        self.log: list[tuple[int, tuple[Change, ...]]] = []
        self.branches: list[int] = []
        self.held: list[bool] = []
        self.edited_at: int | None = None
        if self.changes:
            self._note()
        self.look()

    def look(self) -> None:
        """Sees and thinks again, at the same step."""
        before = None if self.live.step == 0 else self.live.past[-1].total
        self.sight = self.live.look()
        self.reward = 0.0 if before is None else float(self.sight.total[AGENT] - before[AGENT])
        if self.maxima.source == "play":
            seen = self.sight.codes[TWIN if self.start.twin else AGENT]
            np.maximum(self.maxima.values, seen, out=self.maxima.values)

    def advance(self) -> None:
        """One step on."""
        if not self.live.is_over:
            self.held.append(self.live.held is not None)
        self.live.advance()
        self.look()

    def edit(self, changes: Sequence[Change]) -> None:
        """From now on these edits, in place of all others."""
        if len(changes) > MOST_EDITS:
            raise InvalidInput(f"At most {MOST_EDITS} edits are made at once, not {len(changes)}.")
        edits = [self.intervention(one) for one in changes]
        self.live.edit(sum(edits, Intervention()))
        self.changes = tuple(changes)
        self._note()
        self.look()

    def intervention(self, change: Change) -> Intervention:
        """One edit, its value in the code's own unit."""
        feature = self.dictionary[self.check_feature(change.feature)]
        unit = self.maxima.unit(change.feature)
        match change.kind:
            case "steer":
                return steer(feature, change.value * unit)
            case "clamp":
                return clamp(feature, change.value * unit)
            case "scale":
                return scale(feature, change.value)
            case "ablate":
                return ablate(feature)

    def rewind(self, step: int) -> None:
        """Back to a step, with the edits as they are now."""
        self.live.rewind(step)
        del self.held[step:]
        self.log = [entry for entry in self.log if entry[0] < step]
        self.branches = [at for at in self.branches if at <= step]
        if (self.log[-1][1] if self.log else ()) != self.changes:
            self._note()
        self.look()

    def branch(self) -> None:
        """The twin goes on from where the agent is now."""
        self.live.branch()
        self.branches.append(self.live.step)
        self.look()

    def act(self, action: Any) -> None:
        """Holds the agent to an action, or gives it back control (None)."""
        if action is None:
            self.live.held = None
        elif self.is_discrete:
            count = len(self.actions["names"])
            if not isinstance(action, int) or not 0 <= action < count:
                raise InvalidInput(f"action is {action!r}; expected 0 to {count - 1}, or null.")
            self.live.held = action
        else:
            self.live.held = self._within(action)
        self.look()

    def _within(self, action: Any) -> Float[np.ndarray, "..."]:
        space: Any = self.live.environment.action_space
        numbers = np.asarray(action if isinstance(action, list) else [action], space.dtype)
        if numbers.size != np.prod(space.shape):
            raise InvalidInput(f"action has {numbers.size} parts; expected {space.shape}.")
        return np.clip(numbers.reshape(space.shape), space.low, space.high)

    def pin(self, features: Sequence[int]) -> None:
        """Always shows these features."""
        if len(features) > MOST_PINNED:
            raise InvalidInput(f"At most {MOST_PINNED} features are pinned, not {len(features)}.")
        self.pinned = tuple(self.check_feature(one) for one in features)

    def check_feature(self, feature: int) -> int:
        """The feature itself, if there is one."""
        if not 0 <= feature < len(self.dictionary):
            raise InvalidInput(
                f"Feature {feature} is not one of the {len(self.dictionary)} of "
                f"{self.dictionary.name}."
            )
        return feature

    def _note(self) -> None:
        """Writes down the edits that hold from this step on."""
        step = self.live.step
        if self.log and self.log[-1][0] == step:
            self.log.pop()
        self.log.append((step, self.changes))
        self.edited_at = step

    # --- what the page is told ---------------------------------------------------------------

    def hello(self) -> dict[str, Any]:
        """What does not change from step to step."""
        return {
            "type": "hello",
            "dictionary": self.dictionary.name,
            "width": len(self.dictionary),
            "actions": self.actions,
            "max": self.maxima.values.tolist(),
            "max_from": self.maxima.source,
            "labels": {str(index): text for index, text in self.labels.items()},
            "keys": keys_of(self.actions["names"]) if self.is_discrete else {},
            "fps": self.start.fps,
            "twin": self.start.twin,
            "deterministic": self.start.deterministic,
            "environment": self.study.environment_id,
        }

    def firings(self) -> list[Firing]:
        """The features that fire most by their own measure, strongest first, then pinned ones."""
        codes = self.sight.codes[AGENT]
        shares = self.maxima.shares(codes)
        count = min(MOST_SHOWN, len(codes))
        top = np.argpartition(-shares, count - 1)[:count]
        top = top[np.argsort(-shares[top], kind="stable")]
        shown = [one for one in top.tolist() if codes[one] > 0]
        shown += [one for one in self.pinned if one not in shown]
        return [Firing(one, float(codes[one]), float(shares[one])) for one in shown]

    def words(self, firings: Sequence[Firing]) -> str:
        """Why it acts so, in words."""
        action, twin = (self.sight.action[row] for row in self.rows)
        return explain(
            self.study.environment_id,
            self.actions["names"],
            self.labels,
            firings,
            int(action) if self.is_discrete else None,
            int(twin) if self.is_discrete and self.start.twin else None,
            is_held=self.live.held is not None,
        )

    @property
    def rows(self) -> tuple[int, int]:
        """The rows of the agent and of its twin, who may be one."""
        return (AGENT, TWIN if self.start.twin else AGENT)

    def header(self) -> dict[str, Any]:
        """Everything about this step but the pictures."""
        sight = self.sight
        firings = self.firings()
        return {
            "episode": self.episode,
            "seed": sight.seed,
            "step": sight.step,
            "can_rewind": sight.step > 0,
            "action": self.both(sight.action),
            **self.thoughts(),
            "reward": self.reward,
            "total": self.both(sight.total),
            "ended": sight.endings[AGENT],
            "twin_ended": sight.endings[TWIN] if self.start.twin else None,
            "diverged": sight.diverged,
            "held": self.live.held is not None,
            "features": [[one.feature, one.code, one.share] for one in firings],
            "edits": [asdict(one) for one in self.changes],
            "edited_at": self.edited_at,
            "words": self.words(firings),
            "metrics": {name: float(value[AGENT]) for name, value in sight.metrics.items()},
            "metrics_twin": {
                name: float(value[self.rows[1]]) for name, value in sight.metrics.items()
            },
        }

    def both(self, values: Any) -> dict[str, Any]:
        """One value of the agent and one of its twin."""
        agent, twin = self.rows
        return {
            "agent": values[agent].tolist(),
            "twin": values[twin].tolist() if self.start.twin else None,
        }

    def thoughts(self) -> dict[str, Any]:
        """What the agent says beside its action: probabilities or worths, value and entropy."""
        outputs = {name: value[AGENT] for name, value in self.sight.outputs.items()}
        found: dict[str, Any] = dict.fromkeys(("probabilities", "values", "value", "entropy"))
        if "logits" in outputs and outputs["logits"].ndim == 1:
            shifted = outputs["logits"].astype(np.float64)
            weights = np.exp(shifted - shifted.max())
            shares = weights / weights.sum()
            found["probabilities"] = shares.tolist()
            found["entropy"] = float(-(shares * np.log(np.maximum(shares, 1e-300))).sum())
        if "values" in outputs:
            found["values"] = outputs["values"].ravel().tolist()
            found["value"] = float(outputs["values"].max())
        if "value" in outputs:
            found["value"] = float(outputs["value"].reshape(-1)[0])
        return found

    def pictures(self) -> list[bytes]:
        """What the rows look like, as PNG; none where they cannot be seen.

        Of a twin that looks like the agent, as it mostly does, there are no bytes.
        """
        if not self.can_draw:
            return []
        try:
            drawn = [AGENT] if self.live.is_together else range(self.live.rows)
            found = [png(self.live.picture(row)) for row in drawn]
            return found + [b""] * (self.live.rows - len(found))
        except PolicyscopeError:
            self.can_draw = False
            raise

    def message(self, extra: Mapping[str, Any]) -> bytes:
        """The binary message of this step."""
        return encode({**extra, **self.header()}, self.pictures())

    def document(self) -> dict[str, Any]:
        """What was played, such that it can be played again."""
        actions = np.array([past.action for past in self.live.past])
        agent, twin = self.rows
        return {
            "kind": "live",
            "dictionary": self.dictionary.name,
            "environment": self.study.environment_id,
            "seed": self.live.seed,
            "deterministic": self.live.deterministic,
            "noise_seed": self.live.noise_seed,
            "steps": self.live.step,
            "edits": [
                {
                    "step": step,
                    "edits": [
                        {**asdict(one), "unit": self.maxima.unit(one.feature)} for one in changes
                    ],
                }
                for step, changes in self.log
            ],
            "branches": self.branches,
            "held": [step for step, is_held in enumerate(self.held) if is_held],
            "actions": {
                "agent": actions[:, agent].tolist() if len(actions) else [],
                "twin": actions[:, twin].tolist() if len(actions) and self.start.twin else None,
            },
            "return": self.both(self.sight.total),
            "ending": self.both_endings(),
            "diverged": self.sight.diverged,
            "max_from": self.maxima.source,
        }

    def both_endings(self) -> dict[str, str | None]:
        """How each episode ended, as far as it has."""
        endings = self.sight.endings
        return {"agent": endings[AGENT], "twin": endings[TWIN] if self.start.twin else None}
