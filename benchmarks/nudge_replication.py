"""Does one ±1 nudge raise the return? The source's 261 → 323 on many independent policies.

    python -m benchmarks.nudge_replication [--policies 32] [--quick]

1. Train a policy per seed, twice: as the zoo does (stopped at a validation return of 200), and
   taken at the checkpoint whose validation return is nearest to the source's 261.3.
2. Record 50 episodes; fit one transcoder of width 4 on either layer (50 epochs, λ = 1e-5).
3. Search all 8 features at α = ±1 on 50 episodes: as the source did, each setting and the baseline
   on episodes of their own, and paired, all on the baseline's seeds and action noise.
4. Play all 16 settings and the baseline on 500 fresh paired episodes.
5. The same for one random direction of equal norm in the place of every feature.

Goes on where it was stopped: every policy is written down once it is done. Source: "Interpretable
RL via Multiscale Transcoders: Sparse Bottlenecks at 2, 4, and 8 Dimensions", Causal Interventions.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from benchmarks.promise_figure import draw
from policyscope.address import Site
from policyscope.agents.adapters.torch import TorchAgent
from policyscope.agents.agent import Agent
from policyscope.dictionaries.family import fit_family
from policyscope.dictionaries.relu import ReLU
from policyscope.dictionaries.schedule import Schedule
from policyscope.envs.make import make
from policyscope.experiments.directions import random_directions
from policyscope.experiments.effect import Effect, correct, paired_difference
from policyscope.interventions.intervention import Intervention
from policyscope.interventions.steer import steer
from policyscope.progress import track
from policyscope.rollouts.evaluate import MAX_ROWS, evaluate_conditions
from policyscope.rollouts.rollout import Plan, rollout
from policyscope.rollouts.rows import Job
from policyscope.rollouts.seeds import episode_seeds
from policyscope.table import Column, Table
from policyscope.zoo.cartpole import ENVIRONMENT, CartPolePolicy, train

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "nudge_replication.json"
FIGURE = ROOT / "docs" / "images" / "nudge-261-to-323.svg"
LAYERS = {"layer1": ("fc1:in", "fc2:in"), "layer2": ("fc2:in", "fc3:in")}
WIDTH, ALPHAS, EPOCHS, PENALTY = 4, (-1.0, 1.0), 50, 1e-5
SOURCE_BASELINE, SOURCE_NUDGED = 261.3, 322.7
SOURCE_GAIN = SOURCE_NUDGED - SOURCE_BASELINE
LEVEL = 0.05
GROUPS = {"zoo": "stopped at 200, as the zoo does", "261": "checkpoint nearest to 261"}
KINDS = ("feature", "random")


@dataclass(frozen=True)
class Settings:
    """How much is played; part of the results file, so that unlike runs are never mixed."""

    policies: int = 32
    episodes: int = 50
    confirm: int = 500
    validate_every: int = 5
    train_to: float = 300.0


@dataclass(frozen=True)
class Setting:
    """One of the settings that are tried: a direction at one layer, pushed along by ±1."""

    kind: str
    layer: str
    feature: int
    alpha: float
    edit: Intervention

    @property
    def name(self) -> str:
        return f"{self.kind} {self.layer}#{self.feature} {self.alpha:+g}"


def study_policy(group: str, seed: int, settings: Settings) -> dict[str, Any]:
    """Everything that is asked of one policy, as the entry of the results file."""
    policy, facts = train_policy(group, seed, settings)
    agent = TorchAgent(policy)
    tried = settings_of(agent, seed, settings)
    search_seeds = episode_seeds("search", settings.episodes, seed)
    alone = play_alone(agent, tried, settings.episodes, seed)
    search = play_paired(agent, tried, search_seeds, seed)
    fresh = play_paired(agent, tried, episode_seeds("confirm", settings.confirm, seed), seed)
    return {
        "group": group,
        "seed": seed,
        **facts,
        "search_baseline": float(search[0].mean()),
        "fresh_baseline": float(fresh[0].mean()),
        "settings": [
            {
                "kind": one.kind,
                "layer": one.layer,
                "feature": one.feature,
                "alpha": one.alpha,
                "unpaired": round(float(own.mean() - search[0].mean()), 3),
                "paired": to_json(paired_difference(on_search, search[0])),
                "fresh": to_json(paired_difference(on_fresh, fresh[0])),
            }
            for one, own, on_search, on_fresh in zip(
                tried, alone, search[1:], fresh[1:], strict=True
            )
        ],
    }


def train_policy(
    group: str, seed: int, settings: Settings
) -> tuple[CartPolePolicy, dict[str, Any]]:
    """A policy of its own for every seed, and how far it was trained."""
    if group == "zoo":
        trained = train(seed)
        chosen = trained.final
    else:
        trained = train(seed, target=settings.train_to, validate_every=settings.validate_every)
        chosen = min(
            trained.checkpoints, key=lambda one: abs(one.validation_return - SOURCE_BASELINE)
        )
    trained.policy.load_state_dict(chosen.weights)
    return trained.policy, {
        "training_episodes": chosen.episodes,
        "validation_return": chosen.validation_return,
    }


def settings_of(agent: Agent, seed: int, settings: Settings) -> list[Setting]:
    """Every feature of both transcoders at both signs, and a random direction beside each."""
    made = []
    generator = torch.Generator().manual_seed(seed)
    columns = record(agent, seed, settings.episodes)
    for layer, (reads, writes) in LAYERS.items():
        (fitted,) = fit_family(
            [ReLU(WIDTH, PENALTY)],
            columns[reads],
            columns[writes],
            seeds=[seed],
            schedule=Schedule(EPOCHS),
        )
        directions = fitted.dictionary.directions()
        lengths = directions.norm(dim=1, keepdim=True)
        drawn = random_directions(WIDTH, directions.shape[1], generator) * lengths
        for kind, those in zip(KINDS, (directions, drawn), strict=True):
            for feature, direction in enumerate(those):
                for alpha in ALPHAS:
                    edit = steer(Site.parse(writes), alpha, direction)
                    made.append(Setting(kind, layer, feature, alpha, edit))
    return made


def record(agent: Agent, seed: int, episodes: int) -> dict[str, torch.Tensor]:
    """The activations of `episodes` whole episodes, by site."""
    sites = dict.fromkeys(site for layer in LAYERS.values() for site in layer)
    seeds = episode_seeds("record", episodes, seed)
    jobs = [Job(number, episode_seed) for number, episode_seed in enumerate(seeds)]
    plan = Plan(reads=tuple(map(Site.parse, sites)), keep=(), seed=seed, compact=True)
    parts: dict[str, list[torch.Tensor]] = {site: [] for site in sites}
    for block in rollout(agent, make(ENVIRONMENT, episodes), jobs, plan):
        is_sample = block.episode >= 0
        for site, collected in parts.items():
            collected.append(torch.from_numpy(block.columns[site][is_sample]))
    return {site: torch.cat(collected) for site, collected in parts.items()}


def play_alone(agent: Agent, tried: Sequence[Setting], episodes: int, seed: int) -> np.ndarray:
    """Returns [setting, episode], no two episodes with the same seed: the source's comparison."""
    seeds = episode_seeds("sweep", len(tried) * episodes, seed)
    jobs = [Job(number, s, number % len(tried)) for number, s in enumerate(seeds)]
    plan = Plan(conditions=[one.edit for one in tried], keep=(), seed=seed, compact=True)
    returns = np.empty(len(jobs))
    for block in rollout(agent, make(ENVIRONMENT, min(MAX_ROWS, len(jobs))), jobs, plan):
        for ended in block.ended:
            returns[ended.index] = ended.total_reward
    return returns.reshape(episodes, len(tried)).T


def play_paired(
    agent: Agent, tried: Sequence[Setting], seeds: Sequence[int], seed: int
) -> np.ndarray:
    """Returns [condition, episode] on the same seeds and noise, the unedited agent first."""
    conditions = {"baseline": Intervention(), **{one.name: one.edit for one in tried}}
    played = evaluate_conditions(
        agent, lambda rows: make(ENVIRONMENT, rows), conditions, seeds, seed=seed
    )
    return played.outcomes.total_reward


def to_json(effect: Effect) -> dict[str, float]:
    """A paired difference in the results file."""
    return {
        "difference": round(effect.difference, 2),
        "low": round(effect.low, 2),
        "high": round(effect.high, 2),
        "p": float(f"{effect.p:.3g}"),
    }


# ── What it says ─────────────────────────────────────────────────────────────────────────────────


def summarize(policies: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Shares and sizes for every group of policies, features and random directions apart."""
    return {
        group: {kind: summarize_kind(chosen, kind) for kind in KINDS}
        | {"fresh_baseline": average([one["fresh_baseline"] for one in chosen])}
        | {"feature_less_random": compare_kinds(chosen)}
        for group in GROUPS
        if len(chosen := [one for one in policies if one["group"] == group]) > 1
    }


def summarize_kind(policies: Sequence[dict[str, Any]], kind: str) -> dict[str, Any]:
    """What 16 settings of one kind did in all policies of one group."""
    tried = [[one for one in policy["settings"] if one["kind"] == kind] for policy in policies]
    naive = [max(those, key=lambda one: one["unpaired"]) for those in tried]
    paired = [max(those, key=lambda one: one["paired"]["low"]) for those in tried]
    every = [one for those in tried for one in those]
    in_policy = [any(holds(those)) for those in tried]
    return {
        "naive": summarize_best(naive, [one["unpaired"] for one in naive]),
        "paired": summarize_best(paired, [one["paired"]["difference"] for one in paired]),
        "any_setting_holm_in_policy": share(sum(in_policy), len(tried)),
        "settings_holm_over_all": share(sum(holds(every)), len(every)),
        "policies_holm_over_all": share(
            sum(map(any, np.reshape(holds(every), (len(tried), -1)))), len(tried)
        ),
        "settings_harmful_holm_over_all": share(sum(holds(every, sign=-1)), len(every)),
    }


def compare_kinds(policies: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the best feature of each unpaired search gains on fresh seeds beyond the best random."""
    gains = {
        kind: [best_of(one, kind)["fresh"]["difference"] for one in policies] for kind in KINDS
    }
    return average(np.subtract(gains["feature"], gains["random"]).tolist())


def best_of(policy: dict[str, Any], kind: str) -> dict[str, Any]:
    """The setting that the source's way of searching picks."""
    tried = [one for one in policy["settings"] if one["kind"] == kind]
    return max(tried, key=lambda one: one["unpaired"])


def summarize_best(best: Sequence[dict[str, Any]], promised: Sequence[float]) -> dict[str, Any]:
    """What the best of each search promised, and what is left of it on fresh seeds."""
    kept = [one["fresh"]["difference"] for one in best]
    like_source = [gain >= SOURCE_GAIN for gain in promised]
    helps = holds(best)
    return {
        "in_layer2": share(sum(one["layer"] == "layer2" for one in best), len(best)),
        "of_those_like_source_helps": share(
            sum(a and b for a, b in zip(like_source, helps, strict=True)), sum(like_source)
        ),
        "of_those_like_source_fresh": average(
            [gain for gain, is_like in zip(kept, like_source, strict=True) if is_like]
        ),
        "looks_like_source": share(sum(like_source), len(best)),
        "promised": average(promised),
        "promised_median": float(np.median(promised)),
        "fresh": average(kept),
        "fresh_median": float(np.median(kept)),
        "helps_holm_over_policies": share(sum(helps), len(best)),
        "harms_holm_over_policies": share(sum(holds(best, sign=-1)), len(best)),
        "truly_as_large_as_source": share(sum(gain >= SOURCE_GAIN for gain in kept), len(best)),
        "largest": max((one["fresh"] for one in best), key=lambda one: one["difference"]),
    }


def holds(tried: Sequence[dict[str, Any]], sign: int = 1) -> list[bool]:
    """Which effects on fresh seeds have this sign and hold after Holm over all that are given."""
    corrected = correct(np.array([one["fresh"]["p"] for one in tried]), "holm")
    return [
        bool(sign * one["fresh"]["difference"] > 0 and p <= LEVEL)
        for one, p in zip(tried, corrected, strict=True)
    ]


def share(count: int, of: int) -> dict[str, float]:
    """A share with its exact 95 % interval (Clopper and Pearson 1934)."""
    if not of:
        return {"count": 0, "of": 0, "low": 0.0, "high": 1.0}
    low = stats.beta.ppf(LEVEL / 2, count, of - count + 1) if count else 0.0
    high = stats.beta.ppf(1 - LEVEL / 2, count + 1, of - count) if count < of else 1.0
    return {"count": int(count), "of": of, "low": float(low), "high": float(high)}


def average(values: Sequence[float]) -> dict[str, float]:
    """The mean over policies with its Student t interval."""
    if len(values) < 2:
        return dict.fromkeys(("mean", "low", "high", "smallest", "largest"), float("nan"))
    half = stats.sem(values) * stats.t.ppf(1 - LEVEL / 2, len(values) - 1)
    mean = float(np.mean(values))
    return {
        "mean": mean,
        "low": float(mean - half),
        "high": float(mean + half),
        "smallest": float(min(values)),
        "largest": float(max(values)),
    }


def table(summary: dict[str, Any]) -> Table:
    """The answer: one row per group and kind of direction."""
    columns = tuple(
        Column(name, side="left")
        for name in ("", *(f"{group}: {kind}" for group in summary for kind in KINDS))
    )
    kinds = [summary[group][kind] for group in summary for kind in KINDS]

    def row(name: str, *path: str) -> tuple[str, ...]:
        found = []
        for kind in kinds:
            value: Any = kind
            for step in path:
                value = value[step]
            found.append(say(value))
        return (name, *found)

    rows = []
    for search, title in (("naive", "unpaired"), ("paired", "paired")):
        rows += [
            row(f"best of 16, {title}: promised gain, mean", search, "promised"),
            row(f"… promised at least +{SOURCE_GAIN:.1f}", search, "looks_like_source"),
            row("… of these, help on fresh seeds", search, "of_those_like_source_helps"),
            row("… of these, fresh gain, mean", search, "of_those_like_source_fresh"),
            row("… its gain on fresh seeds, mean", search, "fresh"),
            row("… helps (Holm over policies)", search, "helps_holm_over_policies"),
            row("… harms (Holm over policies)", search, "harms_holm_over_policies"),
            row(f"… fresh gain of at least +{SOURCE_GAIN:.1f}", search, "truly_as_large_as_source"),
        ]
    rows += [
        row("policies where any of 16 helps (Holm over 16)", "any_setting_holm_in_policy"),
        row("policies where any helps (Holm over all)", "policies_holm_over_all"),
        row("settings that help (Holm over all)", "settings_holm_over_all"),
        row("settings that harm (Holm over all)", "settings_harmful_holm_over_all"),
    ]
    baselines = ", ".join(f"{g} {say(s['fresh_baseline'])}" for g, s in summary.items())
    beyond = ", ".join(f"{g} {say(s['feature_less_random'])}" for g, s in summary.items())
    note = (
        f"Mean return of the unedited policies on fresh seeds: {baselines}. "
        f"Fresh gain of the best feature less that of the best random direction: {beyond}."
    )
    return Table("One ±1 nudge", columns, tuple(rows), note)


def say(value: dict[str, float]) -> str:
    """A share or a mean as text."""
    if "of" in value:
        bounds = f"{100 * value['low']:.0f}–{100 * value['high']:.0f} %"
        return f"{value['count']:.0f} of {value['of']:.0f} ({bounds})"
    return f"{value['mean']:+.1f} [{value['low']:+.1f}, {value['high']:+.1f}]"


# ── Keeping it ───────────────────────────────────────────────────────────────────────────────────


def load(path: Path, settings: Settings) -> list[dict[str, Any]]:
    """What an earlier run with the same settings has done already."""
    if not path.exists():
        return []
    kept = json.loads(path.read_text())
    unlike = {**kept["settings"], "policies": 0} != {**vars(settings), "policies": 0}
    return [] if unlike else kept["policies"]


def save(path: Path, settings: Settings, policies: Sequence[dict[str, Any]]) -> None:
    """Writes the results whole, so that a stopped run leaves the earlier ones."""
    document: dict[str, Any] = {
        "source": {"baseline": SOURCE_BASELINE, "nudged": SOURCE_NUDGED},
        "settings": vars(settings),
        "groups": GROUPS,
        "summary": summarize(policies),
    }
    # One policy per line: as little as a reader of the file can still find their way in.
    lines = ",\n".join(json.dumps(one, separators=(",", ":")) for one in policies)
    text = f'{json.dumps(document, indent=1)[:-2]},\n "policies": [\n{lines}\n ]\n}}\n'
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(text)
    unfinished.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policies", type=int, default=Settings.policies)
    parser.add_argument("--quick", action="store_true", help="two policies, kept nowhere")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = Settings(policies=arguments.policies)
    if arguments.quick:
        settings = Settings(policies=2, confirm=50)
    policies = [] if arguments.quick else load(RESULTS, settings)
    done = {(one["group"], one["seed"]) for one in policies}
    units = [(group, seed) for seed in range(settings.policies) for group in GROUPS]
    left = [unit for unit in units if unit not in done]
    with track("studying policies", len(left), "policies") as progress:
        for group, seed in left:
            policies.append(study_policy(group, seed, settings))
            if not arguments.quick:
                save(RESULTS, settings, policies)
            progress.advance(1, f"{group}, seed {seed}")
    if not arguments.quick:
        save(RESULTS, settings, policies)
        draw(policies, SOURCE_GAIN, FIGURE)
    print(table(summarize(policies)))


if __name__ == "__main__":
    main()
