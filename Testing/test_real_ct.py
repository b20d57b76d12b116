"""The main job on real chest CTs with the bundled weights: what users rely on, at sites in normal lung."""

import numpy as np
import pytest

import LeFusionLib as lf
from LeFusionLib.evaluation.texture_control import normal_sites, read_scans

pytestmark = [pytest.mark.slow, pytest.mark.ci]

SCAN = "ct_TotalSegmentator_aorta_crop"
SAMPLER = lf.SamplerSpec(num_steps=10)


@pytest.fixture(scope="module")
def model():
    if "lung-nodule" not in lf.bundled_models():
        pytest.skip("the weights 'lung-nodule' are not in this checkout")
    return lf.load_model("lung-nodule", "cpu")


@pytest.fixture(scope="module")
def site(shared):
    volume = lf.read_volume(shared / "data" / f"{SCAN}_ct.nii.gz")
    labels, _, _ = lf.read_labels(shared / "data" / f"{SCAN}_lungs.nii.gz")
    sphere = normal_sites(volume, labels > 0, 1, (12.0, 12.0), np.random.default_rng(4))[0]
    return volume, sphere, lf.draw_lesion_mask(volume, sphere, seed=4)


@pytest.mark.timeout(600)
def test_in_every_real_scan_nothing_outside_changes_and_textures_come_out_in_order(shared, model):
    in_order = []
    for number, (_, volume, tissue) in enumerate(read_scans(shared / "data")):
        sphere = normal_sites(volume, tissue, 1, (10.0, 16.0), np.random.default_rng(number))[0]
        lesion = lf.draw_lesion_mask(volume, sphere, seed=number)
        means = []
        for texture in ("ground-glass", "part-solid", "solid"):
            result = lf.synthesize(volume, lesion, model, texture, SAMPLER, seed=number)
            outside = ~lesion.union
            assert (result.volume.array[outside] == volume.array[outside]).all()
            assert result.report["background"]["changed_voxels_outside_mask"] == 0
            means.append(result.volume.array[lesion.union].mean())
        in_order.append(means[0] < means[1] < means[2])
    assert np.mean(in_order) >= 0.8


def test_the_same_seed_gives_the_same_bytes(site, model):
    volume, _, lesion = site
    first, second = (lf.synthesize(volume, lesion, model, "solid", SAMPLER, seed=9) for _ in range(2))
    assert first.volume.sha256() == second.volume.sha256()


def test_a_scan_stored_the_other_way_round_gets_the_same_lesion(site, model):
    volume, sphere, lesion = site
    turned_array = np.flip(volume.array.transpose(2, 0, 1), axis=(0, 2))
    i_old, j_old, k_old = volume.ijk_to_ras[:3, 0], volume.ijk_to_ras[:3, 1], volume.ijk_to_ras[:3, 2]
    d, h, w = volume.shape
    matrix = np.eye(4)  # new (k, j, i) = old (i flipped, k, j flipped)
    matrix[:3, :3] = np.stack([-j_old, k_old, -i_old], axis=1)
    matrix[:3, 3] = volume.ijk_to_ras[:3, 3] + (w - 1) * i_old + (h - 1) * j_old
    turned = lf.Volume(np.ascontiguousarray(turned_array), matrix)
    turned_lesion = lf.draw_lesion_mask(turned, sphere, seed=4)
    back = np.flip(turned_lesion.union, axis=(0, 2)).transpose(1, 2, 0)
    assert (back == lesion.union).all()
    one = lf.synthesize(volume, lesion, model, "solid", SAMPLER, seed=9).volume.array
    other = lf.synthesize(turned, turned_lesion, model, "solid", SAMPLER, seed=9).volume.array
    other = np.flip(other, axis=(0, 2)).transpose(1, 2, 0)
    assert np.abs(one.astype(int) - other)[lesion.union].max() <= 2


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint16", "float32", "float64"])
def test_every_voxel_type_comes_back_as_it_was(site, model, dtype):
    volume, _, lesion = site
    shifted = volume.array + (1024 if dtype == "uint16" else 0)
    other = volume.with_array(shifted.astype(dtype))
    few = lf.SamplerSpec(num_steps=2)
    result = lf.synthesize(other, lesion, model, "solid", few, seed=9, any_modality=True)  # shifted, it is no CT in HU
    assert result.volume.array.dtype == np.dtype(dtype)
    assert (result.volume.array[~lesion.union] == other.array[~lesion.union]).all()
