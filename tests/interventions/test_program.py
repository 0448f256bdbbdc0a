"""A program: what each row gets is what its condition says, whatever the others have."""

import torch

from policyscope.interventions.ablate import ablate
from policyscope.interventions.clamp import clamp
from policyscope.interventions.intervention import Intervention
from policyscope.interventions.patch import patch
from policyscope.interventions.program import Program
from policyscope.interventions.scale import scale
from policyscope.interventions.steer import steer
from policyscope.testing.planted import edited_forward, layered, unit_features

IDENTITY = [[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]
NETWORK = layered((IDENTITY, [0.0] * 3), (IDENTITY, [0.0] * 3))
CODER = unit_features(3)
X = torch.tensor([[1.0, 2.0, 4.0]])


def run(*conditions: Intervention) -> list[list[float]]:
    output, _ = edited_forward(NETWORK, conditions, X.expand(len(conditions), 3))
    return output.tolist()


def test_each_verb_does_what_it_says() -> None:
    assert run(
        Intervention(),
        steer(CODER[0], -0.5),
        clamp(CODER[1], 8.0),
        clamp("fc2:in#2", -1.0),
        scale(CODER[2], 0.25),
        scale("fc2:in#0", 3.0),
        ablate(CODER[1]),
        ablate("fc2:in#1", mean=0.5),
        ablate("fc2:in", torch.tensor([7.0, 7.0, 7.0])),
        patch("fc2:in", torch.tensor([0.0, 1.0, 0.0])),
    ) == [
        [1, 2, 4],
        [0.5, 2, 4],
        [1, 8, 4],
        [1, 2, -1],
        [1, 2, 1],
        [3, 2, 4],
        [1, 0, 4],
        [1, 0.5, 4],
        [7, 7, 7],
        [0, 1, 0],
    ]


def test_edits_of_one_condition_are_made_one_after_the_other() -> None:
    assert run(
        scale(CODER[0], 2.0) + steer(CODER[0], 1.0),
        steer(CODER[0], 1.0) + scale(CODER[0], 2.0),
        patch("fc2:in", torch.ones(3)) + scale(CODER[0], 2.0),
        ablate(CODER[0]) + ablate(CODER[1]),
    ) == [[3, 2, 4], [4, 2, 4], [2, 1, 1], [0, 0, 4]]


def test_rows_follow_their_condition_when_it_is_assigned_again() -> None:
    program = Program([Intervention(), steer(CODER[0], 1.0)])
    (edit,) = program.edits.values()
    for condition in ([0, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]):
        program.assign(torch.tensor(condition))
        added = edit(torch.zeros(3, 3), {})[:, 0]
        assert added.tolist() == condition


def test_edits_of_one_kind_are_one_operation() -> None:
    program = Program([steer(CODER[index], 1.0) for index in range(3)])
    assert [len(steps) for steps in program._steps.values()] == [1]
