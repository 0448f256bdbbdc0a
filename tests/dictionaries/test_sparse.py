"""Laws of every sparse kind: scaling folds away, directions keep unit norm, k must be possible."""

from copy import deepcopy
from dataclasses import fields
from typing import Any, cast

import pytest
import torch

from policyscope.dictionaries.dictionary import DICTIONARIES, Stage
from policyscope.dictionaries.fit import fit
from policyscope.dictionaries.scaling import Scaling
from policyscope.dictionaries.solved import Solved
from policyscope.dictionaries.sparse import Sparse
from policyscope.errors import InvalidInput

KINDS = [
    name
    for name in DICTIONARIES.names()
    if issubclass(kind := DICTIONARIES.get(name), Sparse) and not issubclass(kind, Solved)
]
HAVE_K = [
    name for name in KINDS if "k" in {f.name for f in fields(cast(Any, DICTIONARIES.get(name)))}
]


def made(kind: str, width: int = 12, k: int = 3) -> Sparse:
    choices = {"width": width, "k": k} if kind in HAVE_K else {"width": width}
    return cast(Sparse, DICTIONARIES.get(kind)(**choices))


def random_weights(kind: str, d_in: int = 5, d_out: int = 4) -> Sparse:
    dictionary = made(kind)
    generator = torch.Generator().manual_seed(3)
    dictionary.build(d_in, d_out, generator)
    with torch.no_grad():
        for parameter in dictionary.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator).abs())
        for buffer in dictionary.buffers():
            buffer.fill_(0.2)
    return dictionary


@pytest.mark.parametrize("kind", KINDS)
def test_a_scaling_folds_into_the_weights(kind: str) -> None:
    """Rescaled, a dictionary says of raw activations what it said of scaled ones, in raw units."""
    dictionary = random_weights(kind)
    generator = torch.Generator().manual_seed(4)
    scaling = Scaling(
        torch.randn(5, generator=generator), 2.5, torch.randn(4, generator=generator), 0.4
    )
    x = torch.randn(50, 5, generator=generator)
    codes, reconstruction = dictionary.decompose((x - scaling.x_mean) / scaling.x_scale)
    assert 0 < float((codes > 0).float().mean()) < 1
    folded = deepcopy(dictionary)
    folded.rescale(scaling)
    raw_codes, raw = folded.decompose(x)
    torch.testing.assert_close(raw_codes, codes * scaling.y_scale, atol=1e-5, rtol=1e-4)
    expected = reconstruction * scaling.y_scale + scaling.y_mean
    torch.testing.assert_close(raw, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(folded.directions(), dictionary.directions())


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_keeps_directions_at_unit_norm(kind: str) -> None:
    x = torch.randn(600, 5, generator=torch.Generator().manual_seed(0)) * 7 + 100
    dictionary = made(kind)
    fitted = fit(dictionary, x, x, schedule=dictionary.schedule.changed(epochs=2, batch_size=64))
    torch.testing.assert_close(fitted.dictionary.directions().norm(dim=1), torch.ones(12))


@pytest.mark.parametrize("kind", KINDS)
def test_a_feature_declared_dead_leaves_the_loss_finite(kind: str) -> None:
    dictionary = random_weights(kind)
    x = torch.randn(32, 5, generator=torch.Generator().manual_seed(1))
    for dead in (torch.zeros(12, dtype=torch.bool), torch.ones(12, dtype=torch.bool)):
        loss = dictionary.loss(x, x[:, :4], Stage(0.5, dead))
        loss.total.backward()
        dictionary.before_step()
        dictionary.after_step()
        assert torch.isfinite(loss.total)
        assert all(torch.isfinite(parameter).all() for parameter in dictionary.parameters())


@pytest.mark.parametrize("kind", HAVE_K)
@pytest.mark.parametrize("k", [0, 13])
def test_k_that_cannot_be_is_refused(kind: str, k: int) -> None:
    with pytest.raises(InvalidInput, match=f"k is {k} and the width 12"):
        made(kind, k=k).build(5, 5, torch.Generator())
