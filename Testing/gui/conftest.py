"""The panel in the test host: real LeFusion.py, .ui and MRML, clicked; slicer_host.py says what is not real."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))


@pytest.fixture(scope="session")
def slicer_host(tmp_path_factory):
    for package in ("slicer", "PySide6"):
        pytest.importorskip(package, reason=f"{package} is not installed; `make test-scene` makes it an environment")
    from slicer_host import SlicerHost

    return SlicerHost(tmp_path_factory.mktemp("slicer"))


@pytest.fixture
def desk(slicer_host, monkeypatch):
    """An empty scene and, in the end, no exception in any slot or observer that the test did not expect."""
    import importlib.util

    import pythonqt

    pythonqt.problems.clear()
    slicer_host.scene.Clear(False)
    slicer_host.in_the_hierarchy()
    slicer_host.shown.clear()
    slicer_host.answers.clear()
    slicer_host.qt.QSettings().clear()
    found = importlib.util.find_spec
    monkeypatch.setattr(  # where torch is missing, the panel is tested as if it were there
        importlib.util,
        "find_spec",
        lambda name, *a: found("json") if name in ("torch", "safetensors", "PyTorchUtils") else found(name, *a),
    )
    yield slicer_host
    assert not pythonqt.problems, pythonqt.problems[0]


@pytest.fixture
def panel(desk):
    import pythonqt

    widget = desk.open_panel()
    yield widget
    assert pythonqt.stray_attributes(widget.parent) == []
    desk.close_panel(widget)


@pytest.fixture
def volume(desk):
    """About 56 x 48 x 40 mm of noisy lung, from the world's origin on."""
    from hands import add_volume

    return add_volume()
