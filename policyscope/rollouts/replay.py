"""Replay: recorded episodes played again, to see what no column holds: how the world looked.

Recorded actions are repeated rather than chosen anew: the same network in a batch of another size
differs in its last digits, and a world can make much of that. What was recorded is compared with
what is observed now at every step, so a picture is one of the recorded moment or there is none.
"""

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped, UInt8

from policyscope.address import Moment
from policyscope.envs.environment import Environment
from policyscope.errors import EnvironmentFailed, InvalidInput, UnknownName
from policyscope.progress import track
from policyscope.recordings.frames import Frames, FramesWriter, missing_frames
from policyscope.recordings.recording import Recording
from policyscope.rollouts.observation import observed
from policyscope.rollouts.record import recording_jobs

RELATIVE, ABSOLUTE = 1e-4, 1e-5
"""How far observed numbers may be off: what another machine's last digits do changes no picture."""


@dataclass(frozen=True, eq=False)
class Picture:
    """What one step of an episode looked like."""

    episode: int
    step: int
    image: UInt8[np.ndarray, "height width 3"]


def record_frames(
    recording: Recording,
    make_environment: Callable[[int], Environment],
    *,
    episodes: Sequence[int] | None = None,
    moments: Iterable[str | Moment] | None = None,
    every: int = 1,
) -> Frames:
    """Stores pictures of recorded steps beside the recording, and returns all that are there.

    Of `episodes` every n-th step is stored, of `moments` exactly these; of all episodes where
    neither is given. What is stored already is not played again. `make_environment` makes rows that
    can be drawn (`make_drawable`).
    Raises EnvironmentFailed where the environment does not repeat itself, MissingExtra, DiskFull,
    InUse; sheets committed before stay.
    """
    wanted = wanted_steps(recording, episodes, moments, every)
    left = missing_frames(Frames.open(recording.directory), wanted)
    if left:
        total = sum(map(len, left.values()))
        with (
            FramesWriter(recording.directory) as writer,
            track("Drawing", total, "frames") as progress,
            closing(replay(recording, make_environment, left)) as pictures,
        ):
            for one in pictures:
                writer.write(one.episode, one.step, one.image)
                progress.advance(1)
    return Frames.open(recording.directory)


def wanted_steps(
    recording: Recording,
    episodes: Sequence[int] | None,
    moments: Iterable[str | Moment] | None,
    every: int,
) -> dict[int, set[int]]:
    """The steps to draw, by episode."""
    if every < 1:
        raise InvalidInput(f"every is {every}; expected at least 1.")
    if episodes is None and moments is None:
        episodes = np.unique(recording.read("episode")).tolist()
    wanted: dict[int, set[int]] = {}
    for episode in episodes or ():
        steps = recording.episode(episode, ("step",))["step"].tolist()
        wanted.setdefault(episode, set()).update(steps[::every])
    for moment in moments or ():
        at = Moment.parse(moment) if isinstance(moment, str) else moment
        recording.moment(at, ("step",))  # UnknownName where it was not recorded.
        wanted.setdefault(at.episode, set()).add(at.step)
    return dict(sorted(wanted.items()))


def replay(
    recording: Recording,
    make_environment: Callable[[int], Environment],
    steps: Mapping[int, Collection[int]],
) -> Generator[Picture, None, None]:
    """Plays recorded episodes again, one after the other, and draws the wanted steps of each.

    An episode is played to its last wanted step. Raises EnvironmentFailed at the first step that is
    not observed as it was recorded.
    """
    environment = make_environment(1)
    try:
        for episode, wanted in steps.items():
            if wanted:
                yield from replay_episode(recording, environment, episode, set(wanted))
    finally:
        environment.close()


def replay_episode(
    recording: Recording, environment: Environment, episode: int, wanted: set[int]
) -> Iterator[Picture]:
    """The pictures of one episode's wanted steps."""
    seen = [spec.name for spec in recording.header.columns if spec.kind == "observation"]
    past = recording.episode(episode, (*seen, "action", "step"))
    if max(wanted) >= len(past["step"]):
        raise UnknownName(
            f"Episode {episode} of recording {recording.name!r} has {len(past['step'])} steps; "
            f"asked for step {max(wanted)}."
        )
    seed = seed_of(recording, episode)
    environment.reset(np.arange(1), [seed])
    for step in range(max(wanted) + 1):
        check_same(environment, {name: past[name][step] for name in seen}, episode, seed, step)
        if step in wanted:
            yield Picture(episode, step, environment.picture(0))
        if step == max(wanted):
            return
        transition = environment.step(past["action"][step : step + 1])
        if transition.terminated[0] or transition.truncated[0]:
            raise failed(environment, episode, seed, step, "now ends")


def seed_of(recording: Recording, episode: int) -> int:
    """The seed an episode was begun with, also of one that never ended."""
    for one in recording.episodes:
        if one.index == episode:
            return one.seed
    return next(recording_jobs(recording.header.seed, episode, None)).seed


def check_same(
    environment: Environment,
    recorded: Mapping[str, Shaped[np.ndarray, "..."]],
    episode: int,
    seed: int,
    step: int,
) -> None:
    """Raises EnvironmentFailed unless the environment's row observes what was recorded."""
    now = observed(environment.observation)
    for name, then in recorded.items():
        if name not in now or not is_close(now[name][0], then):
            raise failed(environment, episode, seed, step, f"now has another {name}")


def is_close(now: Shaped[np.ndarray, "..."], then: Shaped[np.ndarray, "..."]) -> bool:
    """Whether two observations are the same but for the last digits of numbers."""
    if np.shape(now) != np.shape(then):
        return False
    if np.asarray(then).dtype.kind != "f":
        return bool(np.array_equal(now, then))
    return bool(np.allclose(now, then, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True))


def failed(
    environment: Environment, episode: int, seed: int, step: int, what: str
) -> EnvironmentFailed:
    """The error for an episode that does not go as it went."""
    return EnvironmentFailed(
        f"{environment.id} does not repeat itself: episode {episode} with seed {seed} {what} at "
        f"step {step}, unlike when it was recorded, so no picture of it would be true. "
        "Record anew with the versions installed here."
    )
