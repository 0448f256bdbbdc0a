"""Atari's memory against its screen: things are drawn where their bytes say, scores are earned."""

import gymnasium
import numpy as np
import pytest

pytest.importorskip("ale_py", reason="needs the extra [atari]")

from policyscope.envs.atari import Atari
from policyscope.envs.emulator import Emulators
from policyscope.envs.ending import name_ending
from policyscope.envs.event import events_of
from policyscope.envs.metric import Step, metrics_of, read_metric
from policyscope.envs.metrics.atari import LABELS
from policyscope.envs.vector import GymnasiumRows
from policyscope.errors import InvalidInput

PACMAN, PONG = "ALE/MsPacman-v5", "ALE/Pong-v5"
COLOURS = {
    "player": (210, 164, 74),
    "orange_ghost": (180, 122, 48),
    "cyan_ghost": (84, 184, 153),
    "pink_ghost": (198, 89, 179),
    "red_ghost": (200, 72, 72),
}


def read(env, row=0):
    step = Step(env.observation, env)
    return {metric.name: float(read_metric(metric, step)[row]) for metric in metrics_of(env.id)}


def middle(screen, colour, top, bottom):
    """The middle of what is drawn in one colour, and its size; None where nothing is."""
    y, x = np.nonzero((screen[top:bottom] == colour).all(axis=-1))
    if len(x) < 2:
        return None
    size = (np.ptp(x) + 1, np.ptp(y) + 1)
    return ((x.min() + x.max()) / 2, (y.min() + y.max()) / 2 + top), size


def frames(id, steps):
    """The screen and the metrics after every frame of random play."""
    env = Emulators(id, 1, frameskip=1, noop_max=0)
    env.reset(np.array([0]), [1])
    generator = np.random.default_rng(0)
    action = 0
    for step in range(steps):
        if step % 12 == 0:
            action = generator.integers(env.action_space.n)
        env.step(np.array([action]))
        yield env.screen(0), read(env)


def test_ms_pacman_and_the_ghosts_are_drawn_where_memory_says():
    """Ghosts flicker and the shapes breathe: within three pixels at nine frames of ten."""
    misses = {thing: [] for thing in COLOURS}
    for screen, told in frames(PACMAN, 450):
        for thing, colour in COLOURS.items():
            found = middle(screen, colour, 0, 172)
            if found is not None and max(found[1]) < 18:
                x, y = found[0]
                misses[thing].append(max(abs(told[f"{thing}_x"] - x), abs(told[f"{thing}_y"] - y)))
    for thing, distances in misses.items():
        assert len(distances) > 100, thing
        assert np.quantile(distances, 0.9) <= 3, thing


def test_pongs_ball_and_paddles_are_drawn_where_memory_says():
    colours = {"player": (92, 186, 92), "enemy": (213, 130, 74), "ball": (236, 236, 236)}
    misses = {thing: [] for thing in colours}
    for screen, told in frames(PONG, 450):
        for thing, colour in colours.items():
            found = middle(screen, colour, 34, 194)
            # A paddle that is partly outside is drawn in part; only whole ones show their middle.
            if found is not None and (thing == "ball" or found[1][1] > 14):
                misses[thing].append(abs(told[f"{thing}_y"] - found[0][1]))
                if thing == "ball":
                    misses[thing].append(abs(told["ball_x"] - found[0][0]))
    for thing, distances in misses.items():
        assert len(distances) > 100, thing
        assert np.quantile(distances, 0.9) <= 3, thing


@pytest.mark.parametrize(
    "id", [PACMAN, PONG, "ALE/Breakout-v5", "ALE/Seaquest-v5", "ALE/SpaceInvaders-v5"]
)
def test_the_score_in_memory_is_what_was_earned(id):
    env = Emulators(id, 1)
    env.reset(np.array([0]), [1])
    generator = np.random.default_rng(0)
    earned = 0.0
    for _ in range(250):
        answer = env.step(generator.integers(env.action_space.n, size=1))
        earned += answer.reward[0]
        assert read(env)["score"] == earned
        if answer.terminated[0]:
            break
    assert earned != 0


def test_cars_to_pass_in_enduro_go_down_as_they_are_passed():
    env = Emulators("EnduroNoFrameskip-v4", 1)
    env.reset(np.array([0]), [1])
    earned = sum(env.step(np.array([1])).reward[0] for _ in range(200))
    assert earned > 0
    assert read(env)["cars_to_pass"] == 200 - earned
    assert read(env)["day"] == 1


def test_dots_and_lives_of_ms_pacman():
    env = Emulators(PACMAN, 1)
    env.reset(np.array([0]), [1])
    first = read(env)
    assert (first["dots_eaten"], first["power_pills_left"], first["lives"]) == (0, 4, 3)
    for _ in range(120):
        env.step(np.array([3]))
    later = read(env)
    assert later["dots_eaten"] > 0
    assert later["score"] == 10 * later["dots_eaten"]


def test_the_nearest_ghost_is_the_nearest():
    env = Emulators(PACMAN, 1)
    env.reset(np.array([0]), [1])
    for _ in range(100):
        env.step(np.array([2]))
    told = read(env)
    away = [
        np.hypot(told[f"{ghost}_x"] - told["player_x"], told[f"{ghost}_y"] - told["player_y"])
        for ghost in COLOURS
        if ghost != "player"
    ]
    assert told["nearest_ghost_distance"] == pytest.approx(min(away), abs=1e-4)


def test_gymnasiums_own_emulators_are_read_too():
    env = GymnasiumRows("Pong-v4", 2)
    env.reset(np.arange(2), [0, 1])
    assert read(env, 1).keys() == {label.name for label in LABELS["pong"]}
    env.close()


def test_without_memory_only_lives_are_known():
    env = Atari(PACMAN, 1, threads=1)
    env.reset(np.array([0]), [1])
    metrics = {metric.name: metric for metric in metrics_of(PACMAN)}
    step = Step(env.observation, env)
    assert read_metric(metrics["lives"], step).tolist() == [3]
    with pytest.raises(InvalidInput, match="ram=True"):
        read_metric(metrics["player_x"], step)
    env.close()


def test_endings_and_events():
    seen = np.zeros((4, 84, 84), np.uint8)
    assert name_ending(PONG, seen, True, 1.0) == "won"
    assert name_ending("PongNoFrameskip-v4", seen, True, -1.0) == "lost"
    assert name_ending(PONG, seen, False, 0.0) == "time_out"
    assert name_ending(PACMAN, seen, True, 0.0) == "game_over"
    assert name_ending("EnduroNoFrameskip-v4", seen, False, 0.0) == "time_out"
    names = [metric.name for metric in metrics_of(PONG)]
    assert len(events_of(PONG, names)) == 3
    assert metrics_of("CartPole-v1")[0].name == "cart_position"
    assert {
        spec.kwargs["game"]
        for spec in gymnasium.registry.values()
        if "ale_py" in str(spec.entry_point)
    } >= set(LABELS)
