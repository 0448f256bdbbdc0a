"""The main job on the source's CartPole policy: from an agent to causes, in one call.

train → record → six transcoders → what their features mean → steer every feature → search for a
nudge and confirm it → one HTML report. Sources: "Interpretable RL via Multiscale Transcoders".
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policyscope.dictionaries.relu import ReLU
from policyscope.errors import UnknownName
from policyscope.experiments.nudge import Nudge
from policyscope.experiments.sweep import Sweep
from policyscope.features.describe import FeatureTable
from policyscope.scores.score import Score
from policyscope.studies.fitting import Fits
from policyscope.studies.report import write_report
from policyscope.studies.study import Study
from policyscope.zoo.system import ZOO, train_agent

NAME = "cartpole"
WIDTHS = (2, 4, 8)
SWEET_SPOT = 4
"""The width whose features the source steers, and among which a nudge is searched for."""


@dataclass(frozen=True)
class Scale:
    """How much of everything the demonstration does."""

    episodes: int = 100
    seeds: int = 8
    epochs: int = 50
    penalties: tuple[float, ...] = (1e-6, 1e-4)
    alphas: tuple[float, ...] = (-2.5, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 2.5)
    sweep_episodes: int = 50
    random_directions: int = 19
    """The fewest that can tell a feature from a random direction, and the same for every width."""
    nudge_random_directions: int = 39
    confirm: int = 200


FULL = Scale()
QUICK = Scale(
    episodes=30,
    seeds=4,
    epochs=20,
    penalties=(),
    alphas=(-1.0, 1.0),
    sweep_episodes=20,
    nudge_random_directions=19,
    confirm=100,
)


@dataclass(frozen=True, eq=False)
class Demonstration:
    """Everything that the demonstration found, and where it lies."""

    study: Study
    training: dict[str, Any]
    baseline: float
    fits: dict[str, Fits]
    features: dict[str, FeatureTable]
    scores: dict[str, Score]
    sweeps: dict[str, Sweep]
    nudge: Nudge
    report: Path

    def lines(self) -> list[str]:
        """What was found, in ten readable lines."""
        study, training = self.study, self.training
        recording = study.recording()
        found = [
            f"agent      {study.agent.name}: {training.get('episodes', '?')} training episodes, "
            f"validation return {training.get('validation_return', float('nan')):.0f}; "
            f"here {self.baseline:.0f}",
            f"recording  {recording.steps:,} steps in {len(recording.episodes)} episodes, "
            f"{len(recording.columns)} columns",
        ]
        for layer in self.fits:
            found.append(f"{layer:<11}{self.sizes_line(layer)}")
        for layer in self.fits:
            found.append(f"{'':<11}{self.feature_line(f'{layer}/k{SWEET_SPOT}')}")
        found.append(f"causes     {self.cause_line()}")
        found.append(f"           {self.strongest_line()}")
        verdict = self.nudge.verdict().split(". ")[0].rstrip(".")
        found.append(f"nudge      {verdict}.")
        found.append(f"report     {self.report}")
        return found

    def to_json(self) -> dict[str, Any]:
        """The document of `demo --json`."""
        return {
            "study": str(self.study.directory),
            "report": str(self.report),
            "training": self.training,
            "baseline_return": self.baseline,
            "dictionaries": {
                choice.dictionary.name: choice.to_json()
                for fits in self.fits.values()
                for choice in fits.choices
            },
            "nudge_found": self.nudge.found,
            "verdict": self.nudge.verdict(),
            "lines": self.lines(),
        }

    def sizes_line(self, layer: str) -> str:
        """How the widths of one layer compare."""
        parts = []
        for choice in self.fits[layer].choices:
            alive = int(choice.best.member.alive.sum())
            parts.append(
                f"k={len(choice.dictionary)}: unexplained {choice.best.score.unexplained:.2f}, "
                f"{alive} alive"
            )
        sizes = self.fits[layer].sizes
        advised = sizes.comparison.advised if sizes else None
        return " · ".join(parts) + (f" → use k={advised}" if advised else " → no size is advised")

    def feature_line(self, name: str) -> str:
        """The best-labelled feature of one dictionary."""
        cards = [c for c in self.features[name].cards if c.label and c.label.auroc == c.label.auroc]
        if not cards:
            return f"{name}: no feature could be labelled"
        best = max(cards, key=lambda card: card.label.auroc if card.label else 0.0)
        assert best.label is not None
        return (
            f"{best.feature.address} “{best.label.text}” (held out: precision "
            f"{best.label.precision:.2f}, recall {best.label.recall:.2f})"
        )

    def cause_line(self) -> str:
        """How many settings have an effect beyond chance and beyond random directions."""
        conditions = [c for sweep in self.sweeps.values() for c in sweep.conditions]
        confirmed = [c for c in conditions if c.is_confirmed]
        raising = sum(c.effect.difference > 0 for c in confirmed)
        return (
            f"{len(confirmed)} of {len(conditions)} settings change the return beyond chance and "
            f"random directions; {raising} of them raise it"
        )

    def strongest_line(self) -> str:
        """The largest confirmed effect."""
        conditions = [c for sweep in self.sweeps.values() for c in sweep.confirmed]
        if not conditions:
            return "no effect stands out from those of random directions"
        most = max(conditions, key=lambda c: abs(c.effect.difference))
        return (
            f"largest: {most.feature.address} α={most.alpha:+g} changes the return by {most.effect}"
        )


def demo(
    out: Path | str = "studies/cartpole", *, quick: bool = False, seed: int = 0
) -> Iterator[str | Demonstration]:
    """Does the whole job below `out`, yielding what it does next and last the Demonstration.

    A study that is there already is gone on with: its agent is kept and its recording completed.
    """
    scale, folder = QUICK if quick else FULL, Path(out)
    system = ZOO[NAME]
    yield f"Training the policy ({system.about})"
    try:
        study = Study.open(folder)
        training = study.result("training.json") or {}
    except UnknownName:
        with tempfile.TemporaryDirectory() as place:
            file = Path(place) / f"{NAME}.safetensors"
            training = train_agent(NAME, file, seed=seed, quick=quick)
            training.pop("file")
            study = Study.create(folder, agent=str(file), env=system.environment, seed=seed)
        study.keep(training, "training.json")
    performance = study.evaluate(episodes=100, seed=seed)
    yield f"Recording {scale.episodes} episodes"
    sites = list(dict.fromkeys(site for layer in system.layers.values() for site in layer))
    study.record(
        sites=sites, episodes=scale.episodes, seed=seed, resume="main" in study.recordings()
    )
    fits: dict[str, Fits] = {}
    for layer, (reads, writes) in system.layers.items():
        yield f"Fitting transcoders of {layer} ({reads} → {writes}), {scale.seeds} seeds each"
        wanted = []
        for width in WIDTHS:
            one = ReLU(width=width)
            one.name = f"{layer}/k{width}"
            wanted.append(one)
        fits[layer] = study.fit_sizes(
            wanted,
            reads=reads,
            writes=writes,
            penalties=scale.penalties,
            seeds=scale.seeds,
            epochs=scale.epochs,
            seed=seed,
        )
    names = [one.name for fit in fits.values() for one in fit.dictionaries]
    features: dict[str, FeatureTable] = {}
    scores: dict[str, Score] = {}
    sweeps: dict[str, Sweep] = {}
    yield "Saying what the features mean"
    for name in names:
        features[name] = study.features(name, seed=seed)
        scores[name] = study.score(name, episodes=scale.sweep_episodes, seed=seed)
    yield (
        f"Steering every feature at {len(scale.alphas)} strengths, "
        f"{scale.sweep_episodes} episodes each"
    )
    for name in names:
        sweeps[name] = study.sweep(
            name,
            alphas=scale.alphas,
            episodes=scale.sweep_episodes,
            random_directions=scale.random_directions,
            seed=seed,
        )
    yield "Searching for a nudge, and confirming it on fresh seeds"
    nudge = study.nudge(
        [f"{layer}/k{SWEET_SPOT}" for layer in fits],
        episodes=scale.sweep_episodes,
        confirm=scale.confirm,
        random_directions=scale.nudge_random_directions,
        seed=seed,
    )
    yield "Writing the report"
    report = write_report(study)
    yield Demonstration(
        study, training, performance.mean, fits, features, scores, sweeps, nudge, report.path
    )
