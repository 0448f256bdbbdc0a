"""BatchTopK: as many features per batch as k per step, spent where they explain most.

    training     z = the k·B largest of relu(W_e x + b_e) in a batch of B
    inference    z = the readings above one threshold, at which k are active on average
    loss         mean ‖ŷ − y‖² + revival · AuxK

A busy step may have many features and a quiet one few. (Bussmann et al. 2024, arXiv 2412.06410.)
"""

from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from policyscope.dictionaries.dictionary import DICTIONARIES, LAST, Loss, Stage
from policyscope.dictionaries.sparse import explain_codes
from policyscope.dictionaries.threshold import Thresholded


@DICTIONARIES.register("batch-topk")
@dataclass(eq=False)
class BatchTopK(Thresholded):
    """On average k features per step."""

    width: int = field(metadata={"help": "number of features"})
    k: int = field(default=32, metadata={"help": "features active per step on average"})
    revival: float = field(
        default=1.0, metadata={"help": "weight of the loss that revives dead features; 0 is off"}
    )

    def loss(
        self,
        x: Float[Tensor, "step unit"],
        y: Float[Tensor, "step target"],
        stage: Stage = LAST,
    ) -> Loss:
        return explain_codes(self, self.select(x), y, stage, self.revival)
