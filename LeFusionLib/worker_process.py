"""A running worker as its parent sees it: lines and arrays in, answers out, its end noticed, its whole tree ended.

Pipes are served by threads, so that neither side waits for the other however full a pipe is. Inside 3D Slicer threads
run only while Python code of the main thread waits; `take` waits a little for that.
"""

import json
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any

import numpy as np

from .errors import LeFusionError
from .io.arrays import write_array
from .worker import describe

LAST_LINES = 40  # of what a worker said on stderr
JOIN_S = 2.0
NEW_GROUP: dict[str, Any] = (
    {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined, unused-ignore]
    if os.name == "nt"
    else {"start_new_session": True}
)

logger = logging.getLogger(__name__)


class WorkerProcess:
    """One worker, started. `scratch` is a folder of its own that goes when it goes."""

    def __init__(self, python: str, environment: Mapping[str, str]):
        """Raises `LeFusionError` where `python` cannot be started."""
        self.scratch = Path(tempfile.mkdtemp(prefix="lefusion-"))
        command = [python, "-P", "-m", f"{__package__}.worker"]
        command += ["--parent", str(os.getpid()), "--scratch", str(self.scratch)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        try:
            self._popen = subprocess.Popen(command, env=_environment(environment), **pipes, **NEW_GROUP)
        except OSError as error:
            shutil.rmtree(self.scratch, ignore_errors=True)
            raise LeFusionError(
                f"The worker cannot be started with '{python}': {error.strerror or error}. Name a Python that exists; "
                "in 3D Slicer it is PythonSlicer."
            ) from error
        self._answers: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._outbox: SimpleQueue[tuple[dict[str, Any], Mapping[str, np.ndarray]] | None] = SimpleQueue()
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._threads = [
            threading.Thread(target=target, daemon=True) for target in (self._write, self._read, self._overhear)
        ]
        for thread in self._threads:
            thread.start()

    def send(self, message: dict[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
        """Write the arrays {file: array}, then the message; both in the background. Where the disk is full, the answer
        says so."""
        self._outbox.put((message, arrays or {}))

    def take(self, wait_s: float) -> list[dict[str, Any]]:
        """All answers that are there; for the first one `wait_s` at most."""
        taken = []
        with suppress(Empty):
            taken.append(self._answers.get(timeout=wait_s) if wait_s > 0 else self._answers.get_nowait())
            while True:
                taken.append(self._answers.get_nowait())
        return taken

    def exit_code(self) -> int | None:
        """None while it runs; negative: ended by that signal."""
        return self._popen.poll()

    def last_lines(self) -> str:
        """What it said last on stderr."""
        return "\n".join(self._last_lines)

    def stop(self, patience_s: float = 0.0) -> None:
        """Ask it to end, end it with all that it started, and hear its last answers; the scratch folder stays."""
        self._outbox.put(None)
        if patience_s > 0:
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(patience_s)
        _kill_tree(self._popen)
        with suppress(subprocess.TimeoutExpired):  # a process that waits for its driver ends when that answers
            self._popen.wait(JOIN_S)
        for thread in self._threads:
            thread.join(JOIN_S)
        for pipe, thread in zip(
            (self._popen.stdin, self._popen.stdout, self._popen.stderr), self._threads, strict=True
        ):
            if pipe is not None and not thread.is_alive():  # else a stray grandchild holds the other end
                with suppress(OSError):
                    pipe.close()

    def close(self, patience_s: float = 0.0) -> None:
        """`stop`, and nothing is left."""
        self.stop(patience_s)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _write(self) -> None:
        stdin = _pipe(self._popen.stdin)
        while (item := self._outbox.get()) is not None:
            message, arrays = item
            try:
                for file, array in arrays.items():
                    write_array(Path(file), array)
            except Exception as error:
                self._answers.put({"id": message.get("id"), "event": "error", **describe(error)})
                continue
            with suppress(OSError, ValueError):  # it has ended; whoever waits for the answer notices
                stdin.write(json.dumps(message).encode() + b"\n")
                stdin.flush()
        with suppress(OSError):
            stdin.close()

    def _read(self) -> None:
        for line in filter(bytes.strip, _pipe(self._popen.stdout)):
            try:
                self._answers.put(json.loads(line))
            except ValueError:
                logger.warning("the worker said %r", line[:200])

    def _overhear(self) -> None:
        for line in _pipe(self._popen.stderr):
            text = line.decode("utf-8", errors="replace").rstrip()
            self._last_lines.append(text)
            logger.debug("worker: %s", text)


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Ours with `extra`, and this very LeFusionLib before all others."""
    values = {**os.environ, **extra, "PYTHONIOENCODING": "utf-8"}
    home = str(Path(__file__).resolve().parent.parent)
    values["PYTHONPATH"] = os.pathsep.join(filter(None, [home, values.get("PYTHONPATH")]))
    return values


def _kill_tree(popen: "subprocess.Popen[bytes]") -> None:
    """The process and all it started: in 3D Slicer `python` is a launcher, and the real one its child."""
    if os.name == "nt":
        kill = ["taskkill", "/T", "/F", "/PID", str(popen.pid)]
        if popen.poll() is None:
            subprocess.run(kill, stdin=subprocess.DEVNULL, capture_output=True, check=False, **NEW_GROUP)
    else:
        with suppress(ProcessLookupError, PermissionError):  # its group has ended; on macOS, is a zombie
            os.killpg(popen.pid, signal.SIGKILL)
    with suppress(OSError):
        popen.kill()
