"""Surfaces in the world: the same volume, moved and scaled without loss, read on any grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from LeFusionLib.geometry import ControlSphere, PatchFrame
from LeFusionLib.lesion_mask import LesionMask
from LeFusionLib.level_set import LevelSet, largest_pieces, surface_points
from LeFusionLib.volume import Volume

PLAIN = np.diag([-1.0, -1.0, 1.0, 1.0])


def ball(radius, shape=(24, 24, 24), center=(12, 12, 12), matrix=PLAIN):
    grid = np.indices(shape)
    squared = sum((g - c) ** 2 for g, c in zip(grid, center, strict=True))
    return LesionMask(squared <= radius**2, matrix)


def test_a_ball_keeps_its_volume_place_and_width():
    lesion = ball(6)
    level = LevelSet.of(lesion)
    assert level.volume_mm3() == pytest.approx(lesion.volume_mm3(), rel=0.02)
    sphere = level.enclosing_sphere()
    assert sphere.center_ras == pytest.approx((-12, -12, 12), abs=0.05)
    assert sphere.diameter_mm == pytest.approx(2 * (3 / (4 * np.pi) * lesion.voxels()) ** (1 / 3), abs=0.5)
    assert level.at(np.array([[-12, -12, 15], [-12, -12, 22]]))[0] == pytest.approx([-3, 4], abs=0.6)


def test_far_from_its_cells_the_distance_goes_on_growing():
    level = LevelSet.of(ball(4))
    near, far = level.at(np.array([[-12.0, -12, 22], [-12.0, -12, 122]]))[0]
    assert far - near == pytest.approx(100, abs=1)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 10**6),
    spacing=st.tuples(*[st.floats(0.6, 2.5)] * 3),
    flip=st.booleans(),
)
def test_a_mask_on_any_grid_comes_back_on_its_grid(seed, spacing, flip):
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0] * (-1 if flip else 1)
    matrix = np.eye(4)
    matrix[:3, :3] = turn * spacing
    matrix[:3, 3] = rng.uniform(-50, 50, 3)
    noise = ndimage.gaussian_filter(rng.standard_normal((18, 18, 18)), 2)
    radius = np.linalg.norm(np.indices((18, 18, 18)) - 8.5, axis=0)
    mask = largest_pieces(radius < 5 * (1 + 0.2 * noise / noise.std()))
    lesion = LesionMask(mask, matrix)
    back = LevelSet.of(lesion).mask_on(lesion, np.ones(mask.shape, bool), 0)[0]
    assert 2 * (back & mask).sum() / (back.sum() + mask.sum()) > 0.9


@given(
    center=st.tuples(*[st.floats(-100, 100)] * 3),
    diameter_mm=st.floats(4, 40),
)
def test_fitted_to_a_sphere_it_touches_that_sphere_and_keeps_its_form(center, diameter_mm):
    level = LevelSet.of(ball(5, center=(10, 12, 14)))
    own = level.enclosing_sphere()
    fitted = level.fitted_to(ControlSphere(center, diameter_mm))
    sphere = fitted.enclosing_sphere()
    assert sphere.center_ras == pytest.approx(center, abs=1e-6) and sphere.diameter_mm == pytest.approx(diameter_mm)
    scale = diameter_mm / own.diameter_mm
    assert fitted.volume_mm3() == pytest.approx(level.volume_mm3() * scale**3)
    deepest = fitted.at(np.array([center]))[0, 0]
    assert deepest == pytest.approx(level.at(np.array([own.center_ras]))[0, 0] * scale, rel=1e-4)


def test_two_classes_share_a_lesion_and_no_voxel():
    whole, core = ball(7).union, ball(3).union
    lesion = LesionMask(np.stack([whole & ~core, core]), PLAIN, ("infarct", "no_reflow"))
    back = LevelSet.of(lesion).mask_on(lesion, np.ones(whole.shape, bool), 0)
    assert not (back[0] & back[1]).any()
    # the shell's hole is filled; the core's own surface decides there
    assert back.any(axis=0).sum() == pytest.approx(whole.sum(), rel=0.05)


def test_occupancy_loses_crumbs_and_holes_but_not_its_volume():
    lesion = ball(6).union.astype(np.float32)
    lesion[12, 12, 12] = 0
    lesion[2:4, 2:4, 2:4] = 1
    frame = PatchFrame(lesion.shape, PLAIN)
    level = LevelSet.of_occupancy(lesion[None], frame, (1,))
    assert level.enclosing_sphere().diameter_mm < 13.5
    assert level.at(np.array([[-12.0, -12, 12]]))[0, 0] < -3
    both = LevelSet.of_occupancy(lesion[None], frame)
    assert both.enclosing_sphere().diameter_mm > 16
    assert LevelSet.of_occupancy(np.zeros((1, 8, 8, 8)), PatchFrame((8, 8, 8), PLAIN)) is None


def test_a_surface_between_cells_is_found_where_it_is():
    level = np.linalg.norm(np.indices((21, 21, 21)) - 10.0, axis=0) - 5.3
    points = surface_points(level)
    assert np.linalg.norm(points - 10, axis=1) == pytest.approx(5.3, abs=0.05)


def test_thin_tips_between_coarse_voxels_are_not_lost():
    spike = np.zeros((24, 24, 24), bool)
    spike[11:14, 11:14, 4:20] = True
    level = LevelSet.of(LesionMask(spike, PLAIN))
    coarse = Volume(np.zeros((6, 6, 6), np.int16), np.diag([-4.0, -4.0, 4.0, 1.0]))
    sphere = level.enclosing_sphere()
    mask = level.mask_on(coarse, sphere.mask_on(coarse), sphere.diameter_mm)
    assert mask.any() and ndimage.label(mask[0], np.ones((3, 3, 3)))[1] == 1


def test_the_largest_pieces_are_kept_and_the_first_of_equals():
    mask = np.zeros((1, 1, 12), bool)
    mask[0, 0, [0, 1, 3, 4, 5, 7, 8]] = True
    assert np.flatnonzero(largest_pieces(mask)).tolist() == [3, 4, 5]
    assert np.flatnonzero(largest_pieces(mask, 2)).tolist() == [0, 1, 3, 4, 5]
    assert largest_pieces(mask, 3) is mask


@pytest.mark.parametrize("size", [(1, 30, 30), (1, 1, 30), (1, 1, 1)])
def test_a_lesion_too_thin_to_be_smoothed_still_has_a_surface(size):
    """Once such a drawing had none, and its enclosing sphere was asked of no points."""
    mask = np.zeros((6, 40, 40), bool)
    mask[tuple(slice(2, 2 + n) for n in size)] = True
    sphere = LevelSet.of(LesionMask(mask, PLAIN)).enclosing_sphere()
    assert 0 < sphere.diameter_mm < 1.2 * np.linalg.norm(size) + 1


def test_a_trace_of_lesion_in_all_the_air_adds_nothing_to_its_volume():
    """A network's air is not quite empty. Once its sum was counted as lesion."""
    lesion = ball(5, (40, 40, 40), (20, 20, 20))
    occupancy = np.maximum(lesion.array.astype(np.float32), 0.02)
    level = LevelSet.of_occupancy(occupancy, PatchFrame(lesion.shape, PLAIN))
    assert level.volume_mm3() == pytest.approx(lesion.volume_mm3(), rel=0.02)


@pytest.mark.parametrize("share", [0.9, 1.0])
def test_a_patch_full_of_lesion_ends_at_its_rim(share):
    """Once it filled its margin too, and had no surface: a network that is not trained draws so."""
    full = (np.random.default_rng(0).random((1, 12, 12, 12)) < share).astype(np.float32)
    sphere = LevelSet.of_occupancy(full, PatchFrame((12, 12, 12), np.eye(4))).enclosing_sphere()
    assert sphere.center_ras == pytest.approx((5.5, 5.5, 5.5), abs=0.2)
    assert 11 * np.sqrt(3) - 2 < sphere.diameter_mm < 13 * np.sqrt(3)
