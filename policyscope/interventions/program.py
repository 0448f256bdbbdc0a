"""Many conditions in one batch: every row of a vector environment carries its own intervention."""

from collections.abc import Mapping, Sequence

from jaxtyping import Int
from torch import Tensor

from policyscope.address import Site
from policyscope.agents.hooks import EditFunction
from policyscope.errors import InvalidInput
from policyscope.interventions.intervention import Batched, Edit, Intervention, Values


class Program:
    """The interventions of all conditions, compiled to one edit function per site.

    At each site the first edits of all conditions are made, then the second, and so on; edits of
    one family are one batched operation, whatever the number of conditions.
    """

    def __init__(self, conditions: Sequence[Intervention]) -> None:
        self.conditions = tuple(conditions)
        self._steps: dict[Site, list[Batched]] = {}
        edits = [edit for condition in self.conditions for edit in condition.edits]
        for edit in edits:
            if edit.rows is not None:
                raise InvalidInput(
                    f"'{edit}' is for {edit.rows} rows and cannot be one condition. "
                    "Make a condition of each row: intervention.split()."
                )
        for site in dict.fromkeys(edit.site for edit in edits):
            here = [[e for e in c.edits if e.site == site] for c in self.conditions]
            self._steps[site] = _compile(here)

    @property
    def requires(self) -> tuple[Site, ...]:
        """Sites that must be read for the edits."""
        edits = [edit for condition in self.conditions for edit in condition.edits]
        return tuple(dict.fromkeys(site for edit in edits for site in edit.requires))

    @property
    def edits(self) -> Mapping[Site, EditFunction]:
        """What to hand to Hooks."""
        return {site: _sequence(steps) for site, steps in self._steps.items()}

    def assign(self, condition: Int[Tensor, " row"]) -> None:
        """Gives every row its condition; call before acting and whenever a row changes."""
        for steps in self._steps.values():
            for step in steps:
                step.assign(condition)


def _compile(edits: list[list[Edit]]) -> list[Batched]:
    steps: list[Batched] = []
    for slot in range(max(map(len, edits))):
        here = [those[slot] if slot < len(those) else None for those in edits]
        for family in dict.fromkeys(edit.family for edit in here if edit is not None):
            alike = [edit if edit is not None and edit.family == family else None for edit in here]
            first = next(edit for edit in alike if edit is not None)
            steps.append(first.batch(alike))
    return steps


def _sequence(steps: list[Batched]) -> EditFunction:
    def apply(activation: Tensor, values: Values) -> Tensor:
        for step in steps:
            activation = step(activation, values)
        return activation

    return apply
