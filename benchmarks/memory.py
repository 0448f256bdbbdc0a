"""How much memory a fit takes from a recording that is far larger.

    python -m benchmarks.memory [--gigabytes 20] [--epochs 1] [--at FOLDER]

A CartPole policy with two layers of 512 units and random weights is recorded until its last hidden
layer fills so many gigabytes; `policyscope fit` then reads all of them in a process of its own.
Prints the most memory that process has held, and beside it what a command holds that reads nothing
of the recording.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from policyscope.agents.agent_file import save_agent
from policyscope.agents.architectures import MLP
from policyscope.studies.study import Study
from policyscope.table import Column, Table

UNITS, WIDTH, K = 512, 1024, 32
SITE = "fc3:in"
GIGABYTE = 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=20)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--at", type=Path, help="where to put the recording; default a new folder")
    given = parser.parse_args()
    steps = int(given.gigabytes * GIGABYTE / (4 * UNITS))
    with tempfile.TemporaryDirectory(dir=given.at) as folder:
        place = Path(folder) / "study"
        make_study(place, Path(folder) / "agent.safetensors")
        began = time.monotonic()
        Study.open(place).record(sites=[SITE], steps=steps, rows=256, metrics=[])
        print(f"recorded in {time.monotonic() - began:.0f} s", flush=True)
        rows = [("evaluate one episode", *measured("evaluate", str(place), "--episodes", "1"))]
        fit = ("fit", str(place), "--reads", SITE, "--writes", SITE, "--seeds", "1")
        kind = ("topk", "--width", str(WIDTH), "--k", str(K))
        rows.append(
            (
                f"fit TopK {UNITS} → {WIDTH:,}, {given.epochs} × {given.gigabytes:g} GB",
                *measured(*fit, "--epochs", str(given.epochs), *kind),
            )
        )
    columns = (Column("command", side="left"), Column("most held, GB", ".2f"), Column("s", ".0f"))
    print(Table("Memory", columns, tuple(rows)))


def make_study(place: Path, file: Path) -> None:
    """A study of a wide policy with random weights."""
    torch.manual_seed(0)
    sizes = [4, UNITS, UNITS, 2]
    save_agent(file, MLP(sizes), architecture="mlp", arguments={"sizes": sizes})
    Study.create(place, agent=str(file), env="CartPole-v1")


def measured(*words: str) -> tuple[float, float]:
    """Gigabytes that a command held at most, and the seconds it took."""
    began = time.monotonic()
    program = f"from policyscope.cli import main; code = main({list(words)!r}); {REPORT}"
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed.")
    most = float(done.stdout.splitlines()[-1])
    return most, time.monotonic() - began


REPORT = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30)"


if __name__ == "__main__":
    main()
