"""The loop: every number lies at its own sample, and results depend on jobs and seeds alone."""

from contextlib import closing
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from policyscope.address import Site
from policyscope.agents.adapters.torch import TorchAgent
from policyscope.agents.agent import Acted
from policyscope.agents.noise import uniform_at
from policyscope.errors import EnvironmentFailed, InvalidInput
from policyscope.interventions.clamp import clamp
from policyscope.interventions.intervention import Intervention
from policyscope.interventions.scale import scale
from policyscope.interventions.splice import splice
from policyscope.interventions.steer import steer
from policyscope.recordings.episode import Episode
from policyscope.rollouts.rollout import Plan, rollout
from policyscope.rollouts.rows import Job, Start
from policyscope.testing.planted import (
    CountingEnvironment,
    PlantedEnvironment,
    counting_agent,
    counting_length,
    is_same,
    perfect_dictionary,
)

SEEDS = (3, 8, 1, 12, 5, 0, 7, 26, 2, 11)
JOBS = [Job(episode, seed) for episode, seed in enumerate(SEEDS)]
laws = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])


# ── Alignment ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("rows", [1, 3, 16])
@pytest.mark.parametrize("block_steps", [1, 5, 64])
def test_every_number_belongs_to_its_own_sample(play: Any, rows: int, block_steps: int) -> None:
    played = play(JOBS, rows, block_steps=block_steps)
    seed, step = np.array(SEEDS)[played["episode"]], played["step"]
    np.testing.assert_array_equal(played["observation"][:, 0], seed)
    np.testing.assert_array_equal(played["observation"][:, 1], step)
    np.testing.assert_array_equal(played["step_read"], step)
    np.testing.assert_array_equal(played["fc1:in"], played["observation"])
    np.testing.assert_array_equal(played["fc2:in"][:, :3], played["observation"])
    np.testing.assert_array_equal(played["logits"][:, 1], step / 8)
    np.testing.assert_array_equal(played["reward"], 64 * seed + 2 * step + played["action"])
    is_last = step == np.array([counting_length(s) for s in seed.tolist()]) - 1
    np.testing.assert_array_equal(played["terminated"], is_last & (seed % 2 == 0))
    np.testing.assert_array_equal(played["truncated"], is_last & (seed % 2 == 1))
    # The action seen next is the one taken here.
    within = np.flatnonzero(played["step"][1:] > 0)
    np.testing.assert_array_equal(
        played["observation"][within + 1, 2], played["action"][within].astype(np.float32)
    )


@pytest.mark.parametrize("rows", [1, 3, 16])
def test_each_episode_has_its_steps_once_and_no_reset_is_a_sample(play: Any, rows: int) -> None:
    played = play(JOBS, rows)
    for job in JOBS:
        steps = played["step"][played["episode"] == job.episode]
        assert steps.tolist() == list(range(counting_length(job.seed)))


def test_the_facts_of_an_episode_are_those_of_its_steps(play: Any) -> None:
    played = play(JOBS)
    assert played.ended == {
        job.episode: Episode(
            index=job.episode,
            seed=job.seed,
            condition=0,
            length=counting_length(job.seed),
            total_reward=float(played["reward"][played["episode"] == job.episode].sum()),
            ending="truncated" if job.seed % 2 else "terminated",
            terminated=job.seed % 2 == 0,
            truncated=job.seed % 2 == 1,
        )
        for job in JOBS
    }


def test_only_what_is_kept_fills_a_block(play: Any) -> None:
    assert set(play(JOBS, keep=(), reads=(), metrics=()).columns) == {"episode", "step"}
    assert set(play(JOBS, keep=("action",)).columns) >= {"action", "step_read", "fc1:in"}


def test_activations_are_kept_as_asked(play: Any) -> None:
    assert play(JOBS, dtype=np.float16)["fc2:in"].dtype == np.float16


# ── Independence of how the work was cut ─────────────────────────────────────────────────────────


@laws
@given(
    rows=st.integers(1, 12),
    block_steps=st.integers(1, 20),
    order=st.permutations(range(len(JOBS))),
    compact=st.booleans(),
)
def test_results_do_not_depend_on_rows_blocks_order_or_compaction(
    play: Any, rows: int, block_steps: int, order: list[int], compact: bool
) -> None:
    expected = play(JOBS, 3, block_steps=4)
    shuffled = [JOBS[index] for index in order]
    played = play(shuffled, rows, block_steps=block_steps, compact=compact)
    assert is_same(played.columns, expected.columns)
    assert played.ended == expected.ended


def test_compaction_drops_rows_without_work(play: Any) -> None:
    play([Job(0, 26), Job(1, 9), Job(2, 2), Job(3, 13)], 4, block_steps=1, compact=True)
    assert play.environment.rows < 4


def test_deterministic_takes_the_most_likely_action(play: Any) -> None:
    played = play(JOBS, deterministic=True)
    np.testing.assert_array_equal(played["action"], played["logits"].argmax(1))
    assert not np.array_equal(play(JOBS)["action"], played["action"])


def test_another_run_seed_is_other_noise(play: Any) -> None:
    assert not is_same(play(JOBS, seed=1).columns, play(JOBS).columns)


# ── Interventions ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "nothing",
    [
        Intervention(),
        steer("fc2:in", 0.0, torch.ones(4)),
        scale("fc2:in#1", 1.0),
        splice(perfect_dictionary(4)),
    ],
    ids=["empty", "alpha zero", "factor one", "perfect dictionary"],
)
def test_an_edit_that_does_nothing_gives_a_bit_identical_rollout(
    play: Any, nothing: Intervention
) -> None:
    plain, edited = play(JOBS), play(JOBS, conditions=(nothing,))
    assert is_same(edited.columns, plain.columns)
    assert edited.ended == plain.ended


EDITS = (
    Intervention(),
    steer("fc2:in", 2.0, torch.tensor([0.0, 1.0, 0.0, 0.0])),
    clamp("fc2:in#3", -4.0),
    splice(perfect_dictionary(4)) + scale("fc2:in#3", 8.0),
)


@laws
@given(rows=st.integers(1, 9), conditions=st.permutations(range(len(EDITS))))
def test_many_conditions_at_once_equal_one_after_the_other(
    play: Any, rows: int, conditions: list[int]
) -> None:
    seeds = list(enumerate(SEEDS[:3]))
    jobs = [Job(len(EDITS) * number + c, seed, c) for number, seed in seeds for c in conditions]
    together = play(jobs, rows, conditions=EDITS)
    for condition, edit in enumerate(EDITS):
        alone = play([Job(number, seed) for number, seed in seeds], 2, conditions=(edit,))
        mine = together["episode"] % len(EDITS) == condition
        columns = {name: values[mine] for name, values in together.columns.items()}
        columns["episode"] = columns["episode"] // len(EDITS)
        assert is_same(columns, alone.columns)


def test_two_edits_at_different_sites_commute(play: Any) -> None:
    one, two = scale("fc1:in#1", 2.0), clamp("fc2:in#3", -1.0)
    forwards, backwards = (play(JOBS, conditions=(edit,)) for edit in (one + two, two + one))
    assert is_same(forwards.columns, backwards.columns)


def test_conditions_of_one_seed_share_their_noise(play: Any) -> None:
    """An edit that leaves the logits alone leaves every action alone."""
    idle = steer("fc2:in", 1.0, torch.tensor([1.0, 0.0, 0.0, 0.0]))
    jobs = [Job(0, 26, 0), Job(1, 26, 1)]
    played = play(jobs, conditions=(Intervention(), idle))
    first = played["episode"] == 0
    np.testing.assert_array_equal(played["action"][first], played["action"][~first])


# ── Stopping and going on ────────────────────────────────────────────────────────────────────────


@laws
@given(rows=st.integers(1, 6), steps=st.integers(0, 40), block_steps=st.integers(1, 9))
def test_the_number_of_samples_is_exact(play: Any, rows: int, steps: int, block_steps: int) -> None:
    endless = [Job(number, number) for number in range(60)]
    played = play(endless, rows, max_steps=steps, block_steps=block_steps)
    assert len(played) == steps
    for episode in played.ended.values():
        assert (played["episode"] == episode.index).sum() == episode.length


def test_no_jobs_are_no_samples(play: Any) -> None:
    assert len(play([])) == 0


@laws
@given(done=st.lists(st.integers(0, 12), min_size=1, max_size=4))
def test_a_started_episode_goes_on_where_it_was_cut(play: Any, done: list[int]) -> None:
    whole = play(JOBS)
    starts = [
        Start(job, min(cut, counting_length(job.seed) - 1))
        for job, cut in zip(JOBS, done, strict=False)
    ]
    rest = play(JOBS[len(starts) :], len(starts), starts=starts)
    begins = {start.job.episode: start.done for start in starts}
    first = np.array([begins.get(int(e), 0) for e in whole["episode"]])
    expected = {name: v[whole["step"] >= first] for name, v in whole.columns.items()}
    assert is_same(rest.columns, expected)
    assert rest.ended == whole.ended


def test_an_environment_that_does_not_repeat_itself_is_found_out(play: Any) -> None:
    with pytest.raises(EnvironmentFailed, match=r"seed 3 episode 0 now ends at step 8, and was"):
        play(JOBS, 1, starts=[Start(Job(0, 3), done=12)])


# ── What goes wrong ──────────────────────────────────────────────────────────────────────────────


def test_a_step_that_raises_names_episode_seed_and_step_after_what_was_filled() -> None:
    environment = CountingEnvironment(2, raises={(12, 2): ZeroDivisionError("by zero")})
    played = []
    with pytest.raises(EnvironmentFailed) as caught:
        played.extend(
            (block.episode.copy(), block.ended)
            for block in rollout(counting_agent(), environment, JOBS, Plan(block_steps=64))
        )
    assert "Counting-v0 failed while playing" in str(caught.value)
    assert "episode 3 (seed 12) at step 2" in str(caught.value)
    assert "step raised ZeroDivisionError('by zero')" in str(caught.value)
    assert "--resume" in str(caught.value)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    ((filled, ended),) = played
    assert (filled == 3).sum() == 2
    assert {episode.seed for episode in ended} == {3, 8}


def test_a_reset_that_raises_keeps_the_episode_that_ended_before() -> None:
    environment = CountingEnvironment(1, raises={(8, -1): ValueError("no seed 8")})
    blocks = rollout(counting_agent(), environment, JOBS, Plan(block_steps=64))
    with closing(blocks):
        block = next(blocks)
        assert [episode.seed for episode in block.ended] == [3]
        assert len(block.episode) == counting_length(3)
        message = r"episode 1 \(seed 8\) at step 0: reset raised"
        with pytest.raises(EnvironmentFailed, match=message):
            next(blocks)


def test_a_failing_row_that_is_known_is_named_alone() -> None:
    class Failing(PlantedEnvironment):
        def step(self, action: Any) -> Any:
            raise EnvironmentFailed("row 1 broke", 1)

    with pytest.raises(EnvironmentFailed, match=r"playing episode 1 \(seed 8\) at step 0: row 1"):
        list(rollout(counting_agent(), Failing(3), JOBS))


def test_many_failing_rows_are_counted() -> None:
    environment = CountingEnvironment(8, raises={(3, 0): OSError("gone")})
    with pytest.raises(EnvironmentFailed, match="and 5 more: step raised"):
        list(rollout(counting_agent(), environment, JOBS))


def test_hooks_are_gone_and_gradients_are_back_however_it_ends() -> None:
    agent = counting_agent()
    plan = Plan(reads=(), conditions=(scale("fc2:in#1", 2.0),), block_steps=2)

    def hooks() -> int:
        return sum(
            len(m._forward_hooks) + len(m._forward_pre_hooks) for m in agent.module.modules()
        )

    with closing(rollout(agent, CountingEnvironment(2), JOBS, plan)) as blocks:
        next(blocks)
        assert torch.is_grad_enabled()
        assert hooks() > 0
    assert hooks() == 0
    environment = CountingEnvironment(2, raises={(3, 1): KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        list(rollout(agent, environment, JOBS, plan))
    assert hooks() == 0
    assert torch.is_grad_enabled()


def test_rows_of_an_intervention_are_refused_before_the_first_step(play: Any) -> None:
    edit = scale("fc2:in#1", [1.0, 2.0])
    with pytest.raises(InvalidInput, match="is for 2 rows"):
        play(JOBS, conditions=(edit,))
    assert play.environment.acted == 0


def test_a_block_has_at_least_one_step() -> None:
    with pytest.raises(InvalidInput, match="block_steps is 0"):
        Plan(block_steps=0)


def test_reads_that_are_overwritten_in_place_are_copied_also_when_resuming(play: Any) -> None:
    """The first forward finds out; no step is spent on it, in a replay neither."""

    def agent() -> TorchAgent:
        torch.manual_seed(0)
        return TorchAgent(nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)))

    reads = (Site.parse("0:out"),)
    whole = play(JOBS[:1], 1, agent=agent(), reads=reads)
    assert (whole["0:out"] < 0).any()
    rest = play([], 1, agent=agent(), reads=reads, starts=[Start(JOBS[0], 5)])
    np.testing.assert_array_equal(rest["0:out"], whole["0:out"][5:])


class DrawingTwice(TorchAgent):
    """Says which numbers it drew."""

    def act(self, observation: Any, state: Any, noise: Any) -> Acted:
        acted = super().act(observation, state, None)
        drawn = {name: noise.uniform(2).clone() for name in ("first", "second")}
        return Acted(acted.action, {**acted.outputs, **drawn})


def test_acting_without_consequence_shifts_no_draw(play: Any) -> None:
    """Neither to learn shapes, nor to copy a read, nor in a replay."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    agent, reads = DrawingTwice(network), (Site.parse("0:out"),)
    played = play(JOBS[:2], 2, agent=agent, reads=reads, seed=5)
    seeds = np.array([JOBS[episode].seed for episode in played["episode"]])
    for draw, name in enumerate(("first", "second")):
        expected = uniform_at(5, seeds, played["step"].astype(np.int64), 2, draw)
        np.testing.assert_array_equal(played[name], expected)
    rest = play([], 1, agent=agent, reads=reads, seed=5, starts=[Start(JOBS[0], 5)])
    of_first = played["episode"] == JOBS[0].episode
    np.testing.assert_array_equal(rest["second"], played["second"][of_first][5:])


class Told(TorchAgent):
    """Remembers which spaces it was told of, and acts only then."""

    spaces: tuple[Any, Any] | None = None

    def bind(self, observation_space: Any, action_space: Any) -> None:
        self.spaces = observation_space, action_space

    def initial_state(self, rows: int) -> Any:
        assert self.spaces is not None
        return super().initial_state(rows)


def test_an_agent_knows_the_spaces_before_it_acts(play: Any) -> None:
    agent = Told(counting_agent().module)
    play([Job(0, 3)], agent=agent)
    environment = play.environment
    assert agent.spaces == (environment.observation_space, environment.action_space)
