"""A family equals its members fitted alone, whatever they are and however they are packed."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from policyscope.dictionaries.family import TILE_ROWS, Layout, fit_family
from policyscope.dictionaries.fit import Fitted, fit
from policyscope.dictionaries.relu import ReLU
from policyscope.dictionaries.schedule import Schedule
from policyscope.errors import InvalidInput, NotFinite


def data(
    steps: int, d_in: int, d_out: int, shift: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(steps, d_in, generator=generator)
    weight = torch.randn(d_in, d_out, generator=generator) / d_in**0.5
    return x, (x @ weight).relu() + shift


def assert_equal_alone(family: list[Fitted], members, x, y, seeds, **schedule) -> None:
    assert len(family) == len(members)
    for together, member, seed in zip(family, members, seeds, strict=True):
        alone = fit(member, x, y, seed=seed, **schedule)
        assert repr(together.dictionary) == repr(member)
        assert together.seed == seed
        for left, right in zip(
            together.dictionary.parameters(), alone.dictionary.parameters(), strict=True
        ):
            # Sums in another order differ in the last of 7 digits, and Adam divides small by small.
            torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)
        for name, curve in together.curves.columns().items():
            assert curve == pytest.approx(alone.curves.columns()[name], rel=1e-4, abs=1e-4), name


@pytest.mark.parametrize(("d_in", "d_out"), [(4, 128), (128, 64)])
def test_a_family_equals_its_members_fitted_alone(d_in: int, d_out: int):
    x, y = data(2000, d_in, d_out)
    members, seeds = [ReLU(2), ReLU(4), ReLU(8)], [0, 1, 2]
    schedule = {"schedule": Schedule(epochs=6), "data_seed": 9}
    family = fit_family(members, x, y, seeds=seeds, **schedule)
    assert_equal_alone(family, members, x, y, seeds, **schedule)


@settings(max_examples=12, deadline=None)
@given(
    widths=st.lists(st.integers(1, 40), min_size=1, max_size=7),
    penalty=st.sampled_from([0.0, 1e-3, 0.3]),
    batch_size=st.sampled_from([33, 64, 500]),
    shift=st.sampled_from([0.0, 5.0]),
)
def test_any_family_equals_its_members_fitted_alone(widths, penalty, batch_size, shift):
    x, y = data(200, 3, 30, shift)
    members = [ReLU(width, penalty * (1 + i % 2)) for i, width in enumerate(widths)]
    seeds = list(range(len(members)))
    schedule = {"schedule": Schedule(epochs=2, batch_size=batch_size)}
    family = fit_family(members, x, y, seeds=seeds, **schedule)
    assert_equal_alone(family, members, x, y, seeds, **schedule)


def test_held_out_data_are_what_is_measured():
    x, y = data(300, 3, 6)
    held_out = x[:50] + 1, y[:50]
    members, schedule = [ReLU(2), ReLU(9)], {"schedule": Schedule(epochs=2), "held_out": held_out}
    family = fit_family(members, x, y, seeds=[0, 1], **schedule)
    assert_equal_alone(family, members, x, y, [0, 1], **schedule)


def test_members_are_left_as_they_are_and_may_repeat():
    x, y = data(100, 3, 6)
    member = ReLU(2)
    first, again, other = fit_family(
        [member] * 3, x, y, seeds=[0, 0, 1], schedule=Schedule(epochs=1)
    )
    assert not member.is_built
    assert torch.allclose(first.dictionary.directions(), again.dictionary.directions(), atol=1e-6)
    assert not torch.allclose(first.dictionary.directions(), other.dictionary.directions())


def test_a_dead_member_stays_dead_among_the_living():
    x, y = data(200, 3, 6)
    members = [ReLU(3, penalty=1e6), ReLU(3)]
    schedule = Schedule(epochs=40, batch_size=20, learning_rate=1e-2)
    family = fit_family(members, x, y, seeds=[0, 0], schedule=schedule)
    assert family[0].curves.dead[-1] == 1.0
    assert family[0].curves.l0[-1] == 0.0
    assert family[1].curves.dead[-1] < 1.0


def test_a_schedule_that_is_not_plain_is_followed_one_by_one():
    x, y = data(200, 3, 6)
    schedule = {"schedule": Schedule(epochs=2, clip=1.0, warm_up=0.1)}
    family = fit_family([ReLU(2), ReLU(4)], x, y, seeds=[0, 1], **schedule)
    assert_equal_alone(family, [ReLU(2), ReLU(4)], x, y, [0, 1], **schedule)


def test_a_family_of_none_is_empty():
    x, y = data(10, 3, 6)
    assert fit_family([], x, y, seeds=[]) == []


def test_what_cannot_be_fitted_is_refused_before_any_work():
    x, y = data(10, 3, 6)
    with pytest.raises(InvalidInput, match="2 members and 1 seeds"):
        fit_family([ReLU(2)] * 2, x, y, seeds=[0])
    with pytest.raises(InvalidInput, match="width 0"):
        fit_family([ReLU(2), ReLU(0)], x, y, seeds=[0, 0])
    with pytest.raises(InvalidInput, match="steps"):
        fit_family([ReLU(2)], x, y[:5], seeds=[0])
    with pytest.raises(InvalidInput, match="epochs"):
        fit_family([ReLU(2)], x, y, seeds=[0], schedule=Schedule(epochs=0))
    x[3, 1] = math.nan
    with pytest.raises(NotFinite, match="step 3, unit 1"):
        fit_family([ReLU(2)], x, y, seeds=[0])


@given(widths=st.lists(st.integers(1, 70), min_size=1, max_size=30))
def test_a_layout_gives_every_feature_and_bias_a_row_of_its_own(widths: list[int]):
    layout = Layout.pack(widths, torch.device("cpu"))
    assert layout.rows % layout.mask.shape[1] == 0
    assert layout.mask.shape[1] <= max(TILE_ROWS, max(widths) + 1)
    counts = torch.bincount(layout.owner, minlength=len(widths) + 1)[:-1]
    assert counts.tolist() == [width + 1 for width in widths]
    assert layout.by_member(layout.is_feature).tolist() == widths
    assert layout.by_member(layout.is_bias).tolist() == [1] * len(widths)
    # A member lies in one tile, so its block of the Gram matrix is whole.
    blocks = layout.mask.sum(2).view(-1)
    for i, width in enumerate(widths):
        assert (blocks[layout.owner == i] == width + 1).all()
    assert (blocks[layout.owner == len(widths)] == 0).all()
