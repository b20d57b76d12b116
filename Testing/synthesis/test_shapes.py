"""Hand-crafted shapes: one piece, as large as asked, each different, the same on any grid."""

from itertools import combinations

import numpy as np
import pytest
from scipy import ndimage

from LeFusionLib.geometry import ControlSphere
from LeFusionLib.lesion_mask import LesionMask
from LeFusionLib.synthesis.shapes import _attempt, handcrafted_shape
from LeFusionLib.volume import Volume


def grid(spacing_mm, extent_mm=24.0, turn=None, offset=(0.0, 0.0, 0.0)):
    """A volume of about `extent_mm` around RAS (0, 0, 0), axes along the columns of `turn`."""
    turn = np.eye(3) if turn is None else turn
    shape_ijk = [int(np.ceil(extent_mm / s)) + 2 for s in spacing_mm]
    matrix = np.eye(4)
    matrix[:3, :3] = turn * spacing_mm
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(shape_ijk) - 1) / 2) + offset
    return Volume(np.zeros(shape_ijk[::-1], np.int16), matrix)


def drawn(volume, diameter_mm=16.0, seed=0):
    sphere = ControlSphere((0, 0, 0), diameter_mm)
    shape = handcrafted_shape(sphere, np.random.default_rng(seed))
    return shape.mask_on(volume, sphere.mask_on(volume), diameter_mm)[0]


@pytest.mark.parametrize("seed", range(4))
def test_its_smallest_enclosing_sphere_is_the_one_asked_for_and_it_is_one_piece(seed):
    sphere = ControlSphere((3, -4, 5), 16.0)
    shape = handcrafted_shape(sphere, np.random.default_rng(seed))
    own = shape.enclosing_sphere()
    assert own.diameter_mm == pytest.approx(16, abs=1e-6) and own.center_ras == pytest.approx((3, -4, 5), abs=1e-6)
    assert ndimage.label(shape.union < 0, structure=np.ones((3, 3, 3)))[1] == 1


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("spacing", [(0.8, 0.8, 0.8), (0.7, 0.7, 2.0)])
def test_the_diameter_is_the_one_asked_for(seed, spacing):
    volume = grid(spacing)
    assert LesionMask(drawn(volume, seed=seed), volume.ijk_to_ras).diameter_mm() == pytest.approx(16, rel=0.1)


@pytest.mark.parametrize("diameter_mm", [1.0, 1.5, 2.0, 3.0])
def test_a_sphere_one_or_two_voxels_across_still_gets_a_lesion(diameter_mm):
    volume = grid((1.0, 1.0, 1.0), extent_mm=8, offset=(0.5, 0.5, 0.5))  # a voxel centre on the sphere's
    for seed in range(3):
        assert 1 <= drawn(volume, diameter_mm, seed).sum() <= 27


def test_no_two_seeds_draw_the_same_lesion_and_none_is_the_ball():
    volume = grid((1.0, 1.0, 1.0))
    masks = [drawn(volume, seed=seed) for seed in range(10)]
    ball = ControlSphere((0, 0, 0), 16).mask_on(volume)
    dice = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in combinations([*masks, ball], 2)]
    assert max(dice) < 0.95
    assert all(0.1 < m.sum() / ball.sum() < 0.9 for m in masks)


def test_the_same_dice_draw_the_same_lesion_however_the_volume_is_stored():
    volume = grid((1.0, 1.0, 1.0))
    first = drawn(volume, seed=5)
    assert drawn(volume, seed=5).tobytes() == first.tobytes()
    n = volume.shape[2] - 1
    mirrored = np.eye(4)
    mirrored[0, 0], mirrored[0, 3] = -1, n  # i -> n - i: the same world, stored from the other side
    other = Volume(volume.array[:, :, ::-1], volume.ijk_to_ras @ mirrored)
    assert np.array_equal(drawn(other, seed=5)[:, :, ::-1], first)
    swapped = np.eye(4)[[2, 1, 0, 3]]  # i <-> k
    other = Volume(volume.array.transpose(2, 1, 0), volume.ijk_to_ras @ swapped)
    assert np.array_equal(drawn(other, seed=5).transpose(2, 1, 0), first)


def test_thick_slices_show_the_same_lesion_as_thin_ones():
    thin, thick = grid((1.0, 1.0, 1.0)), grid((1.0, 1.0, 3.0))
    a, b = drawn(thin, seed=2), drawn(thick, seed=2)
    assert b.sum() * 3 == pytest.approx(a.sum(), rel=0.2)


def test_dice_that_leave_next_to_nothing_are_thrown_again():
    failed = [seed for seed in range(60) if _attempt(np.random.default_rng(seed)) is None]
    assert failed  # it does happen: once such dice ended in an empty shape without an enclosing sphere
    for seed in failed[:3]:
        assert handcrafted_shape(ControlSphere((0, 0, 0), 10.0), np.random.default_rng(seed)).volume_mm3() > 10
