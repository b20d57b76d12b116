"""The result picture: anterior up and left on the right however the volume is stored, and one PNG with all of it."""

from itertools import permutations, product

import matplotlib
import numpy as np
import pytest

from LeFusionLib.errors import LeFusionError
from LeFusionLib.evaluation.figure import DPI, SIZE_INCHES, reoriented, result_figure
from LeFusionLib.geometry import ControlSphere
from LeFusionLib.intensity import IntensityWindow
from LeFusionLib.lesion_mask import LesionMask
from LeFusionLib.phantom import chest_phantom, lung_sites
from LeFusionLib.texture import TextureHistogram
from LeFusionLib.volume import Volume


def stored(order, flips):
    """A 4 x 5 x 6 volume whose voxels hold their own number in axial storage, kept with other axes and directions."""
    array = np.arange(4 * 5 * 6).reshape(4, 5, 6)  # k to the head, j to the back, i to the left
    matrix = np.array([[-1.0, 0, 0, 30], [0, -2, 0, 20], [0, 0, 3, 10], [0, 0, 0, 1]])
    change = np.eye(4)  # from the stored (i, j, k) to the axial (i, j, k)
    change[:3, :3] = np.eye(3)[:, [2 - axis for axis in order[::-1]]]
    for column, axis in enumerate(order[::-1]):
        if flips[2 - column]:
            change[2 - axis, column] = -1
            change[2 - axis, 3] = array.shape[axis] - 1
    view = array.transpose(order)[tuple(slice(None, None, -1) if f else slice(None) for f in flips)]
    return view, matrix @ change, array, matrix


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("flips", list(product([False, True], repeat=3)))
def test_any_storage_order_comes_back_with_head_back_and_left_at_the_higher_indices(order, flips):
    view, ijk_to_ras, array, matrix = stored(order, flips)
    upright, its_matrix = reoriented(view, ijk_to_ras)
    assert np.array_equal(upright, array)
    assert np.allclose(its_matrix, matrix)


def test_an_oblique_volume_gets_the_nearest_axes_and_its_voxels_stay_where_they_were():
    tilt = np.radians(20)
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ np.diag([1.0, 1.0, 2.0])  # i to the right, j to the front: both must be turned round
    array = np.arange(24).reshape(2, 3, 4)
    upright, its_matrix = reoriented(array, matrix)
    assert np.array_equal(upright, array[:, ::-1, ::-1])
    assert np.allclose(its_matrix @ [3, 2, 0, 1], matrix @ [0, 0, 0, 1])


@pytest.fixture(scope="module")
def case():
    """A bright ball in the phantom's lung, stored sagittally and with thick slices."""
    volume, lungs = chest_phantom(1, shape=(48, 88, 120), spacing_mm=(5.0, 3.0, 3.0))
    volume = Volume(volume.array.transpose(2, 0, 1), volume.ijk_to_ras @ np.eye(4)[[1, 2, 0, 3]].T)
    site = lung_sites(volume, lungs.transpose(2, 0, 1), diameter_mm=20)[0]
    lesion = LesionMask(ControlSphere(tuple(site), 20).mask_on(volume), volume.ijk_to_ras)
    after = volume.array.copy()
    after[lesion.union] = 30
    return volume, volume.with_array(after), lesion


def test_it_writes_one_png_of_the_stated_size_and_no_global_state(case, tmp_path):
    before, after, lesion = case
    backend = matplotlib.rcParams["backend"]
    uniform, solid = TextureHistogram((1.0,) * 16), TextureHistogram((0.0,) * 11 + (1.0,) + (0.0,) * 4)
    path = result_figure(
        before, after, lesion, IntensityWindow(), uniform, {"nodule": solid}, "A ball", tmp_path / "a.png"
    )
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = (int.from_bytes(content[n : n + 4], "big") for n in (16, 20))
    assert (width, height) == (round(SIZE_INCHES[0] * DPI), round(SIZE_INCHES[1] * DPI))
    assert matplotlib.rcParams["backend"] == backend


def test_a_result_on_another_grid_is_refused_and_nothing_written(case, tmp_path):
    before, after, lesion = case
    texture = TextureHistogram((1.0,) * 16)
    matrix = after.ijk_to_ras.copy()
    matrix[0, 3] += 5
    moved = Volume(after.array, matrix)
    with pytest.raises(LeFusionError, match="different grids"):
        result_figure(before, moved, lesion, IntensityWindow(), texture, texture, "x", tmp_path / "b.png")
    assert not (tmp_path / "b.png").exists()
