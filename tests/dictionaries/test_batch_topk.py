"""BatchTopK keeps the contract: a batch shares its features, a threshold stands for it later."""

import pytest
import torch

from policyscope.dictionaries.batch_topk import BatchTopK
from policyscope.dictionaries.fit import fit
from policyscope.testing.dictionaries import DictionaryContract
from policyscope.testing.planted import planted_dictionary, planted_directions


class TestBatchTopK(DictionaryContract):
    def make(self) -> BatchTopK:
        return BatchTopK(width=6, k=2)


class TestBatchTopKAutoencoder(DictionaryContract):
    d_in = d_out = 5

    def make(self) -> BatchTopK:
        return BatchTopK(width=8, k=3)


def reader(k: int, units: int = 4) -> BatchTopK:
    """Reads and writes each unit by itself."""
    dictionary = BatchTopK(width=units, k=k)
    dictionary.build(units, units, torch.Generator().manual_seed(0))
    with torch.no_grad():
        dictionary.encoder.copy_(torch.eye(units))
        dictionary.decoder.copy_(torch.eye(units))
    return dictionary


def test_in_training_a_busy_step_takes_from_a_quiet_one():
    dictionary = reader(k=1)
    busy, quiet = torch.tensor([9.0, 8.0, 7.0, 1.0]), torch.tensor([2.0, -1.0, 0.5, 0.1])
    x = torch.stack([busy, quiet, quiet])
    loss = dictionary.loss(x, x)
    # The three largest of the batch are all of the first step.
    expected = torch.stack([busy * torch.tensor([1.0, 1, 1, 0]), quiet * 0, quiet * 0])
    torch.testing.assert_close(loss.reconstruction, expected)
    assert loss.fired.tolist() == [True, True, True, False]
    assert float(dictionary.threshold) == 7.0


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_calibrated_threshold_lets_k_through_on_average(k: int):
    dictionary = reader(k)
    x = torch.rand(10_000, 4, generator=torch.Generator().manual_seed(0)) + 0.1
    dictionary.finish(x, x)
    # With every feature always called for, the last reading is the bound itself.
    assert float((dictionary.encode(x) > 0).sum(-1).float().mean()) == pytest.approx(k, abs=1e-3)


def test_a_fit_has_k_active_at_inference_too():
    x, _ = planted_dictionary(planted_directions(32, 16), 6000, active=(1, 5), noise=0.02)
    x = 3 * x + 20
    schedule = BatchTopK.schedule.changed(epochs=5, batch_size=256, learning_rate=3e-3)
    fitted = fit(BatchTopK(32, k=3), x, x, schedule=schedule).dictionary
    counts = (fitted.encode(x) > 0).sum(-1).float()
    assert float(counts.mean()) == pytest.approx(3, abs=0.02)
    assert counts.min() < 3 < counts.max()
