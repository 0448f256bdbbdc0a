"""Products that are faster are as exact, and the setting does not outlive the block."""

import pytest
import torch

from policyscope.dictionaries.products import fast_products


def setting() -> object:
    """How float32 products are taken now, where that can be said."""
    matmul = getattr(torch.backends.mkldnn, "matmul", None)
    return None if matmul is None else matmul.fp32_precision


def test_fast_products_are_as_exact_and_end_with_the_block() -> None:
    before = setting()
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, 300, 300, generator=generator)
    exact = left.double() @ right.double()
    with pytest.raises(RuntimeError, match="stop"), fast_products():
        raise RuntimeError("stop")
    with fast_products():
        found = left @ right
    assert setting() == before
    # Sums of 300 terms in float32; in bfloat16 the error is a thousand times that.
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-4)
