"""Fitting many small ReLU dictionaries of the same data at once, each as if it were alone.

All members share x, y and the order of the steps, so one computation serves them all. With the
codes of all members stacked, z [row, step], and their decoders likewise, D [row, unit], the
gradients of Σ‖Dᵀz − y‖² need no reconstruction:

    ∂/∂z ∝ (DDᵀ) z − D yᵀ          ∂/∂D ∝ (zzᵀ) D − z y

where of the Gram matrices DDᵀ and zzᵀ only the blocks of single members count. So y meets all
members in two products, and the Gram blocks are as small as the members. A bias of the decoder
is one more row of D, whose code is always one. Members are packed into tiles of equal height, a
mask in each keeping them apart. All parameters are one flat vector: one Adam step.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.optim.adam import adam

from policyscope.dictionaries.curves import Curves, variation
from policyscope.dictionaries.fit import Fitted, HeldOut, build, check_converging, fit, probe_of
from policyscope.dictionaries.relu import ReLU
from policyscope.dictionaries.schedule import Schedule
from policyscope.dictionaries.source import checked, orders
from policyscope.errors import InvalidInput
from policyscope.progress import track

# Up to about this many rows one masked product costs less than several small ones; measured on
# a CPU with benchmarks/family_fit.py.
TILE_ROWS = 32


def fit_family(
    members: Sequence[ReLU],
    x: Float[Tensor, "step unit"],
    y: Float[Tensor, "_ target"],
    *,
    seeds: Sequence[int],
    schedule: Schedule = ReLU.schedule,
    data_seed: int = 0,
    held_out: HeldOut | None = None,
) -> list[Fitted]:
    """Every member fitted to carry `x` to `y`, in order, equal to `fit` with the same seeds.

    Equal up to float32 rounding. `seeds` has one seed per member. Members of any width and
    penalty mix. Keeps one copy of the data. A member wider than y has units is fitted by itself:
    its Gram matrix would cost more than its reconstruction. So is every member where the schedule
    is not plain: it scales, clips, or changes the learning rate.
    """
    x, y = checked(x, y)
    schedule.check()
    if len(seeds) != len(members):
        raise InvalidInput(
            f"{len(members)} members and {len(seeds)} seeds; give one seed for each member."
        )
    probe = probe_of(held_out, x, y)
    built = [build(member, x, y, seed) for member, seed in zip(members, seeds, strict=True)]
    widest = y.shape[1] if schedule.is_plain else 0
    narrow = [member for member in built if member.width <= widest]
    curves = iter(train_together(narrow, x, y, schedule, data_seed, probe))

    def fitted(member: ReLU, seed: int) -> Fitted:
        if member.width <= widest:
            return Fitted(member, next(curves), seed, data_seed)
        return fit(member, x, y, schedule=schedule, seed=seed, data_seed=data_seed, held_out=probe)

    return [fitted(member, seed) for member, seed in zip(built, seeds, strict=True)]


@torch.no_grad()
def train_together(
    members: Sequence[ReLU],
    x: Float[Tensor, "step unit"],
    y: Float[Tensor, "step target"],
    schedule: Schedule,
    data_seed: int,
    probe: HeldOut,
) -> list[Curves]:
    """Fits built `members` in place by the method above; the curves of each."""
    if not members:
        return []
    # Around its mean y needs fewer digits; the decoder biases absorb the shift.
    center = y.mean(0)
    family = Family(members, center)
    data, probe_data = joined(x, y - center), joined(probe[0], probe[1] - center)
    square = sum_of_squares(data[:, x.shape[1] + 1 :])
    probe_variation = variation(probe[1])
    penalty = np.array([member.penalty for member in members])
    history: list[dict[str, Float[np.ndarray, " member"]]] = []
    learning_rate, every = schedule.learning_rate, orders(len(x), data_seed)
    with track(f"fitting {len(members)} dictionaries", schedule.epochs, "epochs") as progress:
        for epoch, order in zip(range(schedule.epochs), every, strict=False):
            family.begin_epoch()
            for rows in order.to(x.device).split(schedule.batch_size):
                family.step(data.index_select(0, rows), learning_rate)
            means = family.means(len(x), square)
            means["loss"] = means["mse"] + penalty * means["l1"]
            check_converging(means["loss"].sum(), epoch, learning_rate)
            measured = family.measure(probe_data, probe_variation)
            history.append({**means, **measured})
            progress.advance(1, f"best unexplained {measured['unexplained'].min():.3g}")
    family.unpack(members, center)
    return [
        Curves.of([{k: v[i] for k, v in row.items()} for row in history])
        for i in range(len(members))
    ]


class Family:
    """The parameters of all members as one flat vector, its gradient and its Adam moments."""

    def __init__(self, members: Sequence[ReLU], center: Float[Tensor, " target"]) -> None:
        self.layout = Layout.pack([member.width for member in members], center.device)
        self.reads, writes = members[0].d_in + 1, len(center)
        rows, split = self.layout.rows, self.layout.rows * self.reads
        self.parameters = center.new_zeros(split + rows * writes)
        self.gradient = torch.zeros_like(self.parameters)
        self.moments = torch.zeros_like(self.gradient), torch.zeros_like(self.gradient)
        self.steps = torch.zeros((), device=center.device)
        # Views of the above; the last entry of an encoder row is its bias.
        self.encoder = self.parameters[:split].view(rows, self.reads)
        self.decoder = self.parameters[split:].view(rows, writes)
        self.encoder_gradient = self.gradient[:split].view(rows, self.reads)
        self.decoder_gradient = self.gradient[split:].view(rows, writes)
        self.penalty = center.new_zeros(rows, 1)
        self.pack(members, center)
        self.begin_epoch()

    def pack(self, members: Sequence[ReLU], center: Float[Tensor, " target"]) -> None:
        """Copies the parameters of the members in."""
        # A bias row reads nothing but the constant one; rows of no member stay all zero.
        self.encoder[:, -1] = self.layout.is_bias
        for member, features, bias in self.layout.places(members):
            reads = cast(nn.Linear, member.encoder[0])
            self.encoder[features] = torch.cat([reads.weight, reads.bias[:, None]], 1)
            self.decoder[features] = member.decoder.weight.T
            self.decoder[bias] = member.decoder.bias - center
            self.penalty[features] = member.penalty

    def unpack(self, members: Sequence[ReLU], center: Float[Tensor, " target"]) -> None:
        """Copies the parameters back out into the members."""
        for member, features, bias in self.layout.places(members):
            reads = cast(nn.Linear, member.encoder[0])
            reads.weight.copy_(self.encoder[features, :-1])
            reads.bias.copy_(self.encoder[features, -1])
            member.decoder.weight.copy_(self.decoder[features].T)
            member.decoder.bias.copy_(self.decoder[bias] + center)

    def begin_epoch(self) -> None:
        """Forgets the sums over the steps of the epoch before."""
        self.gram_sum = torch.zeros_like(self.layout.mask)
        self.error_sum = torch.zeros_like(self.penalty[:, 0])

    def step(self, batch: Float[Tensor, "step joined"], learning_rate: float) -> None:
        """One Adam step of all members on rows of (x, 1, y)."""
        x, y = batch[:, : self.reads], batch[:, self.reads :]
        layout, decoder = self.layout, self.layout.tiled(self.decoder)
        z, gram, product, residual = self.reconstruct(x, y)
        scale = 2.0 / len(batch)

        torch.mul(residual, scale, out=self.decoder_gradient)
        # Towards the codes: the penalty, then what each member's error asks for, where z > 0.
        pull = torch.addmm(self.penalty / len(batch), self.decoder, y.T, alpha=-scale)
        blocks = torch.bmm(decoder, decoder.mT).mul_(layout.mask)
        layout.tiled(pull).baddbmm_(blocks, layout.tiled(z), alpha=scale)
        pull = torch.ops.aten.threshold_backward(pull, z, 0.0)
        torch.mm(pull, x, out=self.encoder_gradient).mul_(layout.is_feature[:, None])

        self.gram_sum += gram
        self.error_sum += (residual - product).mul_(self.decoder).sum(1)
        self.descend(learning_rate)

    def reconstruct(
        self, x: Float[Tensor, "step reads"], y: Float[Tensor, "step target"]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The codes z [row, step], their Gram blocks, z y, and (zzᵀ) D − z y, all by row.

        D · ((zzᵀ) D − 2 z y), summed over the rows of a member, is its squared error less ‖y‖².
        """
        z = (self.encoder @ x.T).relu_()
        tiles = self.layout.tiled(z)
        gram = torch.bmm(tiles, tiles.mT).mul_(self.layout.mask)
        product = z @ y
        residual = torch.baddbmm(
            self.layout.tiled(product), gram, self.layout.tiled(self.decoder), beta=-1.0
        )
        return z, gram, product, residual.view_as(product)

    def descend(self, learning_rate: float) -> None:
        """Adam with the defaults of torch, on all parameters at once."""
        adam(
            [self.parameters],
            [self.gradient],
            [self.moments[0]],
            [self.moments[1]],
            [],
            [self.steps],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=learning_rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )

    def means(self, steps: int, square: float) -> dict[str, Float[np.ndarray, " member"]]:
        """`mse` and `l1` of each member over an epoch of `steps` in which Σ‖y‖² is `square`."""
        # The code of a bias row is one, so its row of the Gram block sums the other codes.
        is_bias = self.layout.tiled(self.layout.is_bias[:, None])
        l1 = (self.gram_sum * is_bias).sum(1).view(-1) * self.layout.is_feature
        mse = (self.layout.by_member(self.error_sum) + square) / steps
        return {"mse": as_array(mse), "l1": as_array(self.layout.by_member(l1) / steps)}

    def measure(
        self, data: Float[Tensor, "step joined"], variation: float
    ) -> dict[str, Float[np.ndarray, " member"]]:
        """`unexplained`, `l0` and `dead` of each member on `data`, as `fit.measure` has them."""
        x, y = data[:, : self.reads], data[:, self.reads :]
        z, _, product, residual = self.reconstruct(x, y)
        layout = self.layout
        error = layout.by_member((residual - product).mul_(self.decoder).sum(1)) + sum_of_squares(y)
        rate = (z > 0).float().mean(1) * layout.is_feature
        dead = (rate == 0).float() * layout.is_feature
        return {
            # Rounding may leave a perfect reconstruction just below zero.
            "unexplained": as_array(error.clamp(min=0) / variation),
            "l0": as_array(layout.by_member(rate)),
            "dead": as_array(layout.by_member(dead) / layout.by_member(layout.is_feature)),
        }


@dataclass(frozen=True, eq=False)
class Layout:
    """Which row is whose: members in tiles of equal height, each its features and then its bias.

    `owner` is the number of the member, and one past the last for rows that only fill a tile.
    """

    starts: tuple[int, ...]
    owner: Int[Tensor, " row"]
    is_feature: Float[Tensor, " row"]
    is_bias: Float[Tensor, " row"]
    mask: Float[Tensor, "tile place place"]

    @classmethod
    def pack(cls, widths: Sequence[int], device: torch.device) -> "Layout":
        """Members of these widths, each in the first tile that has room."""
        height = min(sum(widths) + len(widths), max(TILE_ROWS, max(widths) + 1))
        used: list[int] = []
        starts = [0] * len(widths)
        for i in sorted(range(len(widths)), key=lambda i: -widths[i]):
            needed = widths[i] + 1
            tile = next((t for t, rows in enumerate(used) if rows + needed <= height), len(used))
            if tile == len(used):
                used.append(0)
            starts[i] = tile * height + used[tile]
            used[tile] += needed
        owner = torch.full((len(used) * height,), len(widths))
        is_bias = torch.zeros(len(owner))
        for i, (start, width) in enumerate(zip(starts, widths, strict=True)):
            owner[start : start + width + 1] = i
            is_bias[start + width] = 1.0
        is_used = owner < len(widths)
        tiles = owner.view(-1, height)
        mask = (tiles[:, :, None] == tiles[:, None, :]) & is_used.view(-1, height, 1)
        is_feature = is_used.float() - is_bias
        fields = owner, is_feature, is_bias, mask.float()
        return cls(tuple(starts), *(field.to(device) for field in fields))

    @property
    def rows(self) -> int:
        """Rows of all tiles."""
        return len(self.owner)

    def tiled(self, values: Float[Tensor, "row entry"]) -> Float[Tensor, "tile place entry"]:
        """A view of rows as tiles."""
        return values.view(*self.mask.shape[:2], -1)

    def by_member(self, values: Float[Tensor, " row"]) -> Float[Tensor, " member"]:
        """The sum over the rows of each member."""
        sums = values.new_zeros(len(self.starts) + 1)
        return sums.index_add_(0, self.owner, values)[:-1]

    def places(self, members: Sequence[ReLU]) -> Iterator[tuple[ReLU, slice, int]]:
        """Each member with the rows of its features and the row of its bias."""
        for member, start in zip(members, self.starts, strict=True):
            bias = start + member.width
            yield member, slice(start, bias), bias


def joined(x: Tensor, y: Tensor) -> Float[Tensor, "step joined"]:
    """(x, 1, y) side by side, so that one gather makes a batch."""
    return torch.cat([x, x.new_ones(len(x), 1), y], 1)


def sum_of_squares(y: Float[Tensor, "step target"]) -> float:
    """Σ‖y‖², summed by step first so that rounding stays small."""
    return float(torch.linalg.vecdot(y, y).double().sum())


def as_array(values: Float[Tensor, " member"]) -> Float[np.ndarray, " member"]:
    """The values as float64, for the curves."""
    return values.double().cpu().numpy()
