"""One request through the console, the panel and the command line: the same bytes in every voxel and segment."""

import numpy as np
import pytest
from hands import click, pick

CENTERS, DIAMETERS, SEED = [(-24.0, -20.0, 18.0), (-42.0, -30.0, 30.0)], [9.0, 7.5], 7
MATRIX = np.array([[-1.8, 0.2, 0, 0], [-0.2, -1.8, 0, 0], [0, 0, 2.0, 0], [0, 0, 0, 1]])  # turned a little


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A noisy lung as a file; and an organ that cuts the first sphere, as a segmentation file."""
    pytest.importorskip("torch", reason="torch is not installed; the worker needs it (`make test-scene`)")
    import LeFusionLib as lf
    from LeFusionLib.io import write_segmentation

    folder = tmp_path_factory.mktemp("scan")
    array = np.random.default_rng(1).normal(-850, 30, (24, 32, 36)).astype(np.int16)
    organ = np.zeros(array.shape, np.uint8)
    organ[:, :, 11:] = 1
    lf.write_volume(lf.Volume(array, MATRIX), folder / "scan.nrrd")
    row = {"name": "organ", "label": 1, "color": (1, 0, 0), "terminology": ""}
    write_segmentation(organ, MATRIX, folder / "organ.seg.nrrd", [row])
    return folder, array, organ


@pytest.fixture(scope="module")
def tiny(tiny_folder):
    return str(tiny_folder)


def command_line(folder, model, out, boundary):
    import LeFusionLib as lf
    from LeFusionLib.cli import main

    words = ["synthesize", folder / "scan.nrrd", "--texture", "solid", "--seed", SEED, "--model", model, "-o", out]
    words += ["--mask-model", "handcrafted", "--device", "cpu", "--quiet"]
    for center, diameter in zip(CENTERS, DIAMETERS, strict=True):
        words += ["--center", *center, "--diameter", diameter]
    words += ["--boundary", folder / "organ.seg.nrrd"] if boundary else []
    assert main([str(word) for word in words]) == 0
    labels, _, _ = lf.read_labels(out / "scan.seg.nrrd")
    return lf.read_volume(out / "scan.nrrd").array, labels > 0


def of_nodes(volume_node, segmentation_node):
    import slicer

    union = np.zeros(slicer.util.arrayFromVolume(volume_node).shape, bool)
    for segment in segmentation_node.GetSegmentation().GetSegmentIDs():
        union |= slicer.util.arrayFromSegmentBinaryLabelmap(segmentation_node, segment, volume_node) > 0
    return np.array(slicer.util.arrayFromVolume(volume_node)), union


@pytest.mark.parametrize("bounded", [False, True], ids=["free", "in a boundary"])
def test_console_panel_and_command_line_give_the_same_bytes(desk, panel, scan, tiny, tmp_path, bounded):
    import slicer

    from LeFusion import LeFusionLogic
    from LeFusionLib import LesionMask, SamplerSpec
    from LeFusionLib.scene.segmentations import lesion_segmentation_node

    folder, array, organ = scan
    node = slicer.util.addVolumeFromArray(array.copy(), ijkToRAS=MATRIX, name="scan")
    boundary = None
    if bounded:
        mask = LesionMask(organ, MATRIX, ("organ",))
        boundary = (lesion_segmentation_node(desk.host, node, [mask], "organs"), "organ_1")

    heard = []
    logic = LeFusionLogic()
    spheres = [
        {"centerRas": center, "diameterMm": diameter, "texture": "solid"}
        for center, diameter in zip(CENTERS, DIAMETERS, strict=True)
    ]
    result = logic.synthesize(
        node, spheres, tiny, SEED, boundary, "handcrafted", SamplerSpec(), "cpu", lambda *said: heard.append(said)
    )
    logic.close()
    console = of_nodes(result.volumeNode, result.segmentationNode)
    assert heard and result.report["background"]["changed_voxels_outside_mask"] == 0

    panel.ui.volumeSelector.setCurrentNode(node)
    panel.parameters.model = tiny
    pick(panel.ui.maskModelCombo, "handcrafted")
    pick(panel.ui.deviceCombo, "cpu")
    if bounded:
        panel.ui.boundarySelector.setCurrentNode(boundary[0])
    for center, diameter in zip(CENTERS, DIAMETERS, strict=True):
        click(panel.ui.addLesionButton)
        panel.lesions.selected().AddControlPointWorld(*center)
        panel.ui.diameterSlider.value = diameter
        panel.ui.seedSpinBox.value = SEED
        pick(panel.ui.textureCombo, "solid")
    click(panel.ui.applyButton)
    desk.wait_until(lambda: panel.work.handle is None)
    made = panel.parameters.results[-1]
    in_panel = of_nodes(made, made.GetNodeReference("LeFusion.Lesions"))

    in_files = command_line(folder, tiny, tmp_path / "out", bounded)
    for voxels, segments in (in_panel, in_files):
        assert voxels.dtype == array.dtype and voxels.tobytes() == console[0].tobytes()
        assert (segments == console[1]).all() and segments.any()
    assert not bounded or not console[1][organ == 0].any()


def test_the_console_refuses_in_words_and_leaves_the_scene(desk, scan):
    import slicer

    from LeFusion import LeFusionLogic
    from LeFusionLib import LeFusionError

    node = slicer.util.addVolumeFromArray(scan[1].copy(), ijkToRAS=MATRIX, name="scan")
    before = desk.scene.GetNumberOfNodes()
    for volume, spheres, words in [
        (None, [{"centerRas": (0, 0, 0), "diameterMm": 5}], "No volume"),
        (node, [], "no lesion"),
        (node, [{"centerRas": (500, 0, 0), "diameterMm": 5}], "outside the volume"),
        (node, [{"centreRas": (0, 0, 0), "diameterMm": 5}], "centerRas"),
    ]:
        with pytest.raises(LeFusionError, match=words):
            LeFusionLogic().synthesize(volume, spheres)
    assert desk.scene.GetNumberOfNodes() == before
