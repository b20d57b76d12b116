"""Shapes on the volume's own voxels come as they were drawn."""

import numpy as np
import pytest

from LeFusionLib.geometry import ControlSphere, PatchFrame
from LeFusionLib.synthesis.grid_shape import GridShape

GRID = np.diag([1.5, 1.5, 10.0, 1.0])


def drawing():
    """Two classes in one piece of 4 voxels, and a crumb."""
    patch = np.full((2, 3, 6, 6), -1.0, np.float32)
    patch[0, 1, 2, 1:5] = 0.5
    patch[1, 1, 2, 1:3] = 0.9
    patch[0, 1, 5, 5] = 1.0
    return patch


def test_a_voxel_is_of_the_class_that_is_surest_and_crumbs_are_dropped():
    shape = GridShape.of(drawing(), PatchFrame((3, 6, 6), GRID), 1)
    assert shape.lesion.array[:, 1, 2].astype(int).tolist() == [[0, 0, 0, 1, 1, 0], [0, 1, 1, 0, 0, 0]]
    assert shape.lesion.voxels() == 4
    assert GridShape.of(drawing(), PatchFrame((3, 6, 6), GRID), 2).lesion.voxels() == 5
    assert GridShape.of(drawing() * 0 - 1, PatchFrame((3, 6, 6), GRID), 1) is None


def test_it_is_read_voxel_for_voxel_where_it_lies_and_where_it_may():
    """The patch begins a slice below the volume and two voxels into it."""
    frame = PatchFrame((3, 6, 6), GRID + np.array([[0, 0, 0, 3.0], [0, 0, 0, 0], [0, 0, 0, -10], [0, 0, 0, 0]]))
    shape = GridShape.of(drawing(), frame, 1)
    volume = PatchFrame((2, 8, 8), GRID)
    allowed = np.ones((2, 8, 8), bool)
    allowed[:, :, 6] = False
    mask = shape.mask_on(volume, allowed, 6.0)
    assert np.argwhere(mask).tolist() == [[0, 0, 2, 5], [1, 0, 2, 3], [1, 0, 2, 4]]
    assert shape.fitted_to(ControlSphere((0, 0, 0), 50)) is shape
    assert shape.enclosing_sphere().diameter_mm == pytest.approx(4 * 1.5)


def test_single_voxels_are_smoothed_among_their_like_and_walls_stay_as_thick():
    from LeFusionLib.synthesis.grid_shape import smooth_slices

    patch = np.full((1, 2, 9, 9), -1.0, np.float32)
    wall = np.zeros(patch.shape[1:], bool)
    wall[0, 3:6] = True
    patch[0, wall] = 1.0
    assert np.allclose(smooth_slices(patch, 1.0, wall), patch)  # only lesion in the wall: it is as it was
    patch[0, 0, 4, 4] = -1.0  # a hole of one voxel
    patch[0, 1, 4, 4] = 1.0  # and a speck outside, where nothing was allowed
    smooth = smooth_slices(patch, 1.0, wall)
    assert (smooth[0, wall] > 0).all() and (smooth[0][~wall] == patch[0][~wall]).all()
    assert smooth_slices(patch, 1.0, None)[0, 1, 4, 4] < 0  # without a wall every voxel counts
