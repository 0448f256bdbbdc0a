"""Steering: h + α·w, a direction added to an activation."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from policyscope.address import Site
from policyscope.dictionaries.feature import Feature
from policyscope.errors import InvalidInput
from policyscope.interventions.axes import along_units, unit_axis
from policyscope.interventions.clamp import finite
from policyscope.interventions.intervention import Batched, Edit, Intervention, Values
from policyscope.interventions.target import Target, resolve, writes_of


def steer(
    target: Target,
    alpha: float | Float[Tensor, " row"] | Sequence[float],
    direction: Float[Tensor, " unit"] | None = None,
) -> Intervention:
    """Adds α·w where a dictionary writes; w is the feature's direction.

    `target` is a feature, or a site together with a `direction`. `alpha` is in units of the
    direction, one number or one per row. α = 0 leaves rollouts bit-identical.
    """
    aim = resolve(target)
    if isinstance(aim, Feature):
        label = str(aim.address)
        sites = [writes_of(part.dictionary) for part in aim.parts]
        own = [part.direction for part in aim.parts]
        along = own if direction is None else split_as(direction, own, label)
    elif isinstance(aim, Site) and direction is not None:
        label, sites, along = str(aim), [aim], [direction]
    else:
        raise InvalidInput("steer needs a feature, or a site together with a direction.")
    alphas = finite("alpha", alpha)
    if not all(torch.isfinite(one).all() for one in along):
        raise InvalidInput(f"The direction to steer {label} along holds NaN or Inf.")
    return Intervention(
        tuple(
            Steer(site, one.detach().float(), alphas, label)
            for site, one in zip(sites, along, strict=True)
        )
    )


def split_as(
    direction: Float[Tensor, " unit"], parts: Sequence[Float[Tensor, "..."]], label: str
) -> list[Tensor]:
    """A direction over all the sites that a dictionary writes, site by site."""
    if len(parts) == 1:
        return [direction]
    sizes = [len(part) for part in parts]
    if len(direction) != sum(sizes):
        raise InvalidInput(
            f"{label} writes {len(sizes)} sites of {sizes} units; a direction for it has "
            f"{sum(sizes)}, not {len(direction)}."
        )
    return list(direction.split(sizes))


@dataclass(frozen=True, eq=False)
class Steer(Edit):
    """h + α·w at one site."""

    site: Site
    direction: Float[Tensor, " unit"]
    alpha: Float[Tensor, "..."]
    label: str

    @property
    def rows(self) -> int | None:
        return len(self.alpha) if self.alpha.dim() else None

    def of_row(self, row: int) -> "Steer":
        return self if self.rows is None else replace(self, alpha=self.alpha[row])

    @property
    def family(self) -> tuple[str, int]:
        return ("steer", len(self.direction))

    def batch(self, edits: Sequence[Edit | None]) -> "BatchedSteer":
        return BatchedSteer([edit if isinstance(edit, Steer) else None for edit in edits])

    def __str__(self) -> str:
        alpha = f"{float(self.alpha):+g}" if self.rows is None else f"{self.rows} strengths"
        return f"steer {self.label} {alpha}"


class BatchedSteer(Batched):
    """One vector per condition, looked up once per assignment and added to all rows together."""

    leaves_others = True

    def __init__(self, edits: Sequence[Steer | None]) -> None:
        units = next(len(edit.direction) for edit in edits if edit is not None)
        self.vectors = torch.zeros(len(edits), units)
        for vector, edit in zip(self.vectors, edits, strict=True):
            if edit is not None:
                vector.copy_(edit.alpha * edit.direction)
        self.active = self.vectors.abs().sum(1) > 0
        # Adding minus zero changes no bit of any number (zero would make 0 of -0), and costs a
        # sixth of choosing between the edited and the unedited row.
        self.vectors[~self.active] = -0.0

    def gather(self, condition: Int[Tensor, " row"]) -> None:
        self._added = self.vectors.to(condition.device)[condition]

    def edit(self, activation: Tensor, values: Values) -> Tensor:
        added = self._added.to(activation.dtype)
        units = activation.shape[unit_axis(activation)]
        if added.shape[1] != units:
            raise InvalidInput(f"Cannot steer {units} units along a direction of {added.shape[1]}.")
        return activation + along_units(added, activation)
