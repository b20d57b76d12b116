"""The browser app as its users have it: a server process of its own, a real browser, mouse and keyboard.

Needs trame-slicer and Playwright's Python package (`make test-app` makes an environment with both) and a Chromium on
the machine (Debian: apt install chromium libegl1 libgl1-mesa-dri fonts-dejavu-core).
"""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MATRIX = np.array([[-1.8, 0.2, 0, 30], [-0.2, -1.8, 0, 30], [0, 0, 2.0, -20], [0, 0, 0, 1]])  # turned a little
# What trame, VTK and a closing browser say and what harms nobody; any other traceback fails the test.
NOISE = ("ClientConnectionResetError", "Cannot write to closing transport", "ConnectionResetError")
SLOW = ("--sampler", "ddpm", "--steps", "300", "--jump-length", "10", "--jump-n-sample", "10")


@pytest.fixture(scope="session")
def needed():
    for package in ("trame_slicer", "torch"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed; `make test-app` makes an environment for the browser app")


@pytest.fixture(scope="session")
def chromium(needed):
    """A browser, started once."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; see `make test-app`")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; see the head of Testing/app/conftest.py")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class Server:
    """`lefusion app` as a process."""

    def __init__(self, options, port=0, folder=None):
        self.log = Path(tempfile.mkdtemp(prefix="app-log-", dir=folder)) / "log.txt"
        words = [sys.executable, "-m", "LeFusionLib", "app", "--port", str(port), *map(str, options)]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        started = time.monotonic()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(words, env=environment, stdout=log, stderr=log, start_new_session=True)
        while not (found := re.search(r"LeFusion is at (\S+)", self.said())):
            assert self.process.poll() is None, self.said()[-3000:]
            assert time.monotonic() - started < 120, "the app did not start within two minutes"
            time.sleep(0.05)
        self.url, self.seconds = found.group(1), time.monotonic() - started

    @property
    def base(self):
        """The address without its token, without a slash at the end."""
        return self.url.partition("?")[0].rstrip("/")

    def said(self):
        return self.log.read_text(errors="replace")

    def tracebacks(self):
        """Tracebacks that are not known noise."""
        parts = self.said().split("Traceback (most recent call last)")[1:]
        return [part[:2000] for part in parts if not any(noise in part for noise in NOISE)]

    def memory_mb(self):
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) / 1024

    def children(self):
        """Process ids of what it started and what still runs."""
        done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True)
        return [int(pid) for pid in done.stdout.split()]

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A data folder: two noisy lungs, and what cannot be opened."""
    import LeFusionLib as lf

    folder = tmp_path_factory.mktemp("data")
    for seed, name in ((1, "scan.nrrd"), (2, "other.nii.gz")):
        array = np.random.default_rng(seed).normal(-850, 30, (24, 32, 36)).astype(np.int16)
        array[:, :3] = -1000  # air outside the body, in front
        lf.write_volume(lf.Volume(array, MATRIX), folder / name)
    return folder


@pytest.fixture(scope="session")
def serve(needed, data, tiny_folder, tmp_path_factory):
    """Starts servers with a tiny model; `serve(*options)` is a context manager."""

    @contextmanager
    def start(*options, model=None, **settings):
        output = tmp_path_factory.mktemp("out")
        words = ["--data", data, "-o", output, "--model", model or tiny_folder, "--mask-model", "handcrafted"]
        server = Server([*words, "--device", "cpu", *options], folder=output.parent, **settings)
        server.output = output
        try:
            yield server
            assert server.tracebacks() == []
        finally:
            server.stop()

    return start


@pytest.fixture(scope="session")
def server(serve):
    """The one that most tests share; its jobs take a moment."""
    with serve("--sampler", "ddim", "--steps", "3") as started:
        yield started


@pytest.fixture(scope="session")
def slow_server(serve):
    """Its jobs take long, to be cancelled."""
    with serve(*SLOW) as started:
        yield started


@pytest.fixture
def desk(chromium, monkeypatch):
    """Opens pages as a user does; any error of a page's script fails the test."""
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from desk import Desk

    opened, problems = [], []

    def sit_down(server, scan="scan.nrrd", size=(1366, 768), context=None):
        context = context or chromium.new_context(viewport={"width": size[0], "height": size[1]}, accept_downloads=True)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        opened.append(context)
        return Desk(page, server, scan)

    yield sit_down
    for context in opened:
        context.close()
    assert problems == []
