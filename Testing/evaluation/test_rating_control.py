"""The experiment on ratings sees an artist who follows them, and one who does not."""

import numpy as np
import pytest

from LeFusionLib.evaluation import rating_control as experiment
from LeFusionLib.lesion_mask import LesionMask
from LeFusionLib.models.mask_spec import MaskSpec
from LeFusionLib.models.sampler_spec import SamplerSpec

pytest.importorskip("skimage", reason="the extra 'evaluate' is not installed")


@pytest.mark.parametrize("listens", [True, False])
def test_an_artist_who_follows_a_rating_is_told_from_one_who_does_not(tiny_model, monkeypatch, listens):
    model = tiny_model(
        kind="mask", patch_shapes=((8, 8, 8),), mask=MaskSpec(sphere_voxels=6.0, ratings=("sphericity",))
    )

    def draw(volume, sphere, model, seed, ratings, sampler):
        assert sampler.num_steps == 3
        flat = 0.4 if listens and ratings.get("sphericity") == 1.0 else 1.0 - 0.02 * (seed % 3)
        grid = np.indices(volume.shape) - (volume.shape[0] - 1) / 2
        axes = np.reshape([flat, 1.0, 1.0], (3, 1, 1, 1)) * sphere.diameter_mm / 2
        return LesionMask(((grid / axes) ** 2).sum(axis=0) <= 1, volume.ijk_to_ras)

    monkeypatch.setattr(experiment, "draw_lesion_mask", draw)
    rows = experiment.rating_control(model, 4, sampler=SamplerSpec("ddim", 3))
    assert len(rows) == 12
    effect = experiment.summarize(rows)["sphericity"]["sphericity"]
    assert (effect["effect"] > 3 and effect["rose"] == 1.0) if listens else effect["effect"] == 0
