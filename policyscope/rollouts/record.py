"""Recording: a rollout whose blocks go to disk, resumable to the very step."""

import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from policyscope.address import Site
from policyscope.agents.agent import Agent
from policyscope.agents.hooks import check_sites
from policyscope.agents.sites import list_sites
from policyscope.envs.environment import Environment, blank_observation
from policyscope.envs.metric import Metric
from policyscope.errors import DiskFull, InvalidInput, UnknownName
from policyscope.progress import track
from policyscope.recordings.block import Block
from policyscope.recordings.format import (
    HEADER_FILE,
    ColumnSpec,
    Kind,
    RecordingHeader,
    differences,
    shard_numbers,
)
from policyscope.recordings.recording import Recording
from policyscope.recordings.writer import RecordingWriter
from policyscope.rollouts.observation import COLUMN, as_tensors, observed
from policyscope.rollouts.rollout import Plan, rollout
from policyscope.rollouts.rows import Job, Start
from policyscope.rollouts.seeds import episode_seeds

DType = Literal["float32", "float16"]

MAX_ROWS = 256
STEPS_PER_ROW = 1000
"""Fewer rows than steps / 1000, so that long episodes are seen to their end and not only begun."""
SHARD_ROWS = 16_384
BLOCK_BYTES = 16 * 2**20
"""What a block weighs if it can: it is filled, sorted and written faster where caches hold it."""
FEW_SAMPLES = 1024
MOST_BYTES = 64 * 2**20
"""What a block of few samples may weigh where each is large, so that shards do not become many."""

KINDS: dict[str, Kind] = {
    "observation": "observation",
    "action": "action",
    "reward": "reward",
    "terminated": "flag",
    "truncated": "flag",
}


def default_rows(steps: int | None, episodes: int | None) -> int:
    """How many rows to act in: enough to be fast, few enough to see whole episodes."""
    wanted = episodes if episodes is not None else (steps or 0) // STEPS_PER_ROW
    return max(1, min(MAX_ROWS, wanted))


def record_rollout(
    agent: Agent,
    make_environment: Callable[[int], Environment],
    directory: Path,
    *,
    sites: Sequence[Site],
    metrics: Sequence[Metric] = (),
    steps: int | None = None,
    episodes: int | None = None,
    rows: int | None = None,
    deterministic: bool = False,
    seed: int = 0,
    dtype: DType = "float32",
    resume: bool = False,
    about_agent: Mapping[str, Any] | None = None,
) -> Recording:
    """Records `steps` samples, or `episodes` whole episodes, of the agent acting.

    With `resume` the recording in `directory` goes on up to the (possibly larger) number: the
    unfinished episodes are replayed unseen to where they were cut, so an interrupted recording
    ends up the same as an uninterrupted one. Sites, names, shapes and disk are checked before the
    first step. Raises InvalidInput, UnknownName, NotFinite, DiskFull, EnvironmentFailed, InUse;
    whatever was committed before stays readable.
    """
    check_amount(steps, episodes)
    check_sites(agent.module, sites)
    earlier = open_earlier(directory, resume)
    if rows is None:
        rows = earlier.header.rows if earlier else default_rows(steps, episodes)
    done = earlier.steps if earlier else 0
    left = None if steps is None else steps - done
    environment = make_environment(rows)
    try:
        agent.bind(environment.observation_space, environment.action_space)
        plan = Plan(
            reads=sites,
            metrics=metrics,
            deterministic=deterministic,
            seed=seed,
            dtype=np.float16 if dtype == "float16" else np.float32,
            block_steps=check_sizes(agent, environment, sites, left, dtype, directory),
            max_steps=left,
        )
        header = header_of(agent, environment, plan, about_agent or {})
        if earlier is not None:
            check_same(earlier, header, plan)
            if is_finished(earlier, steps, episodes):
                return earlier
        starts, jobs = remaining_work(earlier, rows, seed, episodes)
        with closing(rollout(agent, environment, jobs, plan, starts)) as blocks:
            _write(blocks, directory, header, plan, resume, episodes, done)
    finally:
        environment.close()
    return Recording.open(directory)


def open_earlier(directory: Path, resume: bool) -> Recording | None:
    """What there is to go on with; None where nothing was written yet.

    A recording killed before its first file is begun again by resuming it.
    """
    is_there = (directory / HEADER_FILE).exists() or bool(shard_numbers(directory))
    if is_there and not resume:
        raise InvalidInput(
            f"There is a recording in {directory} already. Go on with it (resume, perhaps to a "
            "larger number of steps), or give another name."
        )
    return Recording.open(directory) if is_there else None


def check_same(earlier: Recording, header: RecordingHeader, plan: Plan) -> None:
    """Raises InvalidInput, before any step, where `earlier` cannot be continued under `header`."""
    columns = earlier.header.columns
    unlike = differences(earlier.header, replace(header, columns=columns))
    recorded = sorted(spec.name for spec in columns if spec.kind in ("site", "metric"))
    asked = sorted({*(metric.name for metric in plan.metrics), *map(str, plan.reads)})
    if recorded != asked:
        unlike.append(f"sites and metrics: {', '.join(recorded)} there, {', '.join(asked)} here")
    if unlike:
        raise InvalidInput(
            f"{earlier.directory} was recorded otherwise and cannot be continued: "
            f"{'; '.join(unlike)}. Record under another name."
        )


def is_finished(earlier: Recording, steps: int | None, episodes: int | None) -> bool:
    """Whether there is already as much as is asked for."""
    if steps is not None:
        return earlier.steps >= steps
    return len(earlier.episodes) >= (episodes or 0)


def recording_jobs(seed: int, first: int, episodes: int | None) -> Iterator[Job]:
    """Episode `first` and those after it, without end or up to `episodes`."""
    numbers = itertools.count(first) if episodes is None else range(first, episodes)
    start = episode_seeds("record", 1, seed).start
    return (Job(number, start + number) for number in numbers)


def check_amount(steps: int | None, episodes: int | None) -> None:
    """Raises InvalidInput unless exactly one positive amount is given."""
    if (steps is None) == (episodes is None):
        raise InvalidInput(
            "Say how much to record: steps (--steps N) or episodes (--episodes N), one of the two."
        )
    for name, amount in (("steps", steps), ("episodes", episodes)):
        if amount is not None and amount < 1:
            raise InvalidInput(f"{name} is {amount}; expected at least 1.")


def check_sizes(
    agent: Agent,
    environment: Environment,
    sites: Sequence[Site],
    steps: int | None,
    dtype: DType,
    directory: Path,
) -> int:
    """How many steps one block holds, after checking that sites exist and the disk has room."""
    observation = blank_observation(environment)
    known = list_sites(agent, as_tensors(observation, agent.device))
    shapes = {info.site: info.shape for info in known}
    reached = {info.site.path for info in known}
    for site in sites:
        if site.path and site.path not in reached:
            raise UnknownName.among("site", str(site), [str(info.site) for info in known])
    item = 2 if dtype == "float16" else 4
    per_step = (
        64
        + sum(values.nbytes for values in observed(observation).values())
        + item * sum(int(np.prod(shapes.get(s, ()))) for s in sites)
    )
    needed = per_step * (steps or 0)
    place = next(path for path in (directory, *directory.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise DiskFull(
            f"Recording {steps:,} steps of {per_step:,} bytes needs {needed / 1e9:.1f} GB; "
            f"{place} has {free / 1e9:.1f} GB left. Record fewer steps or sites, or float16."
        )
    samples = max(BLOCK_BYTES // per_step, min(FEW_SAMPLES, MOST_BYTES // per_step))
    return max(1, min(2048, min(SHARD_ROWS, samples) // environment.rows))


def remaining_work(
    earlier: Recording | None, rows: int, seed: int, episodes: int | None
) -> tuple[list[Start | None] | None, Iterator[Job]]:
    """Where every row goes on (None where all begin), and the jobs that come after.

    Rows whose episode ended with the last sample take the next jobs in their own order, as they
    would have in the uninterrupted rollout.
    """
    if earlier is None or earlier.steps == 0:
        return None, recording_jobs(seed, 0, episodes)
    jobs = recording_jobs(seed, max(earlier.next_episode, rows), episodes)
    starts: list[Start | None] = []
    for position in earlier.position():
        if position.episode < 0:
            start, done = next(recording_jobs(seed, position.row, episodes), None), 0
        elif position.has_ended:
            start, done = next(jobs, None), 0
        else:
            start = next(recording_jobs(seed, position.episode, episodes), None)
            done = position.next_step
        starts.append(None if start is None else Start(start, done))
    return starts, jobs


def header_of(
    agent: Agent, environment: Environment, plan: Plan, about_agent: Mapping[str, Any]
) -> RecordingHeader:
    """What is known of a recording before its first step; the columns are not."""
    return RecordingHeader(
        columns=(),
        agent={**about_agent, "name": agent.name, "fingerprint": agent.fingerprint()},
        environment={"id": environment.id, "arguments": dict(environment.arguments)},
        seed=plan.seed,
        rows=environment.rows,
        deterministic=plan.deterministic,
        conditions=tuple(map(str, plan.conditions)),
    )


def _write(
    blocks: Iterator[Block],
    directory: Path,
    header: RecordingHeader,
    plan: Plan,
    resume: bool,
    episodes: int | None,
    done: int,
) -> None:
    first = next(blocks, None)
    if first is None:
        return
    header = replace(header, columns=columns_of(first, plan))
    total, unit = (episodes, "episodes") if episodes else (plan.max_steps, "steps")
    with (
        RecordingWriter(directory, header, resume=resume) as writer,
        track("Recording", total, unit) as progress,
    ):
        for block in itertools.chain([first], blocks):
            writer.write(block)
            samples = int((block.episode >= 0).sum())
            done += samples
            progress.advance(len(block.ended) if episodes else samples, f"{done:,} steps")


def columns_of(block: Block, plan: Plan) -> tuple[ColumnSpec, ...]:
    """What the columns of a block are, for the header."""
    units = {metric.name: metric.unit for metric in plan.metrics}
    sites = {str(site) for site in plan.reads}

    def kind(name: str) -> Kind:
        if name in KINDS:
            return KINDS[name]
        if name.startswith(f"{COLUMN}."):
            return "observation"
        return "site" if name in sites else "metric" if name in units else "output"

    return tuple(
        ColumnSpec(name, kind(name), str(array.dtype), array.shape[2:], units.get(name, ""))
        for name, array in block.columns.items()
    )
