"""From the numbers a policy gives to actions, with all randomness from the addressed noise."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from policyscope.agents.noise import Noise, as_gumbel, as_normal, drawn
from policyscope.agents.spaces import Box
from policyscope.errors import InvalidInput


def choose_each(
    logits: Float[Tensor, "row choice"], counts: Sequence[int], noise: Noise | None
) -> Int[np.ndarray, "row part"]:
    """One action per row for every part, whose logits stand beside each other."""
    if noise is not None:
        logits = logits + drawn(noise, logits.shape[1], as_gumbel).to(logits.device)
    return torch.stack([part.argmax(1) for part in logits.split([*counts], 1)], 1).cpu().numpy()


def decide(logits: Float[Tensor, "row part"], noise: Noise | None) -> Bool[np.ndarray, "row part"]:
    """Yes or no per row and part: the likelier, or with noise a sample."""
    if noise is None:
        return (logits > 0).cpu().numpy()
    return (noise.uniform(logits.shape[1]).to(logits.device) < logits.sigmoid()).cpu().numpy()


def draw(
    mean: Float[Tensor, "row dim"], log_std: Float[Tensor, "row dim"], noise: Noise | None
) -> Float[Tensor, "row dim"]:
    """The mean, or with noise a sample of the Gaussian, by its inverse distribution function."""
    if noise is None:
        return mean
    return mean + log_std.exp() * drawn(noise, mean.shape[1], as_normal).to(mean.device)


def within(
    action: Float[Tensor, "row dim"], box: Box, *, is_scaled: bool
) -> Float[np.ndarray, "row ..."]:
    """The action in the box: clipped to it, or from [-1, 1] spread over it where `is_scaled`."""
    low, high = bounds(box)
    numbers = action.numpy(force=True).reshape(-1, *box.shape)
    if is_scaled:
        numbers = low + np.float32(0.5) * (numbers + np.float32(1)) * (high - low)
        return numbers.astype(box.dtype, copy=False)
    # As np.clip, which takes longer for a few numbers.
    return np.minimum(np.maximum(numbers, low), high).astype(box.dtype, copy=False)


@lru_cache(maxsize=16)
def bounds(box: Box) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """The smallest and the largest action of the box; InvalidInput where it does not say."""
    if box.low is None or box.high is None:
        raise InvalidInput(
            "The file does not say within which bounds the agent acts. "
            "Give it the environment's spaces by agent.bind(observation_space, action_space)."
        )
    return np.asarray(box.low, np.float32), np.asarray(box.high, np.float32)
