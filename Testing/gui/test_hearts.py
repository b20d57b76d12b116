"""A model of two classes in the panel: channels, textures, boundary, licence, and scans of another kind."""

import json

import numpy as np
import pytest
from hands import click, pick, placed

CLASSES = ("infarct", "no_reflow")
BINS = {"dark": [1.0] + [0.0] * 15, "bright": [0.0] * 15 + [1.0]}


def card(spec, textures):
    """A model's card as `model.json` holds it; no weights are needed to look at it."""
    from LeFusionLib.models.card import ModelCard
    from LeFusionLib.models.sampler_spec import SamplerSpec
    from LeFusionLib.texture import TextureHistogram, TexturePresets

    presets = {
        name: TexturePresets({preset: TextureHistogram(tuple(row)) for preset, row in BINS.items()})
        for name in textures
    }
    return ModelCard(spec, SamplerSpec("ddim", 2, 1, 1, 1.0), presets, "for research only", "hearts").to_dict()


@pytest.fixture
def hearts(tmp_path, monkeypatch):
    """An installation with a heart model and the one that draws for it."""
    from LeFusionLib.models import card as cards
    from LeFusionLib.models.mask_spec import MaskSpec
    from LeFusionLib.models.spec import ModelSpec

    tissue = ModelSpec(
        "heart", CLASSES, ((6, 40, 40),), None, {"kind": "range"}, 8, modality="MR", mask_model="heart-mask"
    )
    mask = MaskSpec(boundary_channel=True, organ="the heart's muscle", nested=True, optional=("no_reflow",))
    shapes = ModelSpec("heart-mask", CLASSES, ((10, 40, 40),), None, {}, 8, kind="mask", mask=mask)
    for spec, textures in ((tissue, CLASSES), (shapes, ())):
        (tmp_path / spec.name).mkdir()
        (tmp_path / spec.name / "model.json").write_text(json.dumps(card(spec, textures)))
    monkeypatch.setattr(cards, "BUNDLED", tmp_path)
    return tmp_path


@pytest.fixture
def mri(desk):
    """A short-axis stack of five thick slices, without a voxel as dark as air."""
    import slicer

    voxels = np.random.default_rng(0).integers(50, 250, (5, 40, 40)).astype(np.int16)
    return slicer.util.addVolumeFromArray(voxels, ijkToRAS=np.diag([1.4, 1.4, 10.0, 1.0]), name="LGE")


@pytest.fixture
def heart_panel(hearts, desk, mri):
    """The panel with the heart model, the stack and one lesion in its middle."""
    widget = desk.open_panel()
    widget.ui.volumeSelector.setCurrentNode(mri)
    widget.parameters.model = "heart"
    placed(widget, (28, 28, 25))
    widget.ui.diameterSlider.value = 40.0
    yield widget
    desk.close_panel(widget)


def box(panel, name):
    return panel.lesions.channels.boxes[name]


def test_channels_are_grey_where_the_model_lacks_them(panel, volume):
    panel.ui.volumeSelector.setCurrentNode(volume)
    placed(panel, (20, 20, 20))
    assert box(panel, "nodule").enabled and box(panel, "nodule").checked
    for name in CLASSES:
        assert box(panel, name).isVisible() and not box(panel, name).enabled and not box(panel, name).checked
    assert "Infarct, Heart (SCT 55641003)" in box(panel, "infarct").toolTip


def test_both_channels_are_made_together_with_a_texture_and_a_histogram_each(heart_panel):
    from LeFusionLib.scene import read_settings, request_of

    panel = heart_panel
    assert box(panel, "infarct").checked and not box(panel, "no_reflow").checked and not box(panel, "nodule").enabled
    click(box(panel, "no_reflow"))
    first, second = panel.lesions.channels.rows
    assert first.label.text == "Texture of infarct:" and second.label.text == "Texture of no-reflow:"
    pick(first.combo, "bright")
    pick(second.combo, "dark")
    assert not first.histogram.pixmap.isNull() and not second.histogram.pixmap.isNull()
    assert "scanner units" in first.text.text and first.text.text != second.text.text
    settings = read_settings(panel.lesions.selected())
    assert settings.classes == CLASSES and settings.texture == {"infarct": "bright", "no_reflow": "dark"}
    lesion = request_of(panel.parameters).lesions[0]
    assert lesion.lesion_class == CLASSES and lesion.texture == {"infarct": "bright", "no_reflow": "dark"}
    assert panel.ui.lesionTable.item(0, 2).text() == "infarct + no_reflow"
    assert panel.ui.lesionTable.item(0, 3).text() == "bright + dark"


def test_a_channel_switched_off_is_off_and_the_last_one_stays(heart_panel):
    from LeFusionLib.scene import read_settings

    panel = heart_panel
    click(box(panel, "no_reflow"))
    assert not box(panel, "infarct").enabled and "always drawn" in box(panel, "infarct").toolTip
    click(box(panel, "no_reflow"))
    assert read_settings(panel.lesions.selected()).classes == ("infarct",)
    assert not panel.lesions.channels.rows[1].combo.isVisible()
    panel.parameters.mask_model = "handcrafted"  # which leaves out what it likes
    click(box(panel, "no_reflow"))
    click(box(panel, "infarct"))
    assert read_settings(panel.lesions.selected()).classes == ("no_reflow",)
    click(box(panel, "no_reflow"))  # none would be left
    assert read_settings(panel.lesions.selected()).classes == ("no_reflow",) and box(panel, "no_reflow").checked


def test_without_the_muscle_the_panel_says_how_to_draw_it_or_draws_without_when_told(heart_panel, desk):
    panel = heart_panel
    assert "the heart's muscle" in panel.ui.reasonLabel.text and "Segment Editor" in panel.ui.reasonLabel.text
    assert not panel.ui.applyButton.enabled
    panel.ui.anywhereCheckBox.checked = True
    assert panel.ui.applyButton.enabled, panel.ui.reasonLabel.text
    assert panel.parameters.built_in_boundary == "none" and not panel.ui.boundarySelector.enabled
    panel.ui.anywhereCheckBox.checked = False
    node = desk.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "heart")
    node.GetSegmentation().AddEmptySegment("muscle", "Muscle")
    panel.ui.boundarySelector.setCurrentNode(node)
    assert panel.ui.applyButton.enabled and panel.ui.anywhereCheckBox.isVisible()


def test_shapes_by_hand_are_of_one_class(heart_panel):
    panel = heart_panel
    panel.parameters.mask_model = "handcrafted"
    assert panel.ui.applyButton.enabled, panel.ui.reasonLabel.text
    click(box(panel, "no_reflow"))
    assert "Hand-crafted shapes are of one class" in panel.ui.reasonLabel.text


def test_the_licence_is_shown_and_other_scans_are_allowed_when_told(heart_panel):
    panel = heart_panel
    assert "for research only" in panel.ui.licenceLabel.text
    panel.ui.setUpSection.collapsed = False
    panel.setUpList.update()
    assert "for research only" in panel.ui.weightsState.text
    assert not panel.parameters.any_modality
    panel.ui.advancedSection.collapsed = False
    panel.ui.anyModalityCheckBox.checked = True
    panel.ui.anywhereCheckBox.checked = True
    assert panel.logic.prepare().request.any_modality


def test_a_lung_model_does_not_ask_for_a_muscle(panel, volume):
    panel.ui.volumeSelector.setCurrentNode(volume)
    placed(panel, (20, 20, 20))
    assert panel.ui.applyButton.enabled and not panel.ui.anywhereCheckBox.isVisible()


def test_a_sphere_that_needs_more_slices_than_there_are_is_told(heart_panel):
    panel = heart_panel
    panel.ui.anywhereCheckBox.checked = True
    panel.ui.diameterSlider.value = 120.0
    assert "spans 12 slices, and the volume has 5" in panel.ui.reasonLabel.text
