"""The spectrum says along how many directions activations vary, and advises a width from it."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from policyscope.dictionaries.spectrum import Covariance, Spectrum
from policyscope.document import strict
from policyscope.errors import InvalidInput, NotEnoughData, NotFinite
from policyscope.fold import Fold


def planted(steps: int = 4000) -> torch.Tensor:
    """Twelve units varying along three directions, variances 92, 7.5 and 0.5; two are dead."""
    generator = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(10, 3, generator=generator))[0].T
    spread = torch.tensor([92.0, 7.5, 0.5]).sqrt()
    source = torch.linalg.qr(torch.randn(steps, 4, generator=generator))[0]
    # Exactly uncorrelated, and about a mean that is not zero.
    source = (source - source.mean(0)) @ torch.eye(4, 3)
    source = torch.linalg.qr(source)[0] * math.sqrt(steps)
    return torch.cat([(source * spread) @ axes + 20, torch.zeros(steps, 2)], 1)


def test_directions_dead_units_and_the_mean_are_counted():
    found = Spectrum.of(planted())
    assert found.variances[:3] == pytest.approx((92, 7.5, 0.5), rel=1e-3)
    assert found.rank == 3
    assert (found.components(0.89), found.components(0.98), found.components(0.999)) == (1, 2, 3)
    assert found.constant == 2
    assert found.constant_share == pytest.approx(1 / 6)
    assert found.gamma == pytest.approx(20 * math.sqrt(10) / 10, rel=1e-3)
    entropy = -sum(p * math.log(p) for p in (0.92, 0.075, 0.005))
    assert found.effective_rank == pytest.approx(math.exp(entropy), rel=1e-3)


@given(cuts=st.lists(st.integers(0, 300), max_size=4), merged=st.booleans())
def test_any_split_gives_the_same_spectrum(cuts: list[int], merged: bool):
    x = planted(300)
    whole = Covariance.of(x).result()
    edges = [0, *sorted(cuts), 300]
    fold = Covariance()
    for begin, end in pairwise(edges):
        if merged:
            fold.merge(Covariance.of(x[begin:end]))
        else:
            fold.update(x[begin:end])
    split = fold.result()
    assert isinstance(fold, Fold)
    assert split.variances == pytest.approx(whole.variances, rel=1e-9, abs=1e-9)
    assert (split.rank, split.constant, split.steps) == (whole.rank, whole.constant, 300)
    assert split.gamma == pytest.approx(whole.gamma)


def test_variances_are_those_of_numpy():
    x = torch.randn(500, 6, generator=torch.Generator().manual_seed(1)) + 1000
    expected = np.linalg.eigvalsh(np.cov(x.double().numpy().T, bias=True))[::-1]
    assert Spectrum.of(x).variances == pytest.approx(expected.tolist(), rel=1e-6)


def test_the_advised_width_grows_with_the_directions_and_with_k():
    few, many = Spectrum.of(planted()), Spectrum.of(torch.eye(64).repeat(8, 1))
    assert few.components(0.99) == 2
    assert few.advised_width(32) == 64
    assert few.advised_width(8) == 16
    # One direction of 64 is lost with the mean.
    assert many.components(0.99) == 63
    assert many.advised_width(32) == 32 + 16 * 63
    assert "2 of 12 principal components hold 99%" in few.reason()
    assert "fewer than 32 features per step" in few.reason()
    assert "fewer than" not in many.reason()


def test_a_width_that_is_too_large_is_objected_to():
    found = Spectrum.of(planted())
    assert found.objection(64) == ""
    assert found.objection(65).startswith("Width 65 is more than the 64 advised here. 2 of 12")


def test_nothing_that_varies_is_said_and_no_crash():
    found = Spectrum.of(torch.ones(10, 4))
    assert (found.rank, found.constant, found.components(0.9)) == (0, 4, 0)
    assert found.advised_width() == 0
    assert "None of the 4 units varies" in found.reason()
    assert "None of the 4" in str(found)
    assert json.dumps(strict(found.to_json()), allow_nan=False)


def test_it_is_read_as_a_table_and_as_json():
    found = Spectrum.of(planted())
    text = str(found)
    assert "4,000 steps" in text
    assert "2 (17%)" in text
    assert "components with 99.9 % of the variance" in text
    document = found.to_json()
    assert document["components"] == {"0.9": 1, "0.99": 2, "0.999": 3}
    assert document["advised_width"] == 64
    assert len(document["variances"]) == 12


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(NotEnoughData, match="1 steps were given"):
        Spectrum.of(torch.ones(1, 3))
    with pytest.raises(NotEnoughData, match="0 steps were given"):
        Covariance().result()
    bad = torch.zeros(5, 3)
    bad[2, 1] = math.nan
    with pytest.raises(NotFinite, match="Unit 1"):
        Spectrum.of(bad)
    fold = Covariance.of(torch.zeros(5, 3))
    with pytest.raises(InvalidInput, match="2 units after 3"):
        fold.update(torch.zeros(5, 2))
