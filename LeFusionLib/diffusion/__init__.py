"""The mathematics of lesion-focused diffusion (torch). It knows no network: a denoiser is any callable
`(x_t, t, condition) -> noise`."""

from .gaussian import noise_from_velocity, predict_x_start, q_sample, renoise, velocity
from .guidance import with_guidance
from .inpaint import evaluations, inpaint
from .loss import lesion_focused_loss
from .noise import seeded_noise
from .resampling import paper_times, repaint_times, time_grid
from .samplers import CORRECTIONS, STEPS, ddim_step, ddpm_step, dpm_step
from .schedule import DiffusionSchedule, cosine_schedule

__all__ = [
    "CORRECTIONS",
    "STEPS",
    "DiffusionSchedule",
    "cosine_schedule",
    "ddim_step",
    "ddpm_step",
    "dpm_step",
    "evaluations",
    "inpaint",
    "lesion_focused_loss",
    "noise_from_velocity",
    "paper_times",
    "predict_x_start",
    "q_sample",
    "renoise",
    "repaint_times",
    "seeded_noise",
    "time_grid",
    "velocity",
    "with_guidance",
]
