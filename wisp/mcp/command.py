"""The command ``wisp mcp``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument(
    "folders",
    metavar="[FOLDER...]",
    nargs=-1,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
def mcp(folders: tuple[Path, ...]) -> None:
    """Serve cutouts to an agent, over the Model Context Protocol.

    The agent's program starts this command and speaks to it over standard input and output: see
    docs/agents.md. Files are read and written below the client's roots only, and below each FOLDER
    given here; without either nothing is.

    \b
      wisp mcp ~/Pictures
    """
    from pipeline.cli.terminal import hush_libraries
    from wisp.mcp.server import server

    hush_libraries()
    server(folders).run("stdio")
