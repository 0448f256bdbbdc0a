"""Skip keeps the contract; its bypass takes the affine part, and its features what is left."""

import torch

from policyscope.dictionaries.fit import fit
from policyscope.dictionaries.skip import Skip
from policyscope.dictionaries.topk import TopK
from policyscope.testing.dictionaries import DictionaryContract
from policyscope.testing.planted import planted_directions


class TestSkip(DictionaryContract):
    def make(self) -> Skip:
        return Skip(width=6, k=2)


class TestSkipWide(DictionaryContract):
    d_in, d_out = 4, 7

    def make(self) -> Skip:
        return Skip(width=8, k=3)


def affine_and_sparse() -> tuple[torch.Tensor, torch.Tensor]:
    """x and y = B x + c + Σ_j z_j d_j where z_j are the positive parts of 12 planted readings."""
    generator = torch.Generator().manual_seed(0)
    readings = planted_directions(12, 6, seed=1)
    directions = planted_directions(12, 8, seed=2)
    x = torch.randn(6000, 6, generator=generator)
    linear = torch.randn(8, 6, generator=generator)
    codes = (x @ readings.T - 1).relu()
    return x, 5 + x @ linear.T + 2 * codes @ directions


def test_what_is_affine_goes_past_the_features():
    x, y = affine_and_sparse()
    left = []
    for dictionary in (Skip(12, k=3), TopK(12, k=3)):
        schedule = dictionary.schedule.changed(epochs=15, batch_size=256, learning_rate=1e-2)
        left.append(fit(dictionary, x, y, schedule=schedule).unexplained)
    assert left[0] < 0.05
    assert left[1] > 4 * left[0]


def test_the_bypass_is_no_part_of_what_codes_stand_for():
    dictionary = Skip(4, k=2)
    dictionary.build(3, 5, torch.Generator().manual_seed(0))
    with torch.no_grad():
        dictionary.skip.fill_(1.0)
    x = torch.randn(9, 3, generator=torch.Generator().manual_seed(1))
    codes, reconstruction = dictionary.decompose(x)
    torch.testing.assert_close(reconstruction - dictionary.decode(codes), dictionary.bypass(x))
    torch.testing.assert_close(dictionary.bypass(x), x.sum(-1, keepdim=True).expand(9, 5))
    assert torch.equal(dictionary(x), reconstruction)
