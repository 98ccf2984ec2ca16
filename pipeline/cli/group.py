"""The command ``wisp``: its subcommands, loaded when they are called.

Standard output carries a picture or a document that was asked for; messages go to standard error.
Exit code: 0; 1 when a photo failed; 2 for wrong usage; 130 after Ctrl-C.
"""

from __future__ import annotations

import atexit
import errno
import gc
import json
import os
import re
from importlib import import_module
from typing import Any

import click

from pipeline import __version__, image_io
from pipeline.errors import ModelMissing, ProviderMissing, SettingsError, WispError, quoted
from pipeline.memory import compact

_PLUGINS = "wisp.commands"  # entry-point group for subcommands that other packages add
_VALUE = re.compile(r"'[^'\s]{100,}'")  # which click repeats whole

#: Our own commands, each loaded only when it is called: where it is, and its line of help.
_LAZY = {
    "cut": ("pipeline.cli.cut:cut", "Cut the subject out of photos."),
    "models": ("pipeline.cli.models:models", "List models, fetch them, take in your own."),
    "explain": ("pipeline.cli.explain:explain", "Show what happens inside the networks."),
}


#: The rest of ours, which are plugins too: the extra that each needs, and its line of help.
_EXTRAS = {
    "bench": ("eval", "Measure quality, speed and memory, beside other tools."),
    "mcp": ("mcp", "Offer cutouts to an agent, as tools."),
    "scale": ("scale", "Cut the subject out of very many photos."),
    "serve": ("serve", "Serve the web page and the API."),
    "video": ("video", "Cut the subject out of a clip."),
}


class _WrongUsage(click.ClickException):
    exit_code = 2


class _Group(click.Group):
    """Commands of our own, and those of other packages, which are loaded only when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_LAZY, *_plugins()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if cmd_name in _LAZY:
            module, _, name = _LAZY[cmd_name][0].partition(":")
            return getattr(import_module(module), name)
        if own or cmd_name not in (plugins := _plugins()):
            return own
        try:
            command = plugins[cmd_name].load()
        except ModuleNotFoundError as error:
            if cmd_name in _EXTRAS:
                raise _lacking(cmd_name, error) from error
            raise _broken(plugins[cmd_name], f"{type(error).__name__}: {error}") from error
        except Exception as error:  # it is another's code
            raise _broken(plugins[cmd_name], f"{type(error).__name__}: {error}") from error
        if not isinstance(command, click.Command):
            raise click.ClickException(
                f"the command {cmd_name!r} ({plugins[cmd_name].value}) is no click command"
            )
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Take ``wisp photo.jpg`` for ``wisp cut photo.jpg``; the name of a command goes first."""
        name = args[0]
        photo = name == "-" or bool(image_io.PICTURE.fullmatch(name)) or os.path.exists(name)
        if photo and name not in self.list_commands(ctx):
            # A dash is here only after "--", which click has taken away: cut needs it too.
            args = ["cut", *(["--"] if name.startswith("-") and name != "-" else []), *args]
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # Not click's own, which would load every plugin for its line of help.
        own = {name: command.get_short_help_str(60) for name, command in self.commands.items()}
        own |= {name: line for name, (_, line) in _LAZY.items()}
        rows = sorted(own.items())
        for name, plugin in sorted(_plugins().items()):
            if name in _EXTRAS:
                rows.append((name, _EXTRAS[name][1]))
            elif name not in own:
                rows.append((name, f"from {plugin.value.partition(':')[0]}"))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            said = error.format_message()
            short = _VALUE.sub(lambda value: quoted(value[0][1:-1]), said)
            if short == said:
                raise
            raise click.UsageError(short, error.ctx) from error
        except WispError as error:
            wrong = isinstance(error, (SettingsError, ModelMissing, ProviderMissing))
            raise (_WrongUsage if wrong else click.ClickException)(str(error)) from error
        except ModuleNotFoundError as error:
            if ctx.invoked_subcommand in _EXTRAS:
                raise _lacking(ctx.invoked_subcommand, error) from error
            raise
        except OSError as error:  # of the terminal's streams: those of files are errors of ours
            if error.errno == errno.EPIPE:  # click ends quietly then
                raise
            raise click.ClickException(f"cannot go on: {error}") from error
        except KeyboardInterrupt:
            ctx.exit(130)


def _lacking(name: str, error: ModuleNotFoundError) -> click.ClickException:
    return click.ClickException(
        f"`wisp {name}` needs more packages: pip install 'wispcut[{_EXTRAS[name][0]}]' ({error})"
    )


def _broken(plugin: Any, why: str) -> click.ClickException:
    return click.ClickException(
        f"the command {plugin.name!r} ({plugin.value}) cannot be loaded: {why}"
    )


def _plugins() -> dict[str, Any]:
    from importlib.metadata import entry_points  # 50 ms that `wisp cut` need not pay

    return {plugin.name: plugin for plugin in entry_points(group=_PLUGINS)}


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="wisp", message="%(prog)s %(version)s")
def main() -> None:
    """Remove the background of photos, and keep every wisp of hair."""
    compact()
    # At its end Python looks through all objects for cycles, which takes 20 ms: but not the frozen.
    atexit.register(gc.freeze)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Write the findings as JSON.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check the installation: versions, models, and a cutout.

    The exit code is 1 when something is wrong.
    """
    from pipeline import doctor as checks

    findings = checks.examine()
    click.echo(json.dumps(findings, indent=2) if as_json else checks.describe(findings))
    ctx.exit(0 if findings["well"] else 1)
