"""Float32 products at the speed of the processor, for as long as a block of code asks for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

# How torch takes float32 products by oneDNN; torch below 2.9 has no such setting.
SETTING: Any = getattr(torch.backends.mkldnn, "matmul", None)
# Of sums of this many terms float32 loses less than this, relatively; bfloat16 a thousand times it.
TERMS, MOST_ERROR = 512, 1e-5


@contextmanager
def fast_products() -> Iterator[None]:
    """Has oneDNN take the float32 products of a CPU where that is no less exact than the default.

    On processors that are not Intel's the default library reaches about half the speed. What asks
    for oneDNN also allows it to round to bfloat16, which it does only where there are units for
    that; there nothing is changed.
    """
    if not is_exact():
        yield
        return
    before = SETTING.fp32_precision
    SETTING.fp32_precision = "bf16"
    try:
        yield
    finally:
        SETTING.fp32_precision = before


@cache
def has_bfloat16_units() -> bool:
    """Whether products in bfloat16 are faster on this CPU than in float32."""
    return torch.cpu._is_avx512_bf16_supported()


@cache
def is_exact() -> bool:
    """Whether oneDNN keeps full float32 on this machine, by the units it has and by trial."""
    if SETTING is None or torch.cpu._is_amx_tile_supported():
        return False
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, TERMS, TERMS, generator=generator)
    exact = left.double() @ right.double()
    before = SETTING.fp32_precision
    SETTING.fp32_precision = "bf16"
    try:
        error = (left @ right).double() - exact
    finally:
        SETTING.fp32_precision = before
    return float(error.norm() / exact.norm()) < MOST_ERROR
