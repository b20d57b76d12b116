"""A queue in front of the graphics card: of several apps on one computer one computes at a time."""

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO

ASK_S = 0.2


class Turn:
    """`async with Turn(waiting, cancelled):` waits until no other process of this user computes, or `cancelled()`;
    `waiting()` is called once if that is not at once. The lock goes when a process ends, however it ends.
    """

    def __init__(self, waiting: Callable[[], None], cancelled: Callable[[], bool], folder: Path | None = None):
        self._waiting, self._cancelled = waiting, cancelled
        user = getattr(os, "getuid", lambda: "user")()
        self._path = (folder or Path(tempfile.gettempdir())) / f"lefusion-{user}.lock"
        self._file: IO[str] | None = None

    async def __aenter__(self) -> "Turn":
        told = False
        while not self._cancelled():
            if self._taken():
                return self
            if not told:
                self._waiting()
                told = True
            await asyncio.sleep(ASK_S)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _taken(self) -> bool:
        try:
            import fcntl
        except ImportError:  # Windows: no queue between processes
            return True
        try:
            file = open(self._path, "a")
        except OSError:  # somebody else's file in a shared folder; better to compute than to wait for ever
            return True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        self._file = file
        return True
