"""What a user does in the panel: choose, place, set, apply, cancel, look, take back."""

import numpy as np
import pytest
from hands import click, pick, placed


def cells(panel, row):
    return [panel.ui.lesionTable.item(row, column).text() for column in range(5)]


def test_without_a_volume_apply_is_off_and_says_so(panel):
    assert not panel.ui.applyButton.enabled
    assert "No volume is chosen" in panel.ui.reasonLabel.text == panel.ui.applyButton.toolTip


def test_each_step_leads_to_the_next_until_apply_is_on(desk, panel, volume):
    panel.ui.volumeSelector.setCurrentNode(volume)
    assert panel.parameters.volume is volume
    assert "Add lesion" in panel.ui.reasonLabel.text
    click(panel.ui.addLesionButton)
    assert cells(panel, 0)[0] == "click into a view" and "has 0 points" in panel.ui.reasonLabel.text
    interaction = desk.scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    assert interaction.GetCurrentInteractionMode() == interaction.Place
    panel.lesions.selected().AddControlPointWorld(20.0, 20.0, 20.0)
    assert cells(panel, 0) == ["20.0, 20.0, 20.0", "10", "nodule", "random", "1"]
    assert panel.ui.applyButton.enabled and not panel.ui.reasonLabel.isVisible()


@pytest.mark.parametrize("point, words", [((500, 0, 0), "outside the volume"), ((20, 20, 20), "largest possible")])
def test_a_lesion_that_does_not_fit_says_why(panel, volume, point, words):
    panel.ui.volumeSelector.setCurrentNode(volume)
    placed(panel, point)
    panel.ui.diameterSlider.value = 60.0
    assert words in panel.ui.reasonLabel.text and not panel.ui.applyButton.enabled


def test_the_selected_lesions_settings_are_kept_on_its_node(panel, volume):
    from LeFusionLib.scene import SphereSettings, read_settings

    panel.ui.volumeSelector.setCurrentNode(volume)
    placed(panel, (20, 20, 20), (40, 30, 20))
    panel.ui.diameterSlider.value = 7.5
    pick(panel.ui.textureCombo, "solid")
    panel.ui.seedSpinBox.value = 77
    assert read_settings(panel.lesions.nodes[1]) == SphereSettings(7.5, "nodule", "solid", 77)
    assert read_settings(panel.lesions.nodes[0]) == SphereSettings(10, "nodule", "random", 1)
    assert cells(panel, 1)[1:] == ["7.5", "nodule", "solid", "77"]
    panel.ui.lesionTable.selectRow(0)
    assert panel.ui.diameterSlider.value == 10 and panel.ui.textureCombo.currentText == "random"
    click(panel.ui.newSeedButton)
    assert read_settings(panel.lesions.nodes[0]).seed == 2


def test_the_histogram_is_drawn_and_its_range_told(panel, volume):
    panel.ui.volumeSelector.setCurrentNode(volume)
    placed(panel, (20, 20, 20))
    pick(panel.ui.textureCombo, "ground-glass")
    glass = panel.ui.rangeLabel.text
    assert not panel.ui.histogramLabel.pixmap.isNull() and "HU" in glass
    pick(panel.ui.textureCombo, "solid")
    assert panel.ui.rangeLabel.text != glass
    pick(panel.ui.textureCombo, "random")
    assert "drawn anew" in panel.ui.rangeLabel.text


def test_a_click_jumps_the_slices_there_and_the_cross_removes_the_lesion(desk, panel, volume):
    panel.ui.volumeSelector.setCurrentNode(volume)
    placed(panel, (20, 20, 20), (40, 30, 20))
    import slicer

    view = slicer.vtkMRMLSliceNode()
    view.SetSingletonTag("Jump")
    view.SetLayoutName("Jump")
    desk.scene.AddNode(view)
    panel.ui.lesionTable.cellClicked.emit(1, 0)
    at = view.GetSliceToRAS()
    assert [at.GetElement(n, 3) for n in range(3)] == [40, 30, 20]
    panel.ui.lesionTable.cellClicked.emit(0, 5)
    assert panel.ui.lesionTable.rowCount == 1 and cells(panel, 0)[0] == "40.0, 30.0, 20.0"
    assert len(panel.parameters.spheres) == 1


def test_a_dragged_sphere_moves_its_row_and_its_ball(panel, volume):
    panel.ui.volumeSelector.setCurrentNode(volume)
    placed(panel, (20, 20, 20))
    sphere = panel.lesions.selected()
    sphere.SetNthControlPointPositionWorld(0, 30.0, 22.0, 18.0)
    assert cells(panel, 0)[0] == "30.0, 22.0, 18.0"
    assert panel.sphereModels.model_of(sphere).GetMesh().GetBounds()[:2] == pytest.approx((25, 35), abs=0.01)


def test_a_scene_saved_with_three_lesions_comes_back_ready(desk, panel, volume, tmp_path):
    panel.ui.volumeSelector.setCurrentNode(volume)
    placed(panel, (20, 20, 20), (40, 30, 20), (30, 12, 12))
    pick(panel.ui.textureCombo, "part-solid")
    pick(panel.ui.samplerCombo, "ddpm")
    panel.ui.stepsSpinBox.value = 7
    pick(panel.ui.deviceCombo, "cpu")
    assert desk.scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    desk.scene.Clear(False)
    desk.settle()
    assert panel.ui.lesionTable.rowCount == 0 and panel.ui.samplerCombo.currentIndex == 0
    assert desk.scene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    desk.settle()
    assert [cells(panel, row)[0] for row in range(3)] == ["20.0, 20.0, 20.0", "40.0, 30.0, 20.0", "30.0, 12.0, 12.0"]
    assert cells(panel, 2)[3] == "part-solid"
    assert (panel.ui.samplerCombo.currentText, panel.ui.stepsSpinBox.value) == ("ddpm", 7)
    assert panel.ui.deviceCombo.currentText == "cpu"
    assert panel.ui.volumeSelector.currentNode().GetName() == "CT" and panel.ui.applyButton.enabled
    panel.ui.lesionTable.selectRow(0)
    panel.ui.diameterSlider.value = 6.0
    assert cells(panel, 0)[1] == "6"


def test_the_boundary_is_a_segment_or_the_lungs(panel, volume, desk):
    import slicer

    node = desk.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    node.GetSegmentation().AddEmptySegment("liver", "Liver")
    node.GetSegmentation().AddEmptySegment("lung", "Lung")
    panel.ui.boundarySelector.setCurrentNode(node)
    assert panel.parameters.boundary == (node, "liver")
    pick(panel.ui.segmentCombo, "Lung")
    assert panel.parameters.boundary == (node, "lung") and panel.ui.segmentCombo.currentText == "Lung"
    panel.ui.lungCheckBox.checked = True
    assert panel.parameters.built_in_boundary == "lung" and not panel.ui.segmentCombo.enabled
    panel.ui.lungCheckBox.checked = False
    panel.ui.boundarySelector.setCurrentNode(None)
    assert panel.parameters.boundary is None
    assert slicer.mrmlScene.GetNodeByID(node.GetID()) is node


def test_a_model_folder_that_is_none_is_told_in_the_set_up_list(desk, panel, volume, tmp_path):
    desk.answers["folder"] = tmp_path
    panel.ui.setUpSection.collapsed = False
    desk.settle()
    click(panel.ui.weightsFixButton)
    assert "holds no model" in panel.ui.weightsState.text and not panel.ui.applyButton.enabled
    assert "holds no model" in panel.ui.reasonLabel.text
    pick(panel.ui.modelCombo, "lung-nodule")
    assert panel.parameters.model == "lung-nodule" and panel.settings.model.card() is not None


@pytest.mark.parametrize("kind", ["rgb", "empty", "label map"])
def test_what_is_no_scan_is_refused_in_words(desk, panel, kind):
    import slicer

    classes = {"rgb": "vtkMRMLVectorVolumeNode", "label map": "vtkMRMLLabelMapVolumeNode"}
    if kind == "empty":
        node = desk.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    else:
        voxels = np.zeros((4, 5, 6, 3) if kind == "rgb" else (4, 5, 6), np.uint8)
        node = slicer.util.addVolumeFromArray(voxels, name=kind, nodeClassName=classes[kind])
    panel.parameters.volume = node
    assert not panel.ui.applyButton.enabled and "hoose" in panel.ui.reasonLabel.text


def test_shortcuts_live_only_while_the_panel_is_open(desk, panel):
    keys = {shortcut.key.toString(): shortcut for shortcut in panel.shortcuts}
    assert set(keys) == {"Ctrl+Shift+L", "Ctrl+Shift+Return", "Ctrl+Shift+B"}
    assert all(shortcut.enabled for shortcut in panel.shortcuts)
    panel.exit()
    assert not any(shortcut.enabled for shortcut in panel.shortcuts)
    panel.enter()
    keys["Ctrl+Shift+L"].activated.emit()
    assert panel.ui.lesionTable.rowCount == 1


def test_leaving_the_panel_leaves_place_mode(desk, panel):
    click(panel.ui.addLesionButton)
    panel.exit()
    interaction = desk.scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform


def test_opening_and_closing_the_panel_leaves_no_ball_and_no_process(desk, volume):
    before = desk.scene.GetNumberOfNodes()
    for _ in range(3):
        desk.close_panel(desk.open_panel())
    left = desk.scene.GetNumberOfNodes() - before
    assert left <= 1  # the parameter node
    assert desk.scene.GetNumberOfNodesByClass("vtkMRMLModelNode") == 0
