"""The command line. One module a subcommand; ``batch`` runs many photos."""

from pipeline.cli.group import main

__all__ = ["main"]
