"""Dead features on agents nobody here trained: TopK at 4× the last hidden layer, and its peers.

    python -m benchmarks.dead_features [--data FOLDER]

The last hidden layers of the Enduro dueling DQN and the Pong GRU in ../shared/agents (or
$POLICYSCOPE_AGENTS) are recorded; a fifth of the episodes is held out. All arms see as many samples
in the same batches, have k = 32, and are measured on the held-out steps: dead is what never fires
there. SAELens and dictionary_learning run their own trainers with their auxiliary losses, on
activations scaled to the mean norm they expect, and are skipped where they are not installed. What
is recorded is kept in FOLDER, so that another environment can run the peers on it.
"""

import argparse
import contextlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_PROGRESS", "1")

import numpy as np
import torch
from torch import Tensor

from policyscope.dictionaries.dictionary import Dictionary
from policyscope.dictionaries.fit import fit
from policyscope.dictionaries.topk import TopK
from policyscope.table import Column, Table

HERE = Path(__file__).parent
FOLDER = Path(os.environ.get("POLICYSCOPE_AGENTS", HERE.parents[1] / "shared" / "agents"))
AGENTS = {
    "Enduro, dueling DQN": ("xinjinghao_duelddqn_enduro", "ALE/Enduro-v5", 40_000),
    "Pong, A3C with GRU": ("baby_a3c_pong", "Pong-v4", 20_000),
}
EXPANSION, K, BATCH, EPOCHS = 4, 32, 1024, 25
HELD_OUT = 0.2
Reconstruct = Callable[[Tensor], tuple[Tensor, Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="where recorded activations are kept")
    given = parser.parse_args()
    torch.set_num_threads(1)
    kept = given.data or Path(tempfile.mkdtemp())
    rows = []
    for name, (directory, environment, steps) in AGENTS.items():
        x, held = activations(kept, directory, environment, steps)
        for arm, work in ARMS.items():
            try:
                codes_of = work(x)
            except ImportError:
                print(f"{arm} is not installed; left out.", flush=True)
                continue
            rows.append(
                (name, f"{x.shape[1]} → {EXPANSION * x.shape[1]}", arm, *measure(codes_of, held))
            )
            print(rows[-1], flush=True)
    columns = (
        Column("agent", side="left"),
        Column("units → features", side="left"),
        Column("fitted by", side="left"),
        Column("unexplained", ".4f"),
        Column("L0", ".1f"),
        Column("dead", ".1%"),
    )
    print(Table("Dead features on held-out episodes", columns, tuple(rows)))


def activations(kept: Path, directory: str, environment: str, steps: int) -> tuple[Tensor, Tensor]:
    """Recorded activations of the last hidden layer: those to fit on, and those held out."""
    path = kept / f"{directory}.pt"
    if not path.exists():
        from benchmarks.agents import checkpoint, suggested
        from policyscope.studies.study import Study

        with tempfile.TemporaryDirectory() as folder:
            file = next(p for p in sorted((FOLDER / directory).iterdir()) if p.suffix != ".json")
            entry = {"dir": directory, "files": [file.name]}
            study = Study.create(Path(folder) / "s", agent=str(checkpoint(entry)), env=environment)
            site = suggested(study.agent, study.inspect())[0]
            made = study.record(sites=[site], steps=steps, metrics=[])
            episode = np.asarray(made.read("episode"))
            values = torch.from_numpy(np.array(made.read(site), np.float32))
        order = np.random.default_rng(0).permutation(np.unique(episode))
        is_held = np.isin(episode, order[: max(1, round(HELD_OUT * len(order)))])
        kept.mkdir(parents=True, exist_ok=True)
        torch.save({"train": values[~is_held], "held": values[is_held]}, path)
    found = torch.load(path, weights_only=True)
    return found["train"], found["held"]


def batches(x: Tensor) -> Iterator[Tensor]:
    """The same shuffled batches for everybody."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x), generator=generator).split(BATCH):
            yield x[rows]


def ours(x: Tensor) -> Reconstruct:
    one = TopK(EXPANSION * x.shape[1], k=K)
    return fit(
        one, x, x, schedule=one.schedule.changed(epochs=EPOCHS, batch_size=BATCH)
    ).dictionary.decompose


def unrevived(x: Tensor) -> Reconstruct:
    one = TopK(EXPANSION * x.shape[1], k=K, revival=0.0)
    fitted: Dictionary = fit(one, x, x, schedule=one.schedule.changed(epochs=EPOCHS)).dictionary
    return fitted.decompose


def scale_of(x: Tensor) -> float:
    """What brings activations to a mean norm of the root of their number, as the peers do."""
    return float(x.shape[1] ** 0.5 / x.norm(dim=1).mean())


def saelens(x: Tensor) -> Reconstruct:
    from sae_lens import SAETrainer, TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import SAETrainerConfig

    scale, units = scale_of(x), x.shape[1]
    torch.manual_seed(0)
    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=units, d_sae=EXPANSION * units, k=K))
    config = SAETrainerConfig(EPOCHS * len(x), BATCH, lr=1e-3, lr_end=1e-4)
    with contextlib.redirect_stderr(io.StringIO()):
        SAETrainer(cfg=config, sae=sae, data_provider=batches(scale * x)).fit()

    def decompose(x: Tensor) -> tuple[Tensor, Tensor]:
        codes = sae.encode(scale * x)
        return codes, sae.decode(codes) / scale

    return decompose


def dictionary_learning(x: Tensor) -> Reconstruct:
    from dictionary_learning.trainers.top_k import TopKTrainer

    scale, units = scale_of(x), x.shape[1]
    steps = EPOCHS * -(-len(x) // BATCH)
    trainer = TopKTrainer(
        steps=steps,
        activation_dim=units,
        dict_size=EXPANSION * units,
        k=K,
        layer=0,
        lm_name="none",
        lr=1e-3,
        warmup_steps=steps // 20,
        decay_start=steps * 4 // 5,
        seed=0,
        device="cpu",
    )
    # Its ten million samples are more than the whole run: as our share of it.
    trainer.dead_feature_threshold = EPOCHS * len(x) // 20
    for step, batch in enumerate(batches(scale * x)):
        trainer.update(step, batch)

    def decompose(x: Tensor) -> tuple[Tensor, Tensor]:
        codes = trainer.ae.encode(scale * x)
        return codes, trainer.ae.decode(codes) / scale

    return decompose


ARMS = {
    "policyscope": ours,
    "policyscope without revival": unrevived,
    "SAELens": saelens,
    "dictionary_learning": dictionary_learning,
}


@torch.no_grad()
def measure(decompose: Reconstruct, held: Tensor) -> tuple[float, float, float]:
    """Unexplained variance, L0 and the share of features that never fire, on held-out steps."""
    error, count, fired = 0.0, 0.0, torch.zeros(0)
    for part in held.split(4096):
        codes, reconstruction = decompose(part)
        error += float((part - reconstruction).double().square().sum())
        active = codes > 0
        count += float(active.sum())
        fired = active.any(0) if not len(fired) else fired | active.any(0)
    spread = float((held - held.mean(0)).double().square().sum())
    return error / spread, count / len(held), float((~fired).float().mean())


if __name__ == "__main__":
    main()
