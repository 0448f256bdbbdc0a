"""MemoryDT: a decision transformer on MiniGrid with its weights in TransformerLens's layout.

Source: github.com/jbloomAus/DecisionTransformerInterpretability (MIT),
src/models/trajectory_transformer.py; decision transformers: Chen et al., arXiv 2106.01345. Tokens
are (return-to-go, state, action) of the last steps, padded in front; the action is read from the
last state's token. Intermediate activations have the names that TransformerLens gives them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Num
from torch import Tensor, nn

from policyscope.agents.agent import Acted, choose
from policyscope.agents.noise import Noise
from policyscope.agents.rebuilt import REBUILT, RebuiltAgent, Shapes, flat, has_keys, shifted

ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu}
TOKENS = 3
"""Tokens per step: return-to-go, state, action."""
EPSILON = 1e-5
CELL_WORDS = (11, 6, 3)
"""Objects, colours and states of MiniGrid, as its OneHotPartialObsWrapper counts them."""


class LayerNorm(nn.Module):
    """Layer normalization whose weights are called w and b."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(width))
        self.b = nn.Parameter(torch.zeros(width))

    def forward(self, residual: Float[Tensor, "... unit"]) -> Float[Tensor, "... unit"]:
        """The normalized residual stream."""
        return F.layer_norm(residual, self.w.shape, self.w, self.b, EPSILON)


class Attention(nn.Module):
    """Causal attention with one weight per head."""

    def __init__(self, width: int, heads: int, head_width: int, tokens: int) -> None:
        super().__init__()
        for name in "QKV":
            self.register_parameter(f"W_{name}", parameter(heads, width, head_width))
            self.register_parameter(f"b_{name}", parameter(heads, head_width))
        self.W_O = parameter(heads, head_width, width)
        self.b_O = parameter(width)
        self.register_buffer("mask", torch.tril(torch.ones(tokens, tokens, dtype=torch.bool)))
        self.register_buffer("IGNORE", torch.tensor(-1e5))
        self.hook_pattern = nn.Identity()
        self.hook_z = nn.Identity()

    def forward(self, residual: Float[Tensor, "row token unit"]) -> Float[Tensor, "row token unit"]:
        """What the heads add to the residual stream."""
        query, key, value = (
            torch.einsum("btd,hde->bthe", residual, self.get_parameter(f"W_{name}"))
            + self.get_parameter(f"b_{name}")
            for name in "QKV"
        )
        scores = torch.einsum("bqhe,bkhe->bhqk", query, key) / query.shape[-1] ** 0.5
        tokens = residual.shape[1]
        seen = self.get_buffer("mask")[:tokens, :tokens]
        scores = torch.where(seen, scores, self.get_buffer("IGNORE"))
        pattern = self.hook_pattern(scores.softmax(-1))
        mixed = self.hook_z(torch.einsum("bhqk,bkhe->bqhe", pattern, value))
        return torch.einsum("bqhe,hed->bqd", mixed, self.W_O) + self.b_O


class TokenMLP(nn.Module):
    """The hidden layer of a block, gated or not."""

    def __init__(self, width: int, hidden: int, is_gated: bool, activation: str) -> None:
        super().__init__()
        self.W_in = parameter(width, hidden)
        self.b_in = parameter(hidden)
        self.W_out = parameter(hidden, width)
        self.b_out = parameter(width)
        self.W_gate = parameter(width, hidden) if is_gated else None
        self.activate = ACTIVATIONS[activation]
        self.hook_post = nn.Identity()

    def forward(self, residual: Float[Tensor, "row token unit"]) -> Float[Tensor, "row token unit"]:
        """What the layer adds to the residual stream."""
        if self.W_gate is None:
            hidden = self.activate(residual @ self.W_in + self.b_in)
        else:
            hidden = self.activate(residual @ self.W_gate) * (residual @ self.W_in) + self.b_in
        return self.hook_post(hidden) @ self.W_out + self.b_out


class Block(nn.Module):
    """Attention and a hidden layer, each added to the residual stream."""

    def __init__(self, size: "Size", activation: str) -> None:
        super().__init__()
        self.ln1 = LayerNorm(size.width) if size.is_normed else nn.Identity()
        self.attn = Attention(size.width, size.heads, size.head_width, size.tokens)
        self.ln2 = LayerNorm(size.width) if size.is_normed else nn.Identity()
        self.mlp = TokenMLP(size.width, size.hidden, size.is_gated, activation)
        self.hook_resid_mid = nn.Identity()

    def forward(self, residual: Float[Tensor, "row token unit"]) -> Float[Tensor, "row token unit"]:
        """The residual stream after this block."""
        middle = self.hook_resid_mid(residual + self.attn(self.ln1(residual)))
        return middle + self.mlp(self.ln2(middle))


class Positions(nn.Module):
    """One vector per position in the window."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.W_pos = parameter(tokens, width)

    def forward(self, tokens: Float[Tensor, "row token unit"]) -> Float[Tensor, "row token unit"]:
        """The positions' vectors, for every row."""
        return self.W_pos[: tokens.shape[1]].expand_as(tokens)


class Transformer(nn.Module):
    """Positions, blocks and a last normalization."""

    def __init__(self, size: "Size", activation: str) -> None:
        super().__init__()
        self.pos_embed = Positions(size.tokens, size.width)
        self.blocks = nn.ModuleList(Block(size, activation) for _ in range(size.blocks))
        self.ln_final = LayerNorm(size.width) if size.is_normed else nn.Identity()

    def forward(self, tokens: Float[Tensor, "row token unit"]) -> Float[Tensor, "row token unit"]:
        """The residual stream at the end."""
        residual = tokens + self.pos_embed(tokens)
        for block in self.blocks:
            residual = block(residual)
        return self.ln_final(residual)


def parameter(*shape: int) -> nn.Parameter:
    """A parameter to be filled from a file."""
    return nn.Parameter(torch.zeros(shape))


@dataclass(frozen=True)
class Size:
    """The sizes of a trajectory transformer, as its weights show them."""

    width: int
    blocks: int
    heads: int
    head_width: int
    hidden: int
    tokens: int
    observation: int
    actions: int
    times: int
    """How many steps an episode can have; 0 where time is a number and not looked up."""
    is_gated: bool
    is_normed: bool


class TrajectoryNetwork(nn.Module):
    """Embeddings of returns, states, actions and times, the transformer, and its predictors."""

    def __init__(self, size: Size, activation: str) -> None:
        super().__init__()
        width = size.width
        self.action_embedding = nn.Sequential(nn.Embedding(size.actions + 1, width))
        self.time_embedding = nn.Embedding(size.times, width) if size.times else nn.Linear(1, width)
        self.state_embedding = nn.Linear(size.observation, width, bias=False)
        self.transformer = Transformer(size, activation)
        self.action_predictor = nn.Linear(width, size.actions)
        self.state_predictor = nn.Linear(width, size.observation)
        self.reward_embedding = nn.Sequential(nn.Linear(1, width, bias=False))
        self.reward_predictor = nn.Linear(width, 1)

    def forward(
        self,
        states: Float[Tensor, "row step feature"],
        actions: Int[Tensor, "row earlier"],
        returns: Float[Tensor, "row step"],
        times: Int[Tensor, "row step"],
    ) -> Float[Tensor, "row action"]:
        """Logits of the action at the last step."""
        looked_up = isinstance(self.time_embedding, nn.Embedding)
        when = self.time_embedding(times if looked_up else times.unsqueeze(-1).to(states))
        tokens = torch.stack(
            (
                self.reward_embedding(returns.unsqueeze(-1)) + when,
                self.state_embedding(states) + when,
                F.pad(self.action_embedding(actions) + when[:, :-1], (0, 0, 0, 1)),
            ),
            2,
        ).flatten(1, 2)
        # The last step has no action yet.
        residual = self.transformer(tokens[:, :-1])
        return self.action_predictor(residual[:, -1])


@REBUILT.register("trajectory-transformer")
class TrajectoryTransformer(RebuiltAgent):
    """A decision transformer of MemoryDT; `return_to_go` is what it is asked to reach.

    State: dict of the last steps, each [row, step, …]: `states`, `actions` (one more than is
    seen), `returns` and `times`, with `step` and `wanted`, each [row]. Observations are one-hot
    views [row, 7, 7, 20] or MiniGrid's own [row, 7, 7, 3]; a Dict is read at `image`.
    """

    algorithm = "decision transformer"
    networks: ClassVar[Mapping[str, str]] = {
        "state_predictor": "unused",
        "reward_predictor": "unused",
    }

    def __init__(self, size: Size, return_to_go: float = 1.0, activation: str = "relu") -> None:
        self.size = size
        self.return_to_go = float(return_to_go)
        self.steps = (size.tokens + 1) // TOKENS
        self.module = TrajectoryNetwork(size, activation).eval()
        self.assumed = (
            f"Return-to-go {self.return_to_go:g} and activation {activation}; "
            "set them with return_to_go=… and activation=….",
        )

    @classmethod
    def recognize(cls, shapes: Shapes) -> dict[str, Any] | None:
        first = "transformer.blocks.0"
        needed = (
            "action_embedding.0.weight",
            "reward_embedding.0.weight",
            "state_embedding.weight",
            "time_embedding.weight",
            "action_predictor.weight",
            "transformer.pos_embed.W_pos",
            f"{first}.attn.W_Q",
            f"{first}.mlp.W_in",
        )
        if not has_keys(shapes, *needed) or len(shapes["state_embedding.weight"]) != 2:
            return None
        heads, width, head_width = shapes[f"{first}.attn.W_Q"]
        numbers = {name.split(".")[2] for name in shapes if name.startswith("transformer.blocks.")}
        size = Size(
            width=width,
            blocks=len(numbers),
            heads=heads,
            head_width=head_width,
            hidden=shapes[f"{first}.mlp.W_in"][1],
            tokens=shapes["transformer.pos_embed.W_pos"][0],
            observation=shapes["state_embedding.weight"][1],
            actions=shapes["action_predictor.weight"][0],
            times=0 if "time_embedding.bias" in shapes else shapes["time_embedding.weight"][0],
            is_gated=f"{first}.mlp.W_gate" in shapes,
            is_normed=f"{first}.ln1.w" in shapes,
        )
        return {"size": size}

    def initial_state(self, rows: int) -> dict[str, Tensor]:
        device, steps = self.device, self.steps
        return {
            "states": torch.zeros(rows, steps, self.size.observation, device=device),
            "actions": torch.full((rows, steps), self.size.actions, device=device),
            "returns": torch.full((rows, steps), self.return_to_go, device=device),
            "times": torch.zeros(rows, steps, dtype=torch.int64, device=device),
            "step": torch.zeros(rows, dtype=torch.int64, device=device),
            "wanted": torch.full((rows,), self.return_to_go, device=device),
        }

    def act(
        self, observation: Tensor | Mapping[str, Tensor], state: Any, noise: Noise | None
    ) -> Acted:
        """Acts once for every row; see Agent."""
        view = observation["image"] if isinstance(observation, Mapping) else observation
        states = shifted(state["states"], self._vector(view.to(self.device)))
        returns = shifted(state["returns"], state["wanted"])
        times = shifted(state["times"], state["step"])
        logits = self.module(states, state["actions"][:, 1:], returns, times)
        action = choose(logits, noise)
        last = self.size.times - 1 if self.size.times else None
        return Acted(
            action,
            {"logits": logits},
            {
                "states": states,
                "actions": shifted(state["actions"], torch.from_numpy(action)),
                "returns": returns,
                "times": times,
                "step": (state["step"] + 1).clamp(max=last),
                "wanted": state["wanted"],
            },
        )

    def rewarded(self, state: Any, reward: Float[Tensor, " row"]) -> Any:
        """`state` after this reward: what is still wanted is less by it."""
        return {**state, "wanted": state["wanted"] - reward.to(state["wanted"])}

    def _vector(self, view: Num[Tensor, "row ..."]) -> Float[Tensor, "row feature"]:
        """A view as the network sees it: one-hot, channels before height and width."""
        like = next(self.module.parameters())
        if view.dim() == 4 and view.shape[-1] == len(CELL_WORDS) != self.size.observation:
            parts = [
                F.one_hot(part.long(), words)
                for part, words in zip(view.unbind(-1), CELL_WORDS, strict=True)
            ]
            view = torch.cat(parts, -1)
        return flat(view.permute(0, 3, 1, 2) if view.dim() == 4 else view, like)
