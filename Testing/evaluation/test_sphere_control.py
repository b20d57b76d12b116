"""The experiment on sizes counts what it should: rows per sphere, voxels outside, what was refused."""

import numpy as np
import pytest

import LeFusionLib as lf
from LeFusionLib.evaluation import sphere_control as experiment
from LeFusionLib.lesion_mask import LesionMask

AXIAL = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture
def scans(tmp_path):
    """A block of organ in a scan of 1 mm."""
    organ = np.zeros((32, 40, 40), np.uint8)
    organ[4:-4, 4:-4, 4:-4] = 1
    lf.write_volume(lf.Volume(np.zeros(organ.shape, np.int16), AXIAL), tmp_path / "a_ct.nii.gz")
    lf.write_volume(lf.Volume(organ, AXIAL), tmp_path / "a_lungs.nii.gz")
    return tmp_path


def test_shapes_by_hand_keep_their_size_sphere_and_organ(scans):
    rows = experiment.sphere_control("handcrafted", scans, 6, diameters_mm=(6.0, 12.0))
    summary = experiment.summarize(rows)
    assert len(rows) == 6 and summary["outside_boundary"] == 0 and summary["farthest_beyond_sphere_mm"] == 0
    assert summary["diameter_error_wholly_inside"]["median_absolute"] < 0.1
    assert all(row.slices >= 1 and row.volume_mm3 > 1 for row in rows if row.delivered != experiment.REFUSED)


def test_a_drawer_that_strays_is_found_out_and_one_that_refuses_is_counted(scans, monkeypatch):
    def stray(volume, sphere, model, boundary, seed, sampler):
        assert sampler.num_steps == 3
        if seed == 1:
            raise lf.LeFusionError("no shape met its size")
        array = np.zeros(volume.shape, bool)
        array[0:2, 0:2, 0:2] = True  # a corner that is no organ, far from the sphere
        return LesionMask(array, volume.ijk_to_ras, sphere=sphere)

    monkeypatch.setattr(experiment, "draw_lesion_mask", stray)
    rows = experiment.sphere_control("any", scans, 2, diameters_mm=(6.0, 12.0), sampler=lf.SamplerSpec("ddim", 3))
    summary = experiment.summarize(rows)
    assert (summary["spheres"], summary["refused"], summary["outside_boundary"]) == (2, 1, 8)
    assert summary["farthest_beyond_sphere_mm"] > 2 and summary["diameter_error"]["median"] < 0
