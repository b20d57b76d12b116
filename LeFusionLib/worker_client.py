"""The worker from a program's side: hand in jobs, ask now and then what has come of them.

For a panel: `submit`, and `poll` from a timer of its main thread. For the console: `run`, which waits. One job runs at
a time; the worker starts with the first, stays warm, and starts again after it was ended. Needs neither Qt nor torch;
to be used from one thread.
"""

import shutil
import signal
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .errors import Cancelled, LeFusionError, MissingWeights, unknown_name
from .io.arrays import read_array
from .lesion_mask import LesionMask
from .synthesis.boundary import boundary_mask
from .synthesis.request import SynthesisRequest
from .synthesis.result import SynthesisResult
from .volume import Volume
from .worker import JOBS, describe
from .worker_process import WorkerProcess

STOPPED = {"kind": "cancelled", "message": "Stopped; nothing was made."}
GRACE_S = 5.0  # a cancelled job may take so long to answer before its worker is ended
POLL_S = 0.005  # how long `poll` waits; gives the threads of the pipes their turn inside 3D Slicer


class WorkerError(LeFusionError):
    """A job failed through nothing the user asked for; `kind` is one of `worker.KINDS`, `package` the missing one,
    `detail` what the worker said last."""

    def __init__(self, message: str, kind: str, package: str | None = None, detail: str = ""):
        super().__init__(message)
        self.kind, self.package, self.detail = kind, package, detail


@dataclass(frozen=True, eq=False)
class Job:
    """What the worker shall do: "synthesize" or "draw_mask" a request on a volume, inside `boundary` (a mask on its
    grid) where given; or "status"."""

    name: str
    volume: Volume | None = None
    request: SynthesisRequest | None = None
    boundary: LesionMask | np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.name not in JOBS:
            raise unknown_name("job", self.name, JOBS)
        if self.name != "status" and (self.volume is None or self.request is None):
            raise LeFusionError(f"The job '{self.name}' needs a volume and a request.")
        if self.volume is not None and self.boundary is not None:
            object.__setattr__(self, "boundary", boundary_mask(self.boundary, self.volume))


@dataclass(eq=False)
class JobHandle:
    """A job handed in, and what came of it: `result` is a `SynthesisResult`, a list of `LesionMask` or a dict; or
    `error`, with its `kind` of `worker.KINDS`."""

    number: int
    job: Job
    finished: bool = False
    result: Any = None
    error: LeFusionError | None = None
    kind: str | None = None
    cancelled_at: float | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Event:
    """What has happened to a job. `step` of `total` evaluations and `message` belong to "progress"; the rest stands in
    the handle."""

    handle: JobHandle
    name: Literal["progress", "done", "failed"]
    step: int = 0
    total: int = 0
    message: str = ""


class WorkerClient:
    """Jobs for one worker.

    python: the interpreter, by default this one; in 3D Slicer PythonSlicer. environment: variables on top of ours.
    grace_s: how long a cancelled job may stay without an answer before the worker is ended with all it started.
    """

    def __init__(
        self,
        python: str | Path = sys.executable,
        environment: Mapping[str, str] | None = None,
        grace_s: float = GRACE_S,
    ):
        self._python, self._environment, self._grace_s = str(python), dict(environment or {}), grace_s
        self._waiting: deque[JobHandle] = deque()
        self._current: JobHandle | None = None
        self._kept: list[Event] = []
        self._count = 0
        self._running: list[WorkerProcess] = []  # one or none; a list, so that the finalizer needs not hold `self`
        self._finalizer = weakref.finalize(self, _end_all, self._running)

    def __enter__(self) -> "WorkerClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def busy(self) -> bool:
        """Is there a job that has not come to its end?"""
        return self._current is not None or bool(self._waiting)

    def submit(self, job: Job) -> JobHandle:
        """Hand in a job; does not wait. The volume's array must stay as it is until the job has begun."""
        self._count += 1
        handle = JobHandle(self._count, job)
        self._waiting.append(handle)
        self._send_next()
        return handle

    def poll(self, wait_s: float = POLL_S) -> list[Event]:
        """What has happened since the last call; waits `wait_s` at most, and only while a job runs."""
        events, self._kept = self._kept, []
        process = self._running[0] if self._running else None
        if process is not None and self._current is not None:
            exited = process.exit_code() is not None
            if exited:
                process.stop()
            for answer in process.take(0 if exited or events else wait_s):
                events += self._event_of(answer, process)
            if exited or self._overdue():
                events += self._bury(process)
        self._send_next()
        return events

    def run(
        self,
        job: Job,
        progress: Callable[[int, int, str], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Any:
        """Wait for a job and return its result. Raises what the same call without a worker would raise, and
        `WorkerError` for what only a worker can meet. Ctrl-C cancels the job."""
        handle = self.submit(job)
        others: list[Event] = []
        try:
            while not handle.finished:
                for event in self.poll(wait_s=0.05):
                    if event.handle is not handle:
                        others.append(event)
                    elif event.name == "progress" and progress is not None:
                        progress(event.step, event.total, event.message)
                if cancel is not None and cancel():
                    self.cancel(handle)
        finally:
            self.cancel(handle)
            self._kept = others + self._kept
        if handle.error is not None:
            raise handle.error
        return handle.result

    def cancel(self, handle: JobHandle) -> None:
        """Ask for a job's end; `poll` tells when it has come. Nothing happens to a job that is finished."""
        if handle in self._waiting:
            self._waiting.remove(handle)
            self._kept.append(_failed(handle, STOPPED))
        elif handle is self._current and handle.cancelled_at is None:
            handle.cancelled_at = time.monotonic()
            self._running[0].send({"cancel": handle.number})

    def close(self) -> None:
        """End the worker, remove its files; unfinished jobs are cancelled."""
        for handle in [*filter(None, [self._current]), *self._waiting]:
            self._kept.append(_failed(handle, STOPPED))
        self._current = None
        self._waiting.clear()
        _end_all(self._running)

    def _send_next(self) -> None:
        while self._current is None and self._waiting:
            handle = self._waiting.popleft()
            try:
                if self._running and self._running[0].exit_code() is not None:  # ended between two jobs
                    _end_all(self._running)
                if not self._running:
                    self._running.append(WorkerProcess(self._python, self._environment))
                message, arrays = _message(handle, self._running[0].scratch)
            except (LeFusionError, OSError) as error:
                facts = describe(error)
                self._kept.append(_failed(handle, facts | ({"kind": "crash"} if facts["kind"] == "mistake" else {})))
                continue
            self._current = handle
            self._running[0].send(message, arrays)

    def _event_of(self, answer: Mapping[str, Any], process: WorkerProcess) -> list[Event]:
        handle = self._current
        if handle is None or answer.get("id") != handle.number:
            return []
        if answer["event"] == "progress":
            return [Event(handle, "progress", answer["step"], answer["total"], answer["message"])]
        self._current = None
        folder = _folder(handle, process.scratch)
        if answer["event"] == "error":
            event = _failed(handle, answer)
        else:
            try:
                handle.result = _result(handle.job, answer, folder)
                handle.finished, event = True, Event(handle, "done")
            except (LeFusionError, LookupError) as error:  # its files are gone or damaged, or memory is too small
                event = _failed(handle, describe(error))
        shutil.rmtree(folder, ignore_errors=True)
        return [event]

    def _overdue(self) -> bool:
        since = self._current.cancelled_at if self._current is not None else None
        return since is not None and time.monotonic() - since > self._grace_s

    def _bury(self, process: WorkerProcess) -> list[Event]:
        """The worker is gone or must go; so is its job."""
        handle, self._current = self._current, None
        code = process.exit_code()
        self._running.remove(process)
        process.close()
        if handle is None:
            return []
        if handle.cancelled_at is not None:
            return [_failed(handle, STOPPED)]
        return [_failed(handle, {"kind": "crash", "message": _how_it_ended(code), "detail": process.last_lines()})]


def _end_all(running: list[WorkerProcess]) -> None:
    while running:
        running.pop().close(patience_s=1.0)


def _folder(handle: JobHandle, scratch: Path) -> Path:
    return scratch / f"job-{handle.number}"


def _message(handle: JobHandle, scratch: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The job's line for the worker, and the files {path: array} it names."""
    job = handle.job
    message: dict[str, Any] = {"id": handle.number, "job": job.name}
    if job.volume is None or job.request is None:
        return message, {}
    folder = _folder(handle, scratch)
    folder.mkdir()
    grid = {"file": str(folder / "in.npy"), "ijk_to_ras": job.volume.ijk_to_ras.tolist(), "name": job.volume.name}
    arrays = {grid["file"]: job.volume.array}
    message |= {"volume": grid, "request": job.request.to_dict(), "out": str(folder)}
    if job.boundary is not None:
        message["boundary"] = str(folder / "boundary.npy")
        arrays[message["boundary"]] = np.asarray(job.boundary)
    return message, arrays


def _result(job: Job, answer: Mapping[str, Any], folder: Path) -> Any:
    if job.volume is None or job.request is None:
        return {key: value for key, value in answer.items() if key not in ("id", "event")}
    matrix = job.volume.ijk_to_ras
    if job.name == "draw_mask":
        return [
            LesionMask(_channels(read_array(folder / row["labels"]), row), matrix, row["classes"], lesion.sphere,
                       row["drawn_by"])
            for row, lesion in zip(answer["masks"], job.request.lesions, strict=True)
        ]  # fmt: skip
    mask = LesionMask(_channels(read_array(folder / answer["labels"]), answer), matrix, answer["classes"])
    volume = job.volume.with_array(read_array(folder / answer["volume"]))
    return SynthesisResult(volume, mask, answer["report"], job.volume, read_array(folder / answer["lesion_numbers"]))


def _channels(labels: np.ndarray, row: Mapping[str, Any]) -> np.ndarray:
    """(L, D, H, W) bool from label numbers; a class may be empty."""
    return np.stack([labels == number for number in range(1, len(row["classes"]) + 1)])


def _failed(handle: JobHandle, facts: Mapping[str, Any]) -> Event:
    """`facts` as `worker.describe` tells them."""
    kind, message = facts["kind"], facts["message"]
    plain = {"mistake": LeFusionError, "cancelled": Cancelled, "missing_weights": MissingWeights}
    if kind in plain:
        handle.error = plain[kind](message)
    else:
        handle.error = WorkerError(message, kind, facts.get("package"), facts.get("detail", ""))
    handle.kind, handle.finished = kind, True
    return Event(handle, "failed", message=message)


def _how_it_ended(code: int | None) -> str:
    how = f"with status {code}"
    if code is not None and code < 0:
        try:
            how = f"by the signal {signal.Signals(-code).name}"
        except ValueError:
            how = f"by the signal {-code}"
    return (
        f"The computing process was ended {how}; nothing was made. If nobody ended it, the memory may be too small: "
        "close other programs or crop the volume, and try again."
    )
