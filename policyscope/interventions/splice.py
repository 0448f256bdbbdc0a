"""Splicing: an activation replaced by a dictionary's reconstruction of it."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from policyscope.address import Site
from policyscope.dictionaries.feature import Owner
from policyscope.interventions.code import as_written, read_by
from policyscope.interventions.intervention import Batched, Edit, Intervention, Values
from policyscope.interventions.target import reads_of, writes_of


def splice(dictionary: Owner) -> Intervention:
    """Puts the reconstruction where `dictionary` writes, made of x, which it reads.

    A perfect dictionary spliced in changes nothing; how much return an imperfect one keeps is its
    fidelity.
    """
    return Intervention(tuple(Splice(part) for part in dictionary.parts))


@dataclass(frozen=True, eq=False)
class Splice(Edit):
    """The reconstruction in place of the activation."""

    dictionary: Owner

    @property
    def site(self) -> Site:  # pyright: ignore[reportIncompatibleVariableOverride]
        return writes_of(self.dictionary)

    @property
    def requires(self) -> tuple[Site, ...]:
        return (reads_of(self.dictionary),)

    @property
    def family(self) -> Hashable:
        return ("splice", id(self.dictionary))

    def batch(self, edits: Sequence[Edit | None]) -> "BatchedSplice":
        return BatchedSplice(self.dictionary, [edit is not None for edit in edits])

    def __str__(self) -> str:
        return f"splice {self.dictionary.name}"


class BatchedSplice(Batched):
    """The same reconstruction for every condition that has it."""

    def __init__(self, dictionary: Owner, active: Sequence[bool]) -> None:
        self.dictionary = dictionary
        self.active = torch.tensor(active)

    def gather(self, condition: Int[Tensor, " row"]) -> None:
        """Nothing differs between rows."""

    def edit(self, activation: Tensor, values: Values) -> Tensor:
        read = read_by(self.dictionary, activation, values)
        return as_written(self.dictionary.decompose(read)[1], activation)
