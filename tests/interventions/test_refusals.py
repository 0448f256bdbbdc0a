"""Every edit that cannot work is refused, before or at its first forward, and says why."""

from collections.abc import Callable

import pytest
import torch

from policyscope.agents.architectures import MLP
from policyscope.dictionaries.relu import ReLU
from policyscope.errors import InvalidInput, UnknownName
from policyscope.interventions.ablate import ablate
from policyscope.interventions.clamp import clamp
from policyscope.interventions.intervention import Intervention
from policyscope.interventions.patch import patch
from policyscope.interventions.program import Program
from policyscope.interventions.scale import scale
from policyscope.interventions.splice import splice
from policyscope.interventions.steer import steer
from policyscope.testing.planted import edited_forward, features, unit_features

CODER = unit_features(3)
NAN = float("nan")
BACKWARDS = features([[1.0] * 3], [[1.0] * 3], reads="fc2:in", writes="fc1:in", name="backwards")

MADE: dict[str, tuple[Callable[[], object], str]] = {
    "steer by NaN": (lambda: steer(CODER[0], NAN), "alpha is nan; expected one finite number"),
    "steer by no row": (lambda: steer(CODER[0], []), "alpha is .*; expected one finite number"),
    "steer a site nowhere": (lambda: steer("fc2:in", 1.0), "together with a direction"),
    "steer along NaN": (lambda: steer("fc2:in", 1.0, torch.full((3,), NAN)), "holds NaN or Inf"),
    "clamp to Inf": (lambda: clamp(CODER[0], float("inf")), "value is inf"),
    "clamp a site": (lambda: clamp("fc2:in", 1.0), "Cannot clamp to 1 the whole site 'fc2:in'"),
    "clamp a cell": (lambda: clamp("conv:out#3[4,7]", 1.0), "one cell .* Give the whole unit"),
    "scale by NaN": (lambda: scale(CODER[0], [1.0, NAN]), "factor is"),
    "ablate to a NaN mean": (lambda: ablate(CODER[0], NAN), "mean is nan"),
    "ablate a site to nothing": (lambda: ablate("fc2:in"), "give its mean activation"),
    "patch NaN": (lambda: patch("fc2:in", torch.full((3,), NAN)), "holds NaN or Inf"),
    "edit with no place": (lambda: Program([splice(ReLU(3))]), "has no place in a network yet"),
    "keep rows together": (
        lambda: Program([steer(CODER[0], [1.0, 2.0])]),
        "is for 2 rows and cannot be one condition",
    ),
}

RUN: dict[str, tuple[Intervention, str]] = {
    "no such unit": (clamp("fc2:in#3", 1.0), "There is no unit 3: the activation has 3 units"),
    "too long a direction": (
        steer("fc2:in", 1.0, torch.ones(4)),
        "Cannot steer 3 units along a direction of 4",
    ),
    "a patch of another shape": (
        patch("fc2:in", torch.ones(2)),
        r"Cannot patch an activation of shape \[2\] where the network has \[3\]",
    ),
    "reads after it writes": (clamp(BACKWARDS[0], 1.0), "reaches only after 'fc1:in'"),
}


@pytest.mark.parametrize("name", MADE)
def test_making_an_impossible_edit_is_refused(name: str) -> None:
    make, message = MADE[name]
    with pytest.raises(InvalidInput, match=message):
        make()


@pytest.mark.parametrize("name", RUN)
def test_an_edit_that_does_not_fit_the_network_is_refused(name: str) -> None:
    edit, message = RUN[name]
    with pytest.raises(InvalidInput, match=message):
        edited_forward(MLP([3, 3, 2]), [edit], torch.zeros(2, 3), [0, 0])


def test_an_unknown_site_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'fc2'"):
        edited_forward(MLP([3, 3, 2]), [clamp("fc9:in#0", 1.0)], torch.zeros(1, 3), [0])
