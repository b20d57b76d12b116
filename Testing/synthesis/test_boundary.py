"""Where a lesion may grow: given masks on the volume's grid, built-in organs by name, nothing that is empty."""

from dataclasses import replace

import numpy as np
import pytest

from LeFusionLib.errors import LeFusionError
from LeFusionLib.geometry import PatchFrame
from LeFusionLib.lesion_mask import LesionMask
from LeFusionLib.phantom import chest_phantom
from LeFusionLib.synthesis.boundary import SCANS_KEPT, boundary_in, boundary_mask
from LeFusionLib.volume import Volume


def test_mask_array_and_numbers_are_the_same_boundary_and_none_is_none(scan):
    volume = scan()
    half = np.zeros(volume.shape, bool)
    half[:, :, :22] = True
    assert boundary_mask(None, volume) is None
    for given in (half, half.astype(np.uint8), LesionMask(half, volume.ijk_to_ras, ("lung",))):
        assert np.array_equal(boundary_mask(given, volume), half)


def test_the_lungs_are_found_by_name():
    volume, lungs = chest_phantom()
    found = boundary_mask("lung", volume)
    assert 2 * (found & lungs).sum() / (found.sum() + lungs.sum()) > 0.95


def test_lungs_are_looked_for_once_in_a_scan_and_again_in_another(scan, monkeypatch):
    looked_in = []

    def upper_half(volume):
        looked_in.append(volume.name)
        return volume.array > np.median(volume.array)

    monkeypatch.setattr("LeFusionLib.lungs.segment_lungs", upper_half)
    monkeypatch.setattr("LeFusionLib.synthesis.boundary._lungs_found", {})
    volume = scan()
    first = boundary_mask("lung", replace(volume, name="first"))
    first[:] = False  # whoever was given it may write into it
    again = boundary_mask("lung", replace(volume, name="the same again"))
    assert looked_in == ["first"] and again.dtype == bool and np.array_equal(again, upper_half(volume))
    looked_in.clear()
    changed = volume.array.copy()
    changed[0, 0, 0] += 1
    moved = volume.ijk_to_ras.copy()
    moved[0, 3] += 1
    others = [replace(volume, array=changed, name="a voxel"), replace(volume, ijk_to_ras=moved, name="moved")]
    others += [volume.with_array(volume.array + n, name=f"brighter {n}") for n in range(2, 2 + SCANS_KEPT - 2)]
    for other in others:
        assert np.array_equal(boundary_mask("lung", other), other.array > np.median(other.array))
    assert looked_in == [other.name for other in others]
    boundary_mask("lung", replace(volume, name="forgotten by now"))
    assert looked_in[-1] == "forgotten by now"


def test_what_is_no_boundary_is_refused_in_words(scan):
    volume = scan()
    with pytest.raises(LeFusionError, match="'lungs'. Did you mean 'lung'"):
        boundary_mask("lungs", volume)
    with pytest.raises(LeFusionError, match="The boundary is empty"):
        boundary_mask(np.zeros(volume.shape), volume)
    with pytest.raises(LeFusionError, match="on the volume's grid"):
        boundary_mask(np.ones((2, 2, 2)), volume)


def test_in_a_finer_patch_it_ends_half_way_between_the_voxels():
    volume = Volume(np.zeros((4, 4, 10), np.int16), np.diag([2.0, 2.0, 2.0, 1.0]))
    boundary = np.zeros(volume.shape, bool)
    boundary[:, :, :5] = True  # to 8 mm; the surface lies at 9 mm
    matrix = np.diag([0.5, 0.5, 0.5, 1.0])
    matrix[:3, 3] = (4.25, 2, 2)
    inside = boundary_in(PatchFrame((2, 2, 16), matrix), boundary, volume)
    assert (inside == (4.25 + 0.5 * np.arange(16) < 9)).all()


def test_beyond_the_volumes_few_slices_there_is_no_organ():
    volume = Volume(np.zeros((2, 4, 4), np.int16), np.diag([1.0, 1.0, 10.0, 1.0]))
    matrix = volume.ijk_to_ras.copy()
    matrix[2, 3] = -10
    inside = boundary_in(PatchFrame((5, 4, 4), matrix), np.ones(volume.shape, bool), volume)
    assert inside.all(axis=(1, 2)).tolist() == [False, True, True, False, False] and inside.sum() == 32
