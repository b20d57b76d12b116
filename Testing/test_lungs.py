"""Lungs are found in whole chests and in any crop of them, on any grid; where there are none, the error says so."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from LeFusionLib.errors import LeFusionError
from LeFusionLib.geometry import ControlSphere
from LeFusionLib.io import read_labels, read_volume
from LeFusionLib.lungs import segment_lungs
from LeFusionLib.phantom import chest_phantom
from LeFusionLib.volume import Volume

WHOLE = (slice(None),) * 3


def dice(first, second):
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def cut(volume, box):
    """The part of the volume in the slices (k, j, i) of `box`, at its place in the world."""
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, 2::-1] @ [axis.start or 0 for axis in box]
    return Volume(np.ascontiguousarray(volume.array[box]), matrix)


def painted(volume, center_ras, diameter_mm, hu=40):
    ball = ControlSphere(center_ras, diameter_mm).mask_on(volume)
    return volume.with_array(np.where(ball, hu, volume.array).astype(volume.array.dtype)), ball


@pytest.fixture(scope="module")
def chest():
    """A chest of voxels of 3 mm, its lung fields and what is found in it."""
    volume, lungs = chest_phantom(0, (86, 88, 120), (3.0, 3.0, 3.0))
    return volume, lungs, segment_lungs(volume)


@pytest.fixture(scope="module")
def coarse():
    volume, _ = chest_phantom(1, (36, 58, 72), (7.0, 4.5, 5.0))
    return volume, segment_lungs(volume)


# --- what is lung


def test_both_lungs_are_found_with_their_vessels(chest):
    volume, lungs, found = chest
    assert found.shape == volume.shape and found.dtype == bool
    assert dice(found, lungs) > 0.98
    vessels = ndimage.binary_erosion(lungs, iterations=3) & (volume.array > -400)
    assert vessels.sum() > 1000 and found[vessels].all()


@pytest.mark.parametrize(
    "where, ras", [("windpipe", (0, -3, 85)), ("bubble in the stomach", (-56, 42, -108)), ("air", (150, 125, 0))]
)
def test_air_alone_is_no_lung(chest, where, ras):
    volume, _, found = chest
    spot = ControlSphere(ras, 8).mask_on(volume)
    assert volume.array[spot].mean() < -850 and not found[spot].any()


def test_nodules_belong_to_the_lung_also_one_that_leaves_a_bay_at_the_pleura(chest):
    volume, lungs, _ = chest
    i = int(lungs[43, 44].argmax())  # i runs to the left: the first lung voxel lies at the right chest wall
    wall_ras = (volume.ijk_to_ras @ [i, 44, 43, 1])[:3]
    other, inside = painted(volume, (75, -20, 30), 30)
    other, at_the_wall = painted(other, tuple(wall_ras - [5, 0, 0]), 16)
    found = segment_lungs(other)
    assert found[inside & lungs].all()
    assert (at_the_wall & lungs).sum() > 50
    assert (
        found[at_the_wall & lungs].mean() > 0.85
    )  # the ball dents the mouth of the bay, which is the chest wall's side


def test_what_lies_between_the_lungs_is_not_filled(chest):
    volume, _, found = chest
    x = volume.ijk_to_ras[0, 3] + volume.ijk_to_ras[0, 0] * np.arange(volume.shape[2])
    assert not found[:, :, np.abs(x) < 3].any()


# --- any crop, any grid


@pytest.mark.parametrize(
    "box",
    [
        (slice(20, 70), slice(20, 70), slice(25, 95)),  # the inner two thirds, cut on all sides
        (slice(None), slice(5, 80), slice(10, 62)),  # the right lung
        (slice(40, 43), slice(None), slice(None)),  # three slices
        (slice(40, 41), slice(None), slice(None)),  # one
        (slice(None), slice(None), slice(25, 35)),  # a sagittal slab
        (slice(35, 55), slice(35, 55), slice(25, 45)),  # 6 cm deep in the right lung
    ],
    ids=["inner", "right", "slab", "slice", "sagittal", "patch"],
)
def test_a_crop_has_the_same_lungs(chest, box):
    volume, _, found = chest
    assert dice(segment_lungs(cut(volume, box)), found[box]) > 0.96


@settings(max_examples=5)
@given(st.sampled_from(list(permutations(range(3)))), st.tuples(*[st.booleans()] * 3))
def test_the_order_in_which_voxels_are_stored_does_not_matter(coarse, order, flipped):
    volume, found = coarse
    flips = [n for n in range(3) if flipped[n]]
    steps = volume.ijk_to_ras[:3, 2::-1][:, order]  # along the new k, j, i
    shape = np.array(volume.shape)[list(order)]
    matrix = np.eye(4)
    matrix[:3, 3] = volume.ijk_to_ras[:3, 3] + sum(steps[:, n] * (shape[n] - 1) for n in flips)
    matrix[:3, :3] = (steps * np.where(flipped, -1, 1))[:, ::-1]
    stored = Volume(np.ascontiguousarray(np.flip(volume.array.transpose(order), flips)), matrix)
    assert (segment_lungs(stored) == np.flip(found.transpose(order), flips)).all()


def test_a_tilted_patient_has_the_same_lungs(coarse):
    volume, found = coarse
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]]
    assert (segment_lungs(replace(volume, ijk_to_ras=turn @ volume.ijk_to_ras)) == found).all()


def test_fine_voxels_have_the_same_lungs_and_their_own_edge():
    volume, lungs = chest_phantom(2, (30, 150, 180), (2.5, 1.0, 1.0))
    found = segment_lungs(volume)
    assert dice(found, lungs) > 0.97
    rim = ndimage.binary_dilation(found) & ~found
    assert (volume.array[rim] > -400).mean() > 0.98


@pytest.mark.parametrize("dtype", ["int32", "float64"])
def test_the_type_of_the_voxels_does_not_matter(coarse, dtype):
    volume, found = coarse
    assert (segment_lungs(volume.with_array(volume.array.astype(dtype))) == found).all()


def test_padding_round_the_scanners_circle_does_not_matter(coarse):
    volume, found = coarse
    outside = ~ControlSphere((0, 0, 0), 350).mask_on(volume).any(axis=0) & ~found.any(axis=0)
    padded = volume.array.copy()
    padded[:, outside] = -2000
    assert outside.any() and dice(segment_lungs(volume.with_array(padded)), found) > 0.999


# --- no lungs


def without_lungs():
    rng = np.random.default_rng(0)
    k, j, i = np.indices((40, 80, 100)) - np.array([20, 40, 50])[:, None, None, None]
    noise = rng.normal(0, 15, k.shape)
    abdomen = np.where((j / 34) ** 2 + (i / 44) ** 2 < 1, 40.0, -1000.0)
    abdomen[((j + 10) / 9) ** 2 + (i / 20) ** 2 + (k / 12) ** 2 < 1] = -985  # 70 ml of gas
    return {
        "one value": np.full(k.shape, -800.0),
        "air": np.full(k.shape, -1000.0) + noise,
        "tissue": 40 + noise,
        "an abdomen": abdomen + noise,
        "MRI": np.abs(abdomen + 1000 + noise).astype(np.uint16),
        "one voxel": np.zeros((1, 1, 1)),
    }


@pytest.mark.parametrize("what", without_lungs())
def test_without_lungs_the_error_says_what_was_looked_for_and_what_to_do(what):
    array = without_lungs()[what]
    with pytest.raises(
        LeFusionError, match=r"No lungs .* below -400 HU of 40 ml .* Hounsfield .* --boundary FILE"
    ) as told:
        segment_lungs(Volume(array, np.diag([-3.0, -3.0, 3.0, 1.0])))
    assert f"from {array.min():g} to {array.max():g}" in str(told.value)


# --- real scans


def real(shared, name):
    """Volume, and the reference's lungs: its components of at least half the size of the largest.

    In two of the crops the reference also marks the air outside the body and in the bowel.
    """
    file = shared / "data" / f"ct_{name}_ct.nii.gz"
    if not file.exists():
        pytest.skip(f"{file.name} is not in the folder 'shared'")
    numbers, _ = ndimage.label(read_labels(file.with_name(f"ct_{name}_lungs.nii.gz"))[0] > 0)
    sizes = np.bincount(numbers.ravel())
    sizes[0] = 0
    return read_volume(file), (sizes >= sizes.max() / 2)[numbers]


def test_thick_slices_of_a_real_chest(shared):
    volume, reference = real(shared, "ACRIN-FLT-Breast-013")
    assert dice(segment_lungs(volume), reference) > 0.975


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["CMB-CRC-MSB-01068", "LIDC-IDRI-0314", "TotalSegmentator_aorta_crop", "elastix_3DCT_lung_right"]
)
def test_real_chests_whole_and_cropped(shared, name):
    volume, reference = real(shared, name)
    assert dice(segment_lungs(volume), reference) > 0.975


@pytest.mark.slow
def test_a_real_nodule_lies_in_the_lungs(shared):
    volume, _ = real(shared, "LIDC-IDRI-0314")
    nodule = read_labels(shared / "data" / "ct_LIDC-IDRI-0314_lesion.nii.gz")[0] > 0
    assert segment_lungs(volume)[nodule].all()


@pytest.mark.slow
def test_a_real_abdomen_has_no_lungs(shared):
    volume, _ = real(shared, "ACRIN-FLT-Breast-013")
    with pytest.raises(LeFusionError, match="No lungs"):
        segment_lungs(cut(volume, (slice(0, 5), *WHOLE[1:])))
