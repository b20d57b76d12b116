"""Results are new nodes that overlay the scan exactly in the world; the user's nodes stay as they were."""

import json

import numpy as np
import pytest

from LeFusionLib import LeFusionError, LesionMask

PARENTS = ["none", "linear", "tilted gantry", "bent, then moved", "registered"]
NAME = 'CT; 3:1 50 % "Größe"'  # what XML and MRML set apart
REPORT = {"model": {"name": "toy"}, "seed": 7, "input": {"sha256": "0" * 64, "name": NAME}, "lesions": []}


def two_lesions(volume):
    """A nodule of 3 x 3 x 3 voxels, and an L of three."""
    first, second = np.zeros((2, *volume.shape), dtype=bool)
    first[2:5, 3:6, 4:7] = True
    second[7, 9:11, 12] = second[7, 10, 11] = True
    return [LesionMask(mask, volume.ijk_to_ras) for mask in (first, second)]


def painted(volume, lesions):
    array = volume.array.copy()
    for number, lesion in enumerate(lesions, start=1):
        array[lesion.union] = number
    return array


@pytest.fixture
def job(bench):
    """Runs one job on a scan: `job(scan)` gives its result in the scene."""
    from LeFusionLib.scene import add_result, volume_from_node

    def run(scan):
        volume = volume_from_node(scan)
        lesions = two_lesions(volume)
        return add_result(bench.host, scan, painted(volume, lesions), lesions, REPORT)

    return run


def segment_voxels(node, segment_id):
    """Voxels (k, j, i) and points of the segmentation's own frame, (N, 3) each, as Slicer gives them."""
    import slicer
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    image, matrix = slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
    assert node.GetBinaryLabelmapRepresentation(segment_id, image)
    image.GetImageToWorldMatrix(matrix)
    labels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    kji = np.argwhere(labels) + image.GetExtent()[4::-2]
    return kji, np.array([matrix.MultiplyPoint((*map(float, index[::-1]), 1.0))[:3] for index in kji])


@pytest.mark.parametrize("grid", ["oblique", "left-handed"])
@pytest.mark.parametrize("parent", PARENTS)
def test_volume_and_segments_overlay_the_scan_in_the_world(bench, job, grid, parent):
    scan = bench.scan(grid, parent)
    result = job(scan)
    for kji in [(0, 0, 0), (8, 11, 13), (3, 7, 5)]:
        assert (bench.world_of_voxel(result.volume_node, kji) == bench.world_of_voxel(scan, kji)).all()
    kji, points = segment_voxels(result.segmentation_node, "nodule_2")
    assert kji.tolist() == [[7, 9, 12], [7, 10, 11], [7, 10, 12]]
    for index, point in zip(kji, points, strict=True):
        there = bench.world_of(result.segmentation_node, point)
        assert np.allclose(there, bench.world_of_voxel(scan, index), atol=1e-9)


def test_the_result_has_the_new_voxels_the_scans_type_and_look_and_no_tie_to_its_dicom_series(bench, job):
    from LeFusionLib.scene import report_of, volume_from_node

    scan = bench.scan()
    scan.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    scan.SetAttribute("DICOM.MediaStorageFileLocation", "here")
    scan.SetAttribute("Mine", "kept")
    display = scan.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(1500, -600)
    node = job(scan).volume_node
    before, after = volume_from_node(scan).array, volume_from_node(node).array
    assert after.dtype == before.dtype
    assert (after[2:5, 3:6, 4:7] == 1).all() and (after != before).sum() <= 27 + 3
    assert set(node.GetAttributeNames()) == {"Mine", "LeFusion.Synthetic", "LeFusion.Report"}
    assert node.GetAttribute("LeFusion.Synthetic") == "1"
    assert report_of(node) == REPORT and report_of(scan) is None
    assert node.GetName() == "CT with lesion (synthetic)"
    assert (node.GetDisplayNode().GetWindow(), node.GetDisplayNode().GetLevel()) == (1500, -600)
    assert node.GetDisplayNode().GetColorNodeID() == display.GetColorNodeID()
    assert node.GetStorageNodeID() is None


def test_the_window_that_slicer_chose_for_the_scan_is_the_results_too(bench, job):
    scan = bench.scan()
    window = scan.GetDisplayNode().GetWindow()
    assert window > 0 and job(scan).volume_node.GetDisplayNode().GetWindow() == window


def test_segments_say_what_they_are_and_who_made_them(bench, job):
    import vtk

    segmentation = job(bench.scan()).segmentation_node.GetSegmentation()
    assert list(segmentation.GetSegmentIDs()) == ["nodule_1", "nodule_2"]
    segment = segmentation.GetSegment("nodule_2")

    def tag(name):
        value = vtk.mutable("")
        return str(value) if segment.GetTag(name, value) else None

    assert segment.GetName() == "nodule 2"
    assert segment.GetColor() == pytest.approx((0.90, 0.35, 0.25))
    assert tag("TerminologyEntry").split("~")[2:6:3] == ["SCT^27925004^Nodule", "SCT^39607008^Lung"]
    assert (tag("DICOM.SegmentAlgorithmType"), tag("DICOM.SegmentAlgorithmName")) == ("AUTOMATIC", "LeFusion")
    assert (tag("LeFusion.Synthetic"), tag("LeFusion.model"), tag("LeFusion.seed")) == ("1", "toy", "7")


def test_each_class_of_a_lesion_has_a_segment_of_its_own_and_empty_ones_have_none(bench):
    from LeFusionLib.scene import lesion_segmentation_node, volume_from_node

    scan = bench.scan()
    volume = volume_from_node(scan)
    both = np.zeros((2, *volume.shape), dtype=bool)
    both[0, 2:5, 3:6, 4:7], both[1, 3, 4, 5] = True, True
    both[0, 3, 4, 5] = False
    alone = np.stack([both[1], np.zeros_like(both[1])])
    names = ("infarct", "no_reflow")
    lesions = [LesionMask(array, volume.ijk_to_ras, names) for array in (both, alone)]
    segmentation = lesion_segmentation_node(bench.host, scan, lesions, "scar").GetSegmentation()
    assert list(segmentation.GetSegmentIDs()) == ["infarct_1", "no_reflow_1", "infarct_2"]
    assert segmentation.GetSegment("infarct_1").GetColor() != segmentation.GetSegment("no_reflow_1").GetColor()


def test_slicer_reads_our_terminology(bench):
    import slicer

    from LeFusionLib.terminology import FILE, terminology_entry

    logic = slicer.vtkSlicerTerminologiesModuleLogic()
    assert logic.LoadTerminologyFromFile(str(FILE)) == "Segmentation category and type - LeFusion"
    for class_name, meaning in (("nodule", "Nodule"), ("infarct", "Infarct"), ("no_reflow", "Lesion")):
        entry = slicer.vtkSlicerTerminologyEntry()
        assert logic.DeserializeTerminologyEntry(terminology_entry(class_name), entry)
        assert entry.GetTypeObject().GetCodeMeaning() == meaning


def test_results_stand_beside_the_scan_in_the_subject_hierarchy(bench, job):
    import slicer

    scan = bench.scan()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(bench.scene)
    study = hierarchy.CreateStudyItem(hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "P"), "S")
    hierarchy.CreateItem(study, scan)
    result = job(scan)
    for node in (result.volume_node, result.segmentation_node):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


def test_the_users_nodes_are_not_touched(bench, job):
    from LeFusionLib.scene import remove_result

    scan = bench.scan("oblique", "bent, then moved")
    scan.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    nodes = [scan, scan.GetDisplayNode(), scan.GetParentTransformNode(), bench.scan("left-handed")]
    scan.GetDisplayNode().GetWindow()
    before = bench.state(*nodes)
    result = job(scan)
    assert bench.state(*nodes) == before
    remove_result(result.volume_node)
    assert bench.state(*nodes) == before
    with pytest.raises(LeFusionError, match="was not made by LeFusion"):
        remove_result(scan)


def test_fifty_jobs_leave_no_node_behind(bench, job):
    from LeFusionLib.scene import remove_result

    scan = bench.scan("oblique", "linear")
    remove_result(job(scan).volume_node)  # the first one may make singletons
    before = bench.nodes()
    made = [job(scan) for _ in range(50)]
    assert len(bench.nodes()) == len(before) + 50 * 4  # volume, segmentation, and the display node of each
    for result in made:
        remove_result(result.volume_node)
    assert bench.nodes() == before


def test_a_result_of_a_result_keeps_its_own_segments_apart(bench, job):
    first = job(bench.scan())
    second = job(first.volume_node)
    assert first.volume_node.GetNodeReference("LeFusion.Lesions") is first.segmentation_node
    assert second.volume_node.GetNodeReference("LeFusion.Lesions") is second.segmentation_node


def test_what_cannot_be_shown_leaves_the_scene_as_it_was(bench):
    from LeFusionLib.scene import add_result, find_node, volume_from_node

    scan = bench.scan()
    volume = volume_from_node(scan)
    lesions = two_lesions(volume)
    elsewhere = [LesionMask(np.ones((2, 2, 2)), np.eye(4))]
    before = bench.nodes()
    with pytest.raises(LeFusionError, match="it was changed while the work ran"):
        add_result(bench.host, scan, volume.array[1:], lesions, REPORT)
    with pytest.raises(LeFusionError, match="it was changed while the work ran"):
        add_result(bench.host, scan, volume.array.astype(np.float32), lesions, REPORT)
    with pytest.raises(LeFusionError, match="Give a mask on the volume's grid"):
        add_result(bench.host, scan, volume.array, elsewhere, REPORT)
    with pytest.raises(LeFusionError, match="There is no lesion to show"):
        add_result(bench.host, scan, volume.array, [], REPORT)
    with pytest.raises(TypeError):
        add_result(bench.host, scan, volume.array, lesions, {"not JSON": object()})
    assert bench.nodes() == before
    node_id = scan.GetID()
    assert find_node(bench.scene, node_id, "volume") is scan
    bench.scene.Clear(False)
    with pytest.raises(LeFusionError, match="The volume was removed, or the scene closed"):
        find_node(bench.scene, node_id, "volume")


def test_the_file_that_slicer_writes_says_synthetic(bench, job, tmp_path):
    import slicer

    storage = slicer.vtkMRMLNRRDStorageNode()
    bench.scene.AddNode(storage)
    storage.SetFileName(str(tmp_path / "result.nrrd"))
    assert storage.WriteData(job(bench.scan()).volume_node)
    assert b"LeFusion.Synthetic:=1" in (tmp_path / "result.nrrd").read_bytes()[:4000]


def test_a_result_survives_a_saved_scene(bench, job, tmp_path):
    from LeFusionLib.scene import Host, report_of, volume_from_node

    result = job(bench.scan("oblique", "tilted gantry"))  # Slicer itself opens left-handed volumes with slices reversed
    expected = volume_from_node(result.volume_node)
    path = str(tmp_path / "scene.mrb")
    assert bench.scene.WriteToMRB(path)
    (tmp_path / "cache").mkdir()
    other = Host.headless(str(tmp_path / "cache"))
    assert other.scene.ReadFromMRB(path)
    node = other.scene.GetFirstNodeByName("CT with lesion (synthetic)")
    again = volume_from_node(node)
    assert (again.array == expected.array).all() and np.allclose(again.ijk_to_ras, expected.ijk_to_ras, atol=1e-4)
    assert report_of(node) == json.loads(json.dumps(REPORT))
    segmentation = node.GetNodeReference("LeFusion.Lesions")
    assert segment_voxels(segmentation, "nodule_2")[0].tolist() == [[7, 9, 12], [7, 10, 11], [7, 10, 12]]
    assert segmentation.GetTransformNodeID() == node.GetTransformNodeID() is not None
