"""Spheres and patches are in the world: the same on every grid, however it lies."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from LeFusionLib.errors import LeFusionError
from LeFusionLib.geometry import (
    ControlSphere,
    PatchFrame,
    describe_grid,
    kji_from_ras,
    minimum_enclosing_sphere,
    ras_from_kji,
    same_grid,
)
from LeFusionLib.lesion_mask import LesionMask
from LeFusionLib.volume import Volume

# Axial CT as it is stored (LPS order): i to the patient's left, j to the back, k to the head.
AXIAL = np.diag([-1.0, -1.0, 1.0, 1.0])

number = st.floats(-1, 1, allow_nan=False)


@st.composite
def affines(draw, shear=0.3):
    """Random matrices from (i, j, k) to RAS: oblique, anisotropic, permuted, flipped, left-handed, sheared."""
    turn = np.eye(3)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        angle = draw(number) * np.pi
        plane = np.eye(3)
        plane[a, a] = plane[b, b] = np.cos(angle)
        plane[a, b], plane[b, a] = -np.sin(angle), np.sin(angle)
        turn = turn @ plane
    skew = np.eye(3)
    skew[0, 1], skew[0, 2], skew[1, 2] = (shear * draw(number) for _ in range(3))
    spacing = [draw(st.floats(0.4, 4)) for _ in range(3)]
    flips = [draw(st.sampled_from([-1, 1])) for _ in range(3)]
    matrix = np.eye(4)
    matrix[:3, :3] = (turn @ skew @ np.diag(np.multiply(spacing, flips)))[:, draw(st.permutations(range(3)))]
    matrix[:3, 3] = [300 * draw(number) for _ in range(3)]
    return matrix


def grid(shape, matrix):
    return Volume(np.zeros(shape, np.int8), matrix)


def everywhere(volume):
    """World points (N, 3) of all voxels, in array order, one by one from the definition."""
    d, h, w = volume.shape
    ijk1 = [(i, j, k, 1) for k in range(d) for j in range(h) for i in range(w)]
    return (np.array(ijk1) @ volume.ijk_to_ras.T)[:, :3]


def lesion_at(shape, matrix, *voxels):
    array = np.zeros(shape, bool)
    array[tuple(np.transpose(voxels))] = True
    return LesionMask(array, matrix)


# --- points


def test_indices_are_kji_and_points_are_ras():
    matrix = np.array([[2, 0, 0, 10], [0, 3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])
    assert ras_from_kji(matrix, [[1, 0, 0]]).tolist() == [[10, 20, 34]]
    assert ras_from_kji(matrix, [[0, 0, 1]]).tolist() == [[12, 20, 30]]
    assert kji_from_ras(matrix, [[12, 20, 34]]).tolist() == [[1, 0, 1]]


@given(affines(), st.lists(st.tuples(*[st.floats(-500, 500)] * 3), min_size=1, max_size=5))
def test_points_come_back(matrix, kji):
    assert np.allclose(kji_from_ras(matrix, ras_from_kji(matrix, kji)), kji, atol=1e-8)


def test_grids_are_the_same_to_a_thousandth_of_a_voxel():
    a = grid((5, 5, 5), AXIAL)
    nudged, moved = AXIAL.copy(), AXIAL.copy()
    nudged[0, 3], moved[0, 3] = 0.0009, 0.0011
    assert same_grid(a, grid((5, 5, 5), nudged))
    assert not same_grid(a, grid((5, 5, 5), moved))
    assert not same_grid(a, grid((5, 5, 6), AXIAL))
    assert "(5, 5, 6) voxels of 1 x 1 x 1 mm" in describe_grid(grid((5, 5, 6), AXIAL))


# --- smallest sphere


def test_smallest_spheres_known_by_eye():
    for points, center, radius in [
        ([[1, 2, 3]], [1, 2, 3], 0),
        ([[0, 0, 0], [4, 0, 0]], [2, 0, 0], 2),
        ([[0, 0, 0], [4, 0, 0], [1, 0, 0]], [2, 0, 0], 2),  # on a line
        ([[3, 4, 7], [-5, 0, 7], [5, 0, 7], [0, 1, 7]], [0, 0, 7], 5),  # in a plane
        ([[0, 0, 0], [1, 0, 0], [0.5, math.sqrt(0.75), 0]], [0.5, math.sqrt(1 / 12), 0], math.sqrt(1 / 3)),
        ([[a, b, c] for a in (0, 2) for b in (0, 2) for c in (0, 2)], [1, 1, 1], math.sqrt(3)),
        ([[2, 2, 2]] * 4, [2, 2, 2], 0),
    ]:
        found_center, found_radius = minimum_enclosing_sphere(np.array(points))
        assert np.allclose(found_center, center) and math.isclose(found_radius, radius, abs_tol=1e-12)


@given(st.lists(st.tuples(*[st.integers(-6, 6)] * 3), min_size=1, max_size=30), affines(), st.booleans())
def test_no_smaller_sphere_holds_all_points(points, matrix, flat):
    points = np.array(points, float) * ([1, 1, 0] if flat else [1, 1, 1])
    points = ras_from_kji(matrix, points)
    center, radius = minimum_enclosing_sphere(points)
    assert (np.linalg.norm(points - center, axis=1) <= radius * (1 + 1e-12)).all()
    # The radius a centre needs is a convex function of the centre: no better neighbour, no better centre at all.
    rng = np.random.default_rng(0)
    for step in (1e-3, 0.1, 1.0):
        others = center + step * rng.normal(size=(50, 3))
        needed = np.linalg.norm(points[None] - others[:, None], axis=2).max(axis=1)
        assert (needed >= radius - 1e-9).all()


def test_the_smallest_sphere_of_a_large_ball_is_the_ball():
    k, j, i = np.indices((61, 61, 61)) - 30
    ball = np.argwhere(k * k + j * j + i * i <= 900)
    center, radius = minimum_enclosing_sphere(ball)
    assert np.allclose(center, 30) and math.isclose(radius, 30)


# --- control sphere


@pytest.mark.parametrize(
    ("center", "diameter"),
    [((0, 0), 5), ((0, 0, np.nan), 5), ((0, 0, 0), 0), ((0, 0, 0), -3), ((0, 0, 0), np.inf), ("abc", 5), (None, 5)],
)
def test_a_sphere_that_is_none_is_refused(center, diameter):
    with pytest.raises(LeFusionError, match="control sphere"):
        ControlSphere(center, diameter)


def test_a_sphere_counts_its_surface():
    mask = ControlSphere((-1, -1, 1), 2).mask_on(grid((3, 3, 3), AXIAL))
    assert mask.sum() == 7  # the centre and its six neighbours at exactly 1 mm
    assert mask[1, 1].all() and mask[1, :, 1].all() and mask[:, 1, 1].all()


def test_rounding_does_not_cut_the_surface():
    """Three voxels of 0.1 mm are 0.30000000000000004 mm: still within a diameter of 0.6 mm."""
    tenths = grid((1, 1, 7), np.diag([0.1, 0.1, 0.1, 1.0]))
    assert ControlSphere((0.3, 0, 0), 0.6).mask_on(tenths).all()


def test_a_sheared_grid_is_searched_far_enough():
    sheared = np.array([[1, 0.9, 0, 0], [0, 0.1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])  # j runs almost along i
    distance = np.linalg.norm(everywhere(grid((1, 41, 41), sheared)) - [38, 2, 0], axis=1)
    mask = ControlSphere((38, 2, 0), 3).mask_on(grid((1, 41, 41), sheared))
    assert (mask.ravel() == (distance <= 1.5)).all()
    assert mask.any(axis=(0, 2)).sum() == 29  # 14 rows of 0.1 mm to either side; row 15 has no voxel at x = 38


def test_thick_slices_hold_fewer_voxels_of_a_sphere():
    thick = grid((5, 9, 9), np.diag([1.0, 1.0, 4.0, 1.0]))
    sphere = ControlSphere((4, 4, 8), 6)  # reaches 3 mm, the next slice is 4 mm away
    assert sphere.slices_met(thick) == 1
    assert sphere.mask_on(thick).sum() == 29  # lattice points within 3 in the plane
    assert ControlSphere((4, 4, 8), 8).slices_met(thick) == 3


@given(affines(shear=1.5), st.tuples(*[st.integers(1, 9)] * 3), st.tuples(*[st.floats(-2, 11)] * 3), st.floats(0.1, 30))
def test_a_sphere_is_what_lies_within_its_radius(matrix, shape, center_kji, diameter_mm):
    volume = grid(shape, matrix)
    center = ras_from_kji(matrix, center_kji)[0]
    distance = np.linalg.norm(everywhere(volume) - center, axis=1)
    assume((np.abs(distance - diameter_mm / 2) > 1e-5).all())
    sphere = ControlSphere(tuple(center), diameter_mm)
    expected = (distance <= diameter_mm / 2).reshape(shape)
    assert (sphere.mask_on(volume) == expected).all()
    assert sphere.slices_met(volume) == expected.any(axis=(1, 2)).sum()


@settings(max_examples=40)
@given(affines(), st.floats(3, 5), st.tuples(*[st.floats(-0.5, 0.5)] * 3))
def test_a_sphere_has_the_volume_of_a_sphere(matrix, radius_voxels, offset):
    radius_mm = radius_voxels * max(grid((1, 1, 1), matrix).spacing_mm)
    reach = np.ceil(radius_mm * np.linalg.norm(np.linalg.inv(matrix[:3, :3]), axis=1)[::-1]).astype(int) + 1
    center = ras_from_kji(matrix, reach + np.array(offset))[0]
    voxels = ControlSphere(tuple(center), 2 * radius_mm).mask_on(grid(tuple(2 * reach + 1), matrix)).sum()
    volume_mm3 = voxels * abs(np.linalg.det(matrix[:3, :3]))
    assert math.isclose(volume_mm3, 4 / 3 * math.pi * radius_mm**3, rel_tol=0.15)


@given(affines(), st.permutations(range(3)), st.tuples(*[st.booleans()] * 3), st.integers(2, 12))
def test_a_sphere_is_the_same_on_a_flipped_and_permuted_grid(matrix, order, flips, diameter_mm):
    shape = (6, 5, 7)
    volume = grid(shape, matrix)
    # The same voxels stored in another order: array axes permuted and flipped, the matrix with them.
    other_shape = tuple(shape[axis] for axis in order)
    steps = np.zeros((4, 4))  # from the other array's (i, j, k, 1) to ours
    steps[3, 3] = 1
    for other_axis, axis in enumerate(order):
        sign = -1 if flips[other_axis] else 1
        steps[2 - axis, 2 - other_axis] = sign
        steps[2 - axis, 3] = shape[axis] - 1 if flips[other_axis] else 0
    other = grid(other_shape, matrix @ steps)
    sphere = ControlSphere(tuple(ras_from_kji(matrix, [[2, 2, 3]])[0]), diameter_mm)
    here = sphere.mask_on(volume).transpose(order)
    here = here[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    assert (sphere.mask_on(other) == here).all()


def test_a_centre_outside_is_told_where_the_volume_is():
    volume = grid((10, 20, 30), AXIAL)
    ControlSphere((-29.4, 0, 0), 5).check_inside(volume)  # still in the outermost voxel
    with pytest.raises(LeFusionError, match=r"R -29.5 to 0.5, A -19.5 to 0.5, S -0.5 to 9.5 mm"):
        ControlSphere((29, 5, 5), 5).check_inside(volume)


def test_a_sphere_smaller_than_a_voxel_is_told_the_smallest():
    volume = grid((5, 9, 9), np.diag([0.5, 0.5, 4.0, 1.0]))
    ControlSphere((1, 1, 8), 0.5).check_inside(volume)
    with pytest.raises(LeFusionError, match="smallest possible diameter there is 0.50 mm"):
        ControlSphere((1, 1, 8), 0.3).check_inside(volume)
    with pytest.raises(LeFusionError, match="smallest possible diameter there is 4.00 mm"):
        ControlSphere((1, 1, 10), 3).check_inside(volume)  # between two slices, 2 mm from either


@given(affines(shear=0), st.tuples(*[st.floats(-0.5, 4.5)] * 3), st.floats(0.1, 10))
def test_a_sphere_that_passes_has_a_voxel(matrix, center_kji, diameter_mm):
    volume = grid((5, 5, 5), matrix)
    sphere = ControlSphere(tuple(ras_from_kji(matrix, center_kji)[0]), diameter_mm)
    try:
        sphere.check_inside(volume)
    except LeFusionError:
        return
    assert sphere.mask_on(volume).any()


# --- patch


def test_a_patch_on_the_same_grid_takes_voxels_as_they_are():
    array = np.arange(6 * 8 * 10, dtype=np.int16).reshape(6, 8, 10)
    volume = Volume(array, AXIAL)
    frame = PatchFrame.around(lesion_at(array.shape, AXIAL, (3, 4, 5)), (2, 4, 4), (1, 1, 1))
    assert frame.extract(volume).dtype == np.float32
    assert (frame.extract(volume) == array[2:4, 2:6, 3:7]).all()  # voxel shape // 2 is the lesion's
    assert frame.extent_mm == (2, 4, 4)


def test_the_patch_lies_as_axial_ct_whatever_the_volume():
    """The same head stored three ways gives the same patch, no voxel interpolated."""
    array = np.random.default_rng(0).integers(-1000, 400, (9, 9, 9)).astype(np.int16)
    back_to_front = AXIAL @ np.array([[1, 0, 0, 0], [0, -1, 0, 8], [0, 0, 1, 0], [0, 0, 0, 1]])
    sagittal = AXIAL @ np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # i: back, j: head, k: left
    stored = [(array, AXIAL), (array[:, ::-1], back_to_front), (array.transpose(2, 0, 1), sagittal)]
    patches = []
    for voxels, matrix in stored:
        volume = Volume(voxels, matrix)
        # Half way between voxels on every axis: the choice must not hang on how the volume is stored.
        lesion = LesionMask(ControlSphere((-4.5, -3.5, 4.5), 3).mask_on(volume), matrix)
        frame = PatchFrame.around(lesion, (4, 5, 6), (1, 1, 1))
        assert np.allclose(frame.ijk_to_ras[:3, :3], np.diag([-1, -1, 1]))
        patches.append((frame.extract(volume), frame.extract_mask(lesion)))
    for patch, mask in patches:
        assert (patch == array[3:7, 2:7, 2:8]).all()
        assert (mask == patches[0][1]).all() and mask.sum() > 0


def test_without_spacing_the_patch_takes_the_volumes_own_grid():
    matrix = np.array([[0, 1.4, 0, 7], [1.4, 0, 0, -3], [0, 0.5, 10, 2], [0, 0, 0, 1]])
    array = np.arange(7 * 12 * 12, dtype=np.float64).reshape(7, 12, 12)
    frame = PatchFrame.around(lesion_at(array.shape, matrix, (3, 6, 6), (4, 7, 7)), (2, 4, 4), None)
    assert (frame.extract(Volume(array, matrix)) == array[3:5, 5:9, 5:9]).all()


def test_beyond_the_border_the_nearest_voxel_goes_on():
    array = np.arange(3, dtype=np.int16).reshape(3, 1, 1) * np.ones((3, 4, 4), np.int16)
    frame = PatchFrame.around(lesion_at(array.shape, AXIAL, (1, 1, 1)), (7, 4, 4), None)
    assert frame.extract(Volume(array, AXIAL))[:, 0, 0].tolist() == [0, 0, 0, 1, 2, 2, 2]


def test_between_voxels_grey_values_are_linear():
    array = np.array([0, 100, 200, 300], np.int16).reshape(1, 1, 4) * np.ones((4, 4, 1), np.int16)
    frame = PatchFrame.around(lesion_at(array.shape, AXIAL, (2, 2, 1)), (1, 1, 4), (1, 1, 0.5))
    assert frame.extract(Volume(array, AXIAL)).ravel().tolist() == [0, 50, 100, 150]


def test_a_lesion_that_fills_the_patch_fits_and_one_more_voxel_does_not():
    for size in (4, 5):
        for spacing in (None, (1, 1, 1)):
            for flip in (1, -1):
                matrix = AXIAL * [flip, 1, 1, 1]
                ends = [(2, 2, 2), (1 + size,) * 3]
                frame = PatchFrame.around(lesion_at((12,) * 3, matrix, *ends), (size,) * 3, spacing)
                assert frame.extract_mask(lesion_at((12,) * 3, matrix, *ends)).sum() == 2
    with pytest.raises(LeFusionError, match=r"lesion is 5.0 x 0.0 x 0.0 mm .* 5.0 x 5.0 x 5.0 mm .* at most 4.0 x 4.0"):
        PatchFrame.around(lesion_at((12,) * 3, AXIAL, (2, 2, 2), (7, 2, 2)), (5, 5, 5), (1, 1, 1))


def test_a_lesion_that_fills_the_patch_is_centred_on_itself():
    """Two slices 4 mm apart fill five patch voxels; set on either slice, the patch would lose the other."""
    matrix = np.diag([-1.0, -1.0, 4.0, 1.0])
    lesion = lesion_at((4, 3, 3), matrix, (1, 1, 1), (2, 1, 1))
    frame = PatchFrame.around(lesion, (5, 3, 3), (1, 1, 1))
    assert kji_from_ras(frame.ijk_to_ras, ras_from_kji(matrix, lesion.kji)).tolist() == [[0, 1, 1], [4, 1, 1]]


@pytest.mark.parametrize("spacing", [(1, 1), (1, 1, 0), (1, 1, np.nan), (1, 1, -1)])
def test_a_patch_needs_spacings(spacing):
    with pytest.raises(LeFusionError, match="spacings"):
        PatchFrame.around(lesion_at((3, 3, 3), AXIAL, (1, 1, 1)), (4, 4, 4), spacing)
    with pytest.raises(LeFusionError, match="three sizes"):
        PatchFrame.around(lesion_at((3, 3, 3), AXIAL, (1, 1, 1)), (4, 0, 4), (1, 1, 1))


@given(affines(), st.tuples(*[st.floats(0.5, 2)] * 3), st.data())
def test_every_lesion_that_fits_is_inside_its_patch(matrix, spacing, data):
    voxels = data.draw(st.lists(st.tuples(*[st.integers(0, 9)] * 3), min_size=1, max_size=4))
    lesion = lesion_at((10, 10, 10), matrix, *voxels)
    try:
        frame = PatchFrame.around(lesion, (16, 17, 20), spacing)
    except LeFusionError as error:
        assert "holds at most" in str(error)
        return
    there = kji_from_ras(frame.ijk_to_ras, ras_from_kji(matrix, lesion.kji))
    assert (there >= -2e-3).all() and (there <= np.array([15, 16, 19]) + 2e-3).all()
    assert frame.extract_mask(lesion).any()
    assert np.isfinite(frame.values_at(np.zeros((16, 17, 20)), lesion, lesion.kji)).all()


@settings(max_examples=40)
@given(affines(), st.sampled_from([None, (1.0, 1.5, 2.0)]))
def test_a_patch_with_rows_and_columns_exchanged_shows_the_same_place_and_paints_it_home(matrix, spacing):
    volume = Volume(np.arange(5 * 6 * 7, dtype=np.float32).reshape(5, 6, 7), matrix)
    lesion = lesion_at(volume.shape, matrix, (2, 3, 3))
    swapped = None if spacing is None else (spacing[0], spacing[2], spacing[1])
    plain = PatchFrame.around(lesion, (3, 5, 5), spacing)
    turned = PatchFrame.around(lesion, (3, 5, 5), swapped, "kij")
    assert np.allclose(turned.extract(volume), plain.extract(volume).swapaxes(1, 2), atol=1e-2)
    assert np.array_equal(turned.extract_mask(lesion), plain.extract_mask(lesion).swapaxes(2, 3))
    made = np.arange(75.0).reshape(3, 5, 5)
    home = [frame.values_at(patch, lesion, lesion.kji) for frame, patch in
            ((plain, made), (turned, made.swapaxes(1, 2)))]  # fmt: skip
    assert np.allclose(*home, atol=1e-6)


@settings(max_examples=40)
@given(affines(), st.tuples(number, number, number))
def test_a_ramp_through_the_world_is_exact_in_the_patch(matrix, slope):
    points = everywhere(grid((13, 13, 13), matrix))
    volume = Volume((points @ slope).reshape(13, 13, 13), matrix)
    spacing = np.array(volume.spacing_mm) / 3
    frame = PatchFrame.around(lesion_at(volume.shape, matrix, (6, 6, 6)), (3, 4, 3), (spacing.min(),) * 3)
    inside = ras_from_kji(frame.ijk_to_ras, np.indices(frame.shape).reshape(3, -1).T)
    kji = kji_from_ras(matrix, inside)
    assume((kji >= 0).all() and (kji <= 12).all())
    assert np.allclose(frame.extract(volume).ravel(), inside @ slope, rtol=1e-6, atol=1e-3)


@settings(max_examples=40)
@given(affines(), number)
def test_there_and_back_keeps_a_smooth_image(matrix, phase):
    """A wave of 40 mm, sampled at 1 mm and read back on any grid, comes back within 1 % of its height of 3."""
    matrix = matrix.copy()
    matrix[:3, :3] /= np.linalg.norm(matrix[:3, :3], axis=0)  # 1 mm voxels, any direction
    assume(np.linalg.cond(matrix[:3, :3]) < 3)
    volume = grid((17, 17, 17), matrix)
    wave = np.sin(2 * np.pi * everywhere(volume) / 40 + phase).sum(axis=1).reshape(volume.shape)
    volume = Volume(wave, matrix)
    lesion = LesionMask(ControlSphere(tuple(ras_from_kji(matrix, [[8, 8, 8]])[0]), 4).mask_on(volume), matrix)
    frame = PatchFrame.around(lesion, (12, 12, 12), (1, 1, 1))
    patch = frame.extract(volume)
    back = frame.values_at(patch, volume, lesion.kji)
    assert back.dtype == np.float64
    assert np.abs(back - wave[tuple(lesion.kji.T)]).max() < 0.03
    assert patch.min() <= back.min() and back.max() <= patch.max()


def test_there_and_back_on_the_same_grid_is_exact():
    array = np.random.default_rng(1).normal(size=(8, 8, 8)).astype(np.float32)
    lesion = lesion_at(array.shape, AXIAL, (3, 3, 3), (4, 5, 3))
    frame = PatchFrame.around(lesion, (4, 6, 4), (1, 1, 1))
    back = frame.values_at(frame.extract(Volume(array, AXIAL)), lesion, lesion.kji)
    assert (back == array[tuple(lesion.kji.T)]).all()


def test_the_way_back_bends_with_the_values_but_never_beyond_them():
    frame = PatchFrame((1, 1, 9), np.eye(4))
    halves = grid((1, 1, 17), np.diag([0.5, 1.0, 1.0, 1.0]))
    parabola = (np.arange(9.0) ** 2).reshape(1, 1, 9)
    assert abs(frame.values_at(parabola, halves, [[0, 0, 9]])[0] - 4.5**2) < 0.05  # a straight line would give 20.5
    step = np.repeat([0.0, 1.0], [4, 5]).reshape(1, 1, 9)
    back = frame.values_at(step, halves, [(0, 0, i) for i in range(17)])
    assert back.min() == 0 and back.max() == 1  # a spline alone would swing out


def test_what_is_not_in_the_patch_cannot_be_read_from_it():
    lesion = lesion_at((20, 20, 20), AXIAL, (3, 3, 3))
    frame = PatchFrame.around(lesion, (4, 4, 4), (1, 1, 1))
    with pytest.raises(LeFusionError, match="1 of 2 voxels lie outside"):
        frame.values_at(np.zeros((4, 4, 4)), lesion, [[3, 3, 3], [10, 3, 3]])
    with pytest.raises(LeFusionError, match="4, 4, 4"):
        frame.values_at(np.zeros((4, 4, 5)), lesion, [[3, 3, 3]])


# --- masks in the patch


def fine_lesion(*classes):
    """Voxels of 0.25 mm, one class per list of (k, j, i)."""
    array = np.zeros((len(classes), 9, 9, 9), bool)
    for mask, voxels in zip(array, classes, strict=True):
        mask[tuple(np.transpose(voxels))] = True
    return LesionMask(array, np.diag([-0.25, -0.25, 0.25, 1]), tuple("abcdef"[: len(classes)]))


def test_a_class_between_coarse_patch_voxels_does_not_vanish():
    body = [(4, 4, 0), (4, 4, 8)]  # the patch of 1 mm has its voxels at 0, 4, 8
    lesion = fine_lesion([*body, (4, 4, 4)], [(4, 4, 5), (4, 4, 1)])
    mask = PatchFrame.around(lesion, (1, 1, 3), (1, 1, 1)).extract_mask(lesion)
    assert mask.dtype == np.float32
    assert mask[:, 0, 0].tolist() == [[0, 0, 1], [1, 1, 0]]  # the thin class takes the nearest voxels, one class each


def test_two_classes_in_one_patch_voxel_cannot_be_told_apart():
    lesion = fine_lesion([(4, 4, 4)], [(4, 4, 5)])
    with pytest.raises(LeFusionError, match="smaller than a voxel of the patch"):
        PatchFrame.around(lesion, (3, 3, 3), (1, 1, 1)).extract_mask(lesion)


def test_an_empty_class_stays_empty():
    array = np.zeros((2, 5, 5, 5), bool)
    array[0, 2, 2, 2] = True
    lesion = LesionMask(array, AXIAL, ("a", "b"))
    mask = PatchFrame.around(lesion, (4, 4, 4), (1, 1, 1)).extract_mask(lesion)
    assert mask.sum(axis=(1, 2, 3)).tolist() == [1, 0]
