"""Live play in words: why the agent acts as it does, and which keys act in its place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

DOING: dict[str, str] = {"CartPole": "pushing {}", "LunarLander": "firing {}"}
"""How an action is said, by the beginning of an environment's id."""
KEYS: dict[str, str] = {
    "left": "ArrowLeft",
    "right": "ArrowRight",
    "up": "ArrowUp",
    "down": "ArrowDown",
    "fire": " ",
    "left engine": "ArrowLeft",
    "right engine": "ArrowRight",
    "main engine": "ArrowUp",
    "turn left": "ArrowLeft",
    "turn right": "ArrowRight",
    "forward": "ArrowUp",
    "toggle": " ",
}
DIGITS = "0123456789"
MOST_CAUSES = 2
LEAST_SHARE = 0.05
"""Of a feature's own maximum, for it to be called a cause."""


@dataclass(frozen=True)
class Firing:
    """One feature at one step: its code, and that as a share of its own maximum."""

    feature: int
    code: float
    share: float


def explain(
    environment: str,
    actions: Sequence[str],
    labels: Mapping[int, str],
    firings: Sequence[Firing],
    action: int | None,
    twin: int | None,
    *,
    is_held: bool = False,
) -> str:
    """What the strongest labelled features say, and what the agent does, as its twin or not.

    "pole tilting right (0.83) → pushing right"
    """
    causes = [
        f"{labels[one.feature]} ({one.share:.2f})"
        for one in firings
        if one.share >= LEAST_SHARE and labels.get(one.feature)
    ][:MOST_CAUSES]
    said = " and ".join(causes) or "nothing with a label fires"
    if action is None:
        return said
    said = "you" if is_held else said
    said = f"{said} → {doing(environment, actions, action)}"
    if twin is not None and twin != action:
        said += f" (its twin: {doing(environment, actions, twin)})"
    return said


def doing(environment: str, actions: Sequence[str], action: int) -> str:
    """An action as something that is done."""
    name = actions[action] if action < len(actions) else str(action)
    if name in ("nothing", "noop"):
        return "doing nothing"
    pattern = next((p for start, p in DOING.items() if environment.startswith(start)), "{}")
    return pattern.format(name)


def keys_of(actions: Sequence[str]) -> dict[str, int]:
    """The action of each key of the keyboard: arrows where actions are directions, else digits."""
    found = {KEYS[name]: index for index, name in reversed([*enumerate(actions)]) if name in KEYS}
    digits = {DIGITS[index]: index for index in range(min(len(actions), len(DIGITS)))}
    return {**digits, **found}
