"""Events: named conditions over metrics."""

import numpy as np
import pytest

from policyscope.envs import event as events
from policyscope.envs.event import event, events_of


@pytest.fixture(autouse=True)
def _own_list(monkeypatch):
    monkeypatch.setattr(events, "EVENTS", list(events.EVENTS))


def test_an_event_happens_where_its_condition_holds():
    @event("height", "speed", environments=("World-v0",))
    def falls(height, speed):
        return (height > 0) & (speed < 0)

    assert (falls.name, falls.needs) == ("falls", ("height", "speed"))
    metrics = {"height": np.array([1.0, 1.0, -1.0]), "speed": np.array([-1.0, 1.0, -1.0])}
    assert falls.happens(metrics).tolist() == [True, False, False]
    assert events_of("World-v0", metrics) == [falls]
    assert events_of("World-v0", ["height"]) == []
    assert events_of("Other-v0", metrics) == []


def test_an_event_without_environments_belongs_to_all_and_may_be_defined_again():
    def define():
        @event("height")
        def is_high(height):
            return height > 0

        return is_high

    define()
    last = define()
    assert events_of("Any-v0", {"height": np.zeros(1)}) == [last]
