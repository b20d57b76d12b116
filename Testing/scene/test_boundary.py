"""A segment as boundary: the voxels of the volume in it, wherever segment and volume lie."""

import numpy as np
import pytest

from LeFusionLib import LeFusionError, LesionMask


@pytest.fixture
def segment(bench):
    """A segmentation node with one segment of a mask (D, H, W) on a scan's grid."""
    from LeFusionLib.scene import lesion_segmentation_node
    from LeFusionLib.scene.volumes import frame_matrix

    def make(scan, mask):
        lesion = LesionMask(mask, frame_matrix(scan), ("organ",))
        return lesion_segmentation_node(bench.host, scan, [lesion], "organs")

    return make


def noise(shape=(9, 12, 14)):
    return np.random.default_rng(3).random(shape) < 0.3


@pytest.mark.parametrize("parent", ["none", "linear", "bent, then moved", "registered"])
def test_on_the_same_grid_under_the_same_transform_every_voxel_is_the_segments(bench, segment, parent):
    from LeFusionLib.scene import boundary_on

    scan = bench.scan("oblique", parent)
    node = segment(scan, noise())
    assert (boundary_on(scan, node, "organ_1") == noise()).all()
    assert (boundary_on(scan, node, "organ 1") == noise()).all()  # by its name


@pytest.mark.parametrize("parents", [("linear", "none"), ("none", "registered"), ("bent, then moved", "linear")])
def test_under_another_transform_the_nearest_voxel_in_the_world_counts(bench, segment, parents):
    from LeFusionLib.scene import boundary_on

    other = bench.volume(np.zeros((20, 20, 20), np.int16), np.array(
        [[-7.0, 0, 0, 70], [0, 7, 0, -60], [0, 0, 7, -60], [0, 0, 0, 1]]), "coarse")  # fmt: skip
    mask = noise((20, 20, 20))
    node = segment(bench.place(other, parents[1]), mask)
    scan = bench.scan("left-handed", parents[0])
    found = boundary_on(scan, node, "organ_1")
    # From the other side: the coarse voxel whose centre, by VTK, is nearest to the scan's voxel in the coarse frame.
    import vtk

    back = vtk.vtkGeneralTransform()
    if node.GetParentTransformNode() is not None:
        node.GetParentTransformNode().GetTransformFromWorld(back)
    for kji in np.indices((9, 12, 14)).reshape(3, -1).T[::7]:
        r, a, s = back.TransformPoint(*bench.world_of_voxel(scan, kji))
        place = np.array([(s + 60) / 7, (a + 60) / 7, (70 - r) / 7])
        if np.abs(place - np.floor(place) - 0.5).min() > 0.01:  # not half way between two
            k, j, i = np.rint(place).astype(int)
            inside = all(0 <= n < 20 for n in (k, j, i))
            assert found[tuple(kji)] == (inside and mask[k, j, i])


def test_a_segment_that_is_a_surface_is_filled_without_changing_the_users_node(bench):
    import slicer
    import vtk

    from LeFusionLib.scene import boundary_on
    from LeFusionLib.scene.volumes import own_matrix

    scan = bench.scan("oblique")
    center = bench.world_of_voxel(scan, (4, 5, 6))
    source = vtk.vtkSphereSource()
    source.SetCenter(*center)
    source.SetRadius(9)
    source.SetThetaResolution(40)
    source.SetPhiResolution(40)
    source.Update()
    node = bench.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    piece = slicer.vtkSegment()
    piece.SetName("ball")
    piece.AddRepresentation("Closed surface", source.GetOutput())
    node.GetSegmentation().AddSegment(piece, "ball")
    before = node.GetMTime(), node.GetSegmentation().GetMTime()
    found = boundary_on(scan, node, "ball")
    assert (node.GetMTime(), node.GetSegmentation().GetMTime()) == before
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap")
    kji = np.indices((9, 12, 14)).reshape(3, -1).T
    matrix = own_matrix(scan)
    distance = np.linalg.norm(kji[:, ::-1] @ matrix[:3, :3].T + matrix[:3, 3] - center, axis=1).reshape(9, 12, 14)
    assert found[distance < 8].all() and not found[distance > 10].any()


def test_a_boundary_that_cannot_be_is_refused(bench, segment):
    from LeFusionLib.scene import boundary_on

    scan = bench.scan()
    node = segment(scan, noise())
    with pytest.raises(LeFusionError, match="no segment in 'organs' 'lung'.*Possible: organ 1"):
        boundary_on(scan, node, "lung")
    node.GetSegmentation().AddEmptySegment("empty", "empty")
    with pytest.raises(LeFusionError, match="'empty' is empty"):
        boundary_on(scan, node, "empty")
    far = bench.volume(np.zeros((3, 3, 3), np.int16), np.diag([1, 1, 1, 1]) + np.eye(4, k=3) * 900)
    with pytest.raises(LeFusionError, match="has no voxel in the volume"):
        boundary_on(far, node, "organ_1")
    bench.scene.RemoveNode(node)
    with pytest.raises(LeFusionError, match="was removed from the scene"):
        boundary_on(scan, node, "organ_1")
