"""The panel at work: a real worker process with a tiny model of random weights; the ways in which work can end."""

import os
import signal
import time

import numpy as np
import pytest
from hands import add_volume, click, pick, placed

pytestmark = pytest.mark.usefixtures("torch_here")


@pytest.fixture(scope="session")
def torch_here():
    pytest.importorskip("torch", reason="torch is not installed; the worker needs it (`make test-scene`)")


@pytest.fixture
def ready(desk, panel, tiny_folder):
    """A panel with everything chosen, and the scan."""
    node = add_volume()
    panel.ui.volumeSelector.setCurrentNode(node)
    panel.parameters.model = str(tiny_folder)
    panel.parameters.mask_model = "handcrafted"
    placed(panel, (20, 20, 20))
    panel.ui.diameterSlider.value = 8.0
    pick(panel.ui.textureCombo, "solid")
    assert panel.ui.applyButton.enabled, panel.ui.reasonLabel.text
    return node


def nodes(scene):
    return {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}


def voxels(node):
    import slicer

    return np.array(slicer.util.arrayFromVolume(node))


def finish(desk, panel, seconds=60):
    desk.wait_until(lambda: panel.work.handle is None, seconds)


def slow(panel, steps=300):
    """A job that takes long, and is seen to run."""
    pick(panel.ui.samplerCombo, "ddpm")
    panel.ui.stepsSpinBox.value = steps


def start_and_see(desk, panel):
    click(panel.ui.applyButton)
    desk.wait_until(lambda: "left" in panel.ui.statusLabel.text)


def worker_pid(panel):
    return panel.work.runner.client._running[0]._popen.pid


def test_apply_makes_a_lesion_in_a_copy_and_shows_it(desk, panel, ready):
    before = voxels(ready)
    click(panel.ui.applyButton)
    assert not panel.ui.applyButton.enabled and panel.ui.cancelButton.enabled and panel.ui.progressBar.isVisible()
    finish(desk, panel)
    assert panel.ui.statusLabel.text == "Done: CT with lesion (synthetic)"
    result = panel.parameters.results[0]
    changed = voxels(result) != before
    assert changed.any() and (voxels(ready) == before).all()
    assert "changed outside the lesions: 0" in panel.ui.reportLabel.text and "(asked 8.0)" in panel.ui.reportLabel.text
    views = [desk.scene.GetNthNodeByClass(n, "vtkMRMLSliceCompositeNode") for n in range(3)]
    assert all(view.GetBackgroundVolumeID() == result.GetID() for view in views)
    assert panel.ui.applyButton.enabled and not panel.ui.progressBar.isVisible()


def test_a_result_blinks_is_compared_exported_and_taken_back(desk, panel, ready, tmp_path):
    start = nodes(desk.scene)
    click(panel.ui.applyButton)
    finish(desk, panel)
    result = panel.parameters.results[0]
    view = desk.scene.GetNthNodeByClass(0, "vtkMRMLSliceCompositeNode")
    panel.ui.blinkCheckBox.checked = True
    desk.wait_until(lambda: view.GetBackgroundVolumeID() == ready.GetID())
    panel.ui.blinkCheckBox.checked = False
    assert view.GetBackgroundVolumeID() == result.GetID()
    panel.ui.differenceCheckBox.checked = True
    difference = desk.scene.GetNodeByID(view.GetForegroundVolumeID())
    assert (voxels(difference) == voxels(result).astype(np.float32) - voxels(ready)).all()
    panel.ui.opacitySlider.value = 0.25
    assert result.GetNodeReference("LeFusion.Lesions").GetDisplayNode().GetOpacity() == 0.25
    desk.answers["folder"] = tmp_path
    click(panel.ui.exportButton)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".nrrd", ".nrrd"]
    click(panel.ui.exportButton)
    assert "exist" in panel.ui.statusLabel.text  # nothing is replaced
    click(panel.ui.undoButton)
    assert panel.parameters.results == [] and not panel.ui.resultSection.isVisible()
    assert view.GetBackgroundVolumeID() == ready.GetID() and view.GetForegroundVolumeID() is None
    assert nodes(desk.scene) - start == set()


def test_cancel_frees_the_panel_within_two_seconds_and_leaves_the_scene(desk, panel, ready):
    before = nodes(desk.scene)
    slow(panel)
    start_and_see(desk, panel)
    click(panel.ui.cancelButton)
    since = time.monotonic()
    finish(desk, panel)
    assert time.monotonic() - since < 2
    assert panel.ui.statusLabel.text == "Cancelled; nothing was made." and panel.ui.applyButton.enabled
    assert nodes(desk.scene) == before


@pytest.mark.parametrize("what", ["volume", "scene"])
def test_a_volume_deleted_or_a_scene_closed_in_mid_job_ends_it_in_words(desk, panel, ready, what):
    slow(panel)
    start_and_see(desk, panel)
    if what == "volume":
        desk.scene.RemoveNode(ready)
    else:
        desk.scene.Clear(False)
    finish(desk, panel)
    assert "nothing was made" in panel.ui.statusLabel.text
    assert ("removed" if what == "volume" else "closed") in panel.ui.statusLabel.text
    assert desk.scene.GetNodesByName("CT with lesion (synthetic)").GetNumberOfItems() == 0
    panel.ui.volumeSelector.setCurrentNode(add_volume("another"))
    assert "No volume" not in panel.ui.reasonLabel.text  # usable again


def test_a_killed_worker_is_told_and_the_next_job_works(desk, panel, ready):
    before = nodes(desk.scene)
    slow(panel)
    start_and_see(desk, panel)
    os.kill(worker_pid(panel), signal.SIGKILL)
    finish(desk, panel)
    assert "ended by the signal SIGKILL" in panel.ui.statusLabel.text and nodes(desk.scene) == before
    click(panel.ui.helpButton)
    assert desk.shown[-1][0] == "errorDisplay"
    panel.ui.samplerCombo.setCurrentIndex(0)
    panel.ui.samplerCombo.activated.emit(0)
    panel.ui.stepsSpinBox.value = 0
    click(panel.ui.applyButton)
    finish(desk, panel)
    assert len(panel.parameters.results) == 1


class Failing:
    """A worker's client whose job ends in one way."""

    def __init__(self, kind):
        self.kind, self.waiting, self.busy = kind, [], False

    def submit(self, job):
        from LeFusionLib.worker_client import JobHandle

        self.waiting.append(JobHandle(1, job))
        return self.waiting[-1]

    def poll(self, wait_s=0):
        from LeFusionLib.worker_client import _failed

        facts = {"kind": self.kind, "message": f"It was {self.kind}.", "detail": "trace"}
        return [_failed(self.waiting.pop(), facts)] if self.waiting else []

    def cancel(self, handle):
        pass

    def close(self):
        pass


@pytest.mark.parametrize(
    "kind, button",
    [
        ("missing_package", "Open the set-up list"),
        ("missing_weights", "Choose a model folder..."),
        ("out_of_memory", "Use the processor instead"),
        ("disk_full", "Open the folder of temporary files"),
        ("crash", "Show details"),
        ("mistake", ""),
    ],
)
def test_each_failure_has_its_words_and_the_button_that_helps(desk, panel, ready, kind, button):
    panel.work.runner.client = Failing(kind)
    desk.answers["folder"] = ""
    click(panel.ui.applyButton)
    finish(desk, panel)
    assert panel.ui.statusLabel.text == f"It was {kind}." and panel.ui.helpButton.text == button
    assert panel.ui.helpButton.isVisible() == bool(button) and panel.parameters.results == []
    if button:
        click(panel.ui.helpButton)
    if kind == "out_of_memory":
        assert panel.parameters.device == "cpu"
    if kind == "missing_package":
        assert not panel.ui.setUpSection.collapsed
    if kind == "disk_full":
        assert desk.shown[-1][0] == "url"


def test_weights_that_are_not_there_are_told_with_the_button_that_chooses_others(
    desk, panel, ready, tiny_folder, tmp_path
):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(tiny_folder, broken)
    (broken / "weights.safetensors").unlink()
    panel.parameters.model = str(broken)
    click(panel.ui.applyButton)
    finish(desk, panel)
    assert "weights of model" in panel.ui.statusLabel.text and "missing" in panel.ui.statusLabel.text
    desk.answers["folder"] = tiny_folder
    click(panel.ui.helpButton)
    assert panel.parameters.model == str(tiny_folder)
    click(panel.ui.applyButton)
    finish(desk, panel)
    assert len(panel.parameters.results) == 1


@pytest.mark.parametrize("parent", ["linear", "bent, then moved"])
def test_under_a_parent_transform_the_lesion_is_where_the_sphere_is_shown(desk, panel, ready, parent):
    import importlib.util
    from pathlib import Path

    path = Path(__file__).resolve().parents[1] / "scene" / "conftest.py"
    spec = importlib.util.spec_from_file_location("scene_conftest", path)
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    transform = bench.PARENTS[parent](desk.scene)
    ready.SetAndObserveTransformNodeID(transform.GetID())
    place = bench.Bench(desk.host).world_of_voxel(ready, (10, 12, 11))
    panel.lesions.selected().SetNthControlPointPositionWorld(0, *map(float, place))
    before = voxels(ready)
    click(panel.ui.applyButton)
    finish(desk, panel)
    result = panel.parameters.results[0]
    assert result.GetTransformNodeID() == transform.GetID()
    changed = np.argwhere(voxels(result) != before)
    far = [np.linalg.norm(bench.Bench(desk.host).world_of_voxel(result, kji) - place) for kji in changed]
    assert len(far) > 5 and max(far) <= 4 + 1e-6


def test_the_check_button_uses_each_device_once_and_remembers(desk, panel):
    panel.ui.setUpSection.collapsed = False
    desk.settle()
    click(panel.ui.gpuFixButton)
    desk.wait_until(lambda: "processor" in panel.ui.gpuState.text)
    assert "cpu: processor" in panel.ui.gpuState.text and panel.ui.gpuFixButton.enabled
    assert "cpu: processor" in desk.qt.QSettings().value("LeFusion/devices")


@pytest.mark.parametrize("jobs", [4, pytest.param(50, marks=pytest.mark.slow)])
def test_many_jobs_leave_no_node_process_or_file(desk, panel, ready, jobs):
    def rest():
        return len(nodes(desk.scene)), len(list(panel.work.runner.client._running[0].scratch.iterdir()))

    for number in range(jobs):
        click(panel.ui.applyButton)
        finish(desk, panel)
        assert len(panel.parameters.results) == 1, panel.ui.statusLabel.text
        click(panel.ui.undoButton)
        if number == 0:
            first, pid = rest(), worker_pid(panel)
    assert rest() == first and worker_pid(panel) == pid


def test_closing_the_panel_in_mid_job_ends_the_worker(desk, tiny_folder):
    widget = desk.open_panel()
    widget.ui.volumeSelector.setCurrentNode(add_volume())
    widget.parameters.model, widget.parameters.mask_model = str(tiny_folder), "handcrafted"
    placed(widget, (20, 20, 20))
    slow(widget)
    start_and_see(desk, widget)
    process = widget.work.runner.client._running[0]
    desk.close_panel(widget)
    assert process.exit_code() is not None and widget.work.handle is None


def sketched(desk, panel):
    desk.wait_until(lambda: "sketched in" in panel.ui.liveLabel.text, 60)


def test_live_shows_the_lesion_while_it_is_set_up_and_apply_goes_first(desk, panel, ready):
    view = desk.scene.GetNthNodeByClass(0, "vtkMRMLSliceCompositeNode")
    other = add_volume("PET")
    view.SetForegroundVolumeID(other.GetID())  # something of the user's own
    view.SetForegroundOpacity(0.3)
    start, before = nodes(desk.scene), voxels(ready)
    panel.ui.liveCheckBox.checked = True
    sketched(desk, panel)
    sketch = desk.scene.GetNodeByID(view.GetForegroundVolumeID())
    assert sketch is panel.live.node and view.GetForegroundOpacity() == 1.0
    assert (voxels(ready) == before).all() and (voxels(sketch) != before).any()  # this scan is smaller than a patch
    for change in (
        lambda: panel.lesions.selected().SetNthControlPointPositionWorld(0, 22.0, 20.0, 20.0),
        lambda: setattr(panel.ui.diameterSlider, "value", 9.0),
        lambda: click(panel.ui.newSeedButton),
    ):
        change()
        assert panel.live.node is None and view.GetForegroundVolumeID() == other.GetID()  # what is old goes
        sketched(desk, panel)
    click(panel.ui.applyButton)
    finish(desk, panel)
    assert panel.live.node is None and view.GetForegroundVolumeID() == other.GetID()  # what is made needs no sketch
    assert len(panel.parameters.results) == 1
    click(panel.ui.undoButton)
    sketched(desk, panel)
    panel.ui.liveCheckBox.checked = False
    assert view.GetForegroundVolumeID() == other.GetID() and view.GetForegroundOpacity() == 0.3
    assert nodes(desk.scene) == start


def test_live_ends_with_the_scene_and_with_the_panel(desk, panel, ready):
    panel.ui.liveCheckBox.checked = True
    sketched(desk, panel)
    click(panel.ui.newSeedButton)
    desk.wait_until(lambda: panel.live.handle is not None)
    desk.scene.Clear(False)
    desk.wait_until(lambda: panel.live.handle is None)
    assert panel.live.node is None and panel.ui.liveLabel.text == ""


def test_live_says_why_there_is_no_sketch(desk, panel, ready):
    panel.ui.liveCheckBox.checked = True
    sketched(desk, panel)
    panel.parameters.mask_model = "nothing-such"
    click(panel.ui.newSeedButton)
    desk.wait_until(lambda: "nothing-such" in panel.ui.liveLabel.text)
    assert panel.live.node is None
