"""A sketch lies over its scan in the world, whatever moves the scan; it is shown like it and never saved."""

import numpy as np
import pytest

BOX = (slice(2, 6), slice(3, 9), slice(1, 8))


def voxels_of(node):
    """(D, H, W)"""
    from vtk.util.numpy_support import vtk_to_numpy

    image = node.GetImageData()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


@pytest.mark.parametrize("parent", ["none", "linear", "tilted gantry", "bent, then moved"])
@pytest.mark.parametrize("grid", ["oblique", "left-handed"])
def test_it_lies_where_that_part_of_the_scan_lies(bench, grid, parent):
    from LeFusionLib.scene.sketch_node import sketch_node

    scan = bench.scan(grid, parent)
    before = bench.state(scan)
    part = voxels_of(scan)[BOX] + 7
    node = sketch_node(bench.host, scan, part, BOX)
    assert bench.state(scan) == before
    assert np.array_equal(voxels_of(node), part) and voxels_of(node).dtype == part.dtype
    for kji in ((0, 0, 0), (3, 5, 6), (1, 2, 4)):
        there = np.add(kji, [axis.start for axis in BOX])
        assert np.allclose(bench.world_of_voxel(node, kji), bench.world_of_voxel(scan, there), atol=1e-6)


def test_it_is_marked_shown_like_the_scan_and_goes_without_a_trace(bench):
    from LeFusionLib.scene.housekeeping import remove_node
    from LeFusionLib.scene.sketch_node import sketch_node

    scan = bench.scan()
    scan.CreateDefaultDisplayNodes()
    before = bench.nodes()
    node = sketch_node(bench.host, scan, voxels_of(scan)[BOX], BOX)
    assert node.GetDisplayNode() is scan.GetDisplayNode()
    assert node.GetAttribute("LeFusion.Synthetic") == "1" and not node.GetSaveWithScene()
    remove_node(node)
    assert bench.nodes() == before and scan.GetDisplayNode() is not None


def test_overlays_lie_right_over_an_image_that_counts_from_elsewhere(bench):
    from LeFusionLib.scene import difference_node, volume_from_node
    from LeFusionLib.scene.results import result_volume_node
    from LeFusionLib.scene.sketch_node import sketch_node

    scan = bench.scan()
    first = bench.world_of_voxel(scan, (5, 4, 3))  # of the image, wherever its count begins
    scan.GetImageData().SetExtent(3, 16, 4, 15, 5, 13)
    part = voxels_of(scan)[BOX]
    result = result_volume_node(bench.host, scan, volume_from_node(scan).array + np.int16(1), {})
    for node, corner in (
        (difference_node(bench.host, result), (0, 0, 0)),
        (sketch_node(bench.host, scan, part, BOX), tuple(-axis.start for axis in BOX)),
    ):
        assert np.allclose(bench.world_of_voxel(node, corner), first, atol=1e-6)
