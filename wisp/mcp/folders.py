"""Which files an agent may touch: those below the folders that its client, or the user, named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pipeline.errors import SettingsError


@dataclass(frozen=True)
class Folders:
    """Where files may be read and written: below a root, and below a limit, where there are both.

    Attributes
    ----------
    roots
        Folders that the client named.
    limits
        Folders that the user named when the server was started.
    """

    roots: tuple[Path, ...] = ()
    limits: tuple[Path, ...] = ()

    def path(self, name: str) -> Path:
        """Return the real path of a file, links followed.

        ``name`` is a path or a file:// address; a relative one lies below the first folder.

        Raises :class:`SettingsError` where it lies outside of the folders, or there are none.
        """
        groups = [group for group in (self.roots, self.limits) if group]
        if not groups:
            raise SettingsError(
                "no folder is open to this server: start it as `wisp mcp FOLDER`, "
                "or let the client name its folders (roots)"
            )
        real = (groups[0][0] / (_of_address(name) or Path(name).expanduser())).resolve()
        if not all(any(real.is_relative_to(f.resolve()) for f in group) for group in groups):
            allowed = ", ".join(str(folder) for folder in groups[0])
            raise SettingsError(f"{name} lies outside of what is open here: {allowed}")
        return real


def of_roots(addresses: Iterable[str]) -> tuple[Path, ...]:
    """Return the folders that a client's roots name; those that are no files' are left out."""
    return tuple(path for address in addresses if (path := _of_address(address)))


def _of_address(address: str) -> Path | None:
    parts = urlsplit(address)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None
