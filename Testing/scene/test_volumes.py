"""Volume nodes become Volumes, and a point of the world meets the same voxel in both."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from LeFusionLib import LeFusionError
from LeFusionLib.geometry import kji_from_ras, ras_from_kji

NON_LINEAR = ["tilted gantry", "bent, then moved", "registered"]
PARENTS = ["none", "linear", *NON_LINEAR]
GRIDS = ["oblique", "left-handed"]
SOME_KJI = np.array([(0, 0, 0), (8, 11, 13), (4, 6, 7), (2, 10, 3), (7, 1, 12)])


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("parent", ["none", "linear"])
def test_under_linear_transforms_the_volume_lies_where_the_node_lies(bench, grid, parent):
    from LeFusionLib.scene import volume_from_node

    node = bench.scan(grid, parent)
    volume = volume_from_node(node)
    expected = [bench.world_of_voxel(node, kji) for kji in SOME_KJI]
    assert np.allclose(ras_from_kji(volume.ijk_to_ras, SOME_KJI), expected, atol=1e-9)
    assert np.sign(np.linalg.det(volume.ijk_to_ras[:3, :3])) == (1 if grid == "oblique" else -1)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("parent", PARENTS)
def test_a_point_of_the_world_meets_the_same_voxel_in_the_node_and_in_the_volume(bench, grid, parent):
    from LeFusionLib.scene import volume_from_node, world_to_frame

    node = bench.scan(grid, parent)
    world = np.array([bench.world_of_voxel(node, kji) for kji in SOME_KJI])
    met = kji_from_ras(volume_from_node(node).ijk_to_ras, world_to_frame(world, node))
    assert np.allclose(met, SOME_KJI, atol=1e-9 if parent in ("none", "linear") else 0.01)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(own=arrays(float, (3, 4), elements=st.floats(-5, 5)), parent=arrays(float, (3, 4), elements=st.floats(-5, 5)))
def test_any_grid_under_any_linear_transform_lies_where_vtk_says(bench, own, parent):
    from LeFusionLib.scene import volume_from_node
    from LeFusionLib.scene.transforms import to_vtk

    own, parent = (np.vstack([matrix, (0, 0, 0, 1)]) for matrix in (own, parent))
    assume(min(abs(np.linalg.det(own)), abs(np.linalg.det(parent))) > 0.1)
    node = bench.scan("oblique", "linear")
    node.SetIJKToRASMatrix(to_vtk(own))
    node.GetParentTransformNode().SetMatrixTransformToParent(to_vtk(parent))
    expected = [bench.world_of_voxel(node, kji) for kji in SOME_KJI]
    assert np.allclose(ras_from_kji(volume_from_node(node).ijk_to_ras, SOME_KJI), expected, atol=1e-6)


def test_a_tilted_gantry_is_read_with_its_true_shear(bench):
    from LeFusionLib.scene import volume_from_node

    node = bench.scan("oblique", "tilted gantry")
    volume = volume_from_node(node)
    expected = [bench.world_of_voxel(node, kji) for kji in SOME_KJI]
    assert np.allclose(ras_from_kji(volume.ijk_to_ras, SOME_KJI), expected, atol=1e-3)  # mm; VTK reads grids in float32


@pytest.mark.parametrize("parent", NON_LINEAR)
def test_the_frame_is_nearer_to_the_world_than_the_node_without_its_transform(bench, parent):
    from LeFusionLib.scene.volumes import frame_matrix, own_matrix

    node = bench.scan("oblique", parent)
    kji = np.indices((9, 12, 14)).reshape(3, -1).T[::37]
    world = np.array([bench.world_of_voxel(node, index) for index in kji])

    def rms_mm(matrix):
        return np.sqrt(((ras_from_kji(matrix, kji) - world) ** 2).sum(axis=1).mean())

    assert rms_mm(frame_matrix(node)) < 0.1 * rms_mm(own_matrix(node))


def test_voxels_and_type_are_kept_and_the_node_and_the_volume_go_separate_ways(bench):
    from vtk.util.numpy_support import vtk_to_numpy

    from LeFusionLib.scene import volume_from_node

    for dtype in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"):
        array = np.arange(24).reshape(2, 3, 4).astype(dtype)
        node = bench.volume(array, np.eye(4))
        volume = volume_from_node(node)
        assert volume.array.dtype == dtype and (volume.array == array).all() and volume.name == "CT"
        vtk_to_numpy(node.GetImageData().GetPointData().GetScalars())[:] = 0
        assert (volume.array == array).all()


def test_an_image_that_counts_from_elsewhere_than_zero_lies_where_it_is_shown(bench):
    from LeFusionLib.scene import volume_from_node

    node = bench.scan("oblique")
    node.GetImageData().SetExtent(5, 18, 0, 11, -2, 6)
    expected = bench.world_of_voxel(node, (-2, 0, 5))
    assert np.allclose(volume_from_node(node).ijk_to_ras[:3, 3], expected)


def test_a_single_slice_under_a_bend_is_read(bench):
    from LeFusionLib.scene import volume_from_node

    node = bench.place(bench.volume(np.zeros((1, 12, 14), np.int16), np.eye(4)), "bent, then moved")
    assert volume_from_node(node).shape == (1, 12, 14)


def bad_inputs(bench):
    import slicer

    empty = bench.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    yield None, "No volume is chosen"
    yield empty, "'empty' holds no voxels"
    colours = np.zeros((2, 3, 4, 3), np.uint8)
    yield bench.volume(colours, np.eye(4), "photo", "vtkMRMLVectorVolumeNode"), "'photo' has 3 numbers in each voxel"
    yield bench.volume(colours, np.eye(4), "colours"), "'colours' has 3 numbers in each voxel"
    labels = bench.volume(np.zeros((2, 3, 4), np.int16), np.eye(4), "labels", "vtkMRMLLabelMapVolumeNode")
    yield labels, "'labels' holds labels"
    yield bench.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs"), "'organs' holds labels"
    yield bench.scene.AddNewNodeByClass("vtkMRMLModelNode", "bone"), "'bone' is no volume but a Model"
    yield bench.scene.AddNewNodeByClass("vtkMRMLSequenceNode", "heart"), "'heart' is a time series"
    yield bench.volume(np.zeros((2, 3, 4), np.int64), np.eye(4)), "int64 are not supported"
    yield bench.volume(np.full((2, 3, 4), np.nan), np.eye(4)), "24 voxels that are NaN"
    yield bench.volume(np.zeros((2, 3, 4), np.int16), np.diag([1, 1, 0, 1])), "flat"
    deleted = bench.scan()
    bench.scene.RemoveNode(deleted)
    yield deleted, "'CT' was removed from the scene"
    frame, series = bench.scan(), bench.scene.AddNewNodeByClass("vtkMRMLSequenceNode", "series")
    series.SetDataNodeAtValue(frame, "0")
    browser = slicer.vtkMRMLSequenceBrowserNode()
    browser.SetName("beating heart")
    bench.scene.AddNode(browser)
    browser.AddSynchronizedSequenceNodeID(series.GetID())
    browser.AddProxyNode(frame, series, False)
    yield frame, "the time series 'beating heart'"


def test_every_bad_input_is_refused_with_its_name_and_a_remedy(bench):
    from LeFusionLib.scene import volume_from_node

    for node, words in bad_inputs(bench):
        with pytest.raises(LeFusionError) as error:
            volume_from_node(node)
        assert words in str(error.value)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32", ">i2"])
def test_a_volume_becomes_a_node_with_the_same_voxels_in_the_same_place(bench, grid, dtype):
    from LeFusionLib import Volume
    from LeFusionLib.scene import volume_from_node, volume_node

    scan = volume_from_node(bench.scan(grid))
    volume = Volume((scan.array % 120).astype(dtype), scan.ijk_to_ras, name="patient")
    node = volume_node(bench.host, volume)
    back = volume_from_node(node)
    assert (back.array == volume.array).all() and back.array.dtype == np.dtype(dtype).newbyteorder("=")
    assert np.allclose(back.ijk_to_ras, volume.ijk_to_ras, atol=1e-12) and node.GetDisplayNode() is not None
    assert volume_node(bench.host, volume).GetName() == "patient_1"
