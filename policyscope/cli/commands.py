"""The table of commands: each is a study verb, its arguments, and no logic of its own.

torch is imported only by a command that needs it, so that --help answers at once.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from policyscope.cli.flags import Flag, flag, kind_flags, parse_pair, parse_seed
from policyscope.errors import InvalidInput

Arguments = argparse.Namespace

ALPHAS = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Said:
    """What a command answers: something to show, and the same as a document."""

    shown: Any
    document: dict[str, Any]
    shortfall: str = ""
    """What could not be done all the same; then the exit code is 1."""


@dataclass(frozen=True)
class Command:
    """One command: what it does, its arguments, and the verb behind it."""

    about: str
    run: Callable[[Arguments], Said]
    flags: tuple[Flag, ...] = field(default=())


def run_demo(given: Arguments) -> Said:
    from policyscope.zoo.demo import Demonstration, demo

    last: Any = None
    for step in demo(given.out, quick=given.quick, seed=given.seed):
        if isinstance(step, str):
            print(f"── {step}", file=sys.stderr, flush=True)
        last = step
    assert isinstance(last, Demonstration)
    return Said("\n".join(["", *last.lines()]), last.to_json())


def run_zoo(given: Arguments) -> Said:
    from policyscope.zoo.system import ZOO, train_agent, zoo_table

    if given.action == "list":
        listed = [
            {"name": s.name, "environment": s.environment, "about": s.about} for s in ZOO.values()
        ]
        return Said(zoo_table(), {"agents": listed})
    facts = train_agent(given.name, Path(given.out), seed=given.seed, quick=given.quick)
    text = (
        f"{given.name}: validation return {facts['validation_return']:.1f} after "
        f"{facts['episodes']} episodes ({facts['steps']:,} steps). Saved to {given.out}."
    )
    return Said(text, facts)


def run_inspect(given: Arguments) -> Said:
    from policyscope.studies.inspection import inspect

    found = inspect(given.agent, given.env, trust=given.trust)
    return Said(found, found.to_json())


def run_new(given: Arguments) -> Said:
    from policyscope.studies.study import Study

    study = Study.create(
        given.study,
        agent=given.agent,
        env=given.env,
        env_args=dict(map(parse_pair, given.env_args)),
        trust=given.trust,
        seed=given.seed,
    )
    document = {
        "study": str(study.directory),
        "agent": dict(study.manifest.agent),
        "environment": dict(study.manifest.environment),
    }
    where = f"{study.agent.name} in {study.environment_id}"
    return Said(f"New study {study.directory}: {where}. Next: policyscope record …", document)


def run_evaluate(given: Arguments) -> Said:
    found = opened(given).evaluate(
        episodes=given.episodes, deterministic=given.deterministic, seed=given.seed
    )
    return Said(found, found.to_json())


def run_record(given: Arguments) -> Said:
    from policyscope.studies.summary import recording_table, recording_to_json

    study = opened(given)
    found = study.record(
        sites=given.sites,
        metrics=given.metrics,
        steps=given.steps,
        episodes=given.episodes,
        rows=given.rows,
        name=given.name,
        deterministic=given.deterministic,
        seed=given.seed,
        dtype=given.dtype,
        resume=given.resume,
    )
    return Said(recording_table(found), recording_to_json(found))


def run_frames(given: Arguments) -> Said:
    found = opened(given).frames(
        recording=given.recording,
        episodes=given.episodes,
        dictionary=given.dictionary,
        moments=given.moments,
        every=given.every,
    )
    return Said(found, found.to_json())


def run_search(given: Arguments) -> Said:
    if len(given.writes) > 1:
        raise InvalidInput("A search writes one site.")
    front = opened(given).search(
        reads=given.reads,
        writes=given.writes[0],
        name=given.name,
        recording=given.recording,
        kinds=given.kinds,
        widths=given.widths,
        sparsities=given.sparsities,
        episodes=given.episodes,
        resume=given.resume,
        seed=given.seed,
        **{name: getattr(given, name) for name in SCHEDULE},
    )
    return Said(front, front.to_json())


def run_fit(given: Arguments) -> Said:
    if given.search:
        return run_search(given)
    from policyscope.dictionaries.dictionary import DICTIONARIES
    from policyscope.studies.fitting import fit_table

    kind = DICTIONARIES.get(given.kind)
    dictionary = kind(**{name: getattr(given, name) for name in kind_flags(kind)})
    dictionary.name = given.name or ""
    study = opened(given)
    fits = study.fit_sizes(
        [dictionary],
        reads=given.reads,
        writes=given.writes,
        recording=given.recording,
        penalties=given.penalties,
        behaviour=given.behaviour,
        balance=given.balance,
        online=given.online,
        resume=given.resume,
        seed=given.seed,
        **{name: getattr(given, name) for name in SCHEDULE},
    )
    (choice,) = fits.choices
    fitted = choice.dictionary
    document = {
        "name": fitted.name,
        "kind": given.kind,
        "reads": str(fitted.reads),
        "writes": str(fitted.writes),
        **fitted.choices(),
        **choice.to_json(),
        "penalties": study.notes(fitted.name)["penalties"],
    }
    return Said(fit_table(fits.choices), document)


def run_features(given: Arguments) -> Said:
    found = opened(given).features(
        given.dictionary, recording=given.recording, top=given.top, seed=given.seed
    )
    return Said(found, found.to_json())


def run_label(given: Arguments) -> Said:
    found = opened(given).label(
        given.dictionary,
        llm=given.llm,
        features=given.features,
        recording=given.recording,
        again=given.again,
        at_once=given.at_once,
        timeout=given.timeout,
        seed=given.seed,
    )
    return Said(found, found.to_json(), found.shortfall)


def run_score(given: Arguments) -> Said:
    found = opened(given).score(
        given.dictionary,
        recording=given.recording,
        episodes=given.episodes,
        deterministic=given.deterministic,
        seed=given.seed,
    )
    return Said(found, found.to_json())


def run_compare(given: Arguments) -> Said:
    found = opened(given).compare_dictionaries(
        given.dictionaries,
        recording=given.recording,
        episodes=given.episodes,
        deterministic=given.deterministic,
        seed=given.seed,
    )
    return Said(found, found.to_json())


def run_sweep(given: Arguments) -> Said:
    found = opened(given).sweep(
        given.dictionary,
        features=given.features,
        alphas=given.alphas,
        episodes=given.episodes,
        random_directions=given.random_directions,
        deterministic=given.deterministic,
        seed=given.seed,
    )
    return Said(found, found.to_json())


def run_nudge(given: Arguments) -> Said:
    from policyscope.experiments.push import nudge_to_json

    found = opened(given).nudge(
        given.dictionary,
        features=given.features,
        alphas=given.alphas,
        episodes=given.episodes,
        confirm=given.confirm,
        random_directions=given.random_directions,
        deterministic=given.deterministic,
        seed=given.seed,
    )
    return Said(found, nudge_to_json(found))


def run_export(given: Arguments) -> Said:
    path = opened(given).export(given.dictionary, given.out, format=given.format)
    return Said(f"Wrote {path}", {"file": str(path)})


def run_import(given: Arguments) -> Said:
    found = opened(given).import_dictionary(
        given.source, reads=given.reads, writes=given.writes, name=given.name
    )
    return Said(f"Took in {found}", {"name": found.name, "width": len(found)})


def run_push(given: Arguments) -> Said:
    address = opened(given).push(given.dictionary, given.repo, private=given.private)
    return Said(f"Sent to {address}", {"address": address})


def run_pull(given: Arguments) -> Said:
    found = opened(given).pull(given.repo, name=given.name, revision=given.revision)
    return Said(f"Fetched {found}", {"name": found.name, "width": len(found)})


def run_report(given: Arguments) -> Said:
    report = opened(given).report(given.out)
    if given.open:
        report.open()
    return Said(f"Report: {report.path}", {"file": str(report.path)})


def run_studio(given: Arguments) -> Said:
    study = opened(given)
    if given.export:
        from policyscope.studio.inline import inline

        path = inline(study, Path(given.export))
        return Said(f"Wrote {path}", {"file": str(path)})
    from policyscope.studio.server import serve

    # The address is what a program that starts the studio waits for.
    to = sys.stderr if given.json else sys.stdout
    url = serve(
        study,
        port=given.port,
        host=given.host,
        open_browser=not given.no_open,
        trust=given.trust,
        llm=given.llm,
        announce=lambda url: print(url, file=to, flush=True),
    )
    return Said("The studio is closed.", {"address": url})


def run_bench(given: Arguments) -> Said:
    from policyscope.bench.bench import QUICK_AGENTS, Amounts, run
    from policyscope.bench.page import write_page
    from policyscope.bench.subject import ZOO, subjects_in

    subjects, left_out = list(ZOO), {}
    if given.agents:
        found, left_out = subjects_in(Path(given.agents))
        if given.quick:
            quick = f"quick mode takes the first {QUICK_AGENTS} of a folder"
            left_out |= {one.name: quick for one in found[QUICK_AGENTS:]}
            found = found[:QUICK_AGENTS]
        subjects += found
    amounts = Amounts().quick() if given.quick else Amounts()
    out = Path(given.out)
    found = run(
        subjects, out, kinds=given.kinds, amounts=amounts, left_out=left_out, seed=given.seed
    )
    page = write_page(found, out)
    print(f"Page: {page}", file=sys.stderr)
    return Said(found, {**found.to_json(), "page": str(page)})


def run_doctor(given: Arguments) -> Said:
    from policyscope.studies.doctor import diagnose

    found = diagnose()
    return Said(found, found.to_json())


def opened(given: Arguments) -> Any:
    """The study that the command names."""
    from policyscope.studies.study import Study

    return Study.open(given.study, trust=given.trust)


# --- the table -----------------------------------------------------------------------------------

AGENT_HELP = (
    "a checkpoint (.zip .pt .pth .ckpt .safetensors), sb3:ALGO:PATH, torch:ARCHITECTURE:PATH, "
    "hub:USER/REPO, zoo:NAME or module:function"
)
TRUST = flag(
    "--trust",
    action="store_true",
    help="open a file that can run code of its own: only if you trust it",
)
STUDY = flag("study", metavar="STUDY", help="the study's directory")
DICTIONARY = flag("dictionary", metavar="DICTIONARY", help="its name, as layer2/k4")
RECORDING = flag(
    "--recording", metavar="NAME", help="which recording (default: the one it was fitted on)"
)
DETERMINISTIC = flag("--deterministic", action="store_true", help="always the most likely action")
FEATURES = flag(
    "--feature", dest="features", type=int, nargs="+", action="extend", metavar="I",
    help="features to steer (default: all that fire)",
)  # fmt: skip
ALPHA = flag(
    "--alpha", dest="alphas", type=float, nargs="+", default=list(ALPHAS), metavar="A",
    help="strengths: α times the decoder direction is added",
)  # fmt: skip
RANDOM = flag(
    "--random-directions", type=int, default=39, metavar="N",
    help="random directions of equal norm beside each feature (39 make a 95 %% band)",
)  # fmt: skip

KEY_HELP = "its key, if it wants one, from POLICYSCOPE_LLM_KEY or OPENAI_API_KEY"

COMMANDS: dict[str, Command] = {
    "demo": Command(
        "The whole job on CartPole: agent, recording, dictionaries, features, causes, report.",
        run_demo,
        (
            flag("--out", default="studies/cartpole", metavar="STUDY", help="where the study goes"),
            flag("--quick", action="store_true", help="less of everything, under a minute"),
        ),
    ),
    "zoo": Command(
        "Agents that policyscope trains itself: list them, or train one.",
        run_zoo,
        (
            flag("action", choices=("list", "train")),
            flag("name", nargs="?", metavar="NAME", help="which agent to train"),
            flag("--out", metavar="FILE", help="where to write it (.safetensors)"),
            flag("--quick", action="store_true", help="train to a lower target"),
        ),
    ),
    "inspect": Command(
        "What can be read inside an agent: sites with shapes, spaces, parameters.",
        run_inspect,
        (
            flag("agent", metavar="AGENT", help=AGENT_HELP),
            flag("--env", metavar="ID", help="the environment it acts in"),
            TRUST,
        ),
    ),
    "new": Command(
        "Begin a study of an agent in an environment.",
        run_new,
        (
            STUDY,
            flag(
                "--agent",
                required=True,
                metavar="AGENT",
                help=AGENT_HELP,
            ),
            flag("--env", metavar="ID", help="default: the one the agent was made for"),
            TRUST,
            flag(
                "--env-arg",
                dest="env_args",
                nargs="+",
                action="extend",
                default=[],
                metavar="K=V",
                help="arguments of the environment",
            ),
        ),
    ),
    "evaluate": Command(
        "How well the agent does: return, endings, speed.",
        run_evaluate,
        (
            STUDY,
            flag("--episodes", type=int, default=100, metavar="N"),
            DETERMINISTIC,
        ),
    ),
    "record": Command(
        "Record the agent acting: observations, actions, activations, metrics.",
        run_record,
        (
            STUDY,
            flag(
                "--site",
                dest="sites",
                nargs="+",
                action="extend",
                required=True,
                metavar="S",
                help="where to read, as fc2:in",
            ),
            flag(
                "--metric",
                dest="metrics",
                nargs="+",
                action="extend",
                metavar="M",
                help="metrics by name, or module:function (default: all of the environment)",
            ),
            flag("--steps", type=int, metavar="N", help="how many samples, exactly"),
            flag("--episodes", type=int, metavar="N", help="or how many whole episodes"),
            flag(
                "--rows",
                type=int,
                metavar="B",
                help="how many copies of the environment act at once",
            ),
            flag("--name", default="main", help="the recording's name"),
            flag(
                "--dtype", choices=("float32", "float16"), default="float32", help="of activations"
            ),
            flag(
                "--resume",
                action="store_true",
                help="go on with a recording, perhaps to a larger number",
            ),
            DETERMINISTIC,
        ),
    ),
    "frames": Command(
        "Pictures of recorded steps, by playing them again: of all, of episodes, or of moments.",
        run_frames,
        (
            STUDY,
            flag("--recording", metavar="NAME", help="which recording (default: the only one)"),
            flag(
                "--episode",
                dest="episodes",
                type=int,
                nargs="+",
                action="extend",
                metavar="I",
                help="episodes to draw (default: all)",
            ),
            flag("--dictionary", metavar="D", help="the top moments of its features"),
            flag(
                "--moment",
                dest="moments",
                nargs="+",
                action="extend",
                metavar="M",
                help="single moments, as main/ep3@40",
            ),
            flag("--every", type=int, default=1, metavar="N", help="every n-th step of an episode"),
        ),
    ),
    "fit": Command(
        "Fit a dictionary: a transcoder from one site to another, or an SAE of one site.",
        run_fit,
        (
            STUDY,
            flag("--reads", required=True, metavar="S", help="the site it reads"),
            flag(
                "--writes",
                required=True,
                action="append",
                metavar="S",
                help="the site it writes; the same makes an SAE; say it again for cross-layer",
            ),
            flag(
                "--search",
                action="store_true",
                help="instead of one KIND: try kinds, widths and sparsities, keep the best",
            ),
        ),
    ),
    "features": Command(
        "What each feature means: statistics, top moments, correlations, effects, labels.",
        run_features,
        (
            STUDY,
            DICTIONARY,
            RECORDING,
            flag("--top", type=int, default=5, metavar="N", help="top moments per feature"),
        ),
    ),
    "label": Command(
        "Label features by a language model, or by rules; each label is scored on held-out steps.",
        run_label,
        (
            STUDY,
            DICTIONARY,
            flag(
                "--llm",
                nargs=2,
                metavar=("URL", "MODEL"),
                help="ask this model behind any OpenAI-compatible chat server, as "
                f"http://127.0.0.1:11434/v1 qwen3; {KEY_HELP}",
            ),
            flag(
                "--feature",
                dest="features",
                type=int,
                nargs="+",
                action="extend",
                metavar="I",
                help="features to label (default: all)",
            ),
            RECORDING,
            flag("--again", action="store_true", help="also those that it has labelled before"),
            flag(
                "--at-once",
                type=int,
                default=1,
                metavar="N",
                help="features asked about at a time (default 1; a hosted server takes several)",
            ),
            flag(
                "--timeout",
                type=float,
                default=120.0,
                metavar="S",
                help="seconds that one request may take (default 120)",
            ),
        ),
    ),
    "score": Command(
        "How good a dictionary is: unexplained variance, L0, dead, return kept.",
        run_score,
        (
            STUDY,
            DICTIONARY,
            RECORDING,
            flag(
                "--episodes",
                type=int,
                default=50,
                metavar="N",
                help="episodes played for the return kept; 0 leaves it out",
            ),
            DETERMINISTIC,
        ),
    ),
    "compare": Command(
        "Two or more dictionaries side by side: their scores, and what they share.",
        run_compare,
        (
            STUDY,
            flag("dictionaries", nargs="+", metavar="DICTIONARY", help="two or more by name"),
            flag("--recording", metavar="NAME", help="which recording (default: the first one's)"),
            flag(
                "--episodes",
                type=int,
                default=50,
                metavar="N",
                help="episodes played for the return kept; 0 leaves it out",
            ),
            DETERMINISTIC,
        ),
    ),
    "sweep": Command(
        "Steer every feature at every strength, all at once, against a paired baseline.",
        run_sweep,
        (
            STUDY,
            DICTIONARY,
            FEATURES,
            ALPHA,
            flag("--episodes", type=int, default=50, metavar="N", help="per condition"),
            RANDOM,
            DETERMINISTIC,
        ),
    ),
    "nudge": Command(
        "Search for one feature and strength that help, and confirm it on fresh seeds.",
        run_nudge,
        (
            STUDY,
            DICTIONARY,
            FEATURES,
            ALPHA,
            flag("--episodes", type=int, default=50, metavar="N", help="per setting in the search"),
            flag(
                "--confirm",
                type=int,
                default=200,
                metavar="N",
                help="fresh episodes per setting kept",
            ),
            RANDOM,
            DETERMINISTIC,
        ),
    ),
    "export": Command(
        "Write a dictionary for others: for SAELens, or as the source's .pth file.",
        run_export,
        (
            STUDY,
            DICTIONARY,
            flag("--out", required=True, metavar="PATH", help="where to write it"),
            flag(
                "--format",
                choices=("source", "saelens"),
                default="source",
                help="the source's .pth file (ReLU only), or a folder that SAELens loads",
            ),
        ),
    ),
    "import": Command(
        "Take in a dictionary from SAELens' format.",
        run_import,
        (
            STUDY,
            flag("source", metavar="FOLDER", help="with cfg.json and sae_weights.safetensors"),
            flag("--reads", required=True, metavar="S", help="the site it reads"),
            flag("--writes", required=True, metavar="S", help="the site it writes"),
            flag("--name", required=True, help="what the study calls it"),
        ),
    ),
    "push": Command(
        "Send a dictionary to the Hugging Face hub, with a card of its scores.",
        run_push,
        (
            STUDY,
            DICTIONARY,
            flag("repo", metavar="USER/REPO", help="where to"),
            flag("--private", action="store_true", help="for nobody else to see"),
        ),
    ),
    "pull": Command(
        "Fetch a dictionary from the Hugging Face hub.",
        run_pull,
        (
            STUDY,
            flag("repo", metavar="USER/REPO", help="where from"),
            flag("--name", required=True, help="what the study calls it"),
            flag("--revision", metavar="R", help="a branch, tag or commit (default: the newest)"),
        ),
    ),
    "report": Command(
        "One HTML file of everything the study knows.",
        run_report,
        (
            STUDY,
            flag("--out", metavar="FILE", help="default: STUDY/reports/report.html"),
            flag("--open", action="store_true", help="show it in the browser"),
        ),
    ),
    "studio": Command(
        "See it all in the browser: features, episodes, experiments, and the agent at play.",
        run_studio,
        (
            STUDY,
            flag("--port", type=int, metavar="P", help="default: 8421, or any that is free"),
            flag(
                "--host",
                default="127.0.0.1",
                metavar="H",
                help="where to listen; others than 127.0.0.1 let other machines in",
            ),
            flag("--no-open", action="store_true", help="open no browser"),
            flag("--export", metavar="FILE", help="serve nothing: write it into one HTML file"),
            flag(
                "--llm",
                nargs=2,
                metavar=("URL", "MODEL"),
                help="have live play captioned, and features labelled where asked, by this model "
                f"behind an OpenAI-compatible chat server; {KEY_HELP}",
            ),
        ),
    ),
    "bench": Command(
        "Every kind of dictionary on every agent at hand: one table, one page.",
        run_bench,
        (
            flag("--quick", action="store_true", help="less of everything, under ten minutes"),
            flag(
                "--agents",
                metavar="FOLDER",
                help="a folder of agents with a MANIFEST.json, beside the zoo's",
            ),
            flag(
                "--kind",
                dest="kinds",
                nargs="+",
                action="extend",
                default=[],
                metavar="KIND",
                help="kinds of dictionary (default: all that can be autoencoders)",
            ),
            flag("--out", default="bench", metavar="FOLDER", help="where it goes (default: bench)"),
        ),
    ),
    "doctor": Command("Versions, devices, and what is missing.", run_doctor),
}

SCHEDULE = {
    "seeds": flag(
        "--seeds", type=int, metavar="N", help="starts to try, the best is kept (relu 8, others 3)"
    ),
    "epochs": flag(
        "--epochs", type=int, metavar="N", help="passes over the samples (relu 50, others 20)"
    ),
    "batch_size": flag(
        "--batch-size", type=int, metavar="N", help="samples per step (relu 256, others 1024)"
    ),
    "learning_rate": flag("--learning-rate", type=float, metavar="X", help="of Adam (1e-3)"),
    "warm_up": flag(
        "--warm-up", type=float, metavar="SHARE", help="of the steps, with a rising learning rate"
    ),
    "decay": flag("--decay", type=float, metavar="SHARE", help="and with a falling one at the end"),
    "clip": flag("--clip", type=float, metavar="NORM", help="longer gradients are cut to this"),
    "scale": flag(
        "--scale",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="centre and scale the activations for the fit",
    ),
    "dead_after": flag(
        "--dead-after",
        type=float,
        metavar="SHARE",
        help="of the run without firing, and a feature is revived",
    ),
    "bfloat16": flag(
        "--bfloat16",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="take products of matrices in bfloat16, as GPUs do much faster",
    ),
}
"""The parts of a fit's schedule; without one of these it is as the kind has it."""

FIT_OPTIONS = (
    flag("--name", help="the dictionary's name (default: site, kind and width)"),
    flag("--recording", metavar="NAME", help="which recording to fit on"),
    flag(
        "--penalties",
        type=float,
        nargs="+",
        default=[],
        metavar="λ",
        help="further penalties to compare",
    ),
    flag(
        "--behaviour",
        type=float,
        default=0.0,
        metavar="X",
        help="weight of errors by what they change in the agent's outputs (0: none, try 3)",
    ),
    flag(
        "--balance",
        metavar="METRIC",
        help="draw samples so that the values of this metric come evenly, rare states included",
    ),
    flag(
        "--online",
        type=int,
        metavar="N",
        help="use no recording: the agent plays N samples anew for each pass",
    ),
    flag("--resume", action="store_true", help="go on with a fit that was stopped"),
    *SCHEDULE.values(),
)
SEARCH_KINDS = ("relu", "l1", "topk", "batch-topk", "jumprelu", "matryoshka")
SEARCH_OPTIONS = (
    flag("--name", default="search", help="what the names of the dictionaries begin with"),
    flag("--recording", metavar="NAME", help="which recording to fit on"),
    flag("--kinds", nargs="+", metavar="KIND", default=list(SEARCH_KINDS), help="kinds to try"),
    flag(
        "--widths",
        type=int,
        nargs="+",
        metavar="N",
        default=[],
        help="widths to try (default: as the spectrum of the site advises)",
    ),
    flag(
        "--sparsities",
        type=float,
        nargs="+",
        metavar="X",
        default=[],
        help="active features (1 and more), and penalties (below 1) for kinds that have one",
    ),
    flag(
        "--episodes",
        type=int,
        default=20,
        metavar="N",
        help="played with each of the front spliced in; 0 leaves the return kept out",
    ),
    flag("--resume", action="store_true", help="go on with a search that was stopped"),
    *SCHEDULE.values(),
)
"""What `fit --search` takes instead of the options of a fit."""

COMMON = (
    flag(
        "--seed", type=parse_seed, default=0, metavar="N", help="of everything random (default 0)"
    ),
    flag("--json", action="store_true", help="one JSON document on stdout"),
)
