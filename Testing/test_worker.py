"""The worker and its client: the same bytes as without it, and what happens to it harms nobody else."""

import ctypes
import errno
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import LeFusionLib as lf
from LeFusionLib import worker_process
from LeFusionLib.cli import main
from LeFusionLib.errors import Cancelled, LeFusionError, MissingWeights
from LeFusionLib.worker import describe, open_model
from LeFusionLib.worker_client import Job, WorkerClient, WorkerError

ROOT = Path(lf.__file__).resolve().parent.parent
CENTER = (-10.0, -10.0, 12.0)
NO_TORCH = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, Blocked())
"""
CHATTERBOX = """
import os, sys, threading, time
os.write(1, b"a line that somebody began")
def chatter():
    while sys.stdout is not sys.stderr:  # the worker comes up
        time.sleep(0.01)
    while True:
        print("printed", flush=True); os.write(1, b'{"id": 1, "event": "done"}\\n'); time.sleep(0.01)
threading.Thread(target=chatter, daemon=True).start()
"""
SMALL_FILES_ONLY = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"
posix = pytest.mark.skipif(os.name == "nt", reason="sends signals")


@pytest.fixture(scope="module")
def volume():
    """A small CT of lung with noise, 1 mm."""
    array = np.random.default_rng(0).normal(-850, 30, (24, 32, 32)).astype(np.int16)
    return lf.Volume(array, np.array([[-1.0, 0, 0, 5], [0, -1, 0, 5], [0, 0, 1, 0], [0, 0, 0, 1]]), name="scan")


@pytest.fixture(scope="module")
def request_(tiny_folder):
    lesion = lf.LesionRequest(CENTER, 8, "solid")
    return lf.SynthesisRequest(
        (lesion,), model=str(tiny_folder), mask_model="handcrafted", sampler=lf.SamplerSpec("ddim", 3), device="cpu",
        seed=7,
    )  # fmt: skip


@pytest.fixture(scope="module")
def slow(request_):
    """The paper's sampler, 300 steps and jumps: thousands of evaluations."""
    return replace(request_, sampler=lf.SamplerSpec("ddpm", 300, 10, 10))


@pytest.fixture(scope="module")
def client():
    """Started once; warm after its first job."""
    with WorkerClient(environment={"OMP_NUM_THREADS": "1"}) as client:
        yield client


@pytest.fixture
def troubled(tmp_path):
    """A client whose worker runs some lines of Python before all else."""
    clients = []

    def make(code):
        (tmp_path / "sitecustomize.py").write_text(code)
        clients.append(WorkerClient(environment={"PYTHONPATH": str(tmp_path)}, grace_s=0.3))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def pid_of(client):
    return client._running[0]._popen.pid


def wait_for(client, handle, name, seconds=60):
    """Polls as a panel's timer does until the job's event of that name."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for event in client.poll():
            if event.handle is handle and event.name == name:
                return event
    raise AssertionError(f"no {name} within {seconds} s; {handle}")


def has_ended(pid, seconds=10):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True  # ended; whoever adopted it has not looked yet
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


def test_worker_console_and_command_line_give_the_same_bytes(client, volume, request_, tiny_folder, tmp_path):
    told = []
    from_worker = client.run(Job("synthesize", volume, request_), progress=lambda *step: told.append(step))
    in_process = lf.run_request(volume, request_)
    lf.write_volume(volume, tmp_path / "scan.nii.gz")
    words = ["synthesize", tmp_path / "scan.nii.gz", "--center", *CENTER, "--diameter", 8, "--texture", "solid"]
    words += ["--seed", 7, "--model", tiny_folder, "--mask-model", "handcrafted", "--sampler", "ddim", "--steps", 3]
    assert main([str(word) for word in [*words, "--device", "cpu", "--quiet", "-o", tmp_path / "out"]]) == 0
    voxels = lf.read_volume(tmp_path / "out" / "scan.nii.gz").array
    labels, _, _ = lf.read_labels(tmp_path / "out" / "scan.seg.nrrd")
    for result in (from_worker, in_process):
        assert result.volume.array.dtype == volume.array.dtype
        assert result.volume.array.tobytes() == voxels.tobytes()
        assert (result.lesion_mask.labels() == labels).all() and (result.lesion_numbers == labels).all()
    assert from_worker.original is volume
    assert [step for step, _, _ in told] == [1, 2, 3]
    for report in (from_worker.report, in_process.report):
        report.pop("seconds"), report.pop("created")
    assert from_worker.report == in_process.report


def test_drawn_masks_are_those_that_would_be_filled(client, volume, request_):
    boundary = np.zeros(volume.shape, bool)
    boundary[:, :, 14:] = True
    (mask,) = client.run(Job("draw_mask", volume, request_, boundary))
    expected = lf.draw_lesion_mask(volume, request_.lesions[0].sphere, "handcrafted", boundary, seed=7)
    assert (mask.array == expected.array).all() and not mask.union[:, :, :14].any()
    assert (mask.sphere, mask.drawn_by, mask.classes) == (expected.sphere, "handcrafted", ("nodule",))


def test_status_tells_packages_and_devices(client):
    status = client.run(Job("status"))
    assert status["version"] == lf.__version__ and status["packages"]["torch"]
    assert status["devices"]["cpu"] == "processor" and status["problems"] == {}


def test_a_mistake_has_the_words_of_the_console_and_the_next_job_works(client, volume, request_):
    outside = replace(request_, lesions=(lf.LesionRequest((900, 0, 0), 8),))
    with pytest.raises(LeFusionError) as console:
        lf.run_request(volume, outside)
    with pytest.raises(LeFusionError) as panel:
        client.run(Job("synthesize", volume, outside))
    assert str(panel.value) == str(console.value) and "outside the volume" in str(panel.value)
    assert not isinstance(panel.value, WorkerError)
    assert client.run(Job("draw_mask", volume, request_))


def test_missing_weights_are_told_apart(client, volume, request_, tmp_path):
    handle = client.submit(Job("synthesize", volume, replace(request_, model=str(tmp_path))))
    wait_for(client, handle, "failed")
    assert handle.kind == "missing_weights" and isinstance(handle.error, MissingWeights)


def test_cancel_is_answered_within_an_evaluation_and_the_worker_stays_warm(client, volume, request_, slow):
    client.run(Job("synthesize", volume, request_))
    worker = pid_of(client)
    handle = client.submit(Job("synthesize", volume, slow))
    waiting = client.submit(Job("status"))
    wait_for(client, handle, "progress")
    asked = time.monotonic()
    client.cancel(waiting)
    client.cancel(handle)
    event = wait_for(client, handle, "failed")
    assert time.monotonic() - asked < 2
    assert handle.kind == waiting.kind == "cancelled" and isinstance(handle.error, Cancelled)
    assert "Stopped after" in event.message
    client.run(Job("draw_mask", volume, request_))
    assert pid_of(client) == worker


@posix
def test_it_works_where_threads_run_only_while_poll_waits(client, volume, request_):
    """3D Slicer's event loop keeps Python's lock; so does a sleep in C that does not let go of it."""
    sleep = ctypes.PyDLL(None).usleep
    handle = client.submit(Job("synthesize", volume, request_))
    longest = 0.0
    while not handle.finished:
        sleep(20_000)
        began = time.monotonic()
        client.poll()
        longest = max(longest, time.monotonic() - began)
    assert handle.error is None and longest < 0.5


def test_run_stops_when_its_cancel_says_so(client, volume, slow):
    steps = []
    with pytest.raises(Cancelled):
        client.run(Job("synthesize", volume, slow), lambda *step: steps.append(step), cancel=lambda: len(steps) > 2)


@posix
def test_a_worker_killed_from_outside_is_told_and_the_next_job_works(client, volume, request_, slow):
    handle = client.submit(Job("synthesize", volume, slow))
    wait_for(client, handle, "progress")
    scratch = client._running[0].scratch
    os.kill(pid_of(client), signal.SIGKILL)
    wait_for(client, handle, "failed")
    assert handle.kind == "crash" and "SIGKILL" in str(handle.error)
    assert not scratch.exists()
    assert client.run(Job("draw_mask", volume, request_))
    os.kill(pid_of(client), signal.SIGKILL)  # between two jobs nobody need know
    while client._running[0].exit_code() is None:
        time.sleep(0.01)
    assert client.run(Job("status"))["pid"]


def test_fifty_jobs_leave_no_file_process_or_descriptor(client, volume, request_):
    def descriptors(pid):
        return len(os.listdir(f"/proc/{pid}/fd")) if Path("/proc").is_dir() else 0

    quick = replace(request_, lesions=(lf.LesionRequest(CENTER, 4),), sampler=lf.SamplerSpec("ddim", 1))
    outside = replace(quick, lesions=(lf.LesionRequest((900, 0, 0), 4),))
    client.run(Job("synthesize", volume, quick))
    ours, its, worker = descriptors(os.getpid()), descriptors(pid_of(client)), pid_of(client)
    for number in range(50):
        if number % 5:
            with pytest.raises(LeFusionError, match="outside the volume"):
                client.run(Job("synthesize", volume, outside))
        else:
            client.run(Job("synthesize", volume, replace(quick, seed=number)))
    assert pid_of(client) == worker
    assert (descriptors(os.getpid()), descriptors(worker)) == (ours, its)
    assert list(client._running[0].scratch.iterdir()) == []


def test_closing_ends_the_worker_and_removes_its_files(troubled, volume, request_):
    before = set(Path(tempfile.gettempdir()).glob("lefusion-*"))
    client = troubled("")
    handle = client.submit(Job("draw_mask", volume, request_))
    worker, scratch = pid_of(client), client._running[0].scratch
    client.close()
    assert handle.finished and handle.kind == "cancelled" and not client.busy
    assert not scratch.exists() and has_ended(worker)
    assert scratch not in before


@posix
def test_a_worker_that_does_not_answer_a_cancel_is_ended(troubled):
    client = troubled("import signal, os; os.kill(os.getpid(), signal.SIGSTOP)")
    handle = client.submit(Job("status"))
    worker = pid_of(client)
    client.cancel(handle)
    wait_for(client, handle, "failed", seconds=5)
    assert handle.kind == "cancelled" and has_ended(worker)


LATE = (
    "import time, LeFusionLib.worker as worker; watch = worker._watch_parent; "
    "worker._watch_parent = lambda *how: (time.sleep(0.5), watch(*how)); worker.main()"
)


@posix
@pytest.mark.parametrize(
    ("stdin_stays_open", "how"),
    [(False, ["-m", "LeFusionLib.worker"]), (True, ["-m", "LeFusionLib.worker"]), (True, ["-c", LATE])],
)
def test_the_worker_ends_with_its_parent(stdin_stays_open, how, tmp_path):
    """Once because stdin ends, once because it watches the parent: another program may hold stdin open. And once when
    the parent ended before the watching began."""
    code = (
        "import sys, time, subprocess, os\n"
        f"command = [sys.executable, *{how!r}, '--parent', str(os.getpid())]\n"
        "command += ['--scratch', sys.argv[1]]\n"
        f"stdin = {None if stdin_stays_open else 'subprocess.PIPE'}\n"
        "child = subprocess.Popen(command, stdin=stdin, stdout=sys.stderr)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(scratch)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    worker = int(parent.stdout.readline())
    parent.stderr.readline()  # the worker's first, empty line: it listens
    parent.kill()
    assert has_ended(worker)
    assert not scratch.exists()
    parent.stdin.close()
    parent.wait()
    parent.stdout.close()
    parent.stderr.close()


def test_junk_on_stdin_is_answered_and_the_worker_lives():
    lines = ["no JSON", "[1]", '{"id": 1, "jib": "status"}', '{"id": 2, "job": "synthesise"}', '{"cancel": 99}',
             '{"id": 3, "job": "synthesize"}']  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "LeFusionLib.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
    )
    process.stdin.write("\n".join(lines) + "\n")
    process.stdin.flush()
    process.stdout.readline()
    answers = [json.loads(process.stdout.readline()) for _ in range(5)]
    assert all(answer["kind"] == "mistake" for answer in answers)
    said = [answer["message"] for answer in answers]
    assert "one JSON object" in said[0] and '{"cancel": id}' in said[1] + said[2]
    assert "Did you mean 'synthesize'" in said[3] and "incomplete" in said[4]
    process.stdin.close()
    assert process.wait(10) == 0
    process.stdout.close()


@posix
def test_what_libraries_print_does_not_disturb_the_answers(troubled, volume, request_):
    client = troubled(CHATTERBOX + NO_TORCH)
    for _ in range(2):
        with pytest.raises(WorkerError, match="'torch'"):
            client.run(Job("draw_mask", volume, request_))
        time.sleep(0.5)
    assert "printed" in client._running[0].last_lines()


def test_missing_torch_is_told_by_name_and_status_still_answers(troubled, volume, request_):
    client = troubled(NO_TORCH)
    with pytest.raises(WorkerError, match="package 'torch'") as error:
        client.run(Job("synthesize", volume, request_))
    assert (error.value.kind, error.value.package) == ("missing_package", "torch")
    status = client.run(Job("status"))
    assert status["packages"]["torch"] is None and "torch" in status["problems"] and status["devices"] == {}


@posix
def test_a_full_disk_is_told_on_either_side(troubled, volume, request_, monkeypatch):
    client = troubled(SMALL_FILES_ONLY)
    handle = client.submit(Job("draw_mask", volume, request_))  # its labels are 24 KiB
    wait_for(client, handle, "failed")
    assert handle.kind == "disk_full" and "not enough room" in str(handle.error)

    def full(path, array):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(worker_process, "write_array", full)
    with pytest.raises(WorkerError, match="disk for temporary files is full") as error:
        client.run(Job("draw_mask", volume, request_))
    assert error.value.kind == "disk_full"


def test_a_python_that_is_not_there_and_a_worker_that_falls_over_are_crashes(troubled):
    with pytest.raises(WorkerError, match="cannot be started with 'no-such-python'"):
        WorkerClient("no-such-python").run(Job("status"))
    client = troubled("import sys; sys.stderr.write('the last words'); sys.stderr.flush(); import os; os._exit(3)")
    with pytest.raises(WorkerError, match="with status 3") as error:
        client.run(Job("status"))
    assert error.value.kind == "crash" and "the last words" in error.value.detail


def test_errors_are_told_apart():
    def caused(error, cause):
        error.__cause__ = cause
        return error

    gpu = caused(LeFusionError("The GPU has too little free memory."), RuntimeError("CUDA out of memory. Tried ..."))
    assert describe(gpu) == {"kind": "out_of_memory", "message": "The GPU has too little free memory."}
    assert describe(MemoryError())["kind"] == "out_of_memory"
    assert describe(RuntimeError("DefaultCPUAllocator: can't allocate memory"))["kind"] == "out_of_memory"
    assert describe(OSError(errno.ENOSPC, "full"))["kind"] == "disk_full"
    assert describe(Cancelled("Stopped."))["kind"] == "cancelled"
    assert describe(MissingWeights("gone"))["kind"] == "missing_weights"
    ours = ImportError("cannot import name", name="LeFusionLib.models")
    assert describe(ours)["kind"] == "crash"
    assert describe(ImportError("DLL load failed", name="torch._C"))["package"] == "torch"
    assert describe(KeyError("bug"))["kind"] == "crash" and "Traceback" not in describe(KeyError("bug"))["message"]


def test_a_boundary_on_another_grid_and_an_unknown_job_are_refused_before_anything_is_sent(volume, request_):
    moved = lf.LesionMask(np.ones(volume.shape, bool), volume.ijk_to_ras + np.diag([0, 0, 0.5, 0]))
    with pytest.raises(LeFusionError, match="different grids"):
        Job("synthesize", volume, request_, moved)
    with pytest.raises(LeFusionError, match="Did you mean 'synthesize'"):
        Job("synthesise", volume, request_)
    with pytest.raises(LeFusionError, match="needs a volume"):
        Job("draw_mask")


def test_models_stay_open_until_their_card_changes(tiny_folder):
    first = open_model(str(tiny_folder), "cpu", "float32")
    assert open_model(str(tiny_folder), "cpu", "float32") is first
    os.utime(tiny_folder / "model.json", ns=(1, 1))
    assert open_model(str(tiny_folder), "cpu", "float32") is not first


def test_the_client_needs_no_torch():
    code = "import sys, LeFusionLib.worker_client; sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    run = functools.partial(subprocess.run, cwd=ROOT, check=False)
    assert run([sys.executable, "-c", code]).returncode == 0
