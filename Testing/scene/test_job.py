"""A scene's request, copied out of the scene and put back; the result compared with its scan and written to files."""

import json

import numpy as np
import pytest

from LeFusionLib import LeFusionError, LesionMask
from LeFusionLib.models.mask_spec import MaskSpec

CENTERS = [(3, 6, 5), (6, 6, 9)]  # voxels (k, j, i)


def settings(diameter_mm, seed):
    from LeFusionLib.scene import SphereSettings

    return SphereSettings(diameter_mm, "nodule", "solid", seed)


@pytest.fixture
def asked(bench):
    """Parameters with two spheres at `CENTERS` of a scan."""
    from LeFusionLib.scene import Parameters, add_sphere

    def make(scan):
        parameters = Parameters(bench.host)
        parameters.volume = scan
        parameters.spheres = [
            add_sphere(bench.host, settings(6.0 + n, n), bench.world_of_voxel(scan, kji))
            for n, kji in enumerate(CENTERS)
        ]
        return parameters

    return make


def result_of(job):
    """As a worker answers: the voxel at each centre becomes 1, 2, ..."""
    from LeFusionLib import SynthesisResult
    from LeFusionLib.synthesis.result import numbered, together

    masks = []
    for kji in CENTERS:
        array = np.zeros(job.volume.shape, bool)
        array[kji] = True
        masks.append(LesionMask(array, job.volume.ijk_to_ras))
    voxels = job.volume.array.copy()
    for number, mask in enumerate(masks, start=1):
        voxels[mask.union] = 1000 + number
    report = {"model": {"name": "toy"}, "seed": 7, "input": {"sha256": "0" * 64}, "lesions": []}
    return SynthesisResult(job.volume.with_array(voxels), together(masks), report, job.volume, numbered(masks))


@pytest.mark.parametrize("parent", ["none", "linear", "tilted gantry", "bent, then moved"])
def test_the_request_has_every_sphere_at_its_voxel_of_the_copied_volume(bench, asked, parent):
    from LeFusionLib.geometry import kji_from_ras
    from LeFusionLib.scene import prepare, request_of

    scan = bench.scan("oblique", parent)
    job = prepare(scan, request_of(asked(scan)))
    assert [(lesion.diameter_mm, lesion.texture, lesion.seed) for lesion in job.request.lesions] == [
        (6, "solid", 0),
        (7, "solid", 1),
    ]
    for lesion, kji in zip(job.request.lesions, CENTERS, strict=True):
        assert np.allclose(kji_from_ras(job.volume.ijk_to_ras, np.array(lesion.center_ras))[0], kji, atol=1e-3)
    assert (job.boundary is None) == (parent in ("none", "linear"))  # else the spheres of the world are told


def test_the_boundary_is_what_each_sphere_has_of_the_segment(bench, asked):
    from LeFusionLib.scene import control_sphere_of, prepare, request_of
    from LeFusionLib.scene.segmentations import lesion_segmentation_node

    scan = bench.scan()
    parameters = asked(scan)
    free = prepare(scan, request_of(parameters))
    half = np.zeros(free.volume.shape, bool)
    half[:, :, :9] = True
    organ = lesion_segmentation_node(bench.host, scan, [LesionMask(half, free.volume.ijk_to_ras)], "organ")
    job = prepare(scan, request_of(parameters), (organ, "nodule_1"))
    spheres = [control_sphere_of(sphere, scan).mask_on(job.volume) for sphere in parameters.spheres]
    assert (job.boundary == (spheres[0] | spheres[1]) & half).all() and job.boundary.any()


def test_the_answer_comes_back_as_two_lesions_beside_the_scan(bench, asked):
    from LeFusionLib.scene import prepare, request_of

    scan = bench.scan("left-handed", "linear")
    job = prepare(scan, request_of(asked(scan)))
    made = job.finish(bench.host, result_of(job))
    assert list(made.segmentation_node.GetSegmentation().GetSegmentIDs()) == ["nodule_1", "nodule_2"]


def test_a_scan_that_went_away_is_told_and_nothing_is_made(bench, asked):
    from LeFusionLib.scene import prepare, request_of

    scan = bench.scan()
    job = prepare(scan, request_of(asked(scan)))
    bench.scene.RemoveNode(scan)
    before = bench.nodes()
    with pytest.raises(LeFusionError, match="removed"):
        job.finish(bench.host, result_of(job))
    assert bench.nodes() == before


def test_what_cannot_be_filled_yet_is_told_before_any_work(bench, asked, tiny_spec):
    from LeFusionLib.scene import SphereSettings, add_sphere, check_lesions, write_settings

    scan, spec = bench.scan(), tiny_spec()
    with pytest.raises(LeFusionError, match="No volume"):
        check_lesions(None, [], spec)
    with pytest.raises(LeFusionError, match="no lesion yet"):
        check_lesions(scan, [], spec)
    with pytest.raises(LeFusionError, match="0 points"):
        check_lesions(scan, [add_sphere(bench.host, SphereSettings())], spec)
    spheres = asked(scan).spheres
    check_lesions(scan, spheres, spec)
    small = MaskSpec(diameter_range_mm=(3.0, 6.5))
    with pytest.raises(LeFusionError, match="3 to 6.5 mm; got 7 mm"):
        check_lesions(scan, spheres, spec, tiny_spec(kind="mask", mask=small))
    write_settings(spheres[0], SphereSettings(6.0, "infarct"))
    with pytest.raises(LeFusionError, match="infarct"):
        check_lesions(scan, spheres, spec)


def test_the_difference_is_result_minus_scan_and_goes_without_a_trace(bench, asked):
    from LeFusionLib.scene import difference_node, prepare, remove_difference, request_of

    scan = bench.scan("oblique", "linear")
    job = prepare(scan, request_of(asked(scan)))
    made = job.finish(bench.host, result_of(job)).volume_node
    before = bench.nodes()
    node = difference_node(bench.host, made)
    from vtk.util.numpy_support import vtk_to_numpy

    shown = vtk_to_numpy(node.GetImageData().GetPointData().GetScalars()).reshape(job.volume.shape)
    assert np.argwhere(shown).tolist() == [list(kji) for kji in CENTERS] and not node.GetSaveWithScene()
    assert (bench.world_of_voxel(node, (1, 2, 3)) == bench.world_of_voxel(scan, (1, 2, 3))).all()
    remove_difference(node)
    assert bench.nodes() == before


def test_export_writes_volume_segments_and_report_and_replaces_nothing(bench, asked, tmp_path):
    nrrd = pytest.importorskip("nrrd", reason="pynrrd is not installed")
    from LeFusionLib.scene import export_result, prepare, request_of

    scan = bench.scan()
    job = prepare(scan, request_of(asked(scan)))
    answer = result_of(job)
    made = job.finish(bench.host, answer).volume_node
    image, segments, report = export_result(made, tmp_path)
    assert (nrrd.read(str(image))[0].T == answer.volume.array).all()
    assert segments.name.endswith(".seg.nrrd") and json.loads(report.read_text()) == answer.report
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(LeFusionError, match="exist"):
        export_result(made, tmp_path)
    with pytest.raises(LeFusionError, match="no whole result"):
        export_result(scan, tmp_path)
    with pytest.raises(LeFusionError, match="could not be written into the folder gone"):
        export_result(made, tmp_path / "gone")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_export_that_fails_half_way_leaves_nothing(bench, asked, tmp_path, monkeypatch):
    import slicer

    from LeFusionLib.scene import export_result, prepare, request_of

    scan = bench.scan()
    job = prepare(scan, request_of(asked(scan)))
    made = job.finish(bench.host, result_of(job)).volume_node

    class Full(slicer.vtkMRMLSegmentationStorageNode):
        def WriteData(self, node):  # noqa: N802 (VTK's name)
            return 0

    monkeypatch.setattr(slicer, "vtkMRMLSegmentationStorageNode", Full)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(LeFusionError, match="could not be written"):
        export_result(made, out)
    assert list(out.iterdir()) == []
