"""TorchRL and TensorDict modules as agents. The only file that imports tensordict."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from policyscope.agents.agent import Acted, Agent, choose
from policyscope.agents.noise import Noise
from policyscope.agents.rebuilt import joined
from policyscope.errors import InvalidInput, MissingExtra

BEGINNING = "is_init"
"""Where TorchRL's recurrent modules read whether an episode has just begun."""
OUTPUTS = {
    "logits": "logits",
    "action_value": "values",
    "state_value": "value",
    "loc": "mean",
    "scale": "std",
}
"""TorchRL's names -> ours."""


class TorchRLAgent(Agent):
    """Any TensorDictModule, ProbabilisticActor, QValueActor or ActorValueOperator.

    It is given the observation under its first input key (or under `observation_key`), and a Dict
    observation key by key. Actions are sampled from its distribution with addressed noise, by
    the inverse of the distribution function, and without noise are its mode. `initial_state(rows)`
    gives recurrent entries at the start of an episode; each is read back at ("next", key), as
    TorchRL's LSTM and GRU modules write it.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        action_key: str = "action",
        observation_key: str | None = None,
        initial_state: Callable[[int], Mapping[str, Tensor]] | None = None,
        is_one_hot: bool | None = None,
        name: str = "agent",
        algorithm: str = "unknown",
        environment: str | None = None,
    ) -> None:
        require_tensordict()
        if not hasattr(module, "in_keys") or not hasattr(module, "out_keys"):
            raise InvalidInput(
                f"{type(module).__name__} has no in_keys and out_keys; expected a TensorDictModule."
            )
        self.module = module.eval()
        self.action_key = action_key
        self.observation_key = observation_key or next(
            (key for key in keys_of(module.in_keys)), "observation"
        )
        self.is_one_hot = is_one_hot
        self._initial_state = initial_state
        self.name, self.algorithm, self.environment = name, algorithm, environment

    def network_of(self, path: str) -> str:
        """`value` for what only leads to a state value; else `policy` or `shared`."""
        for owner, module in self.module.named_modules():
            if owner and (path == owner or path.startswith(f"{owner}.")):
                keys = keys_of(getattr(module, "out_keys", ()))
                if "state_value" in keys and self.action_key not in keys:
                    return "value"
        return "policy"

    def initial_state(self, rows: int) -> Any:
        return None if self._initial_state is None else dict(self._initial_state(rows))

    def reset_state(self, state: Any, rows: Int[np.ndarray, " begun"]) -> Any:
        """`state` with these rows put back to the start of an episode; `state` itself is kept."""
        if state is None or not len(rows):
            return state
        where = torch.from_numpy(np.asarray(rows, np.int64)).to(self.device)
        fresh = self.initial_state(len(rows))
        return joined(lambda old, new: old.index_copy(0, where, new.to(old)), state, fresh)

    def act(
        self, observation: Tensor | Mapping[str, Tensor], state: Any, noise: Noise | None
    ) -> Acted:
        """Acts once for every row; see Agent."""
        from tensordict import TensorDict
        from tensordict.nn import InteractionType, set_interaction_type

        given = self._given(observation)
        rows = len(next(iter(given.values())))
        if BEGINNING in keys_of(self.module.in_keys):
            # Recurrent modules ask for it; rows begin anew by `reset_state` instead.
            given[BEGINNING] = torch.zeros(rows, 1, dtype=torch.bool)
        data = TensorDict({**given, **(state or {})}, batch_size=[rows], device=self.device)
        # So that torch's global generator is never drawn from.
        with set_interaction_type(InteractionType.DETERMINISTIC):
            data = self.module(data)
        action = self._action(data, noise)
        if state is not None:
            state = {key: data["next", key] for key in state}
        outputs = {ours: data[key] for key, ours in OUTPUTS.items() if key in data.keys()}  # noqa: SIM118
        if "value" in outputs:
            outputs["value"] = outputs["value"].flatten(1).squeeze(-1)
        if "std" in outputs:
            outputs["log_std"] = outputs.pop("std").log()
        return Acted(action, outputs, state)

    def _given(self, observation: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
        if isinstance(observation, Mapping):
            return dict(observation)
        floats = next((p for p in self.module.parameters() if p.is_floating_point()), None)
        if floats is not None and observation.dtype == torch.float64:
            observation = observation.to(floats.dtype)
        return {self.observation_key: observation}

    def _action(self, data: Any, noise: Noise | None) -> np.ndarray:
        action = data[self.action_key]
        discrete = "logits" in data.keys() or "action_value" in data.keys()  # noqa: SIM118
        if noise is not None and "logits" in data.keys():  # noqa: SIM118
            return choose(data["logits"], noise)
        if discrete:
            is_one_hot = self.is_one_hot
            if is_one_hot is None:
                is_one_hot = action.dim() > 1 and action.shape[-1] > 1
            return (action.long().argmax(-1) if is_one_hot else action).flatten().cpu().numpy()
        if noise is not None and hasattr(self.module, "get_dist"):
            module: Any = self.module
            action = quantile(module.build_dist_from_params(data), noise, action)
        return action.detach().cpu().numpy()


def quantile(distribution: Any, noise: Noise, like: Tensor) -> Tensor:
    """A sample of a continuous distribution, by the inverse of its distribution function."""
    while type(distribution).__name__ == "Independent":
        distribution = distribution.base_dist
    uniform = noise.uniform(like.shape[-1]).to(like)
    transforms = list(getattr(distribution, "transforms", ()))
    base = distribution.base_dist if transforms else distribution
    while type(base).__name__ == "Independent":
        base = base.base_dist
    try:
        sample = base.icdf(uniform)
    except NotImplementedError as error:
        raise InvalidInput(
            f"{type(distribution).__name__} has no inverse distribution function, so its samples "
            "cannot be repeated. Act deterministically."
        ) from error
    for transform in transforms:
        sample = transform(sample)
    return sample


def keys_of(keys: Any) -> list[str]:
    """The keys that are plain names."""
    return [key for key in keys if isinstance(key, str)]


def require_tensordict() -> None:
    """Raises MissingExtra unless tensordict is installed."""
    if find_spec("tensordict") is None:
        raise MissingExtra.of("tensordict", "torchrl")
