"""The command line: stdout is the result, stderr is progress."""

from policyscope.cli.commands import COMMANDS as COMMANDS
from policyscope.cli.main import main as main
from policyscope.cli.parser import build_parser as build_parser
