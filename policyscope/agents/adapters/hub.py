"""Agents from the Hugging Face hub, by name: the only file that imports huggingface_hub.

`hub:USER/REPO[@REVISION][/FILE]` downloads the one file that holds the agent, and what lies beside
it, into the hub's own cache; it is then opened as any file on disk is, as untrusted data.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from policyscope.agents.adapters.decision_transformer import is_decision_transformer
from policyscope.agents.agent import Agent
from policyscope.agents.weights import SUFFIXES
from policyscope.errors import InvalidInput, MissingExtra, UnknownName

SPEC = re.compile(
    r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w.-]+))?(/(?P<file>[^\0]+))?", re.ASCII
)
ORDER = (".zip", ".safetensors", ".cleanrl_model", ".pt", ".pth", ".ckpt", ".tar", ".bin")
"""Which files hold the agent, the likeliest first."""
PASSED_OVER = (
    "optimizer",
    "replay_buffer",
    "replay-buffer",
    "scheduler",
    "training_args",
    "target",
)
FAVOURED = ("best_model", "policy", "actor", "agent", "model")
BESIDE = (".pkl", ".yml", ".yaml", ".json", ".npz")
"""What may lie beside an agent and belong to it: normalization, arguments, configuration."""
BESIDE_AT_MOST = 16


@dataclass(frozen=True)
class HubName:
    """An agent on the hub."""

    repo: str
    revision: str | None = None
    file: str | None = None

    @classmethod
    def parse(cls, text: str) -> "HubName":
        """The name that `USER/REPO[@REVISION][/FILE]` writes."""
        match = SPEC.fullmatch(text)
        if match is None:
            raise InvalidInput(
                f"'hub:{text}' is no agent on the hub. Write hub:USER/REPO, or "
                "hub:USER/REPO@REVISION/FILE."
            )
        return cls(match["repo"], match["revision"], match["file"])


def open_hub(
    text: str,
    open_file: Callable[[Path], Agent],
    open_folder: Callable[[Path], Agent] | None = None,
    *,
    endpoint: str | None = None,
    cache: Path | None = None,
) -> Agent:
    """The agent that `USER/REPO[@REVISION][/FILE]` names, opened by `open_file`.

    A repository of a decision transformer is downloaded as a folder, for `open_folder`. `endpoint`
    and `cache` default to what HF_ENDPOINT and HF_HOME say. Raises UnknownName where the hub has no
    such repository or file, and InvalidInput where several files could be meant.
    """
    name = HubName.parse(text)
    hub = Hub(endpoint or os.environ.get("HF_ENDPOINT"), cache)
    files = hub.files(name)
    if name.file is None and open_folder is not None and "config.json" in files:
        config = hub.download(name, "config.json")
        if is_decision_transformer(config.parent):
            hub.download(name, pick(name, files))
            return named(open_folder(config.parent), name)
    file = pick(name, files)
    for beside in neighbours(file, files):
        hub.download(name, beside)
    return named(open_file(hub.download(name, file)), name)


def named(agent: Agent, name: HubName) -> Agent:
    """The agent under its repository's name, where it has none of its own."""
    agent.name = name.repo
    return agent


def pick(name: HubName, files: Sequence[str]) -> str:
    """The file that holds the agent."""
    if name.file is not None:
        if name.file not in files:
            raise UnknownName.among(f"file in hub:{name.repo}", name.file, files)
        return name.file
    held = [file for file in files if is_agent(file)]
    if not held:
        raise InvalidInput(
            f"hub:{name.repo} holds no agent file ({' '.join((*SUFFIXES, '.zip'))}), only "
            f"{', '.join(files[:12]) or 'nothing'}."
        )
    best = min(rank(file, name.repo) for file in held)
    likely = [file for file in held if rank(file, name.repo) == best]
    if len(likely) > 1:
        raise InvalidInput(
            f"hub:{name.repo} holds several agents: {', '.join(likely[:12])}. "
            f"Say which: hub:{name.repo}/{likely[0]}"
        )
    return likely[0]


def is_agent(file: str) -> bool:
    """Whether a file's name is that of an agent."""
    path = PurePosixPath(file)
    return path.suffix in ORDER and not any(word in path.name.lower() for word in PASSED_OVER)


def rank(file: str, repo: str) -> tuple[int, int, int]:
    """Sorts files by how likely they hold the agent: kind, place, then name."""
    path = PurePosixPath(file)
    stem = path.stem.lower()
    if stem == repo.split("/")[1].lower():
        favour = -1
    else:
        favour = next((i for i, word in enumerate(FAVOURED) if stem == word), len(FAVOURED))
    return ORDER.index(path.suffix), len(path.parts), favour


def neighbours(file: str, files: Sequence[str]) -> list[str]:
    """The files beside the agent that may belong to it."""
    folder = PurePosixPath(file).parent
    beside = [other for other in files if PurePosixPath(other).parent == folder]
    return [other for other in beside if PurePosixPath(other).suffix in BESIDE][:BESIDE_AT_MOST]


class Hub:
    """The hub behind one endpoint, with its errors turned into ours."""

    def __init__(self, endpoint: str | None, cache: Path | None) -> None:
        try:
            import huggingface_hub
        except ImportError as error:
            raise MissingExtra.of("huggingface_hub", "hub") from error
        self.library = huggingface_hub
        self.endpoint = endpoint
        self.cache = cache

    def files(self, name: HubName) -> list[str]:
        """The names of all files in the repository."""
        api = self.library.HfApi(endpoint=self.endpoint)
        return self._ask(name, api.list_repo_files, name.repo, revision=name.revision)

    def download(self, name: HubName, file: str) -> Path:
        """Where the file now lies on this machine."""
        where = self._ask(
            name,
            self.library.hf_hub_download,
            name.repo,
            file,
            revision=name.revision,
            endpoint=self.endpoint,
            cache_dir=self.cache,
        )
        return Path(where)

    def _ask(self, name: HubName, function: Callable[..., Any], *given: Any, **options: Any) -> Any:
        errors = self.library.errors
        try:
            return function(*given, **options)
        except errors.GatedRepoError as error:
            raise InvalidInput(
                f"hub:{name.repo} is gated: accept its terms on the hub, then log in with "
                "`hf auth login`."
            ) from error
        except errors.RepositoryNotFoundError as error:
            raise UnknownName(
                f"The hub has no repository {name.repo!r}, or it is private."
            ) from error
        except errors.RevisionNotFoundError as error:
            raise UnknownName(f"hub:{name.repo} has no revision {name.revision!r}.") from error
        except Exception as error:
            # Whatever the client's own client raises, which differs between its versions.
            raise UnknownName(
                f"Cannot reach hub:{name.repo} at {self.endpoint or 'huggingface.co'}: "
                f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            ) from error
