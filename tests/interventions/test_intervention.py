"""An intervention is a value: it adds up, prints, splits into rows, and refuses mixed rows."""

import pytest
import torch

from policyscope.address import Site
from policyscope.errors import InvalidInput
from policyscope.interventions.clamp import clamp
from policyscope.interventions.intervention import Intervention
from policyscope.interventions.scale import scale
from policyscope.interventions.steer import steer
from policyscope.testing.planted import features, unit_features

CODER = unit_features(3)


def test_adding_keeps_the_order_and_the_empty_one_is_neutral() -> None:
    one, two = steer(CODER[0], 1.0), scale("fc2:in#1", 2.0)
    assert (one + two).edits == one.edits + two.edits
    assert (Intervention() + one).edits == (one + Intervention()).edits == one.edits
    assert sum([one, two]).edits == (one + two).edits  # pyright: ignore[reportAttributeAccessIssue]
    assert not Intervention()
    assert one


def test_it_prints_what_it_does() -> None:
    edit = steer(CODER[0], -1.0) + clamp("fc2:in#1", 0.5) + scale(CODER[2], [1.0, 2.0])
    assert str(edit) == (
        "steer planted#0 -1 + clamp to 0.5 fc2:in#1 + scale by 2 factors planted#2"
    )
    assert str(Intervention()) == repr(Intervention()) == "nothing"


def test_sites_are_those_edited_and_those_read_for_it() -> None:
    across = features([[1.0, 0.0]], [[1.0, 0.0, 0.0]], reads="fc2:in", writes="fc3:in")
    assert clamp(across[0], 1.0).sites == (Site("fc3", "in"), Site("fc2", "in"))
    assert steer(across[0], 1.0).sites == (Site("fc3", "in"),)


def test_split_gives_one_intervention_per_row() -> None:
    edit = steer(CODER[0], [1.0, 2.0, 3.0]) + clamp(CODER[1], 0.5)
    assert [str(each) for each in edit.split()] == [
        f"steer planted#0 +{alpha} + clamp to 0.5 planted#1" for alpha in (1, 2, 3)
    ]
    whole = clamp(CODER[1], 0.5)
    assert whole.split() == [whole]


def test_split_refuses_edits_for_different_numbers_of_rows() -> None:
    edit = steer(CODER[0], [1.0, 2.0]) + scale(CODER[1], torch.ones(3))
    with pytest.raises(InvalidInput, match=r"different numbers of rows: \[2, 3\]"):
        edit.split()
