"""Dictionaries as other libraries write them down: an encoder, a rule, a decoder, a skip.

    pre = W_e x + b_e        z = relu(pre) where the rule lets it        ŷ = z W_d + b_d + W_s x

Formats of other libraries are translated to this and from it, and so are our kinds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from policyscope.dictionaries.dictionary import DICTIONARIES, Dictionary, kind_of
from policyscope.errors import InvalidInput


@dataclass(frozen=True, eq=False)
class Plain:
    """What a dictionary computes, apart from how it was fitted.

    The rule is at most one of three: among the `k` largest; above `threshold`; or, with a `gain`,
    above zero, and then the code is relu(exp(gain) W_e x + gain_bias) (Gated).
    """

    encoder: Float[Tensor, "feature unit"]
    encoder_bias: Float[Tensor, " feature"]
    decoder: Float[Tensor, "feature target"]
    decoder_bias: Float[Tensor, " target"]
    k: int | None = None
    threshold: Float[Tensor, " feature"] | None = None
    gain: Float[Tensor, " feature"] | None = None
    gain_bias: Float[Tensor, " feature"] | None = None
    skip: Float[Tensor, "target unit"] | None = None

    @property
    def width(self) -> int:
        """The number of features."""
        return len(self.encoder)

    def readings(self, x: Float[Tensor, "step unit"]) -> Float[Tensor, "step feature"]:
        """What each feature reads, before the rule."""
        return nn.functional.linear(x, self.encoder, self.encoder_bias)

    def codes(self, x: Float[Tensor, "step unit"]) -> Float[Tensor, "step feature"]:
        """The codes of `x`."""
        pre = self.readings(x)
        if self.k is not None:
            values, places = pre.topk(self.k, dim=-1, sorted=False)
            return torch.zeros_like(pre).scatter(-1, places, values.relu())
        if self.threshold is not None:
            return torch.where(pre > self.threshold, pre, 0.0).relu()
        if self.gain is not None and self.gain_bias is not None:
            size = self.gain.exp() * (pre - self.encoder_bias) + self.gain_bias
            return torch.where(pre > 0, size, 0.0).relu()
        return pre.relu()

    def ungated(self) -> "Plain":
        """The same codes by a threshold in place of a gate.

        W_e x + b_e > 0 exactly where exp(g) W_e x + b_g > b_g − exp(g) b_e.
        """
        if self.gain is None or self.gain_bias is None:
            return self
        factor = self.gain.exp()
        return replace(
            self,
            encoder=factor[:, None] * self.encoder,
            encoder_bias=self.gain_bias,
            threshold=self.gain_bias - factor * self.encoder_bias,
            gain=None,
            gain_bias=None,
        )


def plain_of(dictionary: Dictionary) -> Plain:
    """What `dictionary` computes; InvalidInput for kinds that compute something else."""
    kind = kind_of(dictionary)
    if kind not in FROM_KIND:
        raise InvalidInput(
            f"Other libraries have no place for the kind {kind!r}; they can hold "
            f"{', '.join(sorted(FROM_KIND))}. Use save, whose files are safetensors too."
        )
    if not dictionary.is_built:
        raise InvalidInput(f"{dictionary} has no parameters to export. Fit it first.")
    return FROM_KIND[kind](dictionary)


def dictionary_of(
    plain: Plain, kind: str = "", choices: Mapping[str, Any] | None = None
) -> Dictionary:
    """The dictionary that computes what `plain` does.

    It is of `kind` with these `choices` where that kind can be it, and else of the one that is
    made for the rule, with the default choices of a fit, which say nothing of how it was fitted.
    """
    kinds = kinds_for(plain)
    if kind not in kinds:
        kind, choices = kinds[0], {}
    made = DICTIONARIES.get(kind)
    given = {**(choices or {}), "width": plain.width}
    if plain.k is not None:
        given["k"] = plain.k
    elif kind == "skip":
        # Without a rule, all that are positive.
        given["k"] = plain.width
    elif (k := getattr(made, "k", None)) is not None:
        given.setdefault("k", min(k, plain.width))
    dictionary = made(**given)
    d_in, d_out = plain.encoder.shape[1], plain.decoder.shape[1]
    dictionary.build(d_in, d_out, torch.Generator())
    dictionary.load_state_dict(state_of(kind, plain))
    return dictionary


def kinds_for(plain: Plain) -> tuple[str, ...]:
    """The kinds that can compute what `plain` does; the one that is made for it is first."""
    if plain.skip is not None:
        if plain.threshold is not None:
            raise InvalidInput("No kind here has both thresholds and a skip.")
        return ("skip",)
    if plain.k is not None:
        return ("topk",)
    if plain.gain is not None:
        return ("gated",)
    if plain.threshold is None:
        return ("relu", "l1")
    is_shared = bool((plain.threshold == plain.threshold[0]).all())
    return ("jumprelu", *SHARED) if is_shared else ("jumprelu",)


def state_of(kind: str, plain: Plain) -> dict[str, Tensor]:
    """The parameters of a dictionary of that kind by their torch names."""
    if kind == "relu":
        return {
            "encoder.0.weight": plain.encoder,
            "encoder.0.bias": plain.encoder_bias,
            "decoder.weight": plain.decoder.T,
            "decoder.bias": plain.decoder_bias,
        }
    state: dict[str, Tensor | None] = {
        "encoder": plain.encoder,
        "encoder_bias": plain.encoder_bias,
        "decoder": plain.decoder,
        "decoder_bias": plain.decoder_bias,
        "log_gain": plain.gain,
        "magnitude_bias": plain.gain_bias,
        "skip": plain.skip,
    }
    if plain.threshold is not None:
        # Readings below zero are none, whatever the threshold.
        threshold = plain.threshold.relu()
        state |= {"threshold": threshold[0] if kind in SHARED else threshold}
    return {name: value for name, value in state.items() if value is not None}


def of_relu(dictionary: Any) -> Plain:
    """A ReLU dictionary, whose parameters have the shape that its source gave them."""
    encoder, decoder = dictionary.encoder[0], dictionary.decoder
    tensors = (encoder.weight, encoder.bias, decoder.weight.T, decoder.bias)
    return Plain(*(tensor.detach() for tensor in tensors))


def of_sparse(dictionary: Any, **rule: Any) -> Plain:
    """A `Sparse` dictionary with its rule."""
    names = ("encoder", "encoder_bias", "decoder", "decoder_bias")
    return Plain(*(getattr(dictionary, name).detach() for name in names), **rule)


SHARED = ("batch-topk", "matryoshka")
"""The kinds with one threshold for all features."""

FROM_KIND: dict[str, Callable[[Any], Plain]] = {
    "relu": of_relu,
    "l1": of_sparse,
    "topk": lambda it: of_sparse(it, k=it.k),
    "skip": lambda it: of_sparse(it, k=it.k, skip=it.skip.detach()),
    "gated": lambda it: of_sparse(
        it, gain=it.log_gain.detach(), gain_bias=it.magnitude_bias.detach()
    ),
    "jumprelu": lambda it: of_sparse(it, threshold=it.threshold.detach()),
    **dict.fromkeys(
        SHARED, lambda it: of_sparse(it, threshold=it.threshold.detach().expand(len(it)))
    ),
}
"""How each kind is written down."""
