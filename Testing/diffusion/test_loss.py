"""The lesion-focused loss: by hand, and against the figures and gradients of the published code."""

import numpy as np
import pytest
import torch

from LeFusionLib.diffusion import cosine_schedule, lesion_focused_loss, q_sample
from LeFusionLib.errors import LeFusionError
from LeFusionLib.models.released import rename


def test_by_hand_small_lesions_count_less_as_published_and_alike_per_lesion():
    noise = torch.zeros(2, 1, 1, 2, 2)
    predicted = torch.full_like(noise, 3.0)
    mask = torch.zeros_like(noise)
    mask[0, 0, 0, 0, 0] = 1  # one voxel of four
    mask[1] = 1
    predicted[1] = 1.0
    assert lesion_focused_loss(noise, predicted, mask).item() == (3 + 4 * 1) / 8
    assert lesion_focused_loss(noise, predicted, mask, "l2").item() == (9 + 4 * 1) / 8
    assert lesion_focused_loss(noise, predicted, mask, reduction="per_lesion").item() == (3 + 1) / 2


def test_classes_are_compared_in_their_own_channel_and_added():
    noise = torch.zeros(1, 2, 1, 1, 4)
    predicted = torch.tensor([5.0, 7.0])[None, :, None, None, None].expand_as(noise)
    mask = torch.zeros_like(noise)
    mask[0, 0, 0, 0, 0] = mask[0, 1, 0, 0, 1] = mask[0, 1, 0, 0, 2] = 1
    assert lesion_focused_loss(noise, predicted, mask).item() == 5 / 4 + 2 * 7 / 4
    assert lesion_focused_loss(noise, predicted, mask, reduction="per_lesion").item() == (5 + 7) / 2


def test_what_is_outside_the_lesion_has_no_gradient():
    predicted = torch.randn(1, 1, 2, 4, 4, requires_grad=True)
    mask = (torch.rand(1, 1, 2, 4, 4) > 0.5).float()
    lesion_focused_loss(torch.zeros_like(predicted), predicted, mask).backward()
    assert torch.equal(predicted.grad != 0, mask > 0)


def test_a_batch_without_lesion_costs_nothing():
    zeros = torch.zeros(1, 1, 1, 2, 2)
    for reduction in ("published", "per_lesion"):
        assert lesion_focused_loss(zeros, zeros + 1, zeros, reduction=reduction).item() == 0


def test_unknown_words_name_their_neighbour():
    zeros = torch.zeros(1, 1, 1, 1, 1)
    with pytest.raises(LeFusionError, match="'l3'.*l1, l2"):
        lesion_focused_loss(zeros, zeros, zeros, "l3")
    with pytest.raises(LeFusionError, match="Did you mean 'per_lesion'"):
        lesion_focused_loss(zeros, zeros, zeros, reduction="per_lesions")


@pytest.mark.parametrize("distance", ["l1", "l2"])
@pytest.mark.parametrize("kind", ["lidc", "emidec", "diffmask"])
def test_loss_and_gradients_are_those_of_the_published_code(golden_arrays, released, kind, distance):
    arrays = golden_arrays(f"golden_losses_{kind}")
    given = {k: torch.from_numpy(arrays[k]) for k in ("x_start", "noise", "t")}
    alpha_bar = cosine_schedule(300).alphas_cumprod[given["t"]].float()[:, None, None, None, None]
    x_noisy = q_sample(given["x_start"], alpha_bar, given["noise"])
    assert np.allclose(x_noisy.numpy(), arrays["x_noisy"], atol=1e-6)

    if kind == "diffmask":
        condition, mask = torch.from_numpy(arrays["sphere"]), torch.ones_like(x_noisy)
        distance_there = "l1"  # the published "l2" of the mask model is l1
    else:
        condition, mask = torch.from_numpy(arrays["cond"]), torch.from_numpy(arrays["mask"])
        distance_there = distance
    if kind == "emidec":
        mask = torch.stack([mask[:, 0] == 3, mask[:, 1] == 4], dim=1).float()

    denoiser = released(f"ckpt_{kind}_small")
    denoiser.zero_grad()
    loss = lesion_focused_loss(given["noise"], denoiser(x_noisy, given["t"], condition), mask, distance_there)
    loss.backward()
    assert loss.item() == pytest.approx(float(arrays[f"loss_{distance}"]), rel=1e-5)

    ours = dict(denoiser.net.named_parameters())
    for name, published in (("stem.weight", "init"), ("head.weight", "final")):
        expected = arrays[f"grad_{published}_{distance}"].reshape(ours[name].shape)
        assert np.abs(ours[name].grad.numpy() - expected).max() <= 1e-4 * np.abs(expected).max()
    norms = arrays[f"gradnorm_{distance}"]
    assert len(norms) == len(arrays["grad_keys"]) == len(ours)
    for key, norm in zip(arrays["grad_keys"], norms, strict=True):
        grad = ours[rename(str(key))].grad
        measured = 0.0 if grad is None else grad.norm().item()
        assert measured == pytest.approx(norm, rel=1e-4, abs=1e-6 * norms.max()), key
    denoiser.zero_grad()
