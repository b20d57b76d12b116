"""Chance is an argument: one seed, one stream, the same in any company."""

import pytest
import torch

from LeFusionLib.diffusion import seeded_noise

SHAPE = (2, 1, 4, 16, 16)


def test_the_same_seed_gives_the_same_stream_and_its_draws_differ():
    first, second = seeded_noise(7), seeded_noise(7)
    draws = [first(SHAPE) for _ in range(3)]
    assert all(torch.equal(draw, second(SHAPE)) for draw in draws)
    assert not torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], seeded_noise(8)(SHAPE))


def test_a_row_with_its_own_seed_is_the_same_in_any_company():
    alone, together = seeded_noise([5]), seeded_noise([9, 5])
    for _ in range(3):
        assert torch.equal(alone((1, *SHAPE[1:]))[0], together(SHAPE)[1])


def test_draws_are_standard_normal_float32():
    draw = seeded_noise(0)((1, 1, 32, 64, 64))
    assert draw.dtype == torch.float32
    assert draw.mean().item() == pytest.approx(0, abs=0.02)
    assert draw.std().item() == pytest.approx(1, abs=0.02)


def test_the_global_dice_of_torch_are_not_touched():
    state = torch.get_rng_state()
    seeded_noise([1, 2])(SHAPE)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_the_whole_range_of_seeds_is_good(seed):
    assert seeded_noise(seed)(SHAPE).isfinite().all()
