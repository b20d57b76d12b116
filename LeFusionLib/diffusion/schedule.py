"""How much noise there is at each time: the variance schedule and all that follows from it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import LeFusionError


@dataclass(frozen=True, eq=False)
class DiffusionSchedule:
    """Variances `betas` (T,) of the forward process and their cumulative products (Ho et al. 2020, Sec. 2); float64 on
    the CPU, so that every device and precision starts from the same numbers."""

    betas: Tensor
    alphas_cumprod: Tensor

    @classmethod
    def from_betas(cls, betas: Tensor) -> "DiffusionSchedule":
        betas = torch.as_tensor(betas, dtype=torch.float64)
        if betas.ndim != 1 or not ((betas > 0) & (betas < 1)).all():
            raise LeFusionError(f"A schedule needs variances between 0 and 1 in one row; got {betas}.")
        return cls(betas, torch.cumprod(1 - betas, dim=0))

    @property
    def timesteps(self) -> int:
        return len(self.betas)

    def alpha_bar(self, t: int) -> float:
        """The share of signal left at time `t`; time -1 is the clean image."""
        return 1.0 if t < 0 else float(self.alphas_cumprod[t])

    def published_buffers(self) -> dict[str, Tensor]:
        """The twelve float32 buffers of a published checkpoint, by their published names (Ho et al. 2020, Eqs. 4-7)."""
        beta, abar = self.betas, self.alphas_cumprod
        before = torch.cat((torch.ones(1, dtype=abar.dtype), abar[:-1]))
        variance = beta * (1 - before) / (1 - abar)
        buffers = {
            "betas": beta,
            "alphas_cumprod": abar,
            "alphas_cumprod_prev": before,
            "sqrt_alphas_cumprod": abar.sqrt(),
            "sqrt_one_minus_alphas_cumprod": (1 - abar).sqrt(),
            "log_one_minus_alphas_cumprod": (1 - abar).log(),
            "sqrt_recip_alphas_cumprod": (1 / abar).sqrt(),
            "sqrt_recipm1_alphas_cumprod": (1 / abar - 1).sqrt(),
            "posterior_variance": variance,
            "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
            "posterior_mean_coef1": beta * before.sqrt() / (1 - abar),
            "posterior_mean_coef2": (1 - before) * (1 - beta).sqrt() / (1 - abar),
        }
        return {name: value.float() for name, value in buffers.items()}


def cosine_schedule(timesteps: int = 300, s: float = 0.008) -> DiffusionSchedule:
    """The cosine schedule (Nichol & Dhariwal 2021, Eq. 17), betas clipped to at most 0.9999."""
    if timesteps < 2:
        raise LeFusionError(f"A schedule needs at least 2 time steps; got {timesteps}.")
    x = torch.linspace(0, timesteps, timesteps + 1, dtype=torch.float64)
    f = torch.cos((x / timesteps + s) / (1 + s) * math.pi / 2) ** 2
    return DiffusionSchedule.from_betas((1 - f[1:] / f[:-1]).clamp(max=0.9999))
