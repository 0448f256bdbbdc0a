"""The spectrum of activations: along how many directions they vary, and what width can be alive.

The eigenvalues of the covariance are the variances along the principal components. Activations of
agents often vary along very few directions, and no feature can live on variance that is not there.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from policyscope.errors import InvalidInput, NotEnoughData, NotFinite
from policyscope.table import Column, Shown, Table

# Rows turned into float64 at a time.
CHUNK = 4096


class Covariance:
    """Fold: mean and covariance of activations in float64; costs the square of the units."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Float[Tensor, " unit"] = torch.zeros(0, dtype=torch.float64)
        self.scatter: Float[Tensor, "unit other"] = torch.zeros(0, 0, dtype=torch.float64)

    @classmethod
    def of(cls, x: Float[Tensor, "step unit"]) -> "Covariance":
        """The fold that has seen `x`."""
        found = cls()
        found.update(x)
        return found

    def update(self, x: Float[Tensor, "step unit"]) -> None:
        """Takes steps in; NotFinite where one holds NaN or Inf."""
        for start in range(0, len(x), CHUNK):
            rows = x[start : start + CHUNK].detach().double()
            mean = rows.mean(0)
            if not torch.isfinite(mean).all():
                unit = int(torch.nonzero(~torch.isfinite(mean))[0, 0])
                raise NotFinite(f"Unit {unit} holds NaN or Inf; a spectrum needs finite numbers.")
            rows = rows - mean
            self._combine(len(rows), mean, rows.T @ rows)

    def merge(self, other: "Covariance") -> None:
        """Takes in everything `other` has seen."""
        if other.count:
            self._combine(other.count, other.mean, other.scatter)

    def _combine(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        if count == 0:
            return
        if self.count == 0:
            self.count, self.mean, self.scatter = count, mean.clone(), scatter.clone()
            return
        if len(mean) != len(self.mean):
            raise InvalidInput(
                f"Got {len(mean)} units after {len(self.mean)}; one fold takes one site."
            )
        total, step = self.count + count, mean - self.mean
        self.mean = self.mean + step * (count / total)
        self.scatter = self.scatter + scatter
        self.scatter.addr_(step, step, alpha=self.count * count / total)
        self.count = total

    def axes(self) -> tuple[Float[Tensor, " component"], Float[Tensor, "component unit"]]:
        """Variances along the principal components, largest first, and their unit directions."""
        if self.count < 2:
            raise NotEnoughData(
                f"{self.count} steps were given; a spectrum needs at least 2, and better thousands."
            )
        variances, columns = torch.linalg.eigh(self.scatter / self.count)
        return variances.flip(0).clamp(min=0), columns.flip(1).T.contiguous()

    def rank(self, variances: Float[Tensor, " component"]) -> int:
        """How many of the variances are more than the rounding of activations in float32."""
        squared_norm = float(self.mean.square().sum() + variances.sum())
        return int((variances > torch.finfo(torch.float32).eps ** 2 * squared_norm).sum())

    def result(self) -> "Spectrum":
        """The spectrum of all that was taken in."""
        variances, _ = self.axes()
        unit_variance = self.scatter.diagonal() / self.count
        spread = float(variances.sum())
        length = float(self.mean.norm())
        return Spectrum(
            steps=self.count,
            variances=tuple(variances.tolist()),
            rank=self.rank(variances),
            constant=int((unit_variance <= CONSTANT * self.mean.square()).sum()),
            gamma=length / spread**0.5 if spread > 0 else float("inf"),
        )


SHARES = (0.9, 0.99, 0.999)
ADVISED_SHARE = 0.99
# A variance this small beside the squared mean is rounding: the unit never varies.
CONSTANT = 1e-12


@dataclass(frozen=True)
class Spectrum(Shown):
    """How activations vary."""

    steps: int
    variances: tuple[float, ...]
    """Along the principal components, largest first."""
    rank: int
    """Components whose variance is more than rounding."""
    constant: int
    """Units that never vary, such as a ReLU's that never fires."""
    gamma: float
    """Length of the mean over the spread about it; much over 1 kills features that look past it."""

    @classmethod
    def of(cls, x: Float[Tensor, "step unit"]) -> "Spectrum":
        """The spectrum of samples."""
        return Covariance.of(x).result()

    def components(self, share: float) -> int:
        """How many principal components hold this share of the variance; 0 where none varies."""
        variances = torch.tensor(self.variances, dtype=torch.float64)
        if variances.sum() <= 0:
            return 0
        held = variances.cumsum(0) / variances.sum()
        return min(int((held < share).sum()) + 1, len(variances))

    @property
    def effective_rank(self) -> float:
        """The exponential of the entropy of the shares of variance (Roy and Vetterli 2007)."""
        variances = torch.tensor(self.variances, dtype=torch.float64)
        shares = variances / variances.sum().clamp(min=1e-300)
        return float(torch.special.entr(shares).sum().exp())

    @property
    def constant_share(self) -> float:
        """The share of units that never vary."""
        return self.constant / len(self.variances)

    def advised_width(self, k: int = 32) -> int:
        """The largest width of which most features can be alive with `k` active per step.

        k · (1 + half the components that hold 99 % of the variance); 0 where nothing varies.
        Calibrated on TopK by its own schedule, the share alive on held-out episodes at that width:

            last hidden layer    99 %   k = 8          k = 32         k = 32, width 1,024
            CartPole PPO, 64        3    20   100 %      80   100 %   21 %
            CartPole DQN, 256       4    24   100 %      96   100 %   29 %
            LunarLander PPO, 64     7    36    97 %     144    95 %   35 %
            LunarLander DQN, 256   19    84    91 %     336    95 %   76 %
            HalfCheetah PPO, 256   29   124    94 %     496    98 %   89 %
            Acrobot QR-DQN, 256    39   164    78 %     656    93 %   84 %
            Enduro DQN, 200        80   328    97 %   1,312   100 %   100 %
            Humanoid TD3, 256     149   604    92 %   2,416   100 %   100 %
            Pong A3C, 256         204   824    98 %                   100 %
        """
        found = self.components(ADVISED_SHARE)
        return round(k * (1 + found / 2)) if found else 0

    def reason(self, k: int = 32) -> str:
        """Why that width is advised, in words."""
        units = len(self.variances)
        found = self.components(ADVISED_SHARE)
        if not found:
            return f"None of the {units} units varies: there is nothing to decompose."
        words = (
            f"{found} of {units} principal {'component holds' if found == 1 else 'components hold'}"
            f" {ADVISED_SHARE:.0%} of the variance; with k = {k} about {self.advised_width(k):,} "
            "features can be alive, and of more than that ever more are dead."
        )
        if self.components(0.999) < k:
            words += (
                f" {self.components(0.999)} hold 99.9 %, so fewer than {k} features per step will "
                "do."
            )
        return words

    def objection(self, width: int, k: int = 32) -> str:
        """What speaks against a width that is asked for; empty where nothing does."""
        advised = self.advised_width(k)
        if width <= advised:
            return ""
        return f"Width {width:,} is more than the {advised:,} advised here. {self.reason(k)}"

    def table(self) -> Table:
        """One row per fact."""
        units = len(self.variances)
        rows = (
            ("units", f"{units:,}"),
            ("of them never varying", f"{self.constant:,} ({self.constant_share:.0%})"),
            *(
                (
                    f"components with {share * 100:g} % of the variance",
                    f"{self.components(share):,}",
                )
                for share in SHARES
            ),
            ("effective rank", f"{self.effective_rank:.1f}"),
            ("mean over spread", f"{self.gamma:.2f}"),
            ("advised width, k = 32", f"{self.advised_width():,}"),
        )
        columns = (Column("spectrum", side="left"), Column(f"{self.steps:,} steps"))
        return Table("", columns, rows, self.reason())

    def to_json(self) -> dict[str, Any]:
        """The facts by name, with all variances."""
        return {
            "steps": self.steps,
            "units": len(self.variances),
            "constant": self.constant,
            "rank": self.rank,
            # Share of the variance → how many of the largest hold it.
            "components": {f"{share:g}": self.components(share) for share in SHARES},
            "effective_rank": self.effective_rank,
            "gamma": self.gamma,
            "advised_width": self.advised_width(),
            "reason": self.reason(),
            "variances": list(self.variances),
        }
