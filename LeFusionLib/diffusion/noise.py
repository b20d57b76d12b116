"""Chance is an argument: where every random number of the sampler comes from."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .inpaint import Noise


def seeded_noise(seed: int | Sequence[int], device: str | torch.device = "cpu") -> Noise:
    """Standard normal draws `(shape) -> tensor`.

    `seed`: one number for the whole batch, or one per row: then a row's noise is the same in any company.
    Drawn on the CPU, so that a seed means the same on every device.
    """
    rows = isinstance(seed, Sequence)
    seeds = seed if isinstance(seed, Sequence) else [seed]
    generators = [torch.Generator().manual_seed(int(s)) for s in seeds]

    def draw(shape: tuple[int, ...]) -> Tensor:
        drawn = (
            torch.stack([torch.randn(shape[1:], generator=g) for g in generators])
            if rows
            else torch.randn(shape, generator=generators[0])
        )
        return drawn.to(device)

    return draw
