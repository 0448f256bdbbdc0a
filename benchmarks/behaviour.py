"""What a fit that asks for behaviour gains: the same action, and what it costs in variance.

    python -m benchmarks.behaviour [--weights X …] [--kinds KIND …] [--agents NAME …]

The last hidden layers of agents in ../shared/agents (or $POLICYSCOPE_AGENTS) are recorded, and each
kind is fitted there as an autoencoder at every weight, from the same seed and on the same samples,
as wide as the spectrum advises.
All scores are of episodes that the fit never saw; the share of equal actions is that with the
reconstruction spliced in, with its 95 % interval over episodes.
"""

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_PROGRESS", "1")

import torch

from benchmarks.agents import FOLDER, suggested
from policyscope.agents.loading import CHECKPOINTS
from policyscope.dictionaries.dictionary import DICTIONARIES
from policyscope.dictionaries.spectrum import Spectrum
from policyscope.studies.study import Study
from policyscope.table import Column, Table

AGENTS = {
    "LunarLander, DQN": ("sb3_zoo/dqn_LunarLander-v2", "LunarLander-v3", 20_000),
    "Enduro, dueling DQN": ("xinjinghao_duelddqn_enduro", "ALE/Enduro-v5", 30_000),
    "Pong, A3C with GRU": ("baby_a3c_pong", "Pong-v4", 20_000),
}
ACTIVE, EPOCHS = 16, 60
WEIGHTS = (0.0, 1.0, 3.0, 10.0)
COLUMNS = (
    Column("agent", side="left"),
    Column("kind", side="left"),
    Column("weight", "g"),
    Column("unexplained", ".3f"),
    Column("L0", ".1f"),
    Column("dead", ".1%"),
    Column("same action", side="left"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", nargs="+", type=float, default=WEIGHTS)
    parser.add_argument("--kinds", nargs="+", default=["topk"])
    parser.add_argument("--agents", nargs="+", default=list(AGENTS), help="names, or parts of them")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[tuple[object, ...]] = []
    for name, (directory, environment, steps) in AGENTS.items():
        if not any(asked in name for asked in given.agents):
            continue
        file = next(p for p in sorted((FOLDER / directory).iterdir()) if p.suffix in CHECKPOINTS)
        with tempfile.TemporaryDirectory() as folder:
            study = Study.create(Path(folder) / "study", agent=str(file), env=environment)
            site = suggested(study.agent, study.inspect())[0]
            study.record(sites=[site], steps=steps, metrics=[])
            for kind in given.kinds:
                for weight in given.weights:
                    rows.append((name, kind, weight, *measured(study, site, kind, weight)))
                    print(rows[-1], flush=True)
    print(Table("Fits that ask for behaviour", COLUMNS, tuple(rows)))


def measured(study: Study, site: str, kind: str, weight: float) -> tuple[float, float, float, str]:
    """Unexplained, L0, dead and the share of equal actions of one fit."""
    width = Spectrum.of(torch.from_numpy(study.recording().read(site))).advised_width(ACTIVE)
    one = DICTIONARIES.get(kind)(width=width, k=ACTIVE)
    one.name = f"{kind}-{weight:g}"
    study.fit(one, reads=site, writes=site, behaviour=weight, seeds=1, epochs=EPOCHS)
    found = study.score(one.name, episodes=0)
    same = found.agreement and found.agreement.same
    return (
        found.reconstruction.unexplained,
        found.reconstruction.l0,
        found.reconstruction.dead,
        "" if same is None else same.write(".3f"),
    )


if __name__ == "__main__":
    main()
