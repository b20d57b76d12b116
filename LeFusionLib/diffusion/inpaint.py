"""Lesion-focused inpainting: noise becomes tissue inside the mask, the background is only shown."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ..errors import Cancelled
from .gaussian import predict_x_start, q_sample, renoise
from .samplers import Correction, Look, Looks, Step, ddpm_step
from .schedule import DiffusionSchedule

Denoiser = Callable[[Tensor, Tensor, Tensor | None], Tensor]
Noise = Callable[[tuple[int, ...]], Tensor]


@torch.inference_mode()
def inpaint(
    denoiser: Denoiser,
    background: Tensor,
    lesion_mask: Tensor,
    times: Sequence[int],
    schedule: DiffusionSchedule,
    *,
    condition: Tensor | None,
    noise: Noise,
    step: Step = ddpm_step,
    correct: Correction | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Tensor:
    """Make tissue in `lesion_mask`, fitting `background` (LeFusion, Eqs. 1-3; Lugmayr et al. 2022, Algorithm 1).

    denoiser: `(x_t, t, condition) -> noise`, `x_t` (B, C, D, H, W), `t` (B,).
    background: (B, C, D, H, W) in [-1, 1]. lesion_mask: (B, L, D, H, W), 1 where tissue is made; all channels are
    made in the union of the classes, the caller takes each class from its own.
    times: from T - 1 down to -1 as `repaint_times` or `time_grid` make them: a fall is an evaluation at the earlier
    entry, a rise is a re-noising.
    step, correct: of `STEPS` and `CORRECTIONS`; the latter sets the state right before a step leaves it.
    noise: called once per draw: the start image; per evaluation the background's, then the step's; per re-noising one.
    Returns (B, C, D, H, W), equal to `background` bit for bit outside the union.
    Raises `Cancelled` within one evaluation.
    """
    inside = lesion_mask.amax(dim=1, keepdim=True) > 0.5
    shape = tuple(background.shape)
    total, done = evaluations(times), 0
    x = noise(shape)
    before: Looks = ()
    for t, t_next in pairwise(times):
        if t_next > t:
            x = renoise(x, schedule.alpha_bar(t), schedule.alpha_bar(t_next), noise(shape))
            before = ()  # a multistep solver must not look across a jump
            continue
        if cancel is not None and cancel():
            raise Cancelled(f"Stopped after {done} of {total} evaluations; nothing was written.")
        known = q_sample(background, schedule.alpha_bar(t), noise(shape))
        x = torch.where(inside, x, known)
        predicted = denoiser(x, torch.full((shape[0],), t, device=x.device), condition)
        x_start = predict_x_start(x, schedule.alpha_bar(t), predicted)
        if correct is not None and before:
            x = correct(x_start, before, t, schedule)
        look = Look(x, x_start, t)
        x = step(x, x_start, before, t, t_next, schedule, noise(shape))
        before = (*before[-1:], look)
        done += 1
        if progress is not None:
            progress(done, total, "making tissue")
    # Unlike the published code, mix once more after the last step: the background stays exact.
    return torch.where(inside, x, background)


def evaluations(times: Sequence[int]) -> int:
    """How often the network is called along `times`."""
    return sum(t_next < t for t, t_next in pairwise(times))
