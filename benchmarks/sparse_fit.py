"""Fitting TopK dictionaries, 512 → 2048 with k = 32 in batches of 4,096, against those who do too.

    python -m benchmarks.sparse_fit [--quick]
    python -m benchmarks.sparse_fit --device cuda

Ours is the public `fit`, with its checks, scaling and curves; the others only take steps, on data
that are scaled already. All fit planted activations, each a sum of 24 of 1,024 directions and
noise. The plain loop has the same start, batches, learning rate, clipping and unit norm, but
autograd and a matrix of codes; the losses with which all end are printed. SAELens and
dictionary_learning run as they come, in their own trainers, and are skipped where they are not
installed. (The geometric median with which dictionary_learning begins is left out: it would count
for much in so few steps.) In the last comparison each activation is one of 40 directions, which
leaves many features dead, and ours revives them. CPU seconds of one thread, arms in turn, medians
of the ratios within a round.

On a GPU: samples per second by the clock, and what share that is of the rate at which the large
products of a step alone could be taken there.
"""

import argparse
import contextlib
import io
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_PROGRESS", "1")

import torch
from torch import Tensor, nn

from benchmarks.arms import Arm, Comparison, compare, ratios
from policyscope.dictionaries.fit import CALIBRATION_STEPS, build, fit
from policyscope.dictionaries.scaling import Scaling
from policyscope.dictionaries.source import InMemory
from policyscope.dictionaries.topk import TopK
from policyscope.table import Column, Table

UNITS, WIDTH, K, BATCH, RATE = 512, 2048, 32, 4096, 3e-4
JOB = f"fit TopK {UNITS} → {WIDTH}, k = {K}, batch {BATCH:,}"
# A step is five products of this many multiplications and additions: readings, reconstruction, and
# the gradients of codes, decoder and encoder.
PRODUCTS, OPERATIONS = 5, 2 * BATCH * UNITS * WIDTH


@dataclass
class Job:
    """What all arms do, and how those that are done reconstruct scaled activations."""

    x: Tensor
    dead_after: float = 1.0
    done: dict[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # As `fit` finds it.
        self.scaling = Scaling.of(*InMemory(self.x, self.x).sample(CALIBRATION_STEPS))
        self.scaled, _ = self.scaling.apply(self.x, self.x)
        self.schedule = TopK.schedule.changed(
            epochs=1,
            batch_size=BATCH,
            learning_rate=RATE,
            warm_up=0.0,
            decay=0.0,
            dead_after=self.dead_after,
        )

    def batches(self) -> Iterator[Tensor]:
        """The batches of scaled samples, in the order in which `fit` takes them."""
        return (x for x, _ in InMemory(self.scaled, self.scaled).batches(0, BATCH))

    def finish(self, arm: str, reconstruct: Callable[[Tensor], Tensor]) -> int:
        """Notes with what an arm ended; how many samples it took."""
        self.done[arm] = reconstruct
        return len(self.x)

    @torch.no_grad()
    def loss(self, arm: str) -> float:
        """The mean squared error, summed over units, with which an arm ended."""
        some = self.scaled[:BATCH]
        return float((self.done[arm](some) - some).square().sum(-1).mean())


def ours(job: Job, bfloat16: bool = False) -> Arm:
    """`fit`, on activations as they are."""
    schedule = job.schedule.changed(bfloat16=bfloat16)
    name = "ours in bfloat16" if bfloat16 else "ours"

    def work() -> int:
        fitted = fit(TopK(WIDTH, K), job.x, job.x, schedule=schedule).dictionary
        raw = job.x[:BATCH]
        return job.finish(name, lambda _: job.scaling.apply(raw, fitted(raw))[1])

    return work


def plain(job: Job) -> Arm:
    """The loop one writes by hand."""

    def work() -> int:
        start = build(TopK(WIDTH, K), job.x, job.x, 0)
        encoder = nn.Linear(UNITS, WIDTH)
        encoder.weight.data, encoder.bias.data = start.encoder.data, start.encoder_bias.data
        decoder, offset = nn.Parameter(start.decoder.data), nn.Parameter(start.decoder_bias.data)
        weights = [*encoder.parameters(), decoder, offset]
        optimizer = torch.optim.Adam(weights, lr=RATE)
        silent = torch.zeros(WIDTH)

        def codes(x: Tensor) -> Tensor:
            values, places = encoder(x).topk(K, dim=-1, sorted=False)
            return torch.zeros(len(x), WIDTH).scatter(-1, places, values.relu())

        for x in job.batches():
            z = codes(x)
            loss = (z @ decoder + offset - x).square().sum(-1).mean()
            optimizer.zero_grad()
            loss.backward()
            with torch.no_grad():
                decoder.grad -= (decoder.grad * decoder).sum(-1, keepdim=True) * decoder
                nn.utils.clip_grad_norm_(weights, job.schedule.clip)
                optimizer.step()
                decoder /= decoder.norm(dim=-1, keepdim=True)
                silent += len(x)
                silent[(z > 0).any(0)] = 0
        return job.finish("a plain loop", lambda x: codes(x) @ decoder + offset)

    return work


def saelens(job: Job) -> Arm:
    """SAELens' trainer of TopK autoencoders."""
    from sae_lens import SAETrainer, TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import SAETrainerConfig

    def work() -> int:
        torch.manual_seed(0)
        sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=UNITS, d_sae=WIDTH, k=K))
        config = SAETrainerConfig(len(job.x), BATCH, lr=RATE, lr_end=RATE)
        with contextlib.redirect_stderr(io.StringIO()):
            SAETrainer(cfg=config, sae=sae, data_provider=job.batches()).fit()
        return job.finish("SAELens", sae)

    return work


def dictionary_learning(job: Job) -> Arm:
    """dictionary_learning's trainer of TopK autoencoders."""
    from dictionary_learning.trainers.top_k import TopKTrainer

    def work() -> int:
        trainer = TopKTrainer(
            steps=len(job.x) // BATCH,
            activation_dim=UNITS,
            dict_size=WIDTH,
            k=K,
            layer=0,
            lm_name="none",
            lr=RATE,
            warmup_steps=0,
            seed=0,
            device="cpu",
        )
        # Step 0 would be the one that begins with the geometric median.
        for step, x in enumerate(job.batches(), start=1):
            trainer.update(step, x)
        return job.finish("dictionary_learning", trainer.ae)

    return work


OTHERS = {"a plain loop": plain, "SAELens": saelens, "dictionary_learning": dictionary_learning}


def compare_sparse(quick: bool) -> list[Comparison]:
    """Ours against each of the others, and where many features have to be revived."""
    steps, rounds = (16, 3) if quick else (64, 3)
    many = Job(planted(steps * BATCH, directions=1024, active=24))
    done = []
    for against, make in OTHERS.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs = make(many)
        except ImportError as missing:
            print(f"{against} skipped: {missing}", file=sys.stderr)
            continue
        done.append(compare(JOB, against, "samples", 6.0, ours(many), theirs, rounds))
    few = Job(planted(steps * BATCH, directions=40, active=1), dead_after=0.1)
    done.append(
        compare(f"{JOB}, reviving", "a plain loop", "samples", 1.0, ours(few), plain(few), rounds)
    )
    print(losses(many))
    return done


def losses(job: Job) -> Table:
    """What each arm ended with."""
    expected = job.loss("a plain loop")
    rows = tuple((arm, job.loss(arm), job.loss(arm) / expected - 1) for arm in job.done)
    columns = Column("arm", side="left"), Column("loss", ".6g"), Column("against plain", "+.1e")
    return Table(f"Loss after {len(job.x) // BATCH} steps", columns, rows)


def planted(samples: int, directions: int, active: int) -> Tensor:
    """Activations that are each a sum of so many of the directions, and a little noise."""
    generator = torch.Generator().manual_seed(0)
    basis = nn.functional.normalize(torch.randn(directions, UNITS, generator=generator))
    parts = []
    for _ in range(samples // BATCH):
        places = torch.randint(directions, (BATCH, active), generator=generator)
        values = 0.5 + torch.rand(BATCH, active, generator=generator)
        codes = torch.zeros(BATCH, directions).scatter_(1, places, values)
        noise = 0.002 * torch.randn(BATCH, UNITS, generator=generator)
        parts.append(codes @ basis + noise)
    return torch.cat(parts)


# --- on a GPU ------------------------------------------------------------------------------------


def measure_gpu(device: str) -> Table:
    """Samples per second of a fit, and of the large products of a step alone."""
    x = planted(64 * BATCH, directions=1024, active=24).to(device)
    job = Job(x)
    rows = []
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        arm = ours(job, bfloat16=dtype == torch.bfloat16)
        arm()
        fitting = seconds(arm) / (len(x) / BATCH)
        left = torch.randn(BATCH, UNITS, device=device, dtype=dtype)
        right = torch.randn(UNITS, WIDTH, device=device, dtype=dtype)
        repeat(left, right, 10)
        one = seconds(lambda left=left, right=right: repeat(left, right, 200)) / 200
        products = PRODUCTS * one
        rate = BATCH / products
        rows.append((name, OPERATIONS / one / 1e12, rate, BATCH / fitting, products / fitting))
    columns = (
        Column("products in", side="left"),
        Column("TFLOP/s reached", ".3g"),
        Column("samples/s of the products", ",.0f"),
        Column("samples/s of the fit", ",.0f"),
        Column("share", ".0%"),
    )
    return Table(f"{JOB}, on {torch.cuda.get_device_name(device)}", columns, tuple(rows))


def repeat(left: Tensor, right: Tensor, times: int) -> None:
    """The product of the readings, so many times."""
    for _ in range(times):
        torch.mm(left, right)


def seconds(work: Callable[[], object]) -> float:
    """Seconds by the clock until the GPU is done with `work`."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device", default="cpu", help="cpu, or a GPU as cuda")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.device == "cpu":
        print(ratios(compare_sparse(arguments.quick)))
    else:
        print(measure_gpu(arguments.device))


if __name__ == "__main__":
    main()
