"""Running one command: its answer on stdout, its progress and errors on stderr, and its exit code.

0 is done, 1 could not do it, 2 wrong usage, 130 interrupted.
"""

import sys
from collections.abc import Sequence

from policyscope.cli.commands import COMMANDS, Said
from policyscope.cli.parser import build_parser

GOING_ON = {
    "record": " Go on with --resume.",
    "label": " The same command goes on with what is missing.",
}
"""What to do after an interruption."""


def show(said: Said, *, as_json: bool) -> None:
    """Prints the answer: the document, or something to read."""
    if as_json:
        from policyscope.document import as_text

        print(as_text(said.document))
    elif hasattr(said.shown, "__rich__") and sys.stdout.isatty():
        from rich.console import Console

        Console().print(said.shown)
    else:
        print(said.shown)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command, and returns its exit code."""
    from policyscope.errors import PolicyscopeError

    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return answer(words)
    except PolicyscopeError as error:
        print(f"policyscope: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        print(f"policyscope: {error.strerror or error}{where}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        next_step = GOING_ON.get(words[0], "") if words else ""
        print(
            f"\npolicyscope: stopped. Everything committed before is kept.{next_step}",
            file=sys.stderr,
        )
        return 130


def answer(words: Sequence[str]) -> int:
    """Reads the command line, runs the command and prints its answer; returns the exit code."""
    parser = build_parser(words)
    given = parser.parse_args(words)
    if given.version:
        from importlib.metadata import version

        print(version("policyscope"))
        return 0
    if given.command is None:
        parser.print_help(sys.stderr)
        return 2
    if given.command == "zoo" and given.action == "train" and not (given.name and given.out):
        parser.error("zoo train needs NAME and --out FILE")
    said = COMMANDS[given.command].run(given)
    show(said, as_json=given.json)
    sys.stdout.flush()
    if said.shortfall:
        print(f"policyscope: {said.shortfall}", file=sys.stderr)
    return 1 if said.shortfall else 0
