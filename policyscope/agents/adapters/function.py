"""Any torch module with a small function that acts with it, for agents of no known ecosystem."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from policyscope.agents.agent import Acted, Agent
from policyscope.agents.noise import Noise
from policyscope.agents.rebuilt import joined
from policyscope.errors import InvalidInput

MOST_ARGUMENTS = 3


class FunctionAgent(Agent):
    """A module and `act`, which takes (observation), (…, state) or (…, state, noise).

    `act` returns an action per row; or (action, outputs), where outputs is a dict of tensors
    [row, …] to be recorded; or (action, outputs, state). It must run the layers by calling them,
    or they cannot be read, and take its randomness from `noise.uniform(count)` [row, count] in
    (0, 1), or episodes cannot be repeated. `initial_state(rows)` gives the state at the start of an
    episode: nested dicts and tuples of tensors [row, …], which `act` must not write into.
    """

    def __init__(
        self,
        module: nn.Module,
        act: Callable[..., Any],
        initial_state: Callable[[int], Any] | None = None,
        *,
        name: str = "agent",
        algorithm: str = "unknown",
        environment: str | None = None,
        networks: Mapping[str, str] | None = None,
    ) -> None:
        self.module = module.eval()
        self.name, self.algorithm, self.environment = name, algorithm, environment
        self.networks = dict(networks or {})
        self._act = act
        self._initial_state = initial_state
        self._arguments = count_arguments(act)
        self._is_checked = False

    def network_of(self, path: str) -> str:
        """What `networks` says of the longest part of `path` it knows; else `policy`."""
        parts = path.split(".")
        names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
        return next((self.networks[name] for name in names if name in self.networks), "policy")

    def initial_state(self, rows: int) -> Any:
        return None if self._initial_state is None else self._initial_state(rows)

    def reset_state(self, state: Any, rows: Int[np.ndarray, " begun"]) -> Any:
        """`state` with these rows put back to the start of an episode; `state` itself is kept."""
        if state is None or not len(rows):
            return state
        where = torch.from_numpy(np.asarray(rows, np.int64))
        return joined(
            lambda old, new: old.index_copy(0, where.to(old.device), new.to(old)),
            state,
            self.initial_state(len(rows)),
        )

    def act(
        self, observation: Tensor | Mapping[str, Tensor], state: Any, noise: Noise | None
    ) -> Acted:
        """Acts once for every row; see Agent."""
        given = (observation, state, noise)[: self._arguments]
        before = None if self._is_checked else torch.random.get_rng_state()
        answer = self._act(*given)
        if before is not None:
            self._check(before)
        return as_acted(answer, state)

    def _check(self, before: Tensor) -> None:
        """Refuses an `act` whose randomness nobody can repeat, once."""
        if not torch.equal(before, torch.random.get_rng_state()):
            raise InvalidInput(
                "act drew from torch's global generator, so no episode could be played again. Take "
                "a third argument, noise, and use noise.uniform(count), or policyscope's "
                "choose(logits, noise)."
            )
        self._is_checked = True


def from_parts(parts: tuple[Any, ...], name: str = "agent") -> FunctionAgent:
    """The agent of (module, act) or (module, act, initial_state), as a function may return it."""
    if not 2 <= len(parts) <= 3 or not isinstance(parts[0], nn.Module):
        kinds = ", ".join(type(part).__name__ for part in parts)
        raise InvalidInput(
            f"{name} returned ({kinds}); expected (module, act) or (module, act, initial_state)."
        )
    if not all(callable(part) for part in parts[1:]):
        raise InvalidInput(f"{name} returned an act or initial_state that cannot be called.")
    return FunctionAgent(*parts, name=name)


def count_arguments(act: Callable[..., Any]) -> int:
    """How many of (observation, state, noise) the function takes."""
    taken = list(inspect.signature(act).parameters.values())
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in taken):
        return MOST_ARGUMENTS
    needed = [p for p in taken if p.default is p.empty and p.kind is not p.KEYWORD_ONLY]
    count = len([p for p in taken if p.kind is not p.KEYWORD_ONLY])
    if not count >= 1 or len(needed) > MOST_ARGUMENTS:
        raise InvalidInput(
            f"act takes {count} arguments; expected (observation), (observation, state) or "
            "(observation, state, noise)."
        )
    return min(count, MOST_ARGUMENTS)


def as_acted(answer: Any, state: Any) -> Acted:
    """What an act function returned, as Acted."""
    if isinstance(answer, Acted):
        return answer
    action, outputs = answer, {}
    if isinstance(answer, tuple):
        if not 1 <= len(answer) <= MOST_ARGUMENTS:
            raise InvalidInput(
                f"act returned a tuple of {len(answer)}; expected an action, (action, outputs) or "
                "(action, outputs, state)."
            )
        action, *rest = answer
        outputs = rest[0] if rest else {}
        state = rest[1] if len(rest) > 1 else state
    if isinstance(action, Tensor):
        action = action.detach().cpu().numpy()
    if not isinstance(action, np.ndarray) or not isinstance(outputs, Mapping):
        raise InvalidInput(
            f"act returned {type(action).__name__} and {type(outputs).__name__}; expected actions "
            "[row] or [row, dim] as a tensor or array, and a dict of tensors."
        )
    return Acted(action, dict(outputs), state)
