"""The browser app as its users have it: a server process of its own, a real browser, mouse and keyboard.

Needs trame-slicer and Playwright's Python package (`make test-app` makes an environment with both) and a Chromium on
the machine (Debian: apt install chromium libegl1 libgl1-mesa-dri fonts-dejavu-core).
"""

import importlib.util
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MATRIX = np.array([[-1.8, 0.2, 0, 30], [-0.2, -1.8, 0, 30], [0, 0, 2.0, -20], [0, 0, 0, 1]])  # turned a little


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

    from desk import Server

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
    from desk import SLOW

    with serve(*SLOW) as started:
        yield started


@pytest.fixture
def desk(chromium):
    """Opens pages as a user does; any error of a page's script fails the test."""
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
    # "Object": what trame's own client throws for calls that were open when its socket closed.
    assert [problem for problem in problems if problem != "Object"] == []
