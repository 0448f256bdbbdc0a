"""Dictionaries on the Hugging Face hub: the only file of this room that imports huggingface_hub.

A repository holds one dictionary: the files of its directory, a card (README.md) and pictures.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from policyscope.dictionaries.card import PICTURES, Card
from policyscope.dictionaries.dictionary import Dictionary
from policyscope.dictionaries.file import (
    CURVES,
    HEADER,
    WEIGHTS,
    load,
    read_header,
    replace_directory,
)
from policyscope.errors import CorruptFile, InvalidInput, MissingExtra, UnknownName

CARD = "README.md"
REPO = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
HEADER_BYTES = 16 * 2**20
"""The longest header that is fetched."""
PARAMETERS_PER_BYTE = 4
SPARE_PARAMETERS = 2**24
"""How far the sizes in a header may go beyond the weights, for kinds with few parameters."""


def push(
    directory: Path | str,
    repo_id: str,
    *,
    card: Card | None = None,
    private: bool = False,
    token: str | None = None,
    endpoint: str | None = None,
) -> str:
    """Uploads the saved dictionary `directory` to `repo_id` in one commit; the address of it.

    The repository is made where there is none (`private` counts only then); what an earlier push
    left in it is replaced, other files stay. `token` defaults to the one `hf auth login` stored,
    `endpoint` to HF_ENDPOINT. The dictionary is opened first, so that no damaged one goes out.
    """
    directory = Path(directory)
    load(directory)
    card = card or Card()
    text = card.text(read_header(directory), check_repo(repo_id))
    hub = Hub(repo_id, token, endpoint)
    content: dict[str, Path | bytes] = {
        name: directory / name for name in (HEADER, WEIGHTS, CURVES) if (directory / name).exists()
    }
    content[CARD] = text.encode()
    content |= {f"{PICTURES}/{name}": picture for name, picture in card.pictures.items()}
    hub.create(private)
    stale = [name for name in hub.files() if is_ours(name) and name not in content]
    return hub.commit(content, stale, f"Upload {directory.name}")


def pull(
    repo_id: str,
    directory: Path | str,
    *,
    revision: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
    cache: Path | None = None,
) -> Dictionary:
    """Downloads the dictionary in `repo_id` to `directory` and opens it.

    `revision` is a branch, a tag or a commit. A dictionary that is at `directory` already is
    replaced whole, and only by one that opens. Nothing from the hub is run: the header is JSON,
    the weights are safetensors, checked against the header's checksum.
    """
    hub = Hub(check_repo(repo_id), token, endpoint, revision, cache)
    sizes = hub.files()
    check_holds_dictionary(repo_id, sizes)
    opened: list[Dictionary] = []

    def fill(folder: Path) -> None:
        for name in (HEADER, WEIGHTS, CURVES):
            if name in sizes:
                shutil.copyfile(hub.download(name), folder / name)
                if name == HEADER:
                    read_header(folder)
        check_proportions(folder)
        opened.append(load(folder))

    try:
        replace_directory(Path(directory), fill)
    except CorruptFile as error:
        raise CorruptFile(f"hub:{repo_id} holds a damaged dictionary: {error}") from error
    return opened[0]


def check_repo(repo_id: str) -> str:
    """The name of a repository, if it is one."""
    if not REPO.fullmatch(repo_id):
        raise InvalidInput(f"{repo_id!r} is no repository of the hub. Write USER/NAME.")
    return repo_id


def is_ours(name: str) -> bool:
    """Whether a file of the repository is one that `push` writes."""
    return name in (HEADER, WEIGHTS, CURVES, CARD) or name.startswith(f"{PICTURES}/")


def check_holds_dictionary(repo_id: str, sizes: dict[str, int | None]) -> None:
    """Raises InvalidInput where the files of a repository are no dictionary of ours."""
    missing = [name for name in (HEADER, WEIGHTS) if name not in sizes]
    if missing:
        message = (
            f"hub:{repo_id} holds no dictionary of policyscope: no {' and no '.join(missing)}, "
            f"only {', '.join(sorted(sizes)[:12]) or 'nothing'}."
        )
        if any(Path(name).name == "cfg.json" for name in sizes):
            message += " Files of SAELens: download their folder and give it to import_saelens."
        raise InvalidInput(message)
    length = sizes[HEADER] or 0
    if length > HEADER_BYTES:
        raise InvalidInput(
            f"hub:{repo_id} has a {HEADER} of {length:,} bytes; headers have at most "
            f"{HEADER_BYTES:,}. It is not fetched."
        )


def check_proportions(folder: Path) -> None:
    """Raises CorruptFile where the header asks for far more memory than the weights would fill.

    A dictionary is built before its weights are put in; a header that someone else wrote must not
    fill this machine's memory.
    """
    header = read_header(folder)
    try:
        sizes = [int(header["facts"][side]) for side in ("d_in", "d_out")]
        asked = int(header["choices"].get("width", 1)) * sum(sizes)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptFile(f"{HEADER} does not say how large it is: {error!r}") from error
    length = (folder / WEIGHTS).stat().st_size
    if asked > PARAMETERS_PER_BYTE * length + SPARE_PARAMETERS:
        raise CorruptFile(
            f"{HEADER} speaks of {asked:,} parameters, and {WEIGHTS} has {length:,} bytes."
        )


class Hub:
    """One repository behind one endpoint, with the client's errors turned into ours."""

    def __init__(
        self,
        repo: str,
        token: str | None = None,
        endpoint: str | None = None,
        revision: str | None = None,
        cache: Path | None = None,
    ) -> None:
        try:
            import huggingface_hub
        except ImportError as error:
            raise MissingExtra.of("huggingface_hub", "hub") from error
        self.library = huggingface_hub
        self.repo = repo
        self.revision = revision
        self.cache = cache
        self.endpoint = endpoint or os.environ.get("HF_ENDPOINT")
        self.api = huggingface_hub.HfApi(endpoint=self.endpoint, token=token)

    def create(self, private: bool) -> None:
        """Makes the repository, unless it is there."""
        self._ask(self.api.create_repo, self.repo, private=private, exist_ok=True)

    def files(self) -> dict[str, int | None]:
        """The size of every file by name; None where the hub does not say it."""
        info = self._ask(
            self.api.model_info, self.repo, revision=self.revision, files_metadata=True
        )
        return {file.rfilename: file.size for file in info.siblings or []}

    def download(self, file: str) -> Path:
        """Where the file now lies in the hub's cache on this machine."""
        where = self._ask(
            self.api.hf_hub_download,
            self.repo,
            file,
            revision=self.revision,
            cache_dir=self.cache,
        )
        return Path(where)

    def commit(self, content: dict[str, Path | bytes], stale: Iterable[str], message: str) -> str:
        """Adds `content` and removes the `stale` files in one commit; its address."""
        operations = [
            *(
                self.library.CommitOperationAdd(
                    name, given if isinstance(given, bytes) else str(given)
                )
                for name, given in content.items()
            ),
            *(self.library.CommitOperationDelete(name) for name in stale),
        ]
        done = self._ask(self.api.create_commit, self.repo, operations, commit_message=message)
        return str(done.commit_url)

    def _ask(self, function: Callable[..., Any], *given: Any, **options: Any) -> Any:
        errors = self.library.errors
        login = "Log in with `hf auth login`, or give a token that may write to it."
        try:
            return function(*given, **options)
        except errors.GatedRepoError as error:
            raise InvalidInput(
                f"hub:{self.repo} is gated: accept its terms on the hub, then log in with "
                "`hf auth login`."
            ) from error
        except errors.RepositoryNotFoundError as error:
            raise UnknownName(
                f"The hub has no repository {self.repo!r}, or it is private. {login}"
            ) from error
        except errors.RevisionNotFoundError as error:
            raise UnknownName(f"hub:{self.repo} has no revision {self.revision!r}.") from error
        except Exception as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            if status in (401, 403):
                raise InvalidInput(f"The hub refused access to {self.repo!r}. {login}") from error
            # Whatever the client's own client raises, which differs between its versions.
            raise UnknownName(
                f"The hub at {self.endpoint or 'huggingface.co'} did not serve {self.repo!r}: "
                f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            ) from error
