"""A list of the active codes is the matrix of them, with the same gradients; ties are broken."""

from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from policyscope.dictionaries import selection
from policyscope.dictionaries.codes import Codes, DenseCodes, ListedCodes, Reader
from policyscope.dictionaries.selection import above, top_of_batch, top_per_step

CHOICES = ("step", "batch", "above", "above each")


def choose(rule: str, k: int, x: Tensor, encoder: Tensor, bias: Tensor) -> Codes:
    """The codes by one of the rules; k is for those that have one."""
    reader = Reader(x, encoder, bias)
    match rule:
        case "step":
            return top_per_step(reader, k)
        case "batch":
            return top_of_batch(reader, k)
        case "above":
            return above(reader, torch.tensor(0.7, dtype=x.dtype))
        case _:
            return above(reader, torch.linspace(0.2, 1.5, len(bias), dtype=x.dtype))


def both(rule: str, k: int, *given: Tensor) -> tuple[ListedCodes, DenseCodes]:
    """The same codes as a list, found in parts of a few steps, and as a matrix."""
    with (
        patch.object(selection, "list_pays", lambda *_: True),
        patch.object(selection, "BUFFER_ENTRIES", 7 * len(given[1])),
        patch.object(selection, "SAMPLE_STEPS", 3),
    ):
        as_list = choose(rule, k, *given)
    with patch.object(selection, "list_pays", lambda *_: False):
        as_matrix = choose(rule, k, *given)
    assert isinstance(as_list, ListedCodes)
    assert isinstance(as_matrix, DenseCodes)
    return as_list, as_matrix


def drawn(seed: int, steps: int, units: int, width: int, zeros: int = 0) -> tuple[Tensor, ...]:
    """x with `zeros` rows of zeros, an encoder, a bias and a decoder, with gradients."""
    shapes = (steps, units), (width, units), (width,), (width, 3)
    parts = [normal(*shape, seed=seed + i).double() for i, shape in enumerate(shapes)]
    parts[0][:zeros] = 0
    return tuple(part.requires_grad_() for part in parts)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def matrix(codes: Codes, width: int) -> Tensor:
    """The codes as a matrix, whatever they are."""
    return codes.decode(torch.eye(width, dtype=torch.float64))


sizes = {
    "seed": st.integers(0, 2**16),
    "steps": st.integers(1, 30),
    "units": st.integers(1, 6),
    "width": st.integers(1, 40),
    # Two rows of zeros would read alike: a tie.
    "zeros": st.integers(0, 1),
    "share": st.floats(0, 1),
    "rule": st.sampled_from(CHOICES),
}


@settings(max_examples=60)
@given(**sizes)
def test_a_list_is_the_matrix_and_has_its_gradients(
    seed: int, steps: int, units: int, width: int, zeros: int, share: float, rule: str
) -> None:
    k = max(1, round(share * width))
    *given, decoder = drawn(seed, steps, units, width, min(zeros, steps))
    as_list, as_matrix = both(rule, k, *given)
    assert torch.allclose(matrix(as_list, width), as_matrix.values)
    assert torch.equal(as_list.fired(), as_matrix.fired())
    torch.testing.assert_close(as_list.least(), as_matrix.least())
    wanted = normal(steps, 3, seed=seed + 9).double()
    gradients = [
        torch.autograd.grad((codes.decode(decoder) - wanted).square().sum(), [*given, decoder])
        for codes in (as_list, as_matrix)
    ]
    for ours, reference in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-9, atol=1e-9)


@settings(max_examples=30)
@given(**{name: sizes[name] for name in ("seed", "steps", "width", "share")})
def test_ties_are_broken_but_never_added(seed: int, steps: int, width: int, share: float) -> None:
    k = max(1, round(share * width))
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-1, 2, (steps, 2), generator=generator).double()
    encoder = torch.randint(-1, 2, (width, 2), generator=generator).double()
    for rule in ("step", "batch"):
        as_list, as_matrix = both(rule, k, x, encoder, torch.zeros(width).double())
        found, expected = matrix(as_list, width), as_matrix.values
        if rule == "step":
            torch.testing.assert_close(found.sort(1).values, expected.sort(1).values)
        torch.testing.assert_close(found.sum(), expected.sum())
        assert torch.equal((found > 0).sum(), (expected > 0).sum())


@pytest.mark.parametrize("rule", CHOICES)
def test_gradients_are_those_of_finite_differences(rule: str) -> None:
    given = drawn(0, 9, 4, 12)

    def decoded(x: Tensor, encoder: Tensor, bias: Tensor, decoder: Tensor) -> Tensor:
        return both(rule, 3, x, encoder, bias)[0].decode(decoder)

    assert torch.autograd.gradcheck(decoded, given)


def test_features_of_a_range_are_their_columns_of_the_matrix() -> None:
    x, encoder, bias, decoder = drawn(0, 11, 4, 20)
    as_list, as_matrix = (codes.within(5, 12) for codes in both("step", 6, x, encoder, bias))
    gradients = []
    for codes in (as_list, as_matrix):
        loss = codes.decode(decoder[5:12]).square().sum()
        gradients.append(torch.autograd.grad(loss, [x, encoder, bias, decoder]))
    for ours, reference in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, reference)
    assert torch.equal(as_list.fired(), as_matrix.fired())


def test_readings_are_of_any_features() -> None:
    as_list, as_matrix = both("step", 2, *drawn(0, 5, 4, 20)[:3])
    some = torch.tensor([3, 19, 0])
    torch.testing.assert_close(as_list.readings(some), as_matrix.readings(some))


def test_a_batch_where_only_unsampled_steps_are_active_is_searched_again() -> None:
    x = torch.zeros(60, 4)
    x[1::20] = 100.0  # Between the steps that are looked at first, which are all alike.
    encoder, bias = normal(16, 4).abs(), torch.full((16,), -1.0)
    bias[0] = 1.0
    as_list, as_matrix = both("batch", 4, x, encoder, bias)
    torch.testing.assert_close(as_list.decode(torch.eye(16)), as_matrix.values)


def test_a_feature_that_is_no_number_is_not_passed_over() -> None:
    x, encoder, bias = normal(6, 4), normal(300, 4, seed=1), torch.zeros(300)
    encoder[7] = torch.nan
    for rule in CHOICES:
        as_list, _ = both(rule, 2, x, encoder, bias)
        assert as_list.values.isnan().any(), rule


def test_small_and_dense_problems_get_a_matrix() -> None:
    def kind(width: int, k: int) -> type[Codes]:
        x, encoder = normal(8, 64), normal(width, 64, seed=1)
        return type(top_per_step(Reader(x, encoder, torch.zeros(width)), k))

    assert kind(2048, 32) is ListedCodes
    assert kind(2048, 1024) is DenseCodes
    assert kind(16, 1) is DenseCodes


@pytest.mark.parametrize("has_units", [True, False])
def test_what_is_looked_at_in_bfloat16_is_decided_in_float32(has_units: bool) -> None:
    # A common part makes errors of rounding larger beside the differences between features.
    reader = Reader(normal(200, 64) + 3, normal(600, 64, seed=1), normal(600, seed=2))
    with patch.object(selection, "has_bfloat16_units", lambda: has_units):
        for choose_k in (top_per_step, top_of_batch):
            with patch.object(selection, "list_pays", lambda *_: False):
                expected = choose_k(reader, 8).decode(torch.eye(600))
            found = choose_k(reader, 8)
            assert isinstance(found, ListedCodes)
            codes = found.decode(torch.eye(600))
            is_same = (codes > 0) == (expected > 0)
            assert is_same.float().mean() > 1 - 1e-5
            torch.testing.assert_close(codes[is_same], expected[is_same])


def test_autocast_does_not_touch_the_list() -> None:
    reader = Reader(normal(200, 64), normal(600, 64, seed=1), normal(600, seed=2))
    for choose_k in (top_per_step, top_of_batch):
        plain = choose_k(reader, 8)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = choose_k(reader, 8)
            assert torch.equal(mixed.decode(torch.eye(600)), plain.decode(torch.eye(600)))
