"""The codes of a batch, as a matrix or as a list of what is active: whichever is cheaper to fit.

Of a sparse dictionary few features are active per step s, yet with a matrix of codes z a step of
the fit takes five products of the size [step, unit] × [unit, feature]. With a list of the active
entries only the first of them is left, the readings x Wᵀ + b. All else is sums over entries:

    ŷ_s = Σ_j z_sj d_j        ∂z_sj = ⟨∂ŷ_s, d_j⟩
    ∂d_j = Σ_s z_sj ∂ŷ_s      ∂w_j = Σ_s ∂z_sj x_s

the second line with the entries in the order of features. Gradients are exact: what is not listed
has none. (Gao et al. 2024, arXiv 2406.04093, appendix D, have the same sums as kernels for GPUs.)
"""

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class Codes(ABC):
    """The codes of a batch of steps, with their gradients."""

    @abstractmethod
    def decode(self, decoder: Float[Tensor, "feature target"]) -> Float[Tensor, "step target"]:
        """Σ_j z_j d_j for each step."""

    @abstractmethod
    def fired(self) -> Bool[Tensor, " feature"]:
        """Which features are active for any step."""

    @abstractmethod
    def within(self, start: int, end: int) -> "Codes":
        """The codes of the features from `start` up to `end`; their readings are left behind."""

    @abstractmethod
    def readings(self, features: Int[Tensor, " some"]) -> Float[Tensor, "step some"]:
        """How strongly some features are called for, whether or not they are active."""

    @abstractmethod
    def least(self) -> Float[Tensor, ""]:
        """The smallest positive code; infinity where there is none. Carries no gradient."""


@dataclass(frozen=True, eq=False)
class DenseCodes(Codes):
    """Codes as a matrix, and the readings from which they were chosen."""

    values: Float[Tensor, "step feature"]
    pre: Float[Tensor, "step feature"]

    def decode(self, decoder: Float[Tensor, "feature target"]) -> Float[Tensor, "step target"]:
        return self.values @ decoder

    def fired(self) -> Bool[Tensor, " feature"]:
        return (self.values.detach() != 0).any(0)

    def within(self, start: int, end: int) -> "DenseCodes":
        return DenseCodes(self.values[:, start:end], self.pre[:, start:end])

    def readings(self, features: Int[Tensor, " some"]) -> Float[Tensor, "step some"]:
        return self.pre.index_select(1, features)

    def least(self) -> Float[Tensor, ""]:
        return least_positive(self.values)


@dataclass(frozen=True, eq=False)
class Reader:
    """What reads features from a batch: ⟨w_j, x_s⟩ + b_j says how much j is called for at s."""

    x: Float[Tensor, "step unit"]
    encoder: Float[Tensor, "feature unit"]
    bias: Float[Tensor, " feature"]

    def read(self) -> Float[Tensor, "step feature"]:
        """All readings."""
        return nn.functional.linear(self.x, self.encoder, self.bias)

    def only(self, features: Int[Tensor, " some"]) -> "Reader":
        """What reads some of the features."""
        encoder, bias = self.encoder.index_select(0, features), self.bias.index_select(0, features)
        return Reader(self.x, encoder, bias)

    def sample(self, steps: int) -> "Reader":
        """What reads about so many of the steps, evenly from first to last."""
        return Reader(self.x[:: max(1, len(self.x) // steps)], self.encoder, self.bias)

    def rounded(self) -> "Reader":
        """The same in bfloat16."""
        return Reader(self.x.bfloat16(), self.encoder.bfloat16(), self.bias.bfloat16())

    @property
    def width(self) -> int:
        """How many features there are."""
        return len(self.encoder)


@dataclass(frozen=True, eq=False)
class Places:
    """Where the entries of a sparse matrix of codes are, in the order of steps.

    Those of step s are numbers `bounds[s]` up to `bounds[s + 1]`.
    """

    feature: Int[np.ndarray, " entry"]
    bounds: Int[np.ndarray, " bound"]
    width: int

    @cached_property
    def by_feature(self) -> tuple["Places", Int[np.ndarray, " entry"]]:
        """The entries of the transposed matrix, and which entry of this one each of them is."""
        # Here, because it takes long to import and only fits need it.
        from scipy.sparse import csr_array

        shape = (len(self.bounds) - 1, self.width)
        number = np.arange(len(self.feature), dtype=np.int32)
        turned = csr_array((number, self.feature, self.bounds), shape=shape).tocsc()
        return Places(turned.indices, turned.indptr, shape[0]), turned.data

    def only(self, kept: Int[np.ndarray, " kept"]) -> "Places":
        """Some of the entries, by number, in order."""
        bounds = np.searchsorted(kept, self.bounds).astype(np.int32)
        return Places(self.feature[kept], bounds, self.width)

    def sums(
        self, values: Float[Tensor, " entry"], rows: Float[Tensor, "feature unit"]
    ) -> Float[Tensor, "step unit"]:
        """For each step the sum of the rows of its features, times the values."""
        return nn.functional.embedding_bag(
            torch.from_numpy(self.feature),
            rows,
            torch.from_numpy(self.bounds),
            mode="sum",
            per_sample_weights=values,
            include_last_offset=True,
        )

    def products(
        self, left: Float[Tensor, "step unit"], right: Float[Tensor, "feature unit"]
    ) -> Float[Tensor, " entry"]:
        """For each entry the inner product of its step's row with its feature's row."""
        hear_out_torch()
        zeros = torch.sparse_csr_tensor(
            torch.from_numpy(self.bounds),
            torch.from_numpy(self.feature),
            left.new_zeros(len(self.feature)),
            (len(left), self.width),
            check_invariants=False,
        )
        return torch.sparse.sampled_addmm(zeros, left, right.T, beta=0.0).values()


@dataclass(frozen=True, eq=False)
class ListedCodes(Codes):
    """Codes as a list of the active entries, and what read them."""

    values: Float[Tensor, " entry"]
    places: Places
    reader: Reader

    def decode(self, decoder: Float[Tensor, "feature target"]) -> Float[Tensor, "step target"]:
        return Decoding.apply(self.values, decoder, self.places)

    def fired(self) -> Bool[Tensor, " feature"]:
        counts = np.diff(self.places.by_feature[0].bounds)
        return torch.from_numpy(counts > 0)

    def within(self, start: int, end: int) -> "ListedCodes":
        feature = self.places.feature
        kept = np.flatnonzero((feature >= start) & (feature < end))
        inside = self.places.only(kept)
        places = Places(inside.feature - np.int32(start), inside.bounds, end - start)
        values = self.values.index_select(0, torch.from_numpy(kept))
        return ListedCodes(values, places, self.reader.only(torch.arange(start, end)))

    def readings(self, features: Int[Tensor, " some"]) -> Float[Tensor, "step some"]:
        return self.reader.only(features).read()

    def least(self) -> Float[Tensor, ""]:
        return least_positive(self.values)


def least_positive(values: Float[Tensor, "..."]) -> Float[Tensor, ""]:
    """The smallest positive value, or infinity."""
    values = values.detach()
    if values.numel() == 0:
        return values.new_tensor(torch.inf)
    return torch.where(values > 0, values, torch.inf).min()


@cache
def hear_out_torch() -> None:
    """Torch says once that its sparse matrices are in beta; nobody here can act on that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.zeros(1, 1).to_sparse_csr()


class Reading(torch.autograd.Function):
    """Readings ⟨w_j, x_s⟩ + b_j of listed places, which were found with them."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "step unit"],
        encoder: Float[Tensor, "feature unit"],
        bias: Float[Tensor, " feature"],
        found: Float[Tensor, " entry"],
        places: Places,
    ) -> Float[Tensor, " entry"]:
        ctx.save_for_backward(x, encoder)
        ctx.places = places
        return found.clone()

    @staticmethod
    def backward(
        ctx: Any, *grad_outputs: Float[Tensor, " entry"]
    ) -> tuple[Tensor | None, Tensor, Tensor, None, None]:
        (gradient,) = grad_outputs
        x, encoder = ctx.saved_tensors
        places: Places = ctx.places
        turned, number = places.by_feature
        by_feature = gradient[torch.from_numpy(number)]
        to_encoder = turned.sums(by_feature, x)
        to_bias = gradient.new_zeros(places.width)
        to_bias.index_add_(0, torch.from_numpy(places.feature), gradient)
        to_x = places.sums(gradient, encoder) if ctx.needs_input_grad[0] else None
        return to_x, to_encoder, to_bias, None, None


class Decoding(torch.autograd.Function):
    """Σ_j z_sj d_j of listed codes."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Float[Tensor, " entry"],
        decoder: Float[Tensor, "feature target"],
        places: Places,
    ) -> Float[Tensor, "step target"]:
        ctx.save_for_backward(values, decoder)
        ctx.places = places
        return places.sums(values, decoder)

    @staticmethod
    def backward(
        ctx: Any, *grad_outputs: Float[Tensor, "step target"]
    ) -> tuple[Tensor, Tensor, None]:
        values, decoder = ctx.saved_tensors
        places: Places = ctx.places
        turned, number = places.by_feature
        gradient = grad_outputs[0].contiguous()
        to_decoder = turned.sums(values[torch.from_numpy(number)], gradient)
        return places.products(gradient, decoder), to_decoder, None
