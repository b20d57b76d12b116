"""The steps of the reverse process, on data whose exact answer is known."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from LeFusionLib.diffusion import (
    CORRECTIONS,
    STEPS,
    cosine_schedule,
    ddpm_step,
    inpaint,
    predict_x_start,
    seeded_noise,
    time_grid,
)
from LeFusionLib.diffusion.samplers import Look, unic_correction

SHAPE = (1, 1, 4, 8, 8)
MEAN, SPREAD = 0.1, 0.2  # of the Gaussian that plays the data


def test_a_ddpm_step_is_the_published_one():
    schedule = cosine_schedule(300)
    published = schedule.published_buffers()
    x_t, x_start, noise = (torch.randn(SHAPE, generator=torch.Generator().manual_seed(n)) for n in range(3))
    for t in (1, 2, 77, 150, 298, 299):
        c1, c2 = published["posterior_mean_coef1"][t], published["posterior_mean_coef2"][t]
        expected = c1 * x_start + c2 * x_t + (0.5 * published["posterior_log_variance_clipped"][t]).exp() * noise
        assert torch.allclose(ddpm_step(x_t, x_start, (), t, t - 1, schedule, noise), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", STEPS)
def test_the_last_step_gives_the_clean_patch_itself_whatever_the_dice_say(method):
    x_start = torch.rand(SHAPE)
    for t in (0, 40, 299):
        x = STEPS[method](torch.randn(SHAPE), x_start, (), t, -1, cosine_schedule(300), torch.randn(SHAPE))
        assert torch.allclose(x, x_start, atol=1e-6)


@pytest.mark.parametrize("method", STEPS)
@pytest.mark.parametrize("num_steps", [1, 7, 300])
def test_a_network_that_knows_the_patch_leads_to_it(method, num_steps):
    schedule = cosine_schedule(300)
    x_start = torch.rand(SHAPE, dtype=torch.float64) * 1.6 - 0.8

    def denoiser(x_t, t, condition):
        a = schedule.alpha_bar(int(t[0]))
        return (x_t - a**0.5 * x_start) / (1 - a) ** 0.5

    made = inpaint(
        denoiser, torch.zeros_like(x_start), torch.ones(SHAPE), time_grid(300, num_steps), schedule,
        condition=None, noise=seeded_noise(1), step=STEPS[method], correct=CORRECTIONS.get(method),
    )  # fmt: skip
    assert torch.allclose(made, x_start)


def gaussian_denoiser(schedule):
    """The exact noise prediction where every voxel is drawn from N(MEAN, SPREAD^2) (score of a Gaussian)."""

    def denoiser(x_t, t, condition):
        a = schedule.alpha_bar(int(t[0]))
        return (1 - a) ** 0.5 * (x_t - a**0.5 * MEAN) / (SPREAD**2 * a + 1 - a)

    return denoiser


def marginal(alpha_bar):
    return alpha_bar**0.5 * MEAN, math.sqrt(SPREAD**2 * alpha_bar + 1 - alpha_bar)


@pytest.mark.parametrize("method, steps", [("ddim", 300), ("dpm++", 100), ("unipc", 100)])
def test_deterministic_solvers_reach_the_exact_end_of_the_flow(method, steps):
    """For Gaussian data the flow keeps each voxel's standardised value: noise z ends as MEAN + SPREAD z."""
    schedule = cosine_schedule(300)
    start = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3)).double()
    draws = iter([start])
    made = inpaint(
        gaussian_denoiser(schedule), torch.zeros_like(start), torch.ones(SHAPE), time_grid(300, steps), schedule,
        condition=None, noise=lambda shape: next(draws, torch.zeros(shape)), step=STEPS[method],
        correct=CORRECTIONS.get(method),
    )  # fmt: skip
    mean, spread = marginal(schedule.alpha_bar(299))
    exact = MEAN + SPREAD * (start - mean) / spread
    assert (made - exact).abs().max() < 0.05 * SPREAD


def test_ddpm_draws_from_the_data():
    schedule = cosine_schedule(300)
    shape = (1, 1, 8, 32, 32)
    made = inpaint(
        gaussian_denoiser(schedule), torch.zeros(shape), torch.ones(shape), time_grid(300, 300), schedule,
        condition=None, noise=seeded_noise(5),
    ).numpy()  # fmt: skip
    assert made.mean() == pytest.approx(MEAN, abs=4 * SPREAD / 8192**0.5)
    assert made.std() == pytest.approx(SPREAD, rel=0.05)


@pytest.mark.parametrize("method, order", [("ddim", 1), ("dpm++", 2), ("unipc", 3)])
def test_the_order_of_convergence_is_the_stated_one(method, order):
    """Halving the steps' length divides the error by 2 to the order; measured in the middle of a fine schedule."""
    schedule = cosine_schedule(4000)
    denoiser, step = gaussian_denoiser(schedule), STEPS[method]
    first, last = 3200, 800
    start = torch.linspace(-2, 2, 9, dtype=torch.float64)
    (m0, s0), (m1, s1) = marginal(schedule.alpha_bar(first)), marginal(schedule.alpha_bar(last))
    exact = m1 + s1 * (start - m0) / s0
    errors = []
    for count in (20, 40, 80, 160):
        x, before = start, ()
        for t, t_next in pairwise(np.linspace(first, last, count + 1).astype(int).tolist()):
            x_start = predict_x_start(x, schedule.alpha_bar(t), denoiser(x, torch.tensor([t]), None))
            if method in CORRECTIONS and before:
                x = CORRECTIONS[method](x_start, before, t, schedule)
            x, before = (
                step(x, x_start, before, t, t_next, schedule, torch.zeros(())),
                (*before[-1:], Look(x, x_start, t)),
            )
        errors.append((x - exact).abs().max().item())
    measured = np.log2(np.array(errors[:-1]) / errors[1:])
    assert measured == pytest.approx(order, abs=0.05)


def test_unic_is_exact_where_the_clean_patch_changes_along_a_parabola():
    """x(t) / sigma(t) grows by the integral of e^lambda times the clean patch over lambda, half the log of the SNR."""
    schedule = cosine_schedule(300)
    t_before, t_last, t = 200, 150, 110

    def half_log_snr(time):
        a = schedule.alpha_bar(time)
        return 0.5 * math.log(a / (1 - a))

    def clean(snr):
        return 0.3 - 0.2 * snr + 0.1 * snr**2

    looks = [Look(torch.tensor(0.7), torch.tensor(clean(half_log_snr(time))), time) for time in (t_before, t_last)]
    grown, _ = quad(lambda snr: math.exp(snr) * clean(snr), half_log_snr(t_last), half_log_snr(t))
    sigma, sigma_last = ((1 - schedule.alpha_bar(time)) ** 0.5 for time in (t, t_last))
    made = unic_correction(torch.tensor(clean(half_log_snr(t))), tuple(looks), t, schedule)
    assert made.item() == pytest.approx(sigma * (0.7 / sigma_last + grown), abs=1e-6)


def test_dpm_without_a_step_before_is_ddim():
    """Both are the first-order exponential integrator (Lu et al. 2022, Sec. 4)."""
    schedule = cosine_schedule(300)
    x_t, x_start = torch.randn(SHAPE, dtype=torch.float64), torch.rand(SHAPE, dtype=torch.float64)
    for t, t_next in ((299, 150), (150, 20), (20, 0)):
        steps = [STEPS[m](x_t, x_start, (), t, t_next, schedule, torch.zeros(())) for m in ("ddim", "dpm++")]
        assert torch.allclose(*steps)


def test_repeats_on_a_coarse_grid_are_worth_more_than_steps_without_where_the_background_is_noised():
    """A smooth 1-D Gaussian field with a gap, its exact score; how far the mean of what fills the gap is off."""
    length, gap = 32, np.arange(12, 20)
    place = np.arange(length)
    covariance = 0.09 * (np.exp(-0.5 * ((place[:, None] - place) / 4.0) ** 2) + 0.01 * np.eye(length))
    known = np.setdiff1d(place, gap)
    background = np.linalg.cholesky(covariance) @ np.random.default_rng(0).standard_normal(length)
    weights = covariance[np.ix_(gap, known)] @ np.linalg.inv(covariance[np.ix_(known, known)])
    spread = np.sqrt(np.diag(covariance[np.ix_(gap, gap)] - weights @ covariance[np.ix_(known, gap)]))
    schedule, rows = cosine_schedule(300), 500
    mask = torch.zeros(rows, 1, 1, 1, length)
    mask[..., gap] = 1

    def denoiser(x_t, t, condition):
        a = schedule.alpha_bar(int(t[0]))
        noisy = a * torch.from_numpy(covariance) + (1 - a) * torch.eye(length, dtype=torch.float64)
        return (1 - a) ** 0.5 * torch.linalg.solve(noisy, x_t, left=False)

    def error(num_steps, passes, jump_length=1):
        dice = torch.Generator().manual_seed(0)
        made = inpaint(
            denoiser, torch.from_numpy(background).expand(rows, 1, 1, 1, length).contiguous(), mask,
            time_grid(300, num_steps, jump_length, passes), schedule, condition=None,
            noise=lambda shape: torch.randn(shape, generator=dice, dtype=torch.float64),
        )  # fmt: skip
        return np.abs((made[..., gap].reshape(rows, -1).mean(0).numpy() - weights @ background[known]) / spread).mean()

    assert error(50, 2) < error(300, 1)  # 99 evaluations against 300
    assert error(50, 10) < error(300, 2, 2)  # 491 against 598
