"""The module class, what it registers after Slicer's start, its set-up list, and its own self-test, in the host."""

import sys
import types

import pytest
from hands import click


@pytest.fixture
def sample_data(monkeypatch):
    registered = []
    logic = types.SimpleNamespace(registerCustomSampleDataSource=lambda **row: registered.append(row))
    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=logic))
    return registered


def test_nothing_happens_before_start_up_is_completed_then_codes_and_sample_data_are_registered(desk, sample_data):
    import slicer

    parent = types.SimpleNamespace()
    desk.terminologies.loaded.clear()
    desk.module.LeFusion(parent)
    assert parent.categories == ["Image Synthesis"] and "not for diagnosis" in parent.helpText
    assert (desk.terminologies.loaded, sample_data) == ([], [])
    slicer.app.startupCompleted.emit()
    assert desk.terminologies.loaded[0].endswith("LeFusion.term.json")
    (node,) = sample_data[0]["customDownloader"](None)
    assert node.GetImageData().GetDimensions() == (200, 160, 64)


def test_the_modules_own_self_test_passes(desk, sample_data, monkeypatch):
    import slicer

    opened = []
    monkeypatch.setattr(slicer.util, "selectModule", lambda name: opened.append(desk.open_panel()), raising=False)
    monkeypatch.setattr(slicer.util, "getModuleWidget", lambda name: opened[-1], raising=False)
    desk.module.LeFusionTest().runTest()
    for widget in opened:
        desk.close_panel(widget)
    assert len(opened) == 1


def test_the_set_up_list_tells_what_is_missing_and_each_button_asks_first(desk, panel, monkeypatch):
    import importlib.util

    import slicer

    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None)
    panel.enter()
    desk.settle()
    assert not panel.ui.setUpSection.collapsed
    states = [getattr(panel.ui, f"{row}State").text for row in ("extension", "torch", "safetensors")]
    assert states == ["✗ not installed"] * 3
    assert "Missing: torch, safetensors" in panel.ui.reasonLabel.text

    desk.answers["confirm"] = False
    click(panel.ui.extensionFixButton)
    click(panel.ui.safetensorsFixButton)
    assert [kind for kind, _ in desk.shown] == ["confirm", "confirm"]  # asked, declined, nothing fetched
    click(panel.ui.torchFixButton)
    assert desk.shown[-1][0] == "errorDisplay" and "extension PyTorch" in desk.shown[-1][1]

    desk.answers["confirm"] = True
    asked = []
    manager = types.SimpleNamespace(installExtensionFromServer=lambda name: asked.append(name) or True)
    monkeypatch.setattr(slicer.app, "extensionsManagerModel", lambda: manager, raising=False)
    click(panel.ui.extensionFixButton)
    click(panel.ui.safetensorsFixButton)
    assert asked == ["PyTorch"] and ("pip", "safetensors") in desk.shown

    installed = []
    logic = types.SimpleNamespace(installTorch=lambda askConfirmation: installed.append(askConfirmation))
    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=lambda: logic))
    click(panel.ui.torchFixButton)
    assert installed == [True]
