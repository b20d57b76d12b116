"""The process that computes for a program with a face: it stays between jobs, and its end is nobody's crash.

`python -m LeFusionLib.worker` reads one JSON object per line on stdin:
    {"id": 1, "job": "synthesize", "volume": {"file": ..., "ijk_to_ras": [[...]], "name": ...}, "request": {...},
     "boundary": null or a file, "out": folder}
    {"id": 2, "job": "draw_mask", ...}   the same, shapes only
    {"id": 3, "job": "status"}           packages and devices
    {"cancel": 1}                        stops that job before its next network evaluation
and answers one per line on stdout, which nothing else can write to (what libraries print goes to stderr):
    {"id": 1, "event": "progress", "step": 3, "total": 20, "message": "making tissue"}
    {"id": 1, "event": "done", ...}      with the names of files in `out`
    {"id": 1, "event": "error", "kind": one of KINDS, "message": ...}
Arrays go through .npy files. The process ends when stdin does, or its parent is gone; unfinished work is dropped.
`worker_client.WorkerClient` speaks this. Importing this file imports no torch.
"""

import argparse
import ctypes
import json
import logging
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from importlib import import_module, metadata
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TextIO

from . import __version__
from .errors import Cancelled, LeFusionError, MissingWeights, check_keys, unknown_name
from .io.arrays import read_array, write_array
from .io.files import NO_ROOM
from .synthesis.request import SynthesisRequest, draw_request, run_request
from .threads import wait_politely
from .volume import Volume

if TYPE_CHECKING:
    from .models.zoo import Model

KINDS = (
    "mistake", "cancelled", "missing_package", "missing_weights", "out_of_memory", "disk_full", "crash"
)  # fmt: skip
KEYS = ("id", "job", "volume", "request", "boundary", "out", "cancel")
PACKAGES = ("torch", "safetensors", "numpy", "scipy")
NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")  # what torch says in a RuntimeError
WATCH_S = 1.0
MODELS_KEPT = 4

logger = logging.getLogger(__name__)

Tell = Callable[..., None]  # tell(event, **facts)


class Worker:
    """Reads `requests` on a thread of its own and does one job after the other on the caller's.

    `at_end` is called on that thread when `requests` end; a job may be running then.
    """

    def __init__(self, requests: TextIO, answers: TextIO, at_end: Callable[[], None]):
        self._requests, self._answers, self._at_end = requests, answers, at_end
        self._jobs: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._open: set[Any] = set()
        self._cancelled: set[Any] = set()
        self._one_at_a_time = threading.Lock()

    def serve(self) -> None:
        """Works until the process ends."""
        threading.Thread(target=self._listen, daemon=True).start()
        while True:
            self._do(self._jobs.get())

    def _listen(self) -> None:
        for line in self._requests:
            try:
                message = _message(line)
            except LeFusionError as error:
                self._answer({"id": None, "event": "error", "kind": "mistake", "message": str(error)})
                continue
            if "cancel" not in message:
                self._open.add(message["id"])
                self._jobs.put(message)
            elif message["cancel"] in self._open:
                self._cancelled.add(message["cancel"])
        self._at_end()

    def _do(self, message: dict[str, Any]) -> None:
        number = message["id"]

        def tell(event: str, **facts: Any) -> None:
            self._answer({"id": number, "event": event, **facts})

        try:
            if number in self._cancelled:
                raise Cancelled("Stopped before it began; nothing was written.")
            done = JOBS[message["job"]](message, tell, lambda: number in self._cancelled)
            tell("done", **done)
        except Exception as error:  # whatever a job raises is told, and the next job still works
            facts = describe(error)
            if facts["kind"] == "crash":
                logger.exception("job %s", number)
            tell("error", **facts)
            if facts["kind"] == "out_of_memory":
                _make_room()
        finally:
            self._open.discard(number)
            self._cancelled.discard(number)

    def _answer(self, values: dict[str, Any]) -> None:
        with self._one_at_a_time:
            try:
                self._answers.write(json.dumps(values) + "\n")
                self._answers.flush()
            except OSError:  # nobody listens any more
                self._at_end()


def describe(error: BaseException) -> dict[str, Any]:
    """{"kind": one of `KINDS`, "message": what a user is told, ...} of an error; its causes count too."""
    said = str(error) if isinstance(error, LeFusionError) else None
    for cause in _causes(error):
        if isinstance(cause, Cancelled):
            return {"kind": "cancelled", "message": str(cause)}
        if isinstance(cause, MemoryError):
            return {"kind": "out_of_memory", "message": _NO_MEMORY_TEXT}
        if isinstance(cause, RuntimeError) and any(words in str(cause).lower() for words in NO_MEMORY):
            return {"kind": "out_of_memory", "message": said or _NO_MEMORY_TEXT}
        if isinstance(cause, OSError) and cause.errno in NO_ROOM:
            return {"kind": "disk_full", "message": said or _DISK_FULL_TEXT}
        if isinstance(cause, MissingWeights):
            return {"kind": "missing_weights", "message": str(cause)}
        if isinstance(cause, ImportError) and cause.name and cause.name.partition(".")[0] != __package__:
            package = cause.name.partition(".")[0]
            text = (
                f"The package '{package}' cannot be used ({cause}). Install it: in 3D Slicer through the set-up list "
                "of the LeFusion panel, elsewhere with `pip install lefusion`."
            )
            return {"kind": "missing_package", "package": package, "message": text}
    if isinstance(error, LeFusionError):
        return {"kind": "mistake", "message": str(error)}
    detail = "".join(traceback.format_exception(error))
    text = f"The computation failed with an error that should not happen: {error!r}. Please report it."
    return {"kind": "crash", "message": text, "detail": detail}


_NO_MEMORY_TEXT = (
    "There is too little free memory for this volume and model. Close other programs, crop the volume around the "
    "lesion, or choose a smaller model."
)
_DISK_FULL_TEXT = "The disk for temporary files is full. Free some space and try again; nothing was made."


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _message(line: str) -> dict[str, Any]:
    """A line from the client, its keys checked."""
    try:
        message = json.loads(line)
    except ValueError:
        raise LeFusionError(f"A line is one JSON object; got {line[:80]!r}.") from None
    if not isinstance(message, dict) or ("cancel" in message) == ("job" in message):
        raise LeFusionError('A line is {"id": ..., "job": ...} or {"cancel": id}.')
    check_keys("entry of a job", message, KEYS)
    if "job" in message and not isinstance(message.get("id"), int | str):
        raise LeFusionError("A job needs an `id`, a number or a word.")
    if "job" in message and message["job"] not in JOBS:
        raise unknown_name("job", message["job"], JOBS)
    return message


def _asked(message: Mapping[str, Any]) -> tuple[Volume, SynthesisRequest, Any, Path]:
    """Volume, request, boundary and the folder for the answer."""
    try:
        grid, out = message["volume"], Path(message["out"])
        volume = Volume(read_array(Path(grid["file"])), grid["ijk_to_ras"], grid["name"])
        request = SynthesisRequest.from_dict(message["request"])
    except (KeyError, TypeError) as error:
        raise LeFusionError(f"The job {message['id']} is incomplete: {error!r}.") from error
    boundary = message.get("boundary")
    return volume, request, None if boundary is None else read_array(Path(boundary)), out


def _synthesize(message: Mapping[str, Any], tell: Tell, cancel: Callable[[], bool]) -> dict[str, Any]:
    volume, request, boundary, out = _asked(message)
    result = run_request(volume, request, boundary, _progress(tell), cancel, open_model)
    assert result.lesion_numbers is not None
    arrays = {
        "volume": result.volume.array,
        "labels": result.lesion_mask.labels(),
        "lesion_numbers": result.lesion_numbers,
    }
    for name, array in arrays.items():
        write_array(out / f"{name}.npy", array)
    files = {name: f"{name}.npy" for name in arrays}
    return {**files, "classes": result.lesion_mask.classes, "report": result.report}


def _draw_mask(message: Mapping[str, Any], tell: Tell, cancel: Callable[[], bool]) -> dict[str, Any]:
    volume, request, boundary, out = _asked(message)
    rows: list[dict[str, Any]] = []
    for mask in draw_request(volume, request, boundary, _progress(tell), cancel, open_model):
        file = f"labels-{len(rows) + 1}.npy"
        write_array(out / file, mask.labels())
        rows.append({"labels": file, "classes": mask.classes, "drawn_by": mask.drawn_by})
    return {"masks": rows}


def _status(message: Mapping[str, Any], tell: Tell, cancel: Callable[[], bool]) -> dict[str, Any]:
    """What is here; torch is imported, so that the first job need not wait for it."""
    packages: dict[str, str | None] = {}
    problems: dict[str, str] = {}
    for name in PACKAGES:
        try:
            import_module(name)
            packages[name] = metadata.version(name)
        except (ImportError, OSError) as error:  # OSError: a library that torch needs cannot be loaded
            packages[name], problems[name] = None, str(error)
    devices = _devices() if packages["torch"] else {}
    return {"version": __version__, "pid": os.getpid(), "packages": packages, "problems": problems, "devices": devices}


JOBS: Mapping[str, Callable[[Mapping[str, Any], Tell, Callable[[], bool]], dict[str, Any]]] = {
    "synthesize": _synthesize,
    "draw_mask": _draw_mask,
    "status": _status,
}


def _progress(tell: Tell) -> Callable[[int, int, str], None]:
    return lambda step, total, message: tell("progress", step=step, total=total, message=message)


def _devices() -> dict[str, str]:
    """{device: its name, or why it does not work}: each is really used once."""
    import torch

    found = {"cpu": "processor"}
    names = [f"cuda:{number}" for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    for device in [*names, *(["mps"] if torch.backends.mps.is_available() else [])]:
        try:
            torch.zeros(8, device=device).add_(1).sum().item()
            found[device] = torch.cuda.get_device_name(device) if device != "mps" else "Apple GPU"
        except RuntimeError as error:
            found[device] = f"does not work: {error}"
    return found


def open_model(model: str, device: str, precision: str) -> "Model":
    """Kept open between jobs; opened anew when its card or file has changed."""
    from .models.checkpoint import CARD
    from .models.zoo import bundled_models

    path = bundled_models().get(model, Path(model))
    file = path / CARD if path.is_dir() else path
    return _opened(model, device, precision, file.stat().st_mtime_ns if file.exists() else None)


@lru_cache(maxsize=MODELS_KEPT)
def _opened(model: str, device: str, precision: str, changed_ns: int | None) -> "Model":
    from .models.zoo import load_model

    return load_model(model, device, precision)


def _make_room() -> None:
    _opened.cache_clear()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _private_streams() -> tuple[TextIO, TextIO]:
    """Our own ends of stdin and stdout; afterwards stdin is empty and stdout is stderr, for C libraries too."""
    requests = os.fdopen(os.dup(0), encoding="utf-8", errors="replace")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    answers.write("\n")  # ends a line that somebody may have begun before us
    answers.flush()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdin, sys.stdout = open(0, closefd=False), sys.stderr
    return requests, answers


def _watch_parent(alive: Callable[[], bool], at_end: Callable[[], None]) -> None:
    """Call `at_end` once the parent is gone. Its end of stdin may outlive it, where another program holds it too."""
    while alive():
        time.sleep(WATCH_S)
    at_end()


def _aliveness(pid: int) -> Callable[[], bool]:
    if os.name == "nt":
        kernel = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined, unused-ignore]
        kernel.OpenProcess.restype = ctypes.c_void_p
        handle = kernel.OpenProcess(0x00100000, False, pid)  # SYNCHRONIZE: waiting for its end, nothing else
        timed_out = 0x102
        return lambda: bool(handle) and kernel.WaitForSingleObject(ctypes.c_void_p(handle), 0) == timed_out
    own_parent = os.getppid()  # `pid` itself, or a launcher that it started

    def alive() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return os.getppid() == own_parent

    return alive


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m LeFusionLib.worker", description="Computes for another program.")
    parser.add_argument("--parent", type=int, help="process id; the worker ends with it")
    parser.add_argument("--scratch", type=Path, help="folder that the worker removes when it ends without its parent")
    options = parser.parse_args()
    wait_politely()
    # Before we say that we listen: a parent that ends at once is else a stranger, whose end nothing shows.
    alive = None if options.parent is None else _aliveness(options.parent)
    requests, answers = _private_streams()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)

    def at_end() -> None:
        if options.scratch is not None:
            shutil.rmtree(options.scratch, ignore_errors=True)
        os._exit(0)  # at once: the network may be in the middle of an evaluation

    if alive is not None:
        threading.Thread(target=_watch_parent, args=(alive, at_end), daemon=True).start()
    Worker(requests, answers, at_end).serve()


if __name__ == "__main__":
    main()
