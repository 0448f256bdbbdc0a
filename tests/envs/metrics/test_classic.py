"""CartPole's metrics, endings and events: their signs, against the physics and the drawing."""

import numpy as np
import pytest

from policyscope.envs.cartpole import CartPole
from policyscope.envs.ending import endings_of, name_ending
from policyscope.envs.event import events_of
from policyscope.envs.metric import metrics_of

ID = "CartPole-v1"


def play(policy, seed=0):
    """Plays one episode; returns its observations and how it ended."""
    env = CartPole(ID, 1)
    env.reset(np.array([0]), [seed])
    seen = [env.observation[0].copy()]
    while True:
        answer = env.step(np.array([policy(seen[-1])]))
        seen.append(env.observation[0].copy())
        if answer.terminated[0] or answer.truncated[0]:
            return np.stack(seen), name_ending(ID, seen[-1], bool(answer.terminated[0]))


def tip_on_screen(observation):
    """Where CartPole draws the tip of the pole: upright, turned by −θ, with y growing upwards."""
    position, _, angle, _ = observation.astype(np.float64)
    up = np.array([0.0, 1.0])
    turn = np.array([[np.cos(-angle), -np.sin(-angle)], [np.sin(-angle), np.cos(-angle)]])
    return np.array([position, 0.0]) + turn @ up


@pytest.mark.parametrize("seed", range(3))
def test_pushing_the_cart_left_drops_the_pole_to_the_right(seed):
    """Action 0 pushes left; the pole, left behind, falls right and is drawn there."""
    seen, ended = play(lambda observation: 0, seed)
    assert ended == "pole_right"
    assert seen[-1][0] < seen[0][0]
    assert tip_on_screen(seen[-1])[0] > seen[-1][0]


@pytest.mark.parametrize("seed", range(3))
def test_pushing_the_cart_right_drops_the_pole_to_the_left(seed):
    seen, ended = play(lambda observation: 1, seed)
    assert ended == "pole_left"
    assert seen[-1][0] > seen[0][0]
    assert tip_on_screen(seen[-1])[0] < seen[-1][0]


@pytest.mark.parametrize("side", [-1, 1])
def test_leaving_the_track_is_cart_out(side):
    """Holding the pole at a lean drives the cart to that side until it is out."""
    lean = 0.05 * side
    seen, ended = play(lambda o: int((o[2] - lean) * 3 + o[3] * 0.6 > 0))
    assert ended == "cart_out"
    assert np.sign(seen[-1][0]) == side


def test_lasting_to_the_end_is_survived():
    _, ended = play(lambda o: int(o[2] + 0.5 * o[3] + 0.02 * o[0] + 0.04 * o[1] > 0))
    assert ended == "survived"


@pytest.mark.parametrize(
    ("observation", "ended"),
    [
        ([0.0, 0.0, 0.21, 0.0], "pole_right"),
        ([0.0, 0.0, -0.21, 0.0], "pole_left"),
        ([2.41, 0.0, 0.1, 0.0], "cart_out"),
        ([-2.41, 0.0, 0.1, 0.0], "cart_out"),
        ([2.41, 0.0, -0.21, 0.0], "pole_left"),
        # The state is over the limit in float64; the observation is rounded onto it.
        ([0.0, 0.0, np.float32(12 * 2 * np.pi / 360), 0.0], "pole_right"),
        ([np.float32(2.4), 0.0, 0.0, 0.0], "cart_out"),
    ],
)
def test_which_limit_was_broken(observation, ended):
    assert name_ending(ID, np.array(observation, np.float32), True) == ended
    assert name_ending(ID, np.array(observation, np.float32), False) == "survived"
    assert {ended, "survived"} <= set(endings_of(ID))


def test_every_event_happens_on_its_side():
    names = [metric.name for metric in metrics_of(ID)]
    events = events_of(ID, names)
    assert [event.name for event in events] == [
        "pole_leans_left",
        "pole_leans_right",
        "pole_swings_left",
        "pole_swings_right",
        "cart_near_left_edge",
        "cart_near_right_edge",
    ]
    values = np.linspace(-2.4, 2.4, 49)
    for event in events:
        happens = event.happens(dict.fromkeys(names, values))
        assert happens.any()
        assert not happens.all()
        assert (values[happens] < 0).all() == ("left" in event.name)
        assert (values[happens] > 0).all() == ("right" in event.name)


def test_words_say_left_for_low_and_right_for_high():
    for metric in metrics_of(ID):
        assert metric.words is not None
        assert "left" in metric.words.low
        assert metric.words.low.replace("left", "right") == metric.words.high
        assert metric.words.neutral == 0.0
