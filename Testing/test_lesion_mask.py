"""A lesion mask knows its classes, its size in the world and its parts."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from LeFusionLib.errors import LeFusionError
from LeFusionLib.geometry import ControlSphere
from LeFusionLib.lesion_mask import LesionMask
from LeFusionLib.volume import Volume

SHARED = Path(__file__).resolve().parents[1] / "../shared"
AXIAL = np.diag([-1.0, -1.0, 1.0, 1.0])


def mask_of(*voxels, shape=(6, 6, 6), matrix=AXIAL):
    array = np.zeros(shape, np.uint8)
    array[tuple(np.transpose(voxels))] = 1
    return LesionMask(array, matrix)


def two_classes(first, second, shape=(6, 6, 6), matrix=AXIAL):
    array = np.zeros((2, *shape), bool)
    for mask, voxels in zip(array, (first, second), strict=True):
        for voxel in voxels:
            mask[voxel] = True
    return LesionMask(array, matrix, ("infarct", "no_reflow"))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.float32])
def test_any_array_of_0_and_1_is_a_mask(dtype):
    lesion = LesionMask(np.eye(3, dtype=dtype).reshape(1, 3, 3), AXIAL)
    assert lesion.array.dtype == bool
    assert lesion.array.shape == (1, 1, 3, 3)
    assert lesion.shape == (1, 3, 3)
    assert lesion.classes == ("nodule",)


def test_the_mask_is_a_copy_nobody_can_change():
    array = np.ones((2, 2, 2), bool)
    lesion = LesionMask(array, AXIAL)
    array[:] = False
    assert lesion.voxels() == 8
    with pytest.raises(ValueError, match="read-only"):
        lesion.array[0, 0, 0, 0] = False


@pytest.mark.parametrize(
    ("array", "classes", "words"),
    [
        (np.zeros((2, 2, 2)), ("nodule",), "empty"),
        (np.full((2, 2, 2), 255, np.uint8), ("nodule",), "also holds 255"),
        (np.full((2, 2, 2), 0.5), ("nodule",), "also holds 0.5"),
        (np.full((2, 2, 2), np.nan), ("nodule",), "also holds nan"),
        (np.ones((2, 2)), ("nodule",), "axes"),
        (np.ones((2, 0, 2)), ("nodule",), "axes"),
        (np.ones((2, 2, 2, 2)), ("nodule",), "has 2 classes"),
        (np.ones((2, 2, 2, 2)), ("a", "a"), "each once"),
        (np.ones((2, 2, 2, 2)), ("a", "b"), "8 voxels belong to more than one"),
    ],
)
def test_what_is_no_mask_is_refused(array, classes, words):
    with pytest.raises(LeFusionError, match=words):
        LesionMask(array, AXIAL, classes)


def test_labels_come_and_go():
    labels = np.array([0, 1, 2, 3, 4, 3, 0, 0], np.uint8).reshape(2, 2, 2)  # EMIDEC: 1 cavity, 2 myocardium
    lesion = LesionMask.from_labels(labels, AXIAL, {"infarct": 3, "no_reflow": 4})
    assert (lesion.voxels("infarct"), lesion.voxels("no_reflow"), lesion.voxels()) == (2, 1, 3)
    assert lesion.labels().ravel().tolist() == [0, 0, 0, 1, 2, 1, 0, 0]
    assert lesion.labels().dtype == np.uint8
    assert LesionMask.from_labels(labels, AXIAL).classes == ("nodule",)


def test_labels_that_are_not_there_name_those_that_are():
    with pytest.raises(LeFusionError, match=r"label 7 \(nodule\); the labels there are 0, 1, 2"):
        LesionMask.from_labels(np.array([0, 1, 2]).reshape(1, 1, 3), AXIAL, {"nodule": 7})
    with pytest.raises(LeFusionError, match="different number"):
        LesionMask.from_labels(np.ones((1, 1, 3)), AXIAL, {"a": 1, "b": 1})


def test_sizes_are_in_the_world():
    lesion = two_classes([(1, 2, 2), (1, 2, 4)], [(2, 2, 3)], matrix=np.diag([-0.5, -0.7, 3.0, 1]))
    assert lesion.spacing_mm == (3.0, 0.7, 0.5)
    assert math.isclose(lesion.volume_mm3("infarct"), 2 * 0.5 * 0.7 * 3)
    assert math.isclose(lesion.volume_mm3(), 3 * 0.5 * 0.7 * 3)
    assert math.isclose(lesion.diameter_mm("infarct"), 2 * 0.5 + 0.6)  # two voxels apart along i, plus one voxel
    assert math.isclose(lesion.diameter_mm("no_reflow"), 0.6)  # a single voxel is one voxel wide
    assert lesion.bounding_box() == (slice(1, 3), slice(2, 3), slice(2, 5))
    assert lesion.kji.tolist() == [[1, 2, 2], [1, 2, 4], [2, 2, 3]]
    with pytest.raises(LeFusionError, match="Did you mean 'infarct'"):
        lesion.voxels("infarkt")


def test_an_empty_class_has_no_size():
    lesion = two_classes([(1, 1, 1)], [])
    assert (lesion.voxels("no_reflow"), lesion.volume_mm3("no_reflow"), lesion.diameter_mm("no_reflow")) == (0, 0, 0)


def test_the_centre_is_that_of_the_smallest_sphere_not_of_mass():
    lesion = mask_of((1, 1, 1), (1, 1, 2), (1, 1, 5))
    assert np.allclose(lesion.center_ras, (-3, -1, 1))


@settings(max_examples=40)
@given(
    st.floats(6, 14),
    st.tuples(*[st.floats(0.6, 1.6)] * 2),
    st.tuples(*[st.floats(-0.5, 0.5)] * 3),
    st.floats(-3, 3),
)
def test_a_drawn_sphere_measures_what_was_asked(diameter_mm, spacing, offset, angle):
    in_plane, slices = spacing
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ np.diag([-in_plane, in_plane, slices])
    center = (matrix @ [*(np.array([15, 15, 15]) + offset), 1])[:3]
    volume = Volume(np.zeros((31, 31, 31), np.int8), matrix)
    lesion = LesionMask(ControlSphere(tuple(center), diameter_mm).mask_on(volume), matrix)
    voxel = max(in_plane, slices)
    assert abs(lesion.diameter_mm() - diameter_mm) <= voxel + 1e-6
    assert np.linalg.norm(lesion.center_ras - center) <= voxel


def test_components_hang_together_over_corners_and_come_in_order():
    lesion = mask_of((4, 4, 4), (0, 0, 1), (1, 1, 2), (0, 5, 0))
    parts = lesion.components()
    assert [part.kji.tolist() for part in parts] == [[[0, 0, 1], [1, 1, 2]], [[0, 5, 0]], [[4, 4, 4]]]


def test_components_keep_all_classes():
    parts = two_classes([(1, 1, 1), (4, 4, 4)], [(1, 1, 2)]).components()
    assert [part.classes for part in parts] == [("infarct", "no_reflow")] * 2
    assert [(part.voxels("infarct"), part.voxels("no_reflow")) for part in parts] == [(1, 1), (1, 0)]


def test_near_parts_are_one_lesion_when_asked():
    lesion = mask_of((0, 0, 0), (0, 0, 2), (0, 0, 4), (5, 5, 5), matrix=np.diag([0.5, 1, 1, 1]))
    assert len(lesion.components()) == 4
    assert len(lesion.components(gap_mm=0.9)) == 4
    near = lesion.components(gap_mm=1.0)  # 2 voxels of 0.5 mm; the ends are joined by the one between
    assert [part.voxels() for part in near] == [3, 1]
    with pytest.raises(LeFusionError, match="0 mm or more"):
        lesion.components(gap_mm=-1)


def test_all_components_together_are_the_mask():
    array = np.random.default_rng(0).random((12, 12, 12)) < 0.05
    lesion = LesionMask(array, AXIAL)
    parts = lesion.components(gap_mm=2)
    assert (sum(part.union.astype(int) for part in parts) == array).all()


def test_a_mask_on_another_grid_is_refused():
    lesion = mask_of((1, 1, 1))
    lesion.check_on_grid_of(Volume(np.zeros((6, 6, 6)), AXIAL + np.outer([1, 0, 0, 0], [0, 0, 0, 1e-4])))
    with pytest.raises(LeFusionError, match=r"Mask: \(6, 6, 6\) .* Volume: \(6, 6, 7\)"):
        lesion.check_on_grid_of(Volume(np.zeros((6, 6, 7)), AXIAL))
    with pytest.raises(LeFusionError, match=r"RAS \(0.00, 0.00, 0.00\).*RAS \(5.00, 0.00, 0.00\)"):
        lesion.check_on_grid_of(Volume(np.zeros((6, 6, 6)), AXIAL + np.outer([1, 0, 0, 0], [0, 0, 0, 5])))
    flipped = np.diag([1.0, -1.0, 1.0, 1.0])
    with pytest.raises(LeFusionError, match=r"i \(-1, 0, 0\).*i \(1, 0, 0\)"):
        lesion.check_on_grid_of(Volume(np.zeros((6, 6, 6)), flipped))


def test_a_nodule_known_to_be_20_mm_measures_so():
    """The LIDC-IDRI-0314 nodule, drawn by four readers; 20 mm is its nominal size, spicules make it longer."""
    path = SHARED / "data/ct_LIDC-IDRI-0314_lesion.nii.gz"
    if not path.is_file():
        pytest.skip("the shared nodule is not here")
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(str(path))
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) @ np.diag(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    lesion = LesionMask(sitk.GetArrayFromImage(image), np.diag([-1, -1, 1, 1]) @ matrix)
    assert len(lesion.components()) == 1
    equivalent_mm = (6 * lesion.volume_mm3() / math.pi) ** (1 / 3)
    assert equivalent_mm < lesion.diameter_mm() < 2 * equivalent_mm
    assert 15 < equivalent_mm < 25
