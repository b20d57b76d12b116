"""The way back: inside the mask only, soft at the rim, in the volume's own type."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from LeFusionLib.geometry import PatchFrame
from LeFusionLib.intensity import IntensityWindow
from LeFusionLib.synthesis.paint import FEATHER_MM, as_dtype, paint_back, rim_weight

WINDOW = IntensityWindow()


def test_numbers_are_rounded_and_kept_within_the_type():
    values = np.array([-200.0, -0.4, 0.6, 1.5, 300.0])
    assert as_dtype(values, np.dtype("uint8")).tolist() == [0, 0, 1, 2, 255]
    assert as_dtype(values, np.dtype("int8")).tolist() == [-128, 0, 1, 2, 127]
    assert as_dtype(values, np.dtype("float64")).tolist() == values.tolist()
    assert as_dtype(values, np.dtype(">i2")).dtype == np.dtype(">i2")


@given(st.sampled_from(["int8", "uint8", "int16", "uint16", "int32", "uint32"]), st.floats(-1e12, 1e12))
def test_no_value_wraps_round(dtype, value):
    (painted,) = as_dtype(np.array([value]), np.dtype(dtype))
    limits = np.iinfo(dtype)
    assert abs(float(painted) - np.clip(value, limits.min, limits.max)) <= 0.5


def test_the_rim_is_blended_with_what_was_there_and_nothing_deeper(scan, box):
    """1 mm voxels: the outermost layer is blended by the feather, the next (2 mm deep) is wholly new."""
    volume = scan()
    weight = rim_weight(box(volume, ((5, 10, 10), (5, 5, 5)))).reshape(5, 5, 5)
    assert weight[0, 0, 0] == weight[2, 0, 2] == pytest.approx(1 / (1 + FEATHER_MM))
    assert (weight[1:-1, 1:-1, 1:-1] == 1).all()


def test_thick_slices_are_blended_within_the_slice_only(scan, box):
    volume = scan(matrix=np.diag([-1.0, -1.0, 4.0, 1.0]))
    weight = rim_weight(box(volume, ((5, 10, 10), (3, 5, 5)))).reshape(3, 5, 5)
    assert weight[0, 2, 2] == 1 and weight[0, 0, 2] == pytest.approx(1 / (1 + FEATHER_MM))


def test_at_the_volumes_edge_there_is_no_rim(scan, box):
    volume = scan(shape=(5, 8, 8))
    assert (rim_weight(box(volume, ((0, 0, 0), (5, 8, 8)))) == 1).all()
    weight = rim_weight(box(volume, ((0, 0, 0), (5, 8, 4)))).reshape(5, 8, 4)
    assert (weight[..., :3] == 1).all() and np.allclose(weight[..., 3], 1 / (1 + FEATHER_MM))


def made_patch(frame, *values):
    return np.stack([np.full(frame.shape, value, np.float32) for value in values])


def test_each_class_comes_from_its_own_channel_and_nothing_else_changes(scan, box):
    volume = scan()
    lesion = box(volume, ((5, 10, 10), (5, 6, 6)), ((5, 10, 16), (5, 6, 6)), classes=("infarct", "no_reflow"))
    frame = PatchFrame.around(lesion, (8, 16, 16), (1.0, 1.0, 1.0))
    painted = volume.array.copy()
    paint_back(painted, volume, lesion, frame, made_patch(frame, 1.0, -1.0), WINDOW)
    assert (painted[6:9, 11:15, 11:16] == 400).all()
    assert (painted[6:9, 11:15, 16:21] == -1000).all()
    assert np.array_equal(painted[~lesion.union], volume.array[~lesion.union])
    edge = volume.array[5, 10, 10] + (400 - volume.array[5, 10, 10]) / (1 + FEATHER_MM)
    assert painted[5, 10, 10] == np.rint(edge)


def test_tissue_that_was_there_is_painted_back_as_it_was(scan, box):
    volume = scan(dtype="float64")
    volume = volume.with_array(np.clip(volume.array, -1000, 400))
    lesion = box(volume, ((5, 10, 10), (4, 5, 6)))
    frame = PatchFrame.around(lesion, (8, 16, 16), (1.0, 1.0, 1.0))
    painted = volume.array.copy()
    paint_back(painted, volume, lesion, frame, WINDOW.normalize(frame.extract(volume))[None], WINDOW)
    assert np.allclose(painted, volume.array, atol=1e-3)
