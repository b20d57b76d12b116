"""One step of the reverse process, from time `t` to an earlier `t_next` (-1 is the clean image).

Each takes the state `x_t`, the clean patch `x_start` that the network sees in it, the last step's `x_start` and time
(`before`, None after a re-noising), the schedule and fresh noise. All are (B, C, D, H, W).
"""

import math
from collections.abc import Callable

from torch import Tensor

from .schedule import DiffusionSchedule

Before = tuple[Tensor, int] | None
Step = Callable[[Tensor, Tensor, Before, int, int, DiffusionSchedule, Tensor], Tensor]


def ddpm_step(
    x_t: Tensor, x_start: Tensor, before: Before, t: int, t_next: int, schedule: DiffusionSchedule, noise: Tensor
) -> Tensor:
    """Ancestral sampling from the posterior q(x_next | x_t, x_start) (Ho et al. 2020, Eqs. 6, 7).

    For steps longer than one, beta is that of the whole step, 1 - alpha_bar_t / alpha_bar_next.
    """
    a_t, a_next = schedule.alpha_bar(t), schedule.alpha_bar(t_next)
    beta = 1 - a_t / a_next
    mean = beta * a_next**0.5 / (1 - a_t) * x_start + (1 - a_next) * (1 - beta) ** 0.5 / (1 - a_t) * x_t
    return mean + (beta * (1 - a_next) / (1 - a_t)) ** 0.5 * noise


def ddim_step(
    x_t: Tensor, x_start: Tensor, before: Before, t: int, t_next: int, schedule: DiffusionSchedule, noise: Tensor
) -> Tensor:
    """Deterministic implicit sampling (Song et al. 2021, Eq. 12 with eta = 0)."""
    a_t, a_next = schedule.alpha_bar(t), schedule.alpha_bar(t_next)
    direction = (x_t - a_t**0.5 * x_start) / (1 - a_t) ** 0.5
    return a_next**0.5 * x_start + (1 - a_next) ** 0.5 * direction


def dpm_step(
    x_t: Tensor, x_start: Tensor, before: Before, t: int, t_next: int, schedule: DiffusionSchedule, noise: Tensor
) -> Tensor:
    """DPM-Solver++(2M), first order where there is no step before (Lu et al. 2022, Eq. 12 and Algorithm 2)."""
    if t_next < 0:  # lambda is infinite at the clean image, where the formula's limit is x_start itself
        return x_start
    a_t, a_next = schedule.alpha_bar(t), schedule.alpha_bar(t_next)
    h = _half_log_snr(a_next) - _half_log_snr(a_t)
    guess = x_start
    if before is not None:
        earlier, t_before = before
        r = (_half_log_snr(a_t) - _half_log_snr(schedule.alpha_bar(t_before))) / h
        guess = x_start + (x_start - earlier) / (2 * r)
    return ((1 - a_next) / (1 - a_t)) ** 0.5 * x_t - a_next**0.5 * math.expm1(-h) * guess


def _half_log_snr(alpha_bar: float) -> float:
    return 0.5 * math.log(alpha_bar / (1 - alpha_bar))


STEPS: dict[str, Step] = {"ddpm": ddpm_step, "ddim": ddim_step, "dpm++": dpm_step}
