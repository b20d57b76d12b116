"""Shape features have the answers that geometry gives: balls, ellipsoids, boxes, and bodies with countable dents."""

from dataclasses import asdict
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from LeFusionLib.errors import LeFusionError
from LeFusionLib.evaluation.shape_features import count_concavities, shape_features, smooth_field

ONE_MM = (1.0, 1.0, 1.0)


def points(size):
    """(size, size, size, 3): voxel centres in voxels from the middle."""
    return np.stack(np.meshgrid(*[np.arange(size) - (size - 1) / 2] * 3, indexing="ij"), axis=-1)


def ellipsoid(*radii, size=None, center=(0, 0, 0)):
    size = size or 2 * int(max(radii)) + 5
    return (((points(size) - center) / radii) ** 2).sum(axis=-1) <= 1


def box(*size):
    return np.pad(np.ones(size, dtype=bool), 2)


def blob(seed):
    """An irregular body in one grid of 20 voxels along an axis."""
    rng = np.random.default_rng(seed)
    return np.logical_or.reduce(
        [ellipsoid(*rng.uniform(2, 5, 3), size=20, center=rng.uniform(-3, 3, 3)) for _ in range(4)]
    )


@pytest.mark.parametrize("radius", [3, 5, 8, 12])
def test_a_ball_measures_as_a_ball(radius):
    ball = shape_features(ellipsoid(radius, radius, radius), ONE_MM)
    assert ball.volume_mm3 == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.12)
    assert ball.surface_mm2 == pytest.approx(4 * np.pi * radius**2, rel=0.08)
    assert ball.surface_to_volume == pytest.approx(3 / radius, rel=0.05)
    assert ball.diameter_mm == pytest.approx(2 * radius + 1)  # the voxels on both poles, each a voxel wide
    assert 0.98 < ball.sphericity < 1
    assert ball.elongation == pytest.approx(1) and ball.flatness == pytest.approx(1)
    assert ball.solidity == 1 and ball.concavities == 0


def test_an_ellipsoid_has_the_ratios_of_its_axes():
    body = shape_features(ellipsoid(6, 9, 12), ONE_MM)
    assert body.elongation == pytest.approx(9 / 12, rel=0.02)
    assert body.flatness == pytest.approx(6 / 12, rel=0.02)
    assert body.fill == pytest.approx(6 * 9 * 12 / 12.5**3, rel=0.03)
    p = 1.6075  # area after Knud Thomsen, to 1 %
    area = 4 * np.pi * (((6 * 9) ** p + (6 * 12) ** p + (9 * 12) ** p) / 3) ** (1 / p)
    assert body.surface_mm2 == pytest.approx(area, rel=0.03)
    assert body.solidity == 1 and body.concavities == 0


def test_a_cube_is_less_of_a_ball_and_its_edges_are_rounded_off():
    cube = shape_features(box(16, 16, 16), ONE_MM)
    assert (cube.volume_mm3, cube.solidity, cube.concavities) == (4096, 1, 0)
    assert (np.pi / 6) ** (1 / 3) < cube.sphericity < 0.88  # 0.806 with sharp edges
    assert cube.diameter_mm == pytest.approx(15 * np.sqrt(3) + 1)


def test_one_voxel_is_a_cube_and_a_row_of_voxels_is_long():
    voxel = shape_features(box(1, 1, 1), ONE_MM)
    assert (voxel.volume_mm3, voxel.diameter_mm) == (1, 1)
    assert (voxel.elongation, voxel.flatness, voxel.solidity) == (1, 1, 1)
    row = shape_features(box(1, 1, 5), ONE_MM)
    assert row.elongation == pytest.approx(1 / 5) and row.flatness == pytest.approx(1 / 5)  # sides 1, 1, 5
    plate = shape_features(box(1, 4, 4), ONE_MM)
    assert plate.elongation == pytest.approx(1) and plate.flatness == pytest.approx(1 / 4)


def two_balls(apart, radius=6):
    return ellipsoid(*[radius] * 3, size=40, center=(0, 0, -apart / 2)) | ellipsoid(
        *[radius] * 3, size=40, center=(0, 0, apart / 2)
    )


def plus(arms):
    """A plate, six voxels thick, of four bars that meet in the middle, or of two or three of them."""
    plate = np.zeros((10, 36, 36), dtype=bool)
    plate[2:8, 15:21, 15:21] = True
    for where in [(slice(15, 21), slice(15, 34)), (slice(15, 34), slice(15, 21)), (slice(15, 21), slice(2, 21)),
                  (slice(2, 21), slice(15, 21))][:arms]:  # fmt: skip
        plate[(slice(2, 8), *where)] = True
    return plate


@pytest.mark.parametrize(
    "name, body, dents",
    [
        ("two balls that overlap: one waist all round", two_balls(11), 1),
        ("a dumbbell", two_balls(18) | np.pad(np.ones((4, 4, 18), dtype=bool), ((18,) * 2, (18,) * 2, (11,) * 2)), 1),
        ("an L has one corner inside", plus(2), 1),
        ("a T has two", plus(3), 2),
        ("a cross has four", plus(4), 4),
        ("a ball bitten from two sides", ellipsoid(9, 9, 9, size=30)
         & ~ellipsoid(4, 4, 4, size=30, center=(0, 0, 9)) & ~ellipsoid(4, 4, 4, size=30, center=(0, 0, -9)), 2),
        ("a hole through", ellipsoid(4, 9, 9, size=30) & (np.hypot(*np.moveaxis(points(30)[..., 1:], -1, 0)) > 4), 1),
        ("a voxel missing at the surface is the grid's doing", ellipsoid(5, 5, 5) & (points(15)[..., 0] < 5), 0),
        ("two voxels that meet at a corner", np.pad(np.eye(2, dtype=bool)[None] * np.ones((1, 1, 1), bool), 2), 0),
    ],
)  # fmt: skip
def test_dents_are_counted(name, body, dents):
    assert count_concavities(body) == dents, name
    assert shape_features(body, ONE_MM).concavities == dents, name


def test_a_dent_lowers_the_solidity_to_the_share_of_the_hull():
    corner = np.pad(np.ones((4, 4, 4), dtype=bool), 2)
    corner[:, 4:, 4:] = False  # an L: 3 of 4 quarters, and half of the fourth is in the hull of the voxel centres
    in_hull = 4 * (12 + 1)  # of the empty 2 x 2 columns only the innermost has its centre in the hull
    assert shape_features(corner, ONE_MM).solidity == pytest.approx(48 / in_hull)


@given(st.integers(0, 10_000), st.floats(0.3, 4))
@settings(max_examples=10)
def test_a_shape_twice_as_large_has_four_times_the_surface_and_the_same_form(seed, factor):
    body = blob(seed)
    small, large = (asdict(shape_features(body, (mm, mm, mm))) for mm in (1.0, factor))
    powers = {"volume_mm3": 3, "diameter_mm": 1, "surface_mm2": 2, "surface_to_volume": -1}
    for name, value in small.items():
        assert large[name] == pytest.approx(value * factor ** powers.get(name, 0), rel=1e-4), name


@given(st.integers(0, 10_000), st.sampled_from(list(permutations(range(3)))), st.sampled_from(range(8)))
@settings(max_examples=10)
def test_turning_and_flipping_change_nothing(seed, order, flips):
    body = blob(seed)
    turned = np.flip(body.transpose(order), [axis for axis in range(3) if flips >> axis & 1])
    before, after = (asdict(shape_features(np.pad(mask, (1, 3)), ONE_MM)) for mask in (body, turned))
    assert after == pytest.approx(before, rel=1e-3)


def test_thick_slices_measure_as_thin_ones():
    thin = shape_features(ellipsoid(8, 8, 8, size=24), ONE_MM)
    places = points(24) * [2, 1, 1]
    thick = shape_features((places**2).sum(axis=-1) <= 64, (2.0, 1.0, 1.0))
    for name in ("volume_mm3", "surface_mm2", "sphericity", "elongation", "flatness"):
        assert getattr(thick, name) == pytest.approx(getattr(thin, name), rel=0.05), name


def test_the_surface_encloses_as_much_as_the_lesion_has_even_where_it_is_small():
    for body in (box(2, 2, 2), ellipsoid(2, 2, 2), box(1, 3, 3), ellipsoid(6, 6, 6)):
        field, level = smooth_field(body)
        assert np.count_nonzero(field > level) / 8 == pytest.approx(np.count_nonzero(body), rel=0.1)


@pytest.mark.parametrize(
    "mask, spacing, message",
    [
        (np.zeros((3, 3, 3), dtype=bool), ONE_MM, "empty"),
        (np.ones((3, 3), dtype=bool), ONE_MM, "mask of \\(3, 3\\)"),
        (np.ones((3, 3, 3), dtype=bool), (1.0, 0.0, 1.0), "above 0 mm"),
        (np.ones((3, 3, 3), dtype=bool), (1.0, 1.0), "three spacings"),
    ],
)
def test_what_is_no_shape_is_refused(mask, spacing, message):
    with pytest.raises(LeFusionError, match=message):
        shape_features(mask, spacing)
