"""The worker process, from the app: one job at a time, asked after without ever keeping the page waiting."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from ..errors import Cancelled, LeFusionError
from ..worker_client import Job, WorkerClient
from .turn import Turn

POLL_S = 0.05
WARM_S = 2.0


class Computing:
    """Whoever comes while a job runs waits for its end."""

    def __init__(self) -> None:
        self._client = WorkerClient()
        self._thread = ThreadPoolExecutor(1, "worker client")  # the client is used from one thread
        self._one_at_a_time = asyncio.Lock()

    async def warm_up(self) -> None:
        """Start the process and let it import what it needs, before somebody waits for it; a little later, so that a
        scan just opened is drawn first."""
        await asyncio.sleep(WARM_S)
        with suppress(LeFusionError):  # the first job will say what is wrong
            await self.answer(Job("status"), lambda: "")

    async def answer(
        self,
        job: Job,
        stopped: Callable[[], str],
        progress: Callable[[int, int, str], None] = lambda *_: None,
        waiting: Callable[[], None] = lambda: None,
    ) -> Any:
        """The result of a job, or its error. stopped(): why it shall end, "" as long as it shall not; `Cancelled` is
        raised with that. waiting() is called where another app of this computer computes."""
        async with self._one_at_a_time, Turn(waiting, lambda: bool(stopped())):
            if stopped():
                raise Cancelled(stopped())
            handle = await self._call(self._client.submit, job)
            while not handle.finished:
                for event in await self._call(self._client.poll, POLL_S):
                    if event.handle is handle and event.name == "progress":
                        progress(event.step, event.total, event.message)
                if stopped():
                    await self._call(self._client.cancel, handle)
            if handle.error is not None:
                raise handle.error
            return handle.result

    def close(self) -> None:
        """End the worker process; the next job starts another."""
        self._thread.submit(self._client.close)

    async def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)
