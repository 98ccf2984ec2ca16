"""A command that ends with one line, and not a traceback, where something of ours fails."""

from __future__ import annotations

from typing import Any

import click

from pipeline.errors import WispError


class Command(click.Command):
    """Turns a :class:`pipeline.errors.WispError` into its message and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except WispError as error:
            raise click.ClickException(str(error)) from error
