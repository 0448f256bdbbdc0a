"""What the zip of a Stable-Baselines3 agent says in readable text: its algorithm and choices.

`data` in the zip is JSON in which objects are pickled, with their first attributes as text beside
the pickle. Only that text is read.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from policyscope.agents.adapters.sb3_policies import FAMILIES, Choices
from policyscope.agents.untrusted import Untrusted, listed
from policyscope.errors import InvalidInput, UnknownName

ALIASES = {
    "recurrentppo": "recurrent_ppo",
    "ppolstm": "recurrent_ppo",
    "maskableppo": "maskable_ppo",
}
SQUASHED_BY_DEFAULT = {"sac", "tqc", "td3", "ddpg"}
EXTRACTORS = {"FlattenExtractor", "NatureCNN", "CombinedExtractor"}
ACTIVATIONS = {
    kind.__name__: kind
    for kind in (
        *(nn.Tanh, nn.ReLU, nn.ELU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Softplus),
        *(nn.SELU, nn.Mish, nn.Hardtanh, nn.Softsign, nn.ReLU6, nn.CELU, nn.Identity),
    )
}


def read_data(source: Untrusted) -> Mapping[str, Any]:
    """The text of a zip's `data`; what is pickled in it stays text."""
    try:
        data = json.loads(source.content)
    except (ValueError, RecursionError, MemoryError) as error:
        raise source.damaged(f"it is not JSON ({type(error).__name__})") from error
    if not isinstance(data, dict):
        raise source.damaged(f"it holds a {type(data).__name__}, not entries by name")
    return data


def find_normalization(path: Path) -> Path | None:
    """The VecNormalize pickle that belongs to the zip at `path`, by the names SB3's tools give."""
    checkpoint = re.sub(r"_(\d+_steps)$", r"_vecnormalize_\1", path.stem)
    candidates = [
        path.with_name(f"{checkpoint}.pkl") if checkpoint != path.stem else None,
        path.with_suffix("") / "vecnormalize.pkl",
        path.with_name("vecnormalize.pkl"),
        path.with_name("vec_normalize.pkl"),
    ]
    return next((one for one in candidates if one is not None and one.is_file()), None)


def checked(given: str | None, state: Mapping[str, Tensor], data: Mapping[str, Any]) -> str:
    """The algorithm: as given, if the weights are of its kind, else as the file tells."""
    found = detect(state, data)
    if given is None:
        if found is None:
            raise InvalidInput(
                f"The weights are of no algorithm known here ({', '.join(FAMILIES)}). "
                f"They begin with {', '.join([*state][:3])}."
            )
        return found
    squeezed = re.sub(r"[^a-z0-9]", "", given.lower())
    name = ALIASES.get(squeezed, squeezed)
    if name not in FAMILIES:
        raise UnknownName.among("algorithm", given, FAMILIES)
    if found is None or FAMILIES[found] is not FAMILIES[name]:
        raise InvalidInput(
            f"The file holds weights of {found or 'another algorithm'}, not {given}."
        )
    return name


def detect(state: Mapping[str, Tensor], data: Mapping[str, Any]) -> str | None:
    """The algorithm that the names of the weights and of the entries in `data` tell; None if none.

    Where weights fit several, entries that only one of them has decide.
    """
    kind = str(entry(data, "policy_class").get("__module__", ""))

    def has(prefix: str) -> bool:
        return any(name.startswith(prefix) for name in state)

    if ".crossq." in kind:
        return None
    if has("quantile_net."):
        return "qrdqn"
    if has("q_net."):
        return "dqn"
    if has("actor.log_std"):
        return "tqc" if "top_quantiles_to_drop_per_net" in data or ".tqc." in kind else "sac"
    if has("actor.mu."):
        return "td3" if has("critic.qf1.") else "ddpg"
    if has("lstm_actor."):
        return "recurrent_ppo"
    if has("action_net") and not has("value_net"):
        return "ars"
    if not has("action_net"):
        return None
    if ".maskable." in kind:
        return "maskable_ppo"
    if "cg_max_steps" in data:
        return "trpo"
    return "ppo" if "clip_range" in data or "n_epochs" in data else "a2c"


def entry(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The readable part of one entry of `data`, empty where there is none."""
    value = data.get(name)
    return value if isinstance(value, Mapping) else {}


def read_choices(
    source: Untrusted, algorithm: str, state: Mapping[str, Tensor], data: Mapping[str, Any]
) -> Choices:
    """What the policy was told when made; UntrustedFile where that is code in the file."""
    told, kind = entry(data, "policy_kwargs"), entry(data, "policy_class")
    home = str(kind.get("__module__", "stable_baselines3"))
    if home.partition(".")[0] not in ("stable_baselines3", "sb3_contrib"):
        raise source.refused(f"its policy is a class of its own, from {home!r}")
    if foreign := [name for name in state if not re.match(FAMILIES[algorithm].modules, name)]:
        raise source.refused(f"it has weights of modules of its own, {listed(foreign)}")
    extractor = class_name(told.get("features_extractor_class"), "FlattenExtractor")
    if extractor not in EXTRACTORS:
        raise source.refused(f"its features extractor is a class of its own, {extractor!r}")
    on_policy = FAMILIES[algorithm] is FAMILIES["ppo"]
    activation = class_name(told.get("activation_fn"), "Tanh" if on_policy else "ReLU")
    if activation not in ACTIVATIONS:
        raise source.refused(f"its activation is a function of its own, {activation!r}")
    squashed = told.get("squash_output")
    if algorithm == "ars" and squashed is None:
        squashed = not is_linear(state, kind)
    return Choices(
        activation=ACTIVATIONS[activation],
        scale_images=told.get("normalize_images") is not False,
        is_squashed=algorithm in SQUASHED_BY_DEFAULT or bool(squashed),
        uses_expln=bool(told.get("use_expln")),
        clip_mean=number(told.get("clip_mean"), 2.0),
        quantiles=int(number(told.get("n_quantiles", data.get("n_quantiles")), 200.0)),
    )


def class_name(text: Any, default: str) -> str:
    """The last name in `<class 'a.b.Name'>`; the whole text where it is something else."""
    if text is None:
        return default
    found = re.fullmatch(
        r"<class '(torch\.nn|stable_baselines3|sb3_contrib)\.[\w.]*?(\w+)'>", str(text)
    )
    return found[2] if found else str(text)[:80]


def is_linear(state: Mapping[str, Tensor], kind: Mapping[str, Any]) -> bool:
    """Whether an ARS policy is the linear one, whose actions are clipped and not squashed."""
    made_by = str(kind.get("__init__", ""))
    if "ARSPolicy" in made_by or "ARSLinearPolicy" in made_by:
        return "ARSLinearPolicy" in made_by
    return {*state} <= {"action_net.weight", "action_net.0.weight"}


def number(value: Any, default: float) -> float:
    """The value, if it is a finite number."""
    is_number = isinstance(value, int | float) and abs(value) < 1e9
    return float(value) if is_number else default
