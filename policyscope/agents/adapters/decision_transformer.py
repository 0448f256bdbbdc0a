"""Hugging Face's DecisionTransformerModel as an agent (Chen et al., arXiv 2106.01345).

The only file that imports transformers. Weights are read by our own safe path, and the model is
built from its config.json, so that nothing a repository brings along is run.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from policyscope.agents.adapters.state_dict import parse_arguments
from policyscope.agents.agent import Acted
from policyscope.agents.noise import Noise
from policyscope.agents.rebuilt import RebuiltAgent, Shapes, flat, shifted
from policyscope.agents.weights import read_weights
from policyscope.errors import CorruptFile, InvalidInput, MissingExtra, UnknownName

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
CONTEXT = 20
"""Steps the agent looks back on, as in the paper (table 8)."""
MASKS = (".attn.bias", ".attn.masked_bias")
"""What older versions saved beside the weights: the causal mask, which is made anew."""


class DecisionTransformerAgent(RebuiltAgent):
    """A decision transformer that is asked to reach `return_to_go`.

    `return_to_go` is in the environment's own units and is divided by `scale` before the network
    sees it. `observation_mean` and `observation_std` are those of its training data, which the
    weights do not hold. State: dict of the last `context` steps, each [row, step, …]: `states`,
    `actions` (the present one is still zero), `returns`, `times` and `mask`, with `step` and
    `wanted`, each [row]. It does not sample: with noise it acts as without.
    """

    algorithm = "decision transformer"
    networks: ClassVar[Mapping[str, str]] = {"predict_state": "unused", "predict_return": "value"}

    def __init__(
        self,
        module: nn.Module,
        return_to_go: float,
        scale: float = 1000.0,
        observation_mean: Sequence[float] | None = None,
        observation_std: Sequence[float] | None = None,
        context: int = CONTEXT,
    ) -> None:
        self.module = module.eval()
        config: Any = module.config
        self.width, self.actions = int(config.state_dim), int(config.act_dim)
        self.longest = int(config.max_ep_len)
        self.return_to_go, self.scale = float(return_to_go), float(scale)
        self.context = context
        if context < 1 or scale == 0:
            raise InvalidInput(
                f"context is {context} and scale {scale}; expected 1 or more, not 0."
            )
        self.mean = self._statistic("observation_mean", observation_mean, 0.0)
        self.std = self._statistic("observation_std", observation_std, 1.0)
        if observation_mean is None or observation_std is None:
            self.assumed = (
                "Observations as they come: the weights hold no mean and standard deviation of "
                "them; set observation_mean and observation_std.",
            )

    @classmethod
    def recognize(cls, shapes: Shapes) -> dict[str, Any] | None:
        # Its files come with a config.json, by which they are opened.
        return None

    def _statistic(self, name: str, given: Sequence[float] | None, otherwise: float) -> Tensor:
        values = torch.full((self.width,), otherwise) if given is None else torch.tensor(given)
        if values.shape != (self.width,):
            raise InvalidInput(f"{name} has {len(values)} numbers; expected {self.width}.")
        return values.float()

    def initial_state(self, rows: int) -> dict[str, Tensor]:
        window = (rows, self.context)
        return {
            "states": torch.zeros(*window, self.width, device=self.device),
            "actions": torch.zeros(*window, self.actions, device=self.device),
            "returns": torch.zeros(window, device=self.device),
            "times": torch.zeros(window, dtype=torch.int64, device=self.device),
            "mask": torch.zeros(window, dtype=torch.int64, device=self.device),
            "step": torch.zeros(rows, dtype=torch.int64, device=self.device),
            "wanted": torch.full((rows,), self.return_to_go, device=self.device),
        }

    def act(self, observation: Num[Tensor, "row ..."], state: Any, noise: Noise | None) -> Acted:
        """Acts once for every row; see Agent."""
        device = self.device
        seen = flat(observation, next(self.module.parameters()))
        seen = (seen - self.mean.to(device)) / self.std.to(device)
        unknown = torch.zeros(len(seen), self.actions, device=device)
        step = state["step"]
        window = {
            "states": shifted(state["states"], seen),
            "actions": shifted(state["actions"], unknown),
            "returns": shifted(state["returns"], state["wanted"] / self.scale),
            "times": shifted(state["times"], step),
            "mask": shifted(state["mask"], torch.ones_like(step)),
        }
        action = self._predict(window)
        actions = torch.cat((window["actions"][:, :-1], action.unsqueeze(1)), 1)
        later = {"step": (step + 1).clamp(max=self.longest - 1), "wanted": state["wanted"]}
        return Acted(
            action.detach().cpu().numpy(), {"mean": action}, {**window, "actions": actions, **later}
        )

    def _predict(self, window: Mapping[str, Tensor]) -> Float[Tensor, "row action"]:
        predicted = self.module(
            states=window["states"],
            actions=window["actions"],
            rewards=torch.zeros_like(window["returns"]).unsqueeze(-1),
            returns_to_go=window["returns"].unsqueeze(-1),
            timesteps=window["times"],
            attention_mask=window["mask"],
            return_dict=False,
        )
        # (states, actions, returns, hidden states)
        return predicted[1][:, -1]

    def rewarded(self, state: Any, reward: Float[Tensor, " row"]) -> Any:
        """`state` after this reward: what is still wanted is less by it."""
        return {**state, "wanted": state["wanted"] - reward.to(state["wanted"])}


def is_decision_transformer(folder: Path) -> bool:
    """Whether the folder's config.json is that of a DecisionTransformerModel."""
    config = folder / CONFIG
    try:
        return config.is_file() and json.loads(config.read_text()).get("model_type") == (
            "decision_transformer"
        )
    except (ValueError, AttributeError):
        return False


def open_decision_transformer(
    folder: Path,
    return_to_go: float | None = None,
    scale: float = 1000.0,
    *,
    trust: bool = False,
    **arguments: Any,
) -> DecisionTransformerAgent:
    """The agent in a folder with config.json and model.safetensors (or pytorch_model.bin).

    `arguments` are those of DecisionTransformerAgent; `statistics`, a JSON file with `mean` and
    `std`, may stand for both of its observation statistics.
    """
    if not is_decision_transformer(folder):
        raise InvalidInput(f"{str(folder)!r} has no config.json of a decision transformer.")
    if return_to_go is None:
        raise InvalidInput(
            "A decision transformer must be told which return to reach, in the environment's own "
            f"units. Say it: dt:return_to_go=3600,scale=1000:{folder}"
        )
    statistics = arguments.pop("statistics", None)
    if statistics is not None:
        held = json.loads(Path(statistics).read_text())
        arguments |= {"observation_mean": held["mean"], "observation_std": held["std"]}
    path = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise UnknownName(f"{str(folder)!r} holds none of {', '.join(WEIGHTS)}.")
    module = load_model(folder / CONFIG, path, trust)
    agent = DecisionTransformerAgent(module, return_to_go, scale, **arguments)
    agent.name, agent.is_safe = folder.name, not trust
    return agent


def open_named(spec: str, *, trust: bool = False) -> DecisionTransformerAgent:
    """The agent that `return_to_go=…[,key=value…]:FOLDER` names."""
    arguments, _, folder = spec.rpartition(":")
    chosen = parse_arguments(arguments.split(",") if arguments else [])
    whole = {key: float(chosen[key]) for key in ("return_to_go", "scale") if key in chosen}
    return open_decision_transformer(Path(folder), trust=trust, **{**chosen, **whole})


def load_model(config_file: Path, weights_file: Path, trust: bool = False) -> nn.Module:
    """The model that config.json describes, filled with the weights."""
    try:
        from transformers import DecisionTransformerConfig, DecisionTransformerModel
    except ImportError as error:
        raise MissingExtra.of("transformers", "dt") from error
    config = DecisionTransformerConfig.from_dict(json.loads(config_file.read_text()))
    config.use_cache = False
    weights = read_weights(weights_file, trust=trust)[0]
    with torch.device("meta"):
        wanted = {
            k: tuple(v.shape) for k, v in DecisionTransformerModel(config).state_dict().items()
        }
    held = {name: shape for name, shape in weights.shapes.items() if not name.endswith(MASKS)}
    if wanted != held:
        # Before anything of the size that config.json claims is allocated.
        differing = sorted(k for k in wanted.keys() | held.keys() if wanted.get(k) != held.get(k))
        raise CorruptFile(
            f"{str(weights_file)!r} does not fit its config.json: "
            f"{', '.join(f'{k} {held.get(k)} for {wanted.get(k)}' for k in differing[:4])}."
        )
    with torch.random.fork_rng(devices=[]):  # Its layers draw their first weights.
        module = DecisionTransformerModel(config)
    module.load_state_dict({name: weights.tensors[name] for name in held})
    return module.requires_grad_(False)
