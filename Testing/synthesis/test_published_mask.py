"""Sphere and clean-up of the published mask model: its numbers bit for bit, and where in the world they lie."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from LeFusionLib.errors import LeFusionError
from LeFusionLib.geometry import ControlSphere, PatchFrame, corners_kji, ras_from_kji
from LeFusionLib.models.mask_spec import MaskSpec
from LeFusionLib.synthesis.published_mask import (
    clean_up,
    published_ball,
    published_clean_up,
    published_sphere,
    published_sphere_channel,
    zoomed_frame,
)

# --- the sphere


def test_centre_and_radius_are_cut_to_whole_voxels_so_that_a_rim_may_stick_out():
    mask = np.zeros((1, 1, 4), np.uint8)
    mask[0, 0, [0, 3]] = 1  # mean 1.5, distance 1.5
    center, radius = published_sphere(mask)
    assert center.tolist() == [0, 0, 1] and radius == 1
    assert published_ball(mask.shape, center, radius).tolist() == [[[1, 1, 1, 0]]]


def test_an_empty_mask_has_a_sphere_of_one_voxel_in_the_corner():
    center, radius = published_sphere(np.zeros((3, 3, 3), bool))
    assert center.tolist() == [0, 0, 0] and radius == 0
    assert np.argwhere(published_ball((3, 3, 3), center, radius)).tolist() == [[0, 0, 0]]


def test_the_network_is_shown_255_outside_and_1_inside():
    channel = published_sphere_channel(published_ball((1, 1, 4), np.array([0, 0, 1]), 1))
    assert channel.dtype == np.uint8 and channel.tolist() == [[[1, 1, 1, 255]]]


@pytest.mark.parametrize("number", range(4))
def test_spheres_are_those_of_the_published_code(golden_arrays, number):
    known = golden_arrays("golden_sphere")
    center, radius = published_sphere(known[f"mask{number}"])
    assert center.tolist() == known[f"center{number}"].tolist() and radius == known[f"radius{number}"]
    ball = published_ball(known[f"mask{number}"].shape, center, radius)
    assert ball.dtype == np.uint8 and np.array_equal(ball, known[f"sphere{number}"])
    assert np.array_equal(published_sphere_channel(ball), known[f"sphere_in{number}"])


@pytest.mark.parametrize("name", ["mixed", "exact"])
def test_a_real_masks_channel_is_that_of_the_published_data_set(golden_arrays, name):
    known = golden_arrays("golden_hist")
    mask = known[f"diffmask_{name}_label"][0] == 1
    channel = published_sphere_channel(published_ball(mask.shape, *published_sphere(mask)))
    assert np.array_equal(channel, known[f"diffmask_{name}_sphere"][0])


# --- the clean-up


def lone_voxels(count):
    """A mask of `count` voxels, six apart."""
    mask = np.zeros((30, 30, 30), bool)
    places = np.stack(np.meshgrid(*[np.arange(4, 30, 6)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    mask[tuple(places[:count].T)] = True
    return mask


def test_half_a_patch_stays_half():
    mask = np.zeros((16, 16, 16), bool)
    mask[:, :, :8] = True
    cleaned = clean_up(mask)
    assert cleaned.dtype == bool and cleaned.shape == (24, 24, 24)
    assert cleaned[:, :, :12].all() and not cleaned[:, :, 12:].any()


def test_sizes_are_rounded_to_even_where_they_end_on_a_half():
    assert published_clean_up(np.ones((3, 5, 7), bool)).shape == (4, 8, 10)  # of 4.5, 7.5, 10.5


def test_holes_are_filled():
    box = np.zeros((16, 16, 16), bool)
    box[2:14, 2:14, 2:14] = True
    hollow = box.copy()
    hollow[5:9, 5:9, 5:9] = False
    assert np.array_equal(clean_up(hollow), clean_up(box))


def test_the_larger_piece_is_kept_and_the_first_of_equals():
    small, large, other = (np.zeros((10, 10, 40), bool) for _ in range(3))
    small[3:6, 3:6, 3:6] = True
    large[3:8, 3:8, 12:18] = True
    other[3:8, 3:8, 28:34] = True
    assert np.array_equal(clean_up(small | large), clean_up(large))
    assert np.array_equal(clean_up(large | other), clean_up(large))


def test_the_number_of_voxels_chooses_the_filter():
    # Alone, a voxel grows into a cross among fewer than 20, stays alone up to 99, and is wiped out from 100 on.
    nineteen, twenty, hundred = (np.count_nonzero(clean_up(lone_voxels(n))) for n in (19, 20, 100))
    assert nineteen > 7 > twenty and hundred == 0


@pytest.mark.parametrize("mask", [np.zeros((6, 6, 6), bool), lone_voxels(100)], ids=["empty", "wiped out"])
def test_where_nothing_survives_ours_is_empty_and_the_published_one_is_the_whole_patch(mask):
    assert not clean_up(mask).any()
    assert published_clean_up(mask).all() and published_clean_up(mask).shape == clean_up(mask).shape


def test_what_is_lost_between_the_zoomed_voxels_is_empty_in_both():
    mask = np.zeros((3, 3, 60), bool)
    mask[1, 1, ::3] = True  # 20 lone voxels; one is kept, 1/3 from the nearest of 4 along two axes: (2/3)^2 < 1/2
    assert not clean_up(mask).any() and not published_clean_up(mask).any()


def test_clean_ups_are_those_of_the_published_code_bit_for_bit(golden_arrays):
    known = golden_arrays("golden_mask_post")
    names = [name.removesuffix("_in") for name in known if name.endswith("_in")]
    assert len(names) == 17
    for name in names:
        mask, expected = (
            np.unpackbits(known[f"{name}_{end}"], count=known[f"{name}_{size}"].prod())
            .reshape(known[f"{name}_{size}"])
            .astype(bool)
            for end, size in (("in", "shape"), ("out", "outshape"))
        )
        assert np.array_equal(published_clean_up(mask)[None], expected), name


# --- where it lies


def oblique(shape, seed):
    """A frame of 1 mm whose axes point anywhere, left-handed ones included."""
    rng = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    matrix[:3, 3] = rng.uniform(-200, 200, 3)
    return PatchFrame(shape, matrix)


@given(
    shape=st.tuples(*[st.integers(2, 80)] * 3),
    spacing_mm=st.tuples(*[st.floats(0.3, 5)] * 3),
    seed=st.integers(0, 10**6),
)
def test_the_corner_voxels_of_both_frames_lie_at_the_same_places(shape, spacing_mm, seed):
    frame = oblique(shape, seed)
    scale = np.diag([*spacing_mm, 1.0])
    frame = PatchFrame(shape, frame.ijk_to_ras @ scale)
    zoomed = zoomed_frame(frame)
    assert zoomed.shape == tuple(round(1.5 * n) for n in shape)
    there = ras_from_kji(zoomed.ijk_to_ras, corners_kji(zoomed.shape))
    assert np.allclose(there, ras_from_kji(frame.ijk_to_ras, corners_kji(shape)), atol=1e-9)


def test_the_published_patch_gets_these_voxels():
    zoomed = zoomed_frame(PatchFrame((32, 64, 64), np.eye(4)))
    assert zoomed.shape == (48, 96, 96)
    assert np.allclose(zoomed.spacing_mm, (31 / 47, 63 / 95, 63 / 95))


@settings(max_examples=30)
@given(
    diameter_mm=st.floats(4, 20),
    shift=st.tuples(*[st.floats(-3, 3)] * 3),
    seed=st.integers(0, 10**6),
)
def test_a_ball_keeps_its_place_and_its_diameter_to_a_voxel(diameter_mm, shift, seed):
    frame = oblique((32, 36, 30), seed)
    center_kji = np.array([15.5, 17.5, 14.5]) + shift
    ball = ((np.indices(frame.shape).T - center_kji) ** 2).sum(axis=-1).T <= (diameter_mm / 2) ** 2
    cleaned, zoomed = clean_up(ball), zoomed_frame(frame)
    volume_mm3 = np.count_nonzero(cleaned) * np.prod(zoomed.spacing_mm)
    assert abs((6 / np.pi * volume_mm3) ** (1 / 3) - diameter_mm) < 1
    before = ras_from_kji(frame.ijk_to_ras, np.argwhere(ball)).mean(axis=0)
    after = ras_from_kji(zoomed.ijk_to_ras, np.argwhere(cleaned)).mean(axis=0)
    assert np.linalg.norm(after - before) < 0.5


def test_a_patch_one_voxel_thin_has_no_zoomed_frame():
    with pytest.raises(LeFusionError, match="two voxels"):
        zoomed_frame(PatchFrame((1, 8, 8), np.eye(4)))


@pytest.mark.parametrize("diameter_mm", [2.0, 7.8, 8.0, 20.0])
def test_what_the_mask_model_is_shown_is_the_published_ball(diameter_mm):
    mask, shape = MaskSpec(sphere_values=(255.0, 1.0), published=True), (32, 64, 64)
    sphere = ControlSphere((7, -8, 9), diameter_mm)
    shown = mask.channel(sphere, mask.frame(sphere, shape, (1.0, 1.0, 1.0)))
    ball = published_ball(shape, np.array([16, 32, 32]), int(diameter_mm / 2))
    assert np.array_equal(shown, published_sphere_channel(ball))
