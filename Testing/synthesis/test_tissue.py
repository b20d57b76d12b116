"""Lesions through the network: memory that runs out, and work that is stopped."""

import pytest
import torch

from LeFusionLib.errors import Cancelled, LeFusionError
from LeFusionLib.models.sampler_spec import SamplerSpec
from LeFusionLib.models.zoo import Model
from LeFusionLib.synthesis.synthesize import synthesize

LESIONS = [((5, 10, 10), (3, 4, 4)), ((5, 30, 28), (3, 4, 4)), ((14, 20, 20), (3, 4, 4))]


@pytest.fixture
def limited(tiny_model, monkeypatch):
    """A model whose network runs out of memory with more than `most` lesions at once; four are tried first."""

    def make(most):
        model = tiny_model()
        whole, tried = model.denoiser.forward, []

        def forward(x_t, *rest, **named):
            tried.append(len(x_t))
            if len(x_t) > most:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return whole(x_t, *rest, **named)

        monkeypatch.setattr(model.denoiser, "forward", forward)
        monkeypatch.setattr(Model, "rows_at_once", property(lambda self: 4))
        return model, tried

    return make


def test_out_of_memory_fewer_lesions_are_tried_at_once(scan, box, limited):
    volume = scan()
    mask = box(volume, *LESIONS)
    model, tried = limited(most=1)
    result = synthesize(volume, mask, model, "solid", SamplerSpec(num_steps=2), seed=1)
    assert tried[:3] == [4, 2, 1] and set(tried[2:]) == {1}
    assert len(result.report["lesions"]) == 3
    assert result.report["background"]["changed_voxels_outside_mask"] == 0


def test_a_gpu_too_small_for_one_lesion_is_said(scan, box, limited):
    volume = scan()
    model, _ = limited(most=0)
    with pytest.raises(LeFusionError, match="too little free memory.*--device cpu"):
        synthesize(volume, box(volume, LESIONS[0]), model, "solid", SamplerSpec(num_steps=2), seed=1)


def test_guided_work_stops_between_its_two_evaluations_of_a_step(scan, box, tiny_model):
    volume, told = scan(), []
    with pytest.raises(Cancelled, match="after 1 of 6"):
        synthesize(
            volume,
            box(volume, LESIONS[0]),
            tiny_model(),
            "solid",
            SamplerSpec(num_steps=3, guidance_scale=2.0),
            seed=1,
            progress=lambda step, total, message: told.append((step, total)),
            cancel=lambda: len(told) == 1,
        )
    assert told == [(1, 6)]
