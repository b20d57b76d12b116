"""The gate of shapes passes what the slow sampler itself might have drawn, and nothing that is off in one feature."""

import numpy as np
import pytest
import torch

from LeFusionLib import LeFusionError, SamplerSpec
from LeFusionLib.evaluation import shape_gate as module
from LeFusionLib.evaluation.shape_features import FEATURES
from LeFusionLib.evaluation.shape_gate import DrawnSet, as_markdown, judged, shape_gate
from LeFusionLib.models.mask_spec import MaskSpec
from LeFusionLib.models.zoo import Model

SPHERES = 40


def features(rng, off=None, by=2.0):
    """Features of one set: the sphere decides a part of each, chance the rest; one of them is `off` by `by` spreads."""
    base = np.random.default_rng(99).standard_normal((SPHERES, len(FEATURES)))
    values = 10 * (base + 0.7 * rng.standard_normal(base.shape))
    if off is not None:
        values[:, FEATURES.index(off)] += by * 10 * (1 + 0.7**2) ** 0.5
    return DrawnSet(values, seconds=1.0, refused=0)


@pytest.mark.parametrize("off", [FEATURES[0], FEATURES[-1]])
def test_a_setting_that_is_off_in_one_feature_is_held_back_and_named(off):
    rng = np.random.default_rng(0)
    made = {"slow": [features(rng) for _ in range(3)], "other": [features(rng, off)]}
    slow, other = judged(made, "slow", features(rng).features, {"slow": 100, "other": 5})
    assert slow.passes and not other.passes and other.farthest == off
    # The distance of two equal distributions that lie two deviations apart is two.
    assert other.largest_difference == pytest.approx(2, abs=0.4) and other.from_real > slow.from_real


def test_what_the_slow_sampler_might_have_drawn_itself_mostly_passes():
    passed = []
    for trial in range(6):
        rng = np.random.default_rng(trial)
        made = {"slow": [features(rng) for _ in range(2)], "same": [features(rng)]}
        passed.append(judged(made, "slow", features(rng).features, {"slow": 100, "same": 100}, trial)[1].passes)
    assert sum(passed) >= 4


class Ball(torch.nn.Module):
    """A denoiser that sees a ball of half the patch's width, somewhat moved by the noise that it is shown."""

    def __init__(self, spec, schedule):
        super().__init__()
        self.weight, self.spec, self.schedule = torch.nn.Parameter(torch.zeros(1)), spec, schedule

    def forward(self, x_t, t, condition=None, traits=None):
        sides = [torch.linspace(-1, 1, length) for length in x_t.shape[2:]]
        radius = torch.stack(torch.meshgrid(*sides, indexing="ij")).square().sum(0).sqrt()
        seen = torch.where(radius < 0.5 + 0.05 * torch.tanh(x_t.mean()), 1.0, -1.0).expand_as(x_t)
        a = self.schedule.alpha_bar(int(t[0]))
        return (x_t - a**0.5 * seen) / (1 - a) ** 0.5


@pytest.fixture
def ball(tiny_model):
    mask = MaskSpec(diameter_tolerance=0.5)
    model = tiny_model(kind="mask", spacing_mm=None, intensity={}, patch_shapes=((24, 24, 24),), mask=mask)
    return Model(model.card, Ball(model.spec, model.schedule), model.schedule, model.device)


def balls(count, radius=6):
    k, j, i = np.indices((24, 24, 24)) - 12
    return [((k / (1 + 0.05 * n)) ** 2 + j**2 + i**2) ** 0.5 < radius for n in range(count)]


def test_a_model_of_shapes_goes_through_the_gate(ball):
    spec = SamplerSpec("ddim", 3, 1, 1, 1.0)
    settings = [("one", ball, SamplerSpec("ddim", 1, 1, 1, 1.0)), ("same", ball, spec)]
    rows = shape_gate(balls(4), ("slow", ball, spec), settings)
    assert [(row.setting, row.steps) for row in rows] == [("slow", 3), ("one", 1), ("same", 3)]
    assert all(np.isfinite(row.from_real) and row.refused == 0 for row in rows)
    assert as_markdown(rows, "about").count("\n") == 7


def test_a_refused_sphere_is_drawn_with_the_next_seed_and_counted(ball, monkeypatch):
    draw, refuse = module.draw_lesion_mask, {1_000_003 * 2}

    def sometimes(volume, sphere, model, seed, sampler):
        if seed in refuse:
            raise LeFusionError("no shape came")
        return draw(volume, sphere, model, seed=seed, sampler=sampler)

    monkeypatch.setattr(module, "draw_lesion_mask", sometimes)
    spec = SamplerSpec("ddim", 1, 1, 1, 1.0)
    slow, fast = shape_gate(balls(3), ("slow", ball, spec), [("fast", ball, spec)])
    assert (slow.refused, fast.refused) == (0, 1)
