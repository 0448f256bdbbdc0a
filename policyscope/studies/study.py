"""A study: one agent in one environment, everything that is known of it, and the verbs.

Every verb is a plain function elsewhere; here it knows where its inputs lie and keeps its result.
"""

import math
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from policyscope.address import Moment, Site, check_name
from policyscope.agents.agent import Agent
from policyscope.agents.loading import open_agent, open_copy
from policyscope.chat import SECONDS, LanguageModel, language_model
from policyscope.dictionaries.behaviour import Behaviour
from policyscope.dictionaries.card import Card
from policyscope.dictionaries.cross_layer import CrossLayer
from policyscope.dictionaries.dictionary import Dictionary, kind_of
from policyscope.dictionaries.feature import Feature
from policyscope.dictionaries.file import export_source, save
from policyscope.dictionaries.hub import pull, push
from policyscope.dictionaries.relu import ReLU
from policyscope.dictionaries.saelens import export_saelens, import_saelens
from policyscope.dictionaries.spectrum import Spectrum
from policyscope.document import check_place, read_document, write_document
from policyscope.envs.action_names import names_of
from policyscope.envs.environment import Environment
from policyscope.envs.families import arguments_to_read
from policyscope.envs.make import check_id, make, make_drawable, most_rows
from policyscope.envs.metric import Metric, find_metrics, metrics_of
from policyscope.errors import CorruptFile, InvalidInput, PolicyscopeError, UnknownName
from policyscope.experiments.compare import Comparison, Performance, compare, evaluate
from policyscope.experiments.nudge import Nudge
from policyscope.experiments.push import ALPHAS, find_nudge, nudge_to_json
from policyscope.experiments.sweep import Sweep, sweep
from policyscope.features.describe import FeatureTable, describe
from policyscope.features.firings import firings
from policyscope.features.label import Label
from policyscope.features.labellers.llm import SOURCE as ASKED
from policyscope.features.labelling import Attempt, Labelling, label
from policyscope.interventions.intervention import Intervention
from policyscope.progress import track
from policyscope.recordings.batches import batches
from policyscope.recordings.frames import Frames
from policyscope.recordings.recording import Recording
from policyscope.rollouts.record import DType, default_rows, record_rollout
from policyscope.rollouts.replay import record_frames
from policyscope.rollouts.seeds import episode_seeds
from policyscope.rollouts.sensitivity import sensitivity
from policyscope.rollouts.states import States, sample_states
from policyscope.scores.score import Score, score
from policyscope.scores.side_by_side import SideBySide, compare_dictionaries
from policyscope.studies.fitting import (
    Choice,
    Fits,
    basis_of,
    check_widths,
    compare_choices,
    compare_penalties,
    fit_choices,
    gather,
    notes_of,
)
from policyscope.studies.inspection import Inspection, inspect_in
from policyscope.studies.labels import GivenLabel, Labels
from policyscope.studies.manifest import MANIFEST, Manifest, read_manifest, write_manifest
from policyscope.studies.online import Online
from policyscope.studies.search import (
    KINDS,
    Found,
    Front,
    is_beaten,
    measured,
    settings,
)
from policyscope.studies.store import Store
from policyscope.studies.trust import check_trusted, mark

if TYPE_CHECKING:
    import policyscope.studies.report

AGENT_FOLDER = "agent"
FITS = "fits"
AGREEMENT_STATES = 4096
EXPORT_STEPS = 16_384
ExportFormat = Literal["source", "saelens"]


class Study(Store):
    """One agent in one environment, and all that is known about it."""

    def __init__(self, directory: Path, manifest: Manifest, agent: Agent) -> None:
        super().__init__(directory)
        self.manifest = manifest
        self.agent = agent

    @classmethod
    def create(
        cls,
        directory: Path | str,
        *,
        agent: str | Agent,
        env: str | None = None,
        env_args: Mapping[str, Any] | None = None,
        trust: bool = False,
        seed: int = 0,
    ) -> "Study":
        """A new study of `agent` (see `open_agent` for what can be named) acting in `env`.

        The agent's files are copied into the study. `trust` opens files that can run code.
        Raises InvalidInput where there is a study already, or the agent cannot act there.
        """
        folder = Path(directory)
        if (folder / MANIFEST).exists():
            raise InvalidInput(
                f"There is a study in {folder} already. Open it, or choose another place."
            )
        opened = open_agent(agent, trust=trust) if isinstance(agent, str) else agent
        where = opened.environment if env is None else env
        if where is None:
            raise InvalidInput(
                f"{opened.name} does not say where it acts. "
                "Give one: --env ID, as Gymnasium names it."
            )
        check_id(where)
        arguments = dict(env_args or {})
        trial = make(where, 1, **arguments)
        try:
            inspect_in(opened, trial)
        finally:
            trial.close()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(
                f"{folder} cannot be a study's directory: {error.strerror}. Choose another place."
            ) from error
        spec = agent if isinstance(agent, str) else None
        for file in opened.files:
            (folder / AGENT_FOLDER).mkdir(exist_ok=True)
            copy = folder / AGENT_FOLDER / file.name
            if file.resolve() != copy.resolve():
                shutil.copyfile(file, copy)
        facts = {
            "spec": spec,
            "file": f"{AGENT_FOLDER}/{opened.files[0].name}" if opened.files else None,
            "reopen": opened.reopen,
            "is_safe": opened.is_safe,
            "assumed": list(opened.assumed),
            "folder": str(Path.cwd()),
            "name": opened.name,
            "algorithm": opened.algorithm,
            "parameters": opened.parameters,
            "fingerprint": opened.fingerprint(),
        }
        manifest = Manifest(facts, {"id": where, "arguments": arguments}, seed)
        write_manifest(folder, manifest)
        mark(manifest)
        return cls(folder, manifest, opened)

    @classmethod
    def open(
        cls, directory: Path | str, *, agent: Agent | None = None, trust: bool = False
    ) -> "Study":
        """The study in `directory`; an `agent` that came from Python must be given again.

        A study may come from somebody else. So one that names code and was not made here, and files
        that can run code, are refused unless `trust` is given.
        Raises UnknownName, CorruptFile, NewerFormat, or InvalidInput where the agent has changed.
        """
        folder = Path(directory)
        manifest = read_manifest(folder)
        facts = manifest.agent
        if not trust:
            check_trusted(folder, manifest)
        if agent is None:
            if facts["file"]:
                agent = open_copy(facts["reopen"], folder / facts["file"], trust=trust)
            elif facts["spec"]:
                agent = open_agent(facts["spec"], folder=Path(facts["folder"]), trust=trust)
            else:
                raise InvalidInput(
                    f"The agent of {folder} was given as a Python object. "
                    "Give it again: Study.open(directory, agent=…)."
                )
        check_same(folder, facts, agent)
        study = cls(folder, manifest, agent)
        study.introduce()
        return study

    def __repr__(self) -> str:
        return (
            f"Study({self.directory}: {self.agent.name} in {self.environment_id}, "
            f"{len(self.recordings())} recordings, {len(self.dictionaries())} dictionaries)"
        )

    # --- what there is -----------------------------------------------------------------------

    @property
    def environment_id(self) -> str:
        """The environment the agent acts in."""
        return str(self.manifest.environment["id"])

    def make_environment(self, rows: int) -> Environment:
        """`rows` copies of the study's environment, or as many as are worth making."""
        return self.maker()(rows)

    def maker(
        self, metrics: Iterable[Metric] = (), most: int | None = None
    ) -> Callable[[int], Environment]:
        """What makes copies of the environment in which these metrics can be read.

        It makes no more rows than `most`, by default as many as are worth making.
        """
        limit = most_rows(self.environment_id) if most is None else most
        arguments = arguments_to_read(
            self.environment_id,
            self.manifest.environment["arguments"],
            [metric.name for metric in metrics],
        )
        return lambda rows: make(self.environment_id, min(rows, limit), **arguments)

    def make_drawable(self, rows: int) -> Environment:
        """Copies of the study's environment that can be seen."""
        return make_drawable(self.environment_id, rows, **self.manifest.environment["arguments"])

    def introduce(self) -> None:
        """Tells the agent the spaces of its environment, where that can be made here.

        What needs no acting, as the effects of features, must have the same agent as a rollout.
        """
        # Where it cannot be made, what was recorded is still there to be looked at.
        with suppress(PolicyscopeError):
            environment = self.make_environment(1)
            try:
                self.agent.bind(environment.observation_space, environment.action_space)
            finally:
                environment.close()

    def inspect(self) -> Inspection:
        """What can be read inside the agent."""
        environment = self.make_environment(1)
        try:
            return inspect_in(self.agent, environment)
        finally:
            environment.close()

    def metrics(self) -> list[Metric]:
        """The metrics known for the environment."""
        return metrics_of(self.environment_id)

    # --- verbs -------------------------------------------------------------------------------

    def record(
        self,
        *,
        sites: Sequence[str | Site],
        metrics: Iterable[str | Metric] | None = None,
        steps: int | None = None,
        episodes: int | None = None,
        rows: int | None = None,
        name: str = "main",
        deterministic: bool = False,
        seed: int = 0,
        dtype: DType = "float32",
        resume: bool = False,
    ) -> Recording:
        """Records the agent acting; all metrics of the environment unless some are named."""
        check_name("recording", name)
        known = self.metrics() if metrics is None else find_metrics(self.environment_id, metrics)
        if rows is None and not resume:
            rows = min(default_rows(steps, episodes), most_rows(self.environment_id))
        record_rollout(
            self.agent,
            # A recording goes on with the rows it has, however many are worth making today.
            self.maker(known, sys.maxsize if resume else rows),
            self.directory / "recordings" / name,
            sites=[Site.parse(site) for site in sites],
            metrics=known,
            steps=steps,
            episodes=episodes,
            rows=rows,
            deterministic=deterministic,
            seed=seed,
            dtype=dtype,
            resume=resume,
            about_agent={"spec": self.manifest.agent["spec"]},
        )
        return self.recording(name)

    def frames(
        self,
        *,
        recording: str | None = None,
        episodes: Sequence[int] | None = None,
        dictionary: str | None = None,
        moments: Sequence[str] | None = None,
        every: int = 1,
    ) -> Frames:
        """Stores pictures of recorded steps; see `record_frames`.

        `dictionary` adds the top moments of its features, which a report then shows.
        """
        wanted = [Moment.parse(moment) for moment in moments or ()]
        if dictionary is not None:
            wanted += self.top_moments(dictionary)
        if recording is None and wanted:
            recording = wanted[0].recording
        return record_frames(
            self.recording(recording),
            self.make_drawable,
            episodes=episodes,
            moments=None if moments is None and dictionary is None else wanted,
            every=every,
        )

    def fit(
        self,
        dictionary: Dictionary,
        *,
        reads: str | Site,
        writes: str | Site | Sequence[str | Site],
        name: str | None = None,
        recording: str | None = None,
        penalties: Sequence[float] = (),
        behaviour: float = 0.0,
        balance: str | None = None,
        online: int | None = None,
        resume: bool = False,
        seed: int = 0,
        **schedule: Any,
    ) -> Dictionary:
        """Fits a dictionary from several seeds; keeps the one that explains other episodes best.

        Several `writes` are for a cross-layer transcoder. `behaviour` above 0 also asks for errors
        that do not change what the agent does, see `sensitivity`. `balance` names a metric whose
        values the fit is to see evenly, so that rare states count. With `online` nothing recorded
        is used: the agent plays that many samples anew for each pass. `schedule` are parts of the
        kind's schedule to change, as `epochs=20`. With `resume` a fit that was stopped goes on
        where it was, and ends with the weights it would have had.
        """
        dictionary.name = name or dictionary.name
        return self.fit_sizes(
            [dictionary],
            reads=reads,
            writes=writes,
            recording=recording,
            penalties=penalties,
            behaviour=behaviour,
            balance=balance,
            online=online,
            resume=resume,
            seed=seed,
            **schedule,
        ).dictionaries[0]

    def fit_sizes(
        self,
        dictionaries: Sequence[Dictionary],
        *,
        reads: str | Site,
        writes: str | Site | Sequence[str | Site],
        recording: str | None = None,
        penalties: Sequence[float] = (),
        behaviour: float = 0.0,
        balance: str | None = None,
        online: int | None = None,
        resume: bool = False,
        seed: int = 0,
        **schedule: Any,
    ) -> Fits:
        """Fits several dictionaries on the same sites as one family, and compares their sizes.

        `penalties` are further L1 penalties to try on each, only to be compared. Raises
        InvalidInput where two dictionaries are equally wide.
        """
        check_widths(dictionaries)
        read, targets = Site.parse(reads), tuple(map(Site.parse, listed(writes)))
        write = targets[0]
        for one in dictionaries:
            one.name = check_name("dictionary", one.name or default_name(write, one))
        source = None if online else self.recording(recording)
        with self.writing("dictionary", [one.name for one in dictionaries]):
            if source is None:
                rows = min(default_rows(online, None), most_rows(self.environment_id))
                if len(targets) > 1:
                    raise InvalidInput("A fit while the agent plays writes one site.")
                if balance is not None:
                    raise InvalidInput("A fit while the agent plays takes states as they come.")
                sites = (read, write)
                samples = Online(self.agent, self.maker(), sites, online or 0, rows, seed)
            else:
                samples = gather(source, read, targets, seed, balance)
                place(dictionaries, source, targets)
            choices = fit_choices(
                samples,
                dictionaries,
                read,
                write,
                seed=seed,
                behaviour=self.behaviour(write, samples.choose_y, behaviour, source, seed),
                resume_in=self.directory / FITS,
                resume=resume,
                **schedule,
            )
            tried = {
                one.name: compare_penalties(samples, one, penalties, seed=seed, **schedule)
                for one in dictionaries
                if penalties and isinstance(one, ReLU)
            }
            for choice in choices:
                rows = [vars(row) for row in tried.get(choice.dictionary.name, ())]
                notes = {**notes_of(choice, samples, source, seed, schedule), "penalties": rows}
                self.keep_fitted(choice, {**notes, "behaviour": behaviour})
            sizes = compare_choices(choices, samples)
            if sizes is not None:
                document = {"reads": str(read), "writes": str(write), **sizes.to_json()}
                document["dictionaries"] = [choice.dictionary.name for choice in choices]
                write_document(self.directory / "features" / sizes_file(read, write), document)
        return Fits(tuple(choices), sizes)

    def keep_fitted(self, choice: Choice, notes: Mapping[str, Any]) -> None:
        """Keeps the best of a choice as a dictionary of the study; what was begun for it goes."""
        name = choice.dictionary.name
        save(choice.best.fitted, self.directory / "dictionaries" / name, notes=notes)
        self.forget(name)
        shutil.rmtree(self.directory / FITS / name, ignore_errors=True)

    def search(
        self,
        *,
        reads: str | Site,
        writes: str | Site,
        name: str = "search",
        recording: str | None = None,
        kinds: Sequence[str] = KINDS,
        widths: Sequence[int] = (),
        sparsities: Sequence[float] = (),
        episodes: int = 20,
        resume: bool = False,
        seed: int = 0,
        **schedule: Any,
    ) -> Front:
        """Tries kinds × widths × sparsities × seeds, and keeps the dictionaries no other beats.

        Without `widths` those that the spectrum of the site advises; for `sparsities` see
        `settings`. `episodes` are played for the return that each of the front keeps. With `resume`
        the settings that a stopped search has fitted are not fitted again.
        """
        check_name("dictionary", name)
        check_episodes(episodes, fewest=0)
        read, write = Site.parse(reads), Site.parse(writes)
        source = self.recording(recording)
        schedule = {"seeds": 2, **{k: part for k, part in schedule.items() if part is not None}}
        path = self.directory / "features" / search_file(read, write)
        with self.writing("dictionary", [name]):
            samples = gather(source, read, write, seed)
            if not widths:
                advised = max(8, Spectrum.of(samples.choose_x).advised_width())
                widths = (advised, 2 * advised)
            wanted = settings(kinds, widths, sparsities, name)
            document = read_document(path) if resume and path.exists() else {"rows": []}
            known = {row["name"]: Found.from_json(row) for row in document["rows"]}
            rows: list[Found] = []
            with track("Searching", len(wanted), "settings") as progress:
                for one in wanted:
                    if one.name not in known:
                        (choice,) = fit_choices(
                            samples,
                            [one],
                            read,
                            write,
                            seed=seed,
                            resume_in=self.directory / FITS,
                            resume=resume,
                            **schedule,
                        )
                        notes = notes_of(choice, samples, source, seed, schedule)
                        self.keep_fitted(choice, notes)
                        known[one.name] = measured(choice)
                    rows.append(known[one.name])
                    write_document(path, Front(str(read), str(write), tuple(rows)).to_json())
                    progress.advance(1, str(one.name))
            rows = [replace(row, is_best=not is_beaten(row, rows)) for row in rows]
        kept = []
        for row in rows:
            if row.is_best and episodes and row.return_kept is None:
                score = self.score(row.name, episodes=episodes, seed=seed)
                row = replace(row, return_kept=score.return_kept)
            elif not row.is_best:
                shutil.rmtree(self.directory / "dictionaries" / row.name, ignore_errors=True)
                self.forget(row.name)
            kept.append(row)
        front = Front(str(read), str(write), tuple(kept))
        write_document(path, front.to_json())
        path.with_suffix(".svg").write_text(front.picture(), "utf-8")
        return front

    def behaviour(
        self,
        site: Site,
        y: Float[Tensor, "step unit"],
        weight: float,
        recording: Recording | None,
        seed: int,
    ) -> Behaviour | None:
        """What errors at a site do to the agent's outputs, for a fit that weighs them by it."""
        if not weight:
            return None
        source = recording or self.recording()
        states = sample_states(source, AGREEMENT_STATES, agent=self.agent, seed=seed)
        return sensitivity(self.agent, site, states).behaviour(y, weight)

    def features(
        self,
        dictionary: str | Dictionary,
        *,
        recording: str | None = None,
        top: int = 5,
        seed: int = 0,
    ) -> FeatureTable:
        """What each feature of a dictionary means, with evidence."""
        fitted = self.dictionary(dictionary)
        with self.keeping("features", fitted.name, "features.json") as keep:
            source = self.source_of(fitted, recording)
            table = describe(self.agent, source, fitted, top=top, seed=seed)
            # The studio's page of a feature shows them, and is not to wait until they are found.
            firings(source, fitted)
            keep(table.to_json())
        return table

    def label(
        self,
        dictionary: str | Dictionary,
        *,
        llm: Sequence[str] | LanguageModel | None = None,
        features: Sequence[int] | None = None,
        recording: str | None = None,
        again: bool = False,
        at_once: int = 1,
        timeout: float = SECONDS,
        seed: int = 0,
    ) -> Labelling:
        """Labels features by a language model, or by rules without one, and keeps each label.

        `llm` is the URL of a chat server and the name of a model; each request to it may take
        `timeout` seconds. Features that it has labelled before are left out, unless `again`. Labels
        are added to the history, and none that a person gave is replaced.
        """
        model = None if llm is None else language_model(llm, timeout)
        fitted = self.dictionary(dictionary)
        name = fitted.name
        described = self.result("features", name, "features.json")
        if model is not None and described is None:
            raise InvalidInput(
                f"Nobody has looked at the features of {name!r} yet, and a model is told what they "
                f"do. Run: policyscope features {self.directory} {name}"
            )
        source = self.source_of(fitted, recording)
        history, author = Labels(self.directory), "" if model is None else model.name
        weights = history.weights(name)

        def keep(index: int, found: Label) -> None:
            history.add(
                GivenLabel.found(
                    found, name, index, author=author, recording=source.name, weights=weights
                )
            )

        with self.writing("labels", [name]):
            wanted = range(len(fitted)) if features is None else features
            chosen = [fitted[index].index for index in wanted]
            by = "rules" if model is None else ASKED
            there = {
                index: given
                for index in chosen
                if not again and (given := history.by(name, index, by, author))
            }
            found = label(
                source,
                fitted,
                llm=model,
                features=[index for index in chosen if index not in there],
                known=described,
                about=self.introduction(fitted),
                actions=self.action_names(),
                keep=keep,
                at_once=at_once,
                seed=seed,
            )
        before = [Attempt(index, "there already", one.as_label()) for index, one in there.items()]
        attempts = sorted([*before, *found.attempts], key=lambda one: one.index)
        return replace(found, attempts=tuple(attempts))

    def correlate(
        self, dictionary: str | Dictionary, *, recording: str | None = None, seed: int = 0
    ) -> FeatureTable:
        """The features of a dictionary with their correlations; see `strongest`."""
        return self.features(dictionary, recording=recording, seed=seed)

    def score(
        self,
        dictionary: str | Dictionary,
        *,
        recording: str | None = None,
        episodes: int = 50,
        deterministic: bool = False,
        seed: int = 0,
    ) -> Score:
        """How good a dictionary is, on episodes that its fit did not see, if there are any.

        The score says in its `basis` what the episodes are. What `features` and `sweep` have found
        by now, how well rules describe features and which have an effect, is part of it.
        `episodes` are played for the return kept; with 0 that score is left out.
        """
        check_episodes(episodes, fewest=0)
        fitted = self.dictionary(dictionary)
        with self.keeping("features", fitted.name, "score.json") as keep:
            source = self.source_of(fitted, recording)
            notes = self.notes(fitted.name)
            basis = basis_of(notes, source)
            found = score(
                self.agent,
                self.make_environment,
                source,
                fitted,
                seeds=episode_seeds("score", episodes, seed),
                held_out=basis.episodes,
                deterministic=deterministic,
                seed=seed,
            )
            again = (notes.get("stability") or {}).get("overall")
            found = replace(
                found,
                is_held_out=basis.is_held_out,
                basis=basis.words,
                stability=math.nan if again is None else again,
            ).joined(
                self.result("features", fitted.name, "features.json"),
                self.result("experiments", fitted.name, "sweep.json"),
            )
            keep(found.to_json())
        return found

    def compare_dictionaries(
        self,
        dictionaries: Sequence[str | Dictionary],
        *,
        recording: str | None = None,
        episodes: int = 50,
        deterministic: bool = False,
        seed: int = 0,
    ) -> SideBySide:
        """Scores two or more dictionaries on one recording, and matches their features."""
        fitted = [self.dictionary(one) for one in dictionaries]
        names = [one.name for one in fitted]
        if len(set(names)) < 2:
            raise InvalidInput(f"Two or more different dictionaries can be compared; got {names}.")
        source = self.source_of(fitted[0], recording)
        scores = [
            self.score(
                one,
                recording=source.name,
                episodes=episodes,
                deterministic=deterministic,
                seed=seed,
            )
            for one in fitted
        ]
        return compare_dictionaries(scores, fitted, source)

    def evaluate(
        self, *, episodes: int = 100, deterministic: bool = False, seed: int = 0
    ) -> Performance:
        """How well the agent does."""
        check_episodes(episodes)
        with self.keeping("experiments", "evaluate.json") as keep:
            found = evaluate(
                self.agent,
                self.make_environment,
                seeds=episode_seeds("evaluate", episodes, seed),
                deterministic=deterministic,
                seed=seed,
            )
            keep(found.to_json())
        return found

    def compare(
        self,
        intervention: Intervention,
        *,
        episodes: int = 64,
        deterministic: bool = False,
        seed: int = 0,
    ) -> Comparison:
        """What one intervention does to the return."""
        check_episodes(episodes)
        return compare(
            self.agent,
            self.make_environment,
            intervention,
            seeds=episode_seeds("evaluate", episodes, seed),
            deterministic=deterministic,
            seed=seed,
        )

    def sweep(
        self,
        dictionary: str | Dictionary,
        *,
        features: Sequence[int] | None = None,
        alphas: Sequence[float] = ALPHAS,
        episodes: int = 50,
        random_directions: int = 39,
        deterministic: bool = False,
        seed: int = 0,
    ) -> Sweep:
        """Steers every feature at every strength, all at once, against a paired baseline."""
        fitted = self.dictionary(dictionary)
        with self.keeping("experiments", fitted.name, "sweep.json") as keep:
            found = sweep(
                self.agent,
                self.maker(self.metrics()),
                self.chosen(fitted, features),
                alphas,
                seeds=episode_seeds("sweep", episodes, seed),
                random=random_directions,
                deterministic=deterministic,
                seed=seed,
                metrics=self.metrics(),
                states=self.states(fitted, seed),
            )
            keep(found.to_json())
        return found

    def nudge(
        self,
        dictionary: str | Dictionary | Sequence[str],
        *,
        features: Sequence[int] | None = None,
        alphas: Sequence[float] = ALPHAS,
        episodes: int = 50,
        confirm: int = 200,
        random_directions: int = 39,
        deterministic: bool = False,
        seed: int = 0,
    ) -> Nudge:
        """Searches for a feature and strength that help, and confirms it on fresh seeds."""
        named = [dictionary] if isinstance(dictionary, str | Dictionary) else list(dictionary)
        fitted = [self.dictionary(one) for one in named]
        place = fitted[0].name if len(fitted) == 1 else "all"
        with self.keeping("experiments", place, "nudge.json") as keep:
            found = find_nudge(
                self.agent,
                self.make_environment,
                [feature for one in fitted for feature in self.chosen(one, features)],
                alphas,
                search_seeds=episode_seeds("search", episodes, seed),
                confirm_seeds=episode_seeds("confirm", confirm, seed),
                random=random_directions,
                deterministic=deterministic,
                seed=seed,
            )
            keep({**nudge_to_json(found), "dictionaries": [one.name for one in fitted]})
        return found

    def export(
        self, dictionary: str | Dictionary, out: Path | str, *, format: ExportFormat = "source"
    ) -> Path:
        """Writes a dictionary for others: the source's `.pth` file, or a folder for SAELens.

        What SAELens has no architecture for is written as thresholds calibrated on the recording.
        """
        fitted = self.dictionary(dictionary)
        place = Path(out)
        if format == "saelens":
            export_saelens(
                fitted, place, calibrate_on=self.sample_of(fitted), metadata=self.about(fitted)
            )
            return place
        if format != "source":
            raise UnknownName.among("format", format, get_args(ExportFormat))
        if not isinstance(fitted, ReLU):
            raise InvalidInput(
                f"The source's format holds ReLU dictionaries, not {kind_of(fitted)}. "
                "Other kinds: --format saelens."
            )
        check_place(place)
        export_source(fitted, place)
        return place

    def import_dictionary(
        self, source: Path | str, *, reads: str | Site, writes: str | Site, name: str
    ) -> Dictionary:
        """Takes in a dictionary of SAELens' format for two sites of the agent."""
        check_name("dictionary", name)
        found = import_saelens(Path(source))
        found.name, found.reads, found.writes = name, Site.parse(reads), Site.parse(writes)
        for site, units in ((found.reads, found.d_in), (found.writes, found.d_out)):
            self.check_units(site, units)
        with self.writing("dictionary", [name]):
            save(found, self.directory / "dictionaries" / name, notes={"imported": str(source)})
            self.forget(name)
        return found

    def push(self, dictionary: str, repo: str, *, private: bool = False) -> str:
        """Sends a dictionary to the Hugging Face hub with a card of its scores; its address."""
        fitted = self.dictionary(dictionary)
        about = self.about(fitted)
        card = Card(
            agent=str(about["agent"]), environment=str(about["environment"]), scores=about["scores"]
        )
        folder = self.directory / "dictionaries" / fitted.name
        return push(folder, repo, card=card, private=private)

    def pull(self, repo: str, *, name: str, revision: str | None = None) -> Dictionary:
        """Fetches a dictionary from the Hugging Face hub into the study."""
        check_name("dictionary", name)
        with self.writing("dictionary", [name]):
            pull(repo, self.directory / "dictionaries" / name, revision=revision)
            self.forget(name)
        return self.dictionary(name)

    def report(self, out: Path | str | None = None) -> "policyscope.studies.report.Report":
        """One HTML file of everything the study knows, by default below `reports/`."""
        # Here, because the report reads studies.
        from policyscope.studies.report import write_report

        return write_report(self, None if out is None else Path(out))

    # --- shared by the verbs -----------------------------------------------------------------

    def introduction(self, dictionary: Dictionary) -> str:
        """Whose features these are, for somebody who has never heard of the study."""
        actions = ", ".join(self.action_names())
        return (
            f"An agent ({self.agent.algorithm}) acts in the environment {self.environment_id}"
            f"{f', where its actions are {actions}' if actions else ''}. The feature is one of "
            f"{len(dictionary)} of a dictionary that reads {dictionary.reads} and writes "
            f"{dictionary.writes}."
        )

    def action_names(self) -> list[str]:
        """What the actions are called; none where the environment cannot be made here."""
        with suppress(PolicyscopeError):
            environment = self.make_environment(1)
            try:
                return names_of(self.environment_id, environment.action_space)
            finally:
                environment.close()
        return []

    def about(self, dictionary: Dictionary) -> dict[str, Any]:
        """What others are told of a dictionary beside its weights."""
        return {
            "agent": self.agent.name,
            "environment": self.environment_id,
            "scores": self.result("features", dictionary.name, "score.json"),
        }

    def sample_of(self, dictionary: Dictionary) -> Float[Tensor, "step unit"] | None:
        """Recorded activations of the site that a dictionary reads; None where none are."""
        if not self.recordings() or dictionary.reads is None:
            return None
        source = self.source_of(dictionary, None)
        site = str(dictionary.reads)
        if site not in source.columns:
            return None
        generator = np.random.default_rng(0)
        (x,) = next(batches(source, [site], EXPORT_STEPS, generator=generator))
        return torch.from_numpy(x.astype(np.float32))

    def check_units(self, site: Site, units: int) -> None:
        """Raises InvalidInput where a site of the agent has not so many units."""
        known = {info.site: info for info in self.inspect().sites}
        if site not in known:
            raise UnknownName.among("site", str(site), map(str, known))
        shape = known[site].shape
        axis = 0 if len(shape) == 3 else -1
        if not shape or shape[axis] != units:
            raise InvalidInput(
                f"The dictionary is for {units} units; '{site}' has shape {list(shape)}."
            )

    def source_of(self, dictionary: Dictionary, recording: str | None) -> Recording:
        """The recording to look at a dictionary with: by default the one it was fitted on."""
        if recording is None and dictionary.name in self.dictionaries():
            recording = self.notes(dictionary.name).get("recording")
        return self.recording(recording)

    def chosen(self, dictionary: Dictionary, features: Sequence[int] | None) -> list[Feature]:
        """The features asked for; by default those that fire at all."""
        if features is not None:
            return [dictionary[index] for index in features]
        known = self.result("features", dictionary.name, "features.json")
        if known is None:
            return list(dictionary)
        alive = [dictionary[card["index"]] for card in known["features"] if not card["dead"]]
        return alive or list(dictionary)

    def states(self, dictionary: Dictionary, seed: int) -> States | None:
        """Recorded states, for measures that need no acting."""
        if not self.recordings():
            return None
        source = self.source_of(dictionary, None)
        return sample_states(source, AGREEMENT_STATES, agent=self.agent, seed=seed)


def listed(sites: str | Site | Sequence[str | Site]) -> Sequence[str | Site]:
    """One site or several as several."""
    return [sites] if isinstance(sites, str | Site) else sites


def place(
    dictionaries: Sequence[Dictionary], recording: Recording, targets: Sequence[Site]
) -> None:
    """Tells cross-layer dictionaries their sites; InvalidInput where others have several."""
    for one in dictionaries:
        if isinstance(one, CrossLayer):
            shapes = [recording.spec(str(site)).shape for site in targets]
            one.writes_all = tuple(targets)
            one.splits = tuple(shape[0] if len(shape) == 3 else shape[-1] for shape in shapes)
        elif len(targets) > 1:
            raise InvalidInput(
                f"{kind_of(one)} writes one site, and {len(targets)} are given. "
                "Only cross-layer writes several."
            )


def default_name(writes: Site, dictionary: Dictionary) -> str:
    """A name that says where a dictionary writes, its kind, its width, and its k if unusual."""
    usual = {field.name: field.default for field in fields(cast(Any, dictionary))}
    k = getattr(dictionary, "k", None)
    # A width of 0 is that of the site.
    parts = (kind_of(dictionary), dictionary.width or "", "" if k == usual.get("k") else f"-k{k}")
    return f"{str(writes).replace(':', '.')}/{''.join(map(str, parts))}"


def sizes_file(reads: Site, writes: Site) -> str:
    """Where the comparison of sizes for two sites is kept."""
    return f"sizes {reads} {writes}.json".replace(":", ".").replace(" ", "-")


def search_file(reads: Site, writes: Site) -> str:
    """Where the search for a dictionary of two sites is kept."""
    return sizes_file(reads, writes).replace("sizes", "search", 1)


def check_episodes(episodes: int, fewest: int = 1) -> None:
    """Raises InvalidInput for too few episodes."""
    if episodes < fewest:
        raise InvalidInput(f"episodes is {episodes}; expected at least {fewest}.")


def check_same(folder: Path, facts: Mapping[str, Any], agent: Agent) -> None:
    """Raises an error where `agent` is not the one that the study in `folder` is of."""
    if agent.fingerprint() == facts["fingerprint"]:
        return
    differ = (
        f"its weights have fingerprint {agent.fingerprint()}, the study was made with "
        f"{facts['fingerprint']}"
    )
    if agent.files and agent.files[0] == folder / (facts["file"] or ""):
        raise CorruptFile(f"{agent.files[0]} is damaged: {differ}. Restore it from a copy.")
    raise InvalidInput(
        f"The agent of {folder} has changed: {differ}. Make a new study for the new weights."
    )
