"""The noise schedule is the published one, digit for digit, and the forward process is what the paper writes."""

import json
import math

import numpy as np
import pytest
import torch

from LeFusionLib.diffusion import (
    DiffusionSchedule,
    cosine_schedule,
    ddpm_step,
    predict_x_start,
    q_sample,
    renoise,
)
from LeFusionLib.errors import LeFusionError


@pytest.fixture(scope="module")
def published(golden):
    return json.loads((golden / "golden_schedule.json").read_text())


@pytest.mark.parametrize("timesteps", [300, 40])
def test_all_twelve_buffers_are_the_published_ones(published, timesteps):
    expected = published if timesteps == 300 else published["T40"]
    buffers = cosine_schedule(timesteps, published["s"]).published_buffers()
    assert len(buffers) == 12
    for name, values in buffers.items():
        assert values.dtype == torch.float32
        assert np.array_equal(values.numpy(), np.array(expected[name], dtype=np.float32)), name


def test_two_steps_by_hand():
    s = 0.008
    start, half = (math.cos((x + s) / (1 + s) * math.pi / 2) ** 2 for x in (0, 0.5))
    schedule = cosine_schedule(2)
    assert schedule.betas.tolist() == pytest.approx([1 - half / start, 0.9999])  # the second is clipped
    assert schedule.alpha_bar(0) == pytest.approx(half / start)
    assert schedule.alpha_bar(1) == pytest.approx(half / start * 0.0001)
    assert schedule.alpha_bar(-1) == 1.0


def test_the_posterior_of_two_equal_steps_by_hand():
    schedule = DiffusionSchedule.from_betas(torch.tensor([0.5, 0.5]))  # alpha_bar 1/2, 1/4
    buffers = schedule.published_buffers()
    third = 0.5 * 0.5 / 0.75
    assert buffers["posterior_variance"].tolist() == pytest.approx([0, third])
    assert buffers["posterior_mean_coef1"].tolist() == pytest.approx([1, 0.5 * 0.5**0.5 / 0.75])
    assert buffers["posterior_mean_coef2"].tolist() == pytest.approx([0, 0.5 * 0.5**0.5 / 0.75])
    assert buffers["posterior_log_variance_clipped"].tolist() == pytest.approx([math.log(1e-20), math.log(third)])
    one = torch.ones(1, 1, 1, 1, 1)
    x = ddpm_step(3 * one, one, (), 1, 0, schedule, 2 * one)
    assert x.item() == pytest.approx(0.5 * 0.5**0.5 / 0.75 * (1 + 3) + third**0.5 * 2)


@pytest.mark.parametrize("timesteps", [0, 1])
def test_a_schedule_of_less_than_two_steps_is_refused(timesteps):
    with pytest.raises(LeFusionError, match="at least 2"):
        cosine_schedule(timesteps)


@pytest.mark.parametrize("betas", [[0.1, 0.0], [0.1, 1.0], [[0.1]], [float("nan")]])
def test_variances_that_are_none_are_refused(betas):
    with pytest.raises(LeFusionError, match="between 0 and 1"):
        DiffusionSchedule.from_betas(torch.tensor(betas))


def test_noising_mixes_by_the_share_of_signal():
    one = torch.ones(1, 1, 1, 1, 1)
    assert q_sample(one, 0.64, 2 * one).item() == pytest.approx(0.8 * 1 + 0.6 * 2)
    assert q_sample(one, 1.0, 2 * one).item() == 1.0


def test_the_clean_patch_comes_back_from_its_own_noise_and_stays_in_the_window():
    x_start, noise = torch.tensor([0.5, -1.0]), torch.tensor([1.7, -0.3])
    assert torch.allclose(predict_x_start(q_sample(x_start, 0.36, noise), 0.36, noise), x_start)
    assert predict_x_start(torch.tensor([9.0, -9.0]), 0.36, torch.zeros(2)).tolist() == [1, -1]


def test_a_single_renoising_is_the_published_one():
    schedule = cosine_schedule(300)
    x, noise = torch.randn(8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    for t in (0, 7, 150, 298):
        beta = schedule.betas[t + 1]
        expected = (1 - beta).sqrt() * x + beta.sqrt() * noise
        assert torch.allclose(renoise(x, schedule.alpha_bar(t), schedule.alpha_bar(t + 1), noise), expected)


def test_renoising_far_leads_to_the_level_of_its_end():
    """A patch at level a with noise n1, re-noised to level b with n2, has signal sqrt(b) and total variance 1 - b."""
    a, b = 0.8, 0.2
    signal = renoise(q_sample(torch.ones(1), a, torch.zeros(1)), a, b, torch.zeros(1)).item()
    first = renoise(q_sample(torch.zeros(1), a, torch.ones(1)), a, b, torch.zeros(1)).item()
    second = renoise(torch.zeros(1), a, b, torch.ones(1)).item()
    assert signal == pytest.approx(b**0.5)
    assert first**2 + second**2 == pytest.approx(1 - b)
