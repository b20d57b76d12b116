"""A shape from a sphere: inside it and the boundary, with what was asked kept for the report; the rest is refused."""

from functools import partial

import numpy as np
import pytest

from LeFusionLib.errors import LeFusionError
from LeFusionLib.geometry import ControlSphere
from LeFusionLib.lesion_mask import LesionMask
from LeFusionLib.synthesis.draw import draw_lesion_mask
from LeFusionLib.synthesis.synthesize import synthesize
from LeFusionLib.volume import Volume

by_hand = partial(draw_lesion_mask, model="handcrafted")
MIDDLE = ControlSphere((-22.0, -22.0, 10.0), 9.0)  # voxel (k, j, i) = (10, 22, 22) of the scan


def test_the_lesion_lies_in_the_sphere_on_the_volumes_grid(scan):
    volume = scan()
    lesion = by_hand(volume, MIDDLE, seed=3)
    lesion.check_on_grid_of(volume)
    assert lesion.voxels() > 20 and not (lesion.union & ~MIDDLE.mask_on(volume)).any()
    assert (lesion.classes, lesion.sphere, lesion.drawn_by) == (("nodule",), MIDDLE, "handcrafted")
    assert by_hand(volume, MIDDLE, lesion_class="cyst").classes == ("cyst",)


def test_a_seed_draws_one_shape(scan):
    volume = scan()
    first, again, other = (by_hand(volume, MIDDLE, seed=s).array for s in (3, 3, 4))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_the_grey_values_do_not_matter(scan):
    a, b = (by_hand(scan(seed=s), MIDDLE, seed=3).array for s in (0, 1))
    assert np.array_equal(a, b)


def test_a_boundary_keeps_it_in_whether_given_as_mask_or_as_array(scan):
    volume = scan()
    half = np.zeros(volume.shape, bool)
    half[:, :, :22] = True
    lesion = by_hand(volume, MIDDLE, boundary=half, seed=3)
    assert lesion.voxels() > 5 and not (lesion.union & ~half).any()
    as_mask = by_hand(volume, MIDDLE, boundary=LesionMask(half, volume.ijk_to_ras, ("lung",)), seed=3)
    assert np.array_equal(as_mask.array, lesion.array)
    as_numbers = by_hand(volume, MIDDLE, boundary=half.astype(np.uint8), seed=3)
    assert np.array_equal(as_numbers.array, lesion.array)


def test_it_can_be_painted_and_the_report_knows_what_was_asked(scan, tiny_model):
    volume = scan()
    result = synthesize(volume, by_hand(volume, MIDDLE), tiny_model(), "solid")
    (row,) = result.report["lesions"]
    assert row["diameter_mm"]["asked"] == 9.0 and row["drawn_by"] == "handcrafted"


@pytest.mark.parametrize(
    "center, diameter_mm, words",
    [
        ((60.0, -22.0, 10.0), 9.0, "outside the volume, which spans R -43.5 to 0.5"),
        ((-22.0, -22.0, 10.0), 0.5, "smaller than a voxel"),
        ((-22.5, -22.5, 10.5), 1.2, "smaller than a voxel"),
    ],
)
def test_a_sphere_outside_or_too_small_is_refused(scan, center, diameter_mm, words):
    with pytest.raises(LeFusionError, match=words):
        by_hand(scan(), ControlSphere(center, diameter_mm))


def test_a_boundary_elsewhere_or_on_another_grid_is_refused(scan):
    volume = scan()
    away = np.zeros(volume.shape, bool)
    away[0, 0, 0] = True
    with pytest.raises(LeFusionError, match="no voxel inside the boundary"):
        by_hand(volume, MIDDLE, boundary=away)
    with pytest.raises(LeFusionError, match=r"\(20, 44, 43\) voxels, the volume \(20, 44, 44\)"):
        by_hand(volume, MIDDLE, boundary=np.ones((20, 44, 43), bool))
    moved = volume.ijk_to_ras.copy()
    moved[0, 3] += 1
    with pytest.raises(LeFusionError, match="different grids"):
        by_hand(volume, MIDDLE, boundary=LesionMask(away, moved, ("lung",)))


def test_an_unknown_model_and_a_seed_that_is_none_are_refused(scan):
    with pytest.raises(LeFusionError, match="Did you mean 'handcrafted'"):
        draw_lesion_mask(scan(), MIDDLE, model="handcraft")
    with pytest.raises(LeFusionError, match="seed must be a whole number"):
        by_hand(scan(), MIDDLE, seed=-1)


def test_number_n_of_a_seed_is_another_shape_and_always_the_same_one(scan):
    volume = scan()
    shapes = [by_hand(volume, MIDDLE, seed=3, number=n).array.tobytes() for n in (0, 1, 2, 1)]
    assert shapes[1] == shapes[3] and len(set(shapes)) == 3
    assert shapes[0] == by_hand(volume, MIDDLE, seed=3).array.tobytes()


def test_several_classes_by_hand_are_refused(scan):
    with pytest.raises(LeFusionError, match="of one class; infarct, no_reflow are drawn together by a mask model"):
        by_hand(scan(), MIDDLE, lesion_class=("infarct", "no_reflow"))


def test_a_volume_with_fewer_slices_than_half_the_sphere_is_refused():
    volume = Volume(np.zeros((3, 60, 60), np.int16), np.diag([1.4, 1.4, 10.0, 1.0]))
    with pytest.raises(LeFusionError, match=r"spans 7 slices, and the volume has 3 of them \(3 slices, 10 mm apart"):
        by_hand(volume, ControlSphere((42.0, 42.0, 10.0), 70.0))
    assert by_hand(volume, ControlSphere((42.0, 42.0, 10.0), 50.0)).voxels() > 0  # 5 slices, of which 3 are there


def test_near_a_wall_the_room_that_is_left_is_what_counts(scan):
    volume = scan()
    thin = np.zeros(volume.shape, bool)
    thin[:, :, 21:23] = True  # two voxels of the sphere's nine
    lesion = by_hand(volume, MIDDLE, boundary=thin, seed=3)
    assert not (lesion.union & ~thin).any() and lesion.diameter_mm() == pytest.approx(9.2, rel=0.2)


def test_a_sphere_in_few_thick_slices_is_drawn_and_the_slices_are_told(caplog):
    thick = Volume(np.zeros((6, 40, 40), np.int16), np.diag([-1.0, -1.0, 8.0, 1.0]))
    lesion = by_hand(thick, ControlSphere((-20, -20, 16), 14.0))
    assert lesion.union.any(axis=(1, 2)).sum() == 1
    assert "meets few slices (1 of 8.0 mm)" in caplog.text
