"""Patching: an activation replaced by one from another moment."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from policyscope.address import Site
from policyscope.errors import InvalidInput
from policyscope.interventions.intervention import Batched, Edit, Intervention, Values


def patch(
    site: Site | str, activation: Float[Tensor, "..."], *, label: str | None = None
) -> Intervention:
    """Replaces the activation at `site` in every row by `activation` (without a row axis).

    Take it from a recorded moment: `study.moment("main/ep3@40")["fc2:in"]`.
    """
    where = Site.parse(site)
    if not torch.isfinite(activation).all():
        raise InvalidInput(f"The activation to patch into '{where}' holds NaN or Inf.")
    return Intervention((Patch(where, activation.detach().float(), label or f"patch {where}"),))


@dataclass(frozen=True, eq=False)
class Patch(Edit):
    """A whole activation in place of what the network computed."""

    site: Site
    activation: Float[Tensor, "..."]
    label: str

    @property
    def family(self) -> Hashable:
        return ("patch", tuple(self.activation.shape))

    def batch(self, edits: Sequence[Edit | None]) -> "BatchedPatch":
        return BatchedPatch([edit if isinstance(edit, Patch) else None for edit in edits])

    def __str__(self) -> str:
        return self.label


class BatchedPatch(Batched):
    """One activation per condition."""

    def __init__(self, edits: Sequence[Patch | None]) -> None:
        blank = torch.zeros_like(next(edit.activation for edit in edits if edit is not None))
        self.activations = torch.stack([blank if e is None else e.activation for e in edits])
        self.active = torch.tensor([edit is not None for edit in edits])

    def gather(self, condition: Int[Tensor, " row"]) -> None:
        self._activations = self.activations.to(condition.device)[condition]

    def edit(self, activation: Tensor, values: Values) -> Tensor:
        if activation.shape != self._activations.shape:
            raise InvalidInput(
                f"Cannot patch an activation of shape {list(self._activations.shape[1:])} "
                f"where the network has {list(activation.shape[1:])}."
            )
        return self._activations.to(activation.dtype)
