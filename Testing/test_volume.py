"""A volume keeps its voxels and its place, and says what is wrong with others."""

import numpy as np
import pytest

from LeFusionLib.errors import LeFusionError
from LeFusionLib.volume import Volume, spacing_of

VOXELS = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


def test_voxels_are_kept_as_they_are():
    volume = Volume(VOXELS, np.eye(4))
    assert volume.array is VOXELS
    assert volume.shape == (2, 3, 4)


def test_spacing_is_in_array_order():
    assert Volume(VOXELS, np.diag([-0.7, -0.8, 2.5, 1])).spacing_mm == (2.5, 0.8, 0.7)
    turned = np.array([[0, -2, 0, 0], [1, 0, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]])  # i along A, j along -R
    assert spacing_of(turned) == (3.0, 2.0, 1.0)


def test_the_matrix_is_a_copy_nobody_can_change():
    matrix = np.eye(4)
    volume = Volume(VOXELS, matrix)
    matrix[0, 3] = 5
    assert volume.ijk_to_ras[0, 3] == 0
    with pytest.raises(ValueError, match="read-only"):
        volume.ijk_to_ras[0, 3] = 5


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 4)), "three axes"),
        (np.zeros((2, 3, 4, 3)), "RGB"),
        (np.zeros((0, 3, 4)), "three axes"),
        (np.zeros((2, 3, 4), complex), "complex128"),
        (np.full((2, 3, 4), np.nan), "24 voxels that are NaN"),
    ],
)
def test_voxels_that_are_no_volume_are_refused(array, words):
    with pytest.raises(LeFusionError, match=words):
        Volume(array, np.eye(4))


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.eye(3), "4x4"),
        ("nonsense", "4x4"),
        (np.diag([1, 1, 0, 1]), "flat"),
        (np.diag([1, np.nan, 1, 1]), "not finite"),
        (np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "flat"),
        (np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [5, 6, 7, 1]]), "transpose"),
    ],
)
def test_a_geometry_that_is_none_is_refused(matrix, words):
    with pytest.raises(LeFusionError, match=words):
        Volume(VOXELS, matrix)


def test_micrometre_voxels_are_not_flat():
    assert Volume(VOXELS, np.diag([1e-4, 1e-4, 1e-4, 1])).spacing_mm == (1e-4, 1e-4, 1e-4)


def test_other_voxels_on_the_same_grid():
    volume = Volume(VOXELS, np.diag([1, 2, 3, 1]), name="ct", storage="as it was")
    other = volume.with_array(VOXELS + 1, name="made")
    assert (other.array == VOXELS + 1).all()
    assert (other.name, other.storage, other.spacing_mm) == ("made", "as it was", volume.spacing_mm)
    with pytest.raises(LeFusionError, match="grid"):
        volume.with_array(VOXELS[:1])


def test_the_hash_is_of_the_image_not_of_its_storage():
    volume = Volume(VOXELS, np.eye(4), name="a")
    assert volume.sha256() == Volume(VOXELS.astype(">i2"), np.eye(4), name="b").sha256()  # big-endian file
    assert volume.sha256() == Volume(np.asfortranarray(VOXELS), np.eye(4)).sha256()
    minus_zero = np.eye(4)
    minus_zero[0, 3] = -0.0
    assert volume.sha256() == Volume(VOXELS, minus_zero).sha256()


def test_the_hash_sees_type_shape_voxels_and_place():
    shifted = np.eye(4)
    shifted[0, 3] = 1
    others = [
        Volume(VOXELS.astype(np.int32), np.eye(4)),
        Volume(VOXELS.reshape(3, 2, 4), np.eye(4)),
        Volume(VOXELS + 1, np.eye(4)),
        Volume(VOXELS, shifted),
    ]
    assert len({volume.sha256() for volume in [Volume(VOXELS, np.eye(4)), *others]}) == 5
