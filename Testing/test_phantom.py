"""The phantom is a chest: its tissues, its lungs, its vessels, and the same one for the same seed."""

import numpy as np
import pytest
from scipy import ndimage

from LeFusionLib.errors import LeFusionError
from LeFusionLib.phantom import branch_radii, chest_ct, chest_phantom, grow_tree, lung_sites

SMALL = {"shape": (64, 88, 120), "spacing_mm": (4.0, 3.0, 3.0)}


@pytest.fixture(scope="module")
def chest():
    return chest_phantom(0)


def at(volume, ras):
    """Mean HU of the 5 x 5 x 5 voxels around a point."""
    i, j, k = np.rint(np.linalg.solve(volume.ijk_to_ras, [*ras, 1])[:3]).astype(int)
    return volume.array[k - 2 : k + 3, j - 2 : j + 3, i - 2 : i + 3].mean()


def test_it_is_an_int16_volume_stored_as_a_supine_dicom_series_would_be(chest):
    volume, lungs = chest
    assert volume.array.dtype == np.int16 and volume.shape == (128, 176, 240) == lungs.shape
    assert np.allclose(np.diag(volume.ijk_to_ras), [-1.5, -1.5, 2.0, 1.0])


@pytest.mark.parametrize(
    "where, ras, low, high",
    [
        ("air before the patient", (150, 125, 0), -1024, -980),
        ("trachea", (0, -3, 85), -1024, -940),
        ("right lung", (85, 10, 10), -920, -750),
        ("heart", (-22, 24, -58), 25, 65),
        ("liver", (60, 0, -115), 40, 85),
        ("vertebra", (0, -59, 0), 100, 450),
    ],
)
def test_tissues_have_their_hounsfield_values(chest, where, ras, low, high):
    assert low <= at(chest[0], ras) <= high


def test_fat_muscle_and_bone_are_all_there(chest):
    hu = ndimage.gaussian_filter(chest[0].array.astype(np.float32), 1)
    share = [((hu > a) & (hu < b)).mean() for a, b in [(-130, -70), (30, 75), (250, 900)]]
    assert all(s > 0.01 for s in share)
    assert chest[0].array.max() < 1200


def test_the_lungs_are_two_whole_organs_inside_the_body_of_a_plausible_volume(chest):
    volume, lungs = chest
    parts, count = ndimage.label(lungs)
    sizes = np.sort(np.bincount(parts.ravel())[1:])[::-1]
    litres = sizes * np.prod(volume.spacing_mm) / 1e6
    assert 1.2 < litres[1] <= litres[0] < 4.0 and litres[2:].sum() < 0.01
    x_of_part = [np.argwhere(parts == n + 1)[:, 2].mean() for n in np.argsort(np.bincount(parts.ravel())[1:])[::-1][:2]]
    assert abs(x_of_part[0] - x_of_part[1]) > 60  # one on each side
    edge = np.ones_like(lungs)
    edge[2:-2, 2:-2, 2:-2] = False
    assert not (lungs & edge).any()


def test_vessels_run_through_the_lungs_and_thin_out_towards_the_pleura(chest):
    volume, lungs = chest[0], chest[1][::2, ::2, ::2]
    depth = ndimage.distance_transform_edt(lungs, sampling=np.multiply(volume.spacing_mm, 2))
    vessel = lungs & (volume.array[::2, ::2, ::2] > -600)
    deep, shallow = (depth > 25), (depth > 4) & (depth < 9)
    assert 0.01 < vessel[deep].mean() < 0.25
    assert vessel[shallow & lungs].mean() < vessel[deep].mean()


def test_noise_is_that_of_a_scanner(chest):
    volume, lungs = chest
    i, j, k = np.rint(np.linalg.solve(volume.ijk_to_ras, [-22, 24, -58, 1])[:3]).astype(int)
    heart = volume.array[k - 4 : k + 5, j - 6 : j + 7, i - 6 : i + 7].astype(float)
    assert 10 < heart.std() < 28
    step = np.corrcoef(heart[:, :, 1:].ravel(), heart[:, :, :-1].ravel())[0, 1]
    assert step > 0.3  # neighbours share it


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_patient():
    first, again, other = (chest_ct(s, **SMALL).array for s in (3, 3, 4))
    assert first.tobytes() == again.tobytes()
    assert (first != other).mean() > 0.3


def test_a_site_holds_its_nodule(chest):
    volume, lungs = chest
    for ras in lung_sites(volume, lungs, diameter_mm=14, count=3, seed=1):
        kji = np.argwhere(np.ones(volume.shape, bool)[::4, ::4, ::4]) * 4
        xyz = kji[:, ::-1] @ volume.ijk_to_ras[:3, :3].T + volume.ijk_to_ras[:3, 3]
        near = kji[np.linalg.norm(xyz - ras, axis=1) < 7]
        assert lungs[tuple(near.T)].mean() > 0.95
    with pytest.raises(LeFusionError, match="smaller"):
        lung_sites(volume, lungs, diameter_mm=300)


def test_a_tree_of_three_points_in_a_row_is_a_line_whose_radius_follows_murray():
    nodes, parent = grow_tree(np.zeros((1, 3)), np.array([[20.0, 0, 0], [10.0, 0, 0], [10.0, 10, 0]]))
    assert parent.tolist() == [0, 0, 1, 1] or parent.tolist() == [0, 0, 0, 1]
    line = branch_radii(np.zeros((3, 3)), np.array([0, 0, 1]), thinnest_mm=1.0, thickest_mm=9.0)
    assert np.allclose(line[1:], [1.0, 1.0])
    fork = branch_radii(np.zeros((4, 3)), np.array([0, 0, 1, 1]), thinnest_mm=1.0, thickest_mm=9.0)
    assert np.allclose(fork[1:], [2 ** (1 / 2.7), 1, 1])


def test_a_scan_without_voxels_is_refused():
    with pytest.raises(LeFusionError, match="positive spacing"):
        chest_ct(0, shape=(4, 4, 4))
