"""One step of the reverse process, from time `t` to an earlier `t_next` (-1 is the clean image).

Each takes the state `x_t`, the clean patch `x_start` that the network sees in it, the two evaluations `before` (fewer
after a start or a re-noising), the schedule and fresh noise. All tensors are (B, C, D, H, W).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from .schedule import DiffusionSchedule


class Look(NamedTuple):
    """An evaluation: the state, the clean patch that the network saw in it, and the time."""

    x: Tensor
    x_start: Tensor
    t: int


Looks = tuple[Look, ...]
Step = Callable[[Tensor, Tensor, Looks, int, int, DiffusionSchedule, Tensor], Tensor]
Correction = Callable[[Tensor, Looks, int, DiffusionSchedule], Tensor]


def ddpm_step(
    x_t: Tensor, x_start: Tensor, before: Looks, t: int, t_next: int, schedule: DiffusionSchedule, noise: Tensor
) -> Tensor:
    """Ancestral sampling from the posterior q(x_next | x_t, x_start) (Ho et al. 2020, Eqs. 6, 7).

    For steps longer than one, beta is that of the whole step, 1 - alpha_bar_t / alpha_bar_next.
    """
    a_t, a_next = schedule.alpha_bar(t), schedule.alpha_bar(t_next)
    beta = 1 - a_t / a_next
    mean = beta * a_next**0.5 / (1 - a_t) * x_start + (1 - a_next) * (1 - beta) ** 0.5 / (1 - a_t) * x_t
    return mean + (beta * (1 - a_next) / (1 - a_t)) ** 0.5 * noise


def ddim_step(
    x_t: Tensor, x_start: Tensor, before: Looks, t: int, t_next: int, schedule: DiffusionSchedule, noise: Tensor
) -> Tensor:
    """Deterministic implicit sampling (Song et al. 2021, Eq. 12 with eta = 0)."""
    a_t, a_next = schedule.alpha_bar(t), schedule.alpha_bar(t_next)
    direction = (x_t - a_t**0.5 * x_start) / (1 - a_t) ** 0.5
    return a_next**0.5 * x_start + (1 - a_next) ** 0.5 * direction


def dpm_step(
    x_t: Tensor, x_start: Tensor, before: Looks, t: int, t_next: int, schedule: DiffusionSchedule, noise: Tensor
) -> Tensor:
    """DPM-Solver++(2M), first order where there is no step before (Lu et al. 2022, Eq. 12 and Algorithm 2)."""
    if t_next < 0:  # lambda is infinite at the clean image, where the formula's limit is x_start itself
        return x_start
    a_t, a_next = schedule.alpha_bar(t), schedule.alpha_bar(t_next)
    h = _half_log_snr(a_next) - _half_log_snr(a_t)
    guess = x_start
    if before:
        r = (_half_log_snr(a_t) - _half_log_snr(schedule.alpha_bar(before[-1].t))) / h
        guess = x_start + (x_start - before[-1].x_start) / (2 * r)
    return ((1 - a_next) / (1 - a_t)) ** 0.5 * x_t - a_next**0.5 * math.expm1(-h) * guess


def unic_correction(x_start: Tensor, before: Looks, t: int, schedule: DiffusionSchedule) -> Tensor:
    """The state at `t` again, now that the network has seen `x_start` in it: UniC, of order 2 where there are two
    evaluations before, else 1, for predicted data, with B2(h) = e^h - 1 (Zhao et al. 2023, UniPC, Algorithm 1).

    It asks for no evaluation, and raises the order of a solver by one. With `dpm_step`, which is UniP of order 2, it
    is UniPC.
    """
    last = before[-1]
    a_last, a_t = schedule.alpha_bar(last.t), schedule.alpha_bar(t)
    h = _half_log_snr(a_t) - _half_log_snr(a_last)
    bend = math.expm1(-h)
    change = (x_start - last.x_start) / 2
    if len(before) > 1:
        r = (_half_log_snr(schedule.alpha_bar(before[-2].t)) - _half_log_snr(a_last)) / h  # below 0: it lies behind
        first = -1 / h - 1 / bend
        second = -2 * first / h - 1 / bend
        # Weights of the changes to the evaluation before and to this one, such that parabolas are integrated exactly.
        to_before = (first - second) / (1 - r)
        change = to_before * (before[-2].x_start - last.x_start) / r + (first - to_before) * (x_start - last.x_start)
    return ((1 - a_t) / (1 - a_last)) ** 0.5 * last.x - a_t**0.5 * bend * (last.x_start + change)


def _half_log_snr(alpha_bar: float) -> float:
    return 0.5 * math.log(alpha_bar / (1 - alpha_bar))


STEPS: dict[str, Step] = {"ddpm": ddpm_step, "ddim": ddim_step, "dpm++": dpm_step, "unipc": dpm_step}
CORRECTIONS: dict[str, Correction] = {"unipc": unic_correction}
