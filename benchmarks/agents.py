"""Agents that nobody here trained, through everything: opened, played, recorded, fitted, steered.

    python -m benchmarks.agents [--quick] [--only NAME …] [--again]

Each entry of the folder `../shared/agents` (or $POLICYSCOPE_AGENTS) becomes a study: opened without
trust, its return measured over as many episodes as its manifest did and compared with that, then
recorded at its last hidden layer (and its last convolution), an SAE fitted there, spliced in and
steered. A step that fails is what the agent's row says, and the next agent has its turn.

An agent's row is kept in `results/agents.json` as soon as it is done, and what is there is not
measured again unless `--again` or `--only` asks for it. `docs/agents.md` is written from the rows.
"""

import argparse
import json
import math
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_PROGRESS", "1")

import numpy as np
import torch
from torch import nn

from benchmarks.arms import machine
from policyscope.agents.agent import Agent
from policyscope.agents.loading import CHECKPOINTS, open_agent
from policyscope.agents.sites import list_sites
from policyscope.dictionaries.relu import ReLU
from policyscope.document import as_text
from policyscope.envs.make import make
from policyscope.errors import PolicyscopeError
from policyscope.studies.inspection import Inspection
from policyscope.studies.study import Study

HERE = Path(__file__).parent
FOLDER = Path(os.environ.get("POLICYSCOPE_AGENTS", HERE.parents[1] / "shared" / "agents"))
RESULTS = HERE / "results" / "agents.json"
PAGE = HERE.parent / "docs" / "agents.md"
COMMAND = "python -m benchmarks.agents --again"

WIDTH, PENALTY = 32, 1e-3
UPDATES, BATCH = 2000, 256
"""Epochs are as many as make about so many updates: a map has a sample for each position."""
SEEDS = 2
ALPHAS = (-1.0, 1.0)
STEERED = 2
"""Features of the sweep: it is to complete, not to find anything."""
OUTPUTS = ("logits", "values", "mean", "quantiles")


@dataclass(frozen=True)
class Amounts:
    """How much of an agent is played."""

    episodes: int | None = None
    """For the return; None for as many as the manifest has."""
    steps: int = 4000
    spliced: int = 5
    swept: int = 4
    has_maps: bool = True
    """Whether the last convolution is decomposed as well."""

    def quick(self) -> "Amounts":
        """Less of everything."""
        return replace(self, episodes=3, steps=1000, spliced=2, swept=2)


AMOUNTS = {
    # Thousands of steps an episode: of Pong each is a screen of 100,800 bytes.
    "baby_a3c_pong": Amounts(episodes=4, steps=1500, spliced=2, swept=2),
    "xinjinghao_duelddqn_enduro": Amounts(
        episodes=8, steps=3000, spliced=2, swept=2, has_maps=False
    ),
    "sb3_zoo/ppo_HalfCheetah-v3": Amounts(spliced=3, swept=2),
    "sb3_zoo/tqc_Hopper-v3": Amounts(spliced=3, swept=2),
    "xinjinghao_td3_humanoid": Amounts(spliced=3, swept=2),
}
ENDURO = "xinjinghao_duelddqn_enduro"
MEMORY = "MiniGrid-MemoryS7FixedStart-v0"
PLACES: dict[str, tuple[str, dict[str, Any]]] = {
    "baby_a3c_pong": ("Pong-v4", {}),
    # The limit is part of what MiniGrid pays, and its file says which it was trained with.
    "memorydt_minigrid": (MEMORY, {"one_hot": True, "max_steps": 1000}),
    "ppo_lstm_minigrid_memory": (MEMORY, {}),
}
"""Environments of entries whose manifest describes them in words."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="less of everything; writes no page")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="entries by name")
    parser.add_argument("--again", action="store_true", help="measure all of them anew")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    manifest = FOLDER / "MANIFEST.json"
    if not manifest.exists():
        sys.exit(f"There is no {manifest}. POLICYSCOPE_AGENTS names another folder.")
    entries = json.loads(manifest.read_text("utf-8"))
    rows, starts = ({}, {}) if given.quick else read_results()
    for number, entry in enumerate(entries, start=1):
        name = entry["dir"]
        asked = any(word in name for word in given.only)
        if (given.only and not asked) or (name in rows and not asked and not given.again):
            continue
        rows[name] = measure(entry, quick=given.quick)
        print(f"[{number}/{len(entries)}] {name}: {say(rows[name])}", flush=True)
        if name == ENDURO and not given.quick:
            starts = measure_starts(entry)
        if not given.quick:
            write_results(rows, starts)
    if not given.quick:
        ordered = [rows[entry["dir"]] for entry in entries if entry["dir"] in rows]
        PAGE.write_text(page(ordered, starts), "utf-8")
        print(f"Wrote {PAGE}")


def read_results() -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """What was measured before: the agents' rows, and Enduro's starts."""
    if not RESULTS.exists():
        return {}, {}
    found = json.loads(RESULTS.read_text("utf-8"))
    return found["agents"], found["enduro_starts"]


def write_results(rows: Mapping[str, Any], starts: Mapping[str, Any]) -> None:
    """Keeps what is measured so far."""
    document = {"machine": machine(), "agents": rows, "enduro_starts": starts}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(as_text(document) + "\n", "utf-8")


# --- one agent -----------------------------------------------------------------------------------


@dataclass
class Trial:
    """One entry on its way through the steps; `row` is what has been found of it."""

    entry: Mapping[str, Any]
    amounts: Amounts
    folder: Path
    row: dict[str, Any] = field(default_factory=dict)

    def attempt(self, step: str, run: Callable[[], None]) -> bool:
        """Does one step, and notes in the row how it failed if it did."""
        began = time.process_time()
        try:
            run()
        except Exception as error:  # whatever it is, it is the answer
            kind = "" if isinstance(error, PolicyscopeError) else f"{type(error).__name__}: "
            self.row["failed"][step] = kind + str(error)
            return False
        finally:
            self.row["cpu_seconds"][step] = round(time.process_time() - began, 1)
        return True


def measure(entry: Mapping[str, Any], *, quick: bool) -> dict[str, Any]:
    """The row of one entry: every step as far as it goes."""
    amounts = AMOUNTS.get(entry["dir"], Amounts())
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(entry, amounts.quick() if quick else amounts, Path(folder) / "study")
        trial.row = {"name": entry["dir"], "algorithm": entry["algo"], "failed": {}}
        trial.row["cpu_seconds"] = {}
        name = str(entry["env_run"])
        place, arguments = PLACES.get(entry["dir"], (name if " " not in name else None, {}))
        if place is None:
            trial.attempt("open", lambda: look(trial))
            return trial.row
        trial.row["environment"] = place
        if not trial.attempt("open", lambda: begin(trial, place, arguments)):
            return trial.row
        study = Study.open(trial.folder)
        trial.attempt("return", lambda: play(trial, study))
        if trial.attempt("record", lambda: record(trial, study)):
            for site in trial.row["sites_recorded"]:
                decompose(trial, study, site)
        return trial.row


def checkpoint(entry: Mapping[str, Any]) -> Path:
    """The entry's file; of several points of one training, the last that is listed."""
    files = [name for name in entry["files"] if name.endswith(CHECKPOINTS)]
    return FOLDER / entry["dir"] / files[-1]


def look(trial: Trial) -> None:
    """Opens an agent that has no environment here, and lists its sites on an empty board."""
    agent = open_agent(str(checkpoint(trial.entry)))
    first = next(one for one in agent.module.modules() if isinstance(one, nn.Conv2d))
    board = torch.zeros(1, first.in_channels, 13, 13)
    trial.row |= {"safe": agent.is_safe, "assumed": list(agent.assumed)}
    trial.row["sites"] = len(list_sites(agent, board))


def begin(trial: Trial, place: str, arguments: Mapping[str, Any]) -> None:
    """Opens the agent without trust, and makes a study of it."""
    study = Study.create(
        trial.folder, agent=str(checkpoint(trial.entry)), env=place, env_args=arguments
    )
    found = study.inspect()
    trial.row |= {"safe": found.safe, "assumed": list(found.assumed), "sites": len(found.sites)}
    last, *maps = suggested(study.agent, found)
    trial.row["sites_recorded"] = [last, *(maps if trial.amounts.has_maps else ())]


def suggested(agent: Agent, found: Inspection) -> list[str]:
    """What the policy's last layer reads, and the last convolution's map where there is one."""
    modules = dict(agent.module.named_modules())
    before: list[str] = []
    for info in found.sites:
        if info.role in OUTPUTS and before:
            break
        is_linear = isinstance(modules[info.site.path], nn.Linear)
        if is_linear and info.site.side == "in" and info.network == "policy":
            before.append(str(info.site))
    maps = [
        str(info.site)
        for info in found.sites
        if isinstance(modules[info.site.path], nn.Conv2d) and info.site.side == "out"
    ]
    return [before[-1], *maps[-1:]]


def play(trial: Trial, study: Study) -> None:
    """The return as the manifest measured it: as many episodes, the most likely action."""
    entry = trial.entry
    theirs = entry.get("mean_return")
    episodes = trial.amounts.episodes or entry.get("episodes") or 100
    found = study.evaluate(episodes=episodes, deterministic=entry.get("deterministic", True))
    error = found.std / math.sqrt(found.episodes)
    trial.row |= {
        "return": found.mean,
        "return_error": error,
        "episodes": found.episodes,
        "steps_per_second": found.steps_per_second,
        "endings": dict(found.endings),
    }
    if theirs is None:
        return
    their_error = entry["std"] / math.sqrt(entry["episodes"])
    trial.row |= {"manifest": theirs, "manifest_error": their_error}


def is_near(row: Mapping[str, Any]) -> bool:
    """Whether two means differ by no more than twice the standard error of their difference."""
    both = math.hypot(row["return_error"], row["manifest_error"])
    # The manifest is rounded: to a tenth, or to a hundredth where returns are small.
    rounding = 0.05 if abs(row["manifest"]) >= 10 else 0.005
    return abs(row["return"] - row["manifest"]) <= 2 * both + rounding


def record(trial: Trial, study: Study) -> None:
    """A small recording, actions sampled where the agent has a distribution."""
    began = time.perf_counter()
    made = study.record(sites=trial.row["sites_recorded"], steps=trial.amounts.steps)
    trial.row["recorded_steps"] = made.steps
    trial.row["recorded_per_second"] = made.steps / (time.perf_counter() - began)
    metrics = [spec.name for spec in made.header.columns if spec.kind == "metric"]
    trial.row["metrics"] = len(metrics)


def decompose(trial: Trial, study: Study, site: str) -> None:
    """Fits an SAE at one site, describes and scores it, and steers two of its features."""
    amounts, kept = trial.amounts, trial.row.setdefault("dictionaries", {})
    name = f"{site.replace(':', '.')}/relu{WIDTH}"

    def fit() -> None:
        shape = study.recording().spec(site).shape
        samples = trial.row["recorded_steps"] * math.prod(shape[1:])
        study.fit(
            ReLU(WIDTH, PENALTY),
            reads=site,
            writes=site,
            name=name,
            seeds=SEEDS,
            epochs=math.ceil(UPDATES * BATCH / samples),
            batch_size=BATCH,
        )
        kept[site] = {"shape": list(shape), "samples": samples}

    def describe() -> None:
        cards = study.features(name).to_json()["features"]
        kept[site]["effects"] = sum(bool(card["action_effect"]["measured"]) for card in cards)

    def score() -> None:
        found = study.score(name, episodes=amounts.spliced, deterministic=True).to_json()
        wanted = ("unexplained", "l0", "dead", "return_kept", "action_agreement")
        kept[site] |= {key: found[key] for key in wanted}

    def sweep() -> None:
        found = study.sweep(
            name,
            features=range(STEERED),
            alphas=ALPHAS,
            episodes=amounts.swept,
            random_directions=0,
            deterministic=True,
        )
        kept[site]["swept"] = len(found.conditions)
        kept[site]["swept_episodes"] = amounts.swept

    if trial.attempt(f"fit {site}", fit):
        trial.attempt(f"features {site}", describe)
        trial.attempt(f"score {site}", score)
        trial.attempt(f"sweep {site}", sweep)


# --- one return that depends on its start --------------------------------------------------------


def measure_starts(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Enduro's return and steps from the very first frame, by what the three frames before it are.

    The cartridge has no chance of its own, so each start is one game.
    """
    agent = open_agent(str(checkpoint(entry)))
    found = {}
    for name, is_repeated in (("first frame repeated", True), ("black", False)):
        environment = make(entry["env_run"], 1, ram=True, noop_max=0, use_fire_reset=False)
        agent.bind(environment.observation_space, environment.action_space)
        environment.reset(np.arange(1), [0])
        frames = cast(np.ndarray, environment.observation)
        if is_repeated:
            frames[:, :-1] = frames[:, -1:]
        total, steps, is_over = 0.0, 0, False
        while not is_over:
            with torch.no_grad():
                acted = agent.act(torch.from_numpy(frames), None, None)
            transition = environment.step(acted.action)
            is_over = bool(transition.terminated[0] or transition.truncated[0])
            total, steps = total + float(transition.reward[0]), steps + 1
        found[name] = {"return": total, "steps": steps}
        environment.close()
    return found


# --- what is said of it --------------------------------------------------------------------------


def say(row: Mapping[str, Any]) -> str:
    """A row as one line of progress."""
    parts = [f"{row.get('sites', 0)} sites"]
    if "return" in row:
        parts.append(f"return {row['return']:.1f} ± {row['return_error']:.1f}")
        if "manifest" in row:
            parts.append(f"{'as' if is_near(row) else 'NOT as'} the manifest: {row['manifest']}")
        parts.append(f"{row['steps_per_second']:.0f} steps/s")
    for site, found in row.get("dictionaries", {}).items():
        parts.append(f"{site} {json.dumps(found)[:300]}")
    parts += [f"FAILED {step}: {why[:300]}" for step, why in row["failed"].items()]
    parts.append(f"{sum(row['cpu_seconds'].values()):.0f} s")
    return " · ".join(parts)


def page(rows: Sequence[Mapping[str, Any]], starts: Mapping[str, Any]) -> str:
    """`docs/agents.md`."""
    compared = [row for row in rows if "manifest" in row and "return" in row]
    near = sum(map(is_near, compared))
    failed = [f"- `{r['name']}`, {step}: {why}" for r in rows for step, why in r["failed"].items()]
    kept = [(row, *item) for row in rows for item in row.get("dictionaries", {}).items()]
    return TEMPLATE.format(
        opened=sum(bool(row.get("safe")) for row in rows),
        entries=len(rows),
        near=near,
        compared=len(compared),
        agents="\n".join(map(agent_line, rows)),
        dictionaries="\n".join(dictionary_line(*item) for item in kept),
        through=sum("swept" in found and "unexplained" in found for _, _, found in kept),
        fitted=len(kept),
        failures="\n".join(failed) or "None of the steps failed.",
        enduro=enduro(rows, starts),
        extremes=extremes(kept),
        command=COMMAND,
        machine=json.loads(RESULTS.read_text("utf-8"))["machine"],
    )


def extremes(kept: Sequence[tuple[Any, str, Mapping[str, Any]]]) -> str:
    """The best reconstruction that loses most of the return, and the worst that keeps it."""
    known = [
        (found["unexplained"], found["return_kept"]["value"], row["name"])
        for row, _, found in kept
        if (found.get("return_kept") or {}).get("value") is not None
    ]
    lost = min((one for one in known if one[1] < 0.5), default=None)
    held = max((one for one in known if one[1] > 0.9), default=None)
    said = [
        f"`{name}` keeps {share:.0%} at {part:.3f}"
        for part, share, name in filter(None, (lost, held))
    ]
    return ", ".join(said)


def enduro(rows: Sequence[Mapping[str, Any]], starts: Mapping[str, Any]) -> str:
    """What Enduro's start is worth, in a sentence with its numbers."""
    row = next((row for row in rows if row["name"] == ENDURO and "return" in row), None)
    if row is None or not starts:
        return "Not measured here."
    said = "; ".join(
        f"{name}: {found['return']:.0f} in {found['steps']:,} steps"
        for name, found in starts.items()
    )
    return (
        f"By what stands in the stack before the first frame, from one and the same start: {said}. "
        f"From {row['episodes']} starts after up to 30 frames of doing nothing, as seeds choose "
        f"them: {number(row['return'])} ± {number(row['return_error'])}."
    )


def agent_line(row: Mapping[str, Any]) -> str:
    """One agent's line of the first table."""
    here = theirs = near = "–"
    if "return" in row:
        here = f"{number(row['return'])} ± {number(row['return_error'])} ({row['episodes']})"
    if "manifest" in row and "return" in row:
        theirs = f"{number(row['manifest'])} ± {number(row['manifest_error'])}"
        near = "yes" if is_near(row) else "**no**"
    cells = (
        f"`{row['name']}`",
        row["algorithm"].split(",")[0].split(" (")[0],
        row.get("environment", "–"),
        "yes" if row.get("safe") else "**no**",
        row.get("sites", "–"),
        here,
        theirs,
        near,
        f"{row['steps_per_second']:,.0f}" if "return" in row else "–",
    )
    return f"| {' | '.join(map(str, cells))} |"


def dictionary_line(row: Mapping[str, Any], site: str, found: Mapping[str, Any]) -> str:
    """One dictionary's line of the second table."""
    kept = found.get("return_kept") or {}
    share = "–"
    if kept and kept["value"] is not None:
        low, high = (percent(kept[end]) for end in ("low", "high"))
        share = f"{percent(kept['value'])} [{low}, {high}] ({kept['episodes']})"
    same = found.get("action_agreement")
    cells = (
        f"`{row['name']}`",
        f"`{site}`",
        "×".join(map(str, found["shape"])),
        f"{found['samples']:,}",
        f"{found['unexplained']:.3f}" if "unexplained" in found else "–",
        f"{found['l0']:.1f}" if "l0" in found else "–",
        percent(found.get("dead")),
        percent(same),
        share,
        "yes" if found.get("effects") else "no",
        f"{found['swept']} × {found['swept_episodes']}" if "swept" in found else "**no**",
    )
    return f"| {' | '.join(map(str, cells))} |"


def number(value: float) -> str:
    """A return in four digits or so."""
    return f"{value:,.2f}" if abs(value) < 10 else f"{value:,.1f}"


def percent(value: float | None) -> str:
    """A share; a dash where it is not known."""
    return "–" if value is None else f"{value:.0%}"


TEMPLATE = """# Agents that nobody here trained

**Question.** Do agents from other people's repositories open, act and let themselves be studied as they are?

**Answer.** {opened} of {entries} open without trust, with no code of theirs run. {near} of the {compared} whose return was measured elsewhere return the same here, within two standard errors of the difference.
{through} of {fitted} dictionaries go the whole way: recorded, fitted, described, scored, steered.

## Acting

The same number of episodes as the other measurement (in brackets; fewer where an episode has thousands of steps), the most likely action, ± one standard error of the mean. A difference counts as none within twice the standard error of both, √(a² + b²).
Steps per second of acting alone, by the clock, on one core of a machine that had other work.

| agent | algorithm | environment | opens safely | sites | return here (episodes) | measured elsewhere | alike | steps/s |
|---|---|---|---|---|---|---|---|---|
{agents}

## Decomposing

An SAE of width 32 (ReLU, λ = 1e-3, 2 seeds, some 2,000 updates) where the policy's last layer reads, and at the last convolution where there is one: one sample per position there. Unexplained variance, L0, dead features on held-out episodes; then the reconstruction in the activation's place: same action, and return kept, 0 % being the site's mean and 100 % the untouched agent [95 % interval] (episodes).
*Effects*: whether features have measured effects on the action. *Sweep*: conditions × episodes; it shows that it runs, and nothing about the features.

| agent | site | shape | samples | unexplained | L0 | dead | same action | return kept (episodes) | effects | sweep |
|---|---|---|---|---|---|---|---|---|---|---|
{dictionaries}

## What it teaches

- **A small unexplained share is no promise of behaviour.** {extremes}. Return kept is the figure to trust; with so few episodes its intervals are wide.
- **"The same action" asks for equality.** With continuous actions no reconstruction passes it exactly; 0 % there says nothing.
- **A mean of zero spread is no certainty.** Enduro was measured elsewhere from one start, three times, so its standard error of 0 is that of one game. {enduro} The first of these is the other measurement, to the step. Nothing is wrong with either: this agent's return depends on the start, and the C++ vector environment starts with black frames.
- **One agreement is narrow.** Ten episodes of `dqn_LunarLander-v2` say little, here or there: 64 episodes here gave 170 ± 10, and a plain Gymnasium loop over 40 gave 164 ± 13.
- **A limit can be part of the return.** MiniGrid pays 1 − 0.9 × steps / limit. MemoryDT succeeds in each of 100 episodes, in six steps, here as elsewhere, so there is no spread on either side to cover a difference. Under the environment's own limit of 245 steps that is 0.978; its checkpoint names a limit of 1,000, under which it is 0.9946, the 0.99 measured elsewhere to its two digits.
- **Agents with a memory are asked in the state they were in.** Recordings do not keep that state; the untouched agent is shown whole recorded episodes again, draws with the noise it had, and is compared with what it did at every step.
- **ARS has no hidden layer.** What its last layer reads is the observation, and so is what was decomposed.
- **Gomoku comes without an environment.** It opens, and its sites were listed on an empty board; nothing else was tried.
- What a file does not say is taken as usual and said so (`policyscope inspect`): activations, return-to-go, the largest action.

## What failed

{failures}

## Method

```
{command}
```

It writes [`benchmarks/results/agents.json`](../benchmarks/results/agents.json), with everything above and the CPU seconds of every step, and this page. The folder of agents is not part of the repository.
{machine}
"""  # noqa: E501 (prose, one sentence or row a line)


if __name__ == "__main__":
    main()
