"""Cut photos out in an asyncio program, without blocking its loop.

    python examples/asynchronous.py a.jpg b.jpg

A cutout takes all cores for about a second, so it belongs in a thread, and few at a time; what
else the program does meanwhile goes on.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from wisp import Cutout, Result, WispError


class AsyncCutout:
    """A cutout that is awaited; at most ``at_a_time`` photos are worked on."""

    def __init__(self, at_a_time: int = 2) -> None:
        self._cutout = Cutout()
        self._places = asyncio.Semaphore(at_a_time)

    async def __call__(self, source: str | Path | bytes) -> Result:
        async with self._places:
            return await asyncio.to_thread(self._cutout, source)


async def cut(cutout: AsyncCutout, photo: Path) -> str:
    try:
        result = await cutout(photo)
    except WispError as error:
        return f"{photo}: {error}"
    target = photo.with_name(f"{photo.stem}-cutout.png")
    await asyncio.to_thread(result.save, target)
    return f"{photo} → {target}"


async def main(photos: list[Path]) -> None:
    cutout = AsyncCutout()
    for done in asyncio.as_completed([cut(cutout, photo) for photo in photos]):
        print(await done)


if __name__ == "__main__":
    asyncio.run(main([Path(name) for name in sys.argv[1:]]))
