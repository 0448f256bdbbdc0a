"""One dictionary in training: the step of Adam, who has fallen silent, and the sums of a pass.

All of it is one state that can be written down and taken up again, so that a fit that was killed
ends with the same weights as one that was not.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from policyscope.dictionaries.coordinates import Coordinates
from policyscope.dictionaries.dictionary import Dictionary, Stage
from policyscope.dictionaries.schedule import Schedule


class Training:
    """A built dictionary, its optimizer, and what a pass has said so far."""

    def __init__(
        self,
        dictionary: Dictionary,
        schedule: Schedule,
        coordinates: Coordinates,
        count: int,
    ) -> None:
        self.dictionary = dictionary
        self.schedule = schedule
        self.coordinates = coordinates
        self.count = count
        self.steps = schedule.epochs * math.ceil(count / schedule.batch_size)
        self.step = 0
        self.weights = [p for p in dictionary.parameters() if p.requires_grad]
        self.adam = torch.optim.Adam(self.weights, lr=schedule.learning_rate, fused=True)
        self.silent: Int[Tensor, " feature"] = torch.zeros(
            len(dictionary), dtype=torch.long, device=self.weights[0].device
        )
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Forgets the sums of the pass before."""
        self.sums: dict[str, Float[Tensor, ""]] = {}
        self.seen = 0

    def take(self, x: Float[Tensor, "step unit"], y: Float[Tensor, "step target"]) -> None:
        """One step of Adam on a batch of raw activations."""
        x, y = self.coordinates.apply(x, y)
        for group in self.adam.param_groups:
            group["lr"] = self.schedule.learning_rate_at(self.step, self.steps)
        self.adam.zero_grad(set_to_none=True)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.schedule.bfloat16):
            loss = self.dictionary.loss(x, y, self.stage())
        heard = self.coordinates.parts(loss.reconstruction.detach() - y)
        parts = {"loss": loss.total, **loss.parts, **heard}
        loss.total.backward()
        self.dictionary.before_step()
        if self.schedule.clip < math.inf:
            torch.nn.utils.clip_grad_norm_(self.weights, self.schedule.clip)
        self.adam.step()
        self.dictionary.after_step()
        self.silent.add_(len(x)).masked_fill_(loss.fired, 0)
        for name, value in parts.items():
            total_so_far = self.sums.get(name)
            more = value.detach().double() * len(x)
            self.sums[name] = more if total_so_far is None else total_so_far + more
        self.seen += len(x)
        self.step += 1

    def stage(self) -> Stage:
        """How far the fit has come, as the loss is told."""
        most = self.schedule.dead_after * self.count * self.schedule.epochs
        return Stage(self.step / self.steps, self.silent > most)

    def means(self) -> dict[str, float]:
        """The loss and its parts, means over the samples of the pass so far."""
        return {name: float(total) / self.seen for name, total in self.sums.items()}

    # --- written down and taken up again -----------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on."""
        state = {f"weights.{k}": v for k, v in self.dictionary.state_dict().items()}
        for index, weight in enumerate(self.weights):
            moments = self.adam.state.get(weight, {})
            state |= {f"adam.{index}.{name}": value for name, value in moments.items()}
        state |= {f"sums.{name}": value for name, value in self.sums.items()}
        counts = torch.tensor([self.step, self.seen], dtype=torch.long)
        return {**state, "silent": self.silent, "counts": counts}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Goes on from what `state` wrote down."""
        device = self.silent.device
        state = {name: value.to(device) for name, value in state.items()}
        self.dictionary.load_state_dict(below(state, "weights."))
        for index, weight in enumerate(self.weights):
            moments = below(state, f"adam.{index}.")
            if moments:
                # The fused Adam keeps its count of steps where the weights are.
                self.adam.state[weight] = moments
        self.sums = below(state, "sums.")
        self.silent = state["silent"]
        self.step, self.seen = state["counts"].tolist()


def below(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries whose names begin with `prefix`, without it."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
