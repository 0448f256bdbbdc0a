"""Reading the command line: argparse over the table of commands, with "did you mean"."""

import argparse
import difflib
import re
import sys
from collections.abc import Sequence
from typing import Any

from policyscope.cli.commands import COMMANDS, COMMON, FIT_OPTIONS, SEARCH_OPTIONS, STUDY, TRUST
from policyscope.cli.flags import Flag, kind_flags


class Parser(argparse.ArgumentParser):
    """argparse with "did you mean", and numbers such as -1e-3 as values."""

    known_flags: Sequence[str] = ()
    """What a flag that is not known may have meant."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._negative_number_matcher = re.compile(r"^-(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")

    def error(self, message: str) -> Any:
        given = re.search(r"invalid choice: '([^']*)'", message)
        if given:
            known = re.findall(r"'([^']+)'", message[given.end() :]) or list(COMMANDS)
            near = difflib.get_close_matches(given[1], known, n=1, cutoff=0.5)
            if near:
                message += f". Did you mean {near[0]!r}?"
        unknown = re.search(r"unrecognized arguments: (--[\w-]+)", message)
        if unknown:
            near = difflib.get_close_matches(unknown[1], self.known_flags, n=1, cutoff=0.7)
            if near:
                message += f". Did you mean {near[0]}?"
        self.print_usage(sys.stderr)
        self.exit(2, f"policyscope: {message}\n")


def add(parser: argparse.ArgumentParser, flags: Sequence[Flag], *, quiet: bool = False) -> None:
    """Adds arguments; quiet ones have no default, so that they hide nothing given before."""
    for one in flags:
        options: dict[str, Any] = dict(one.options)
        if quiet:
            options["default"] = argparse.SUPPRESS
        parser.add_argument(*one.names, **options)


def build_parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """The parser for this command line."""
    parser = Parser(
        prog="policyscope",
        description="Look inside trained agents: record, decompose, explain, intervene.",
        epilog="policyscope COMMAND --help lists the arguments of a command.",
    )
    parser.add_argument("--version", action="store_true", help="the version, and nothing else")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.about, description=command.about)
        flags = (*command.flags, *(fit_options(argv) if name == "fit" else ()), *COMMON)
        if STUDY in command.flags and TRUST not in command.flags:
            flags = (*flags, TRUST)
        add(sub, flags)
        if name == "fit":
            add_kinds(sub, argv)
        if argv[:1] == [name]:
            parser.known_flags = [spelling for one in flags for spelling in one.names]
    return parser


def fit_options(argv: Sequence[str]) -> Sequence[Flag]:
    """What this fit takes beside its sites: a search has no KIND, and options of its own."""
    return SEARCH_OPTIONS if "--search" in argv else FIT_OPTIONS


def add_kinds(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """One sub-command per kind of dictionary, its flags made from the fields of its class."""
    if "--search" in argv:
        return
    if argv[:1] != ["fit"] or (len(argv) > 1 and argv[1] in ("-h", "--help")):
        parser.add_argument(
            "kind",
            metavar="KIND",
            help="relu topk batch-topk jumprelu gated matryoshka pca …; "
            "`policyscope fit STUDY … KIND --help` lists its choices",
        )
        return
    from policyscope.dictionaries.dictionary import DICTIONARIES

    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True, parser_class=Parser)
    for name in DICTIONARIES.names():
        kind = DICTIONARIES.get(name)
        sub = kinds.add_parser(name, description=kind.__doc__)
        for field_name, options in kind_flags(kind).items():
            sub.add_argument(f"--{field_name.replace('_', '-')}", dest=field_name, **options)
        add(sub, (*FIT_OPTIONS, *COMMON), quiet=True)
