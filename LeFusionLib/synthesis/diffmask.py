"""DiffMask: a lesion's shape from noise, inside its control sphere and a boundary (LeFusion, Sec. 3.3)."""

from collections.abc import Callable, Mapping

import numpy as np
import torch

from ..diffusion import STEPS, DiffusionSchedule, inpaint, seeded_noise, time_grid
from ..diffusion.inpaint import Denoiser as AnyDenoiser
from ..geometry import ControlSphere, PatchFrame
from ..models.denoiser import Denoiser
from ..models.sampler_spec import SamplerSpec

Watched = Callable[[AnyDenoiser], AnyDenoiser]


def diffuse_shape(
    denoiser: Denoiser,
    schedule: DiffusionSchedule,
    sphere: ControlSphere,
    frame: PatchFrame,
    sampler: SamplerSpec,
    seed: int,
    ratings: Mapping[str, float] | None = None,
    boundary: np.ndarray | None = None,
    watched: Watched | None = None,
) -> np.ndarray:
    """The shape (L, D, H, W) in [-1, 1] in the patch `frame` of `sphere`, above 0 where it is lesion.

    boundary (D, H, W) bool: at every step what lies outside is set to background, noised to that step's level: drawing
    inside a boundary is inpainting a patch of background. watched: wraps the network, to tell and to stop.
    """
    spec, device = denoiser.spec, next(denoiser.parameters()).device
    assert spec.mask is not None
    shape = (1, len(spec.classes), *frame.shape)
    allowed = torch.ones(shape) if boundary is None else torch.from_numpy(boundary).float().expand(shape)
    traits = torch.from_numpy(spec.mask.traits(sphere, ratings or {}))[None].to(device) if spec.condition_size else None

    def network(x_t: torch.Tensor, t: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        return denoiser(x_t, t, condition, traits=traits)

    made = inpaint(
        network if watched is None else watched(network),
        torch.full(shape, -1.0, device=device),
        allowed.to(device),
        time_grid(schedule.timesteps, sampler.num_steps or 1, sampler.jump_length or 1, sampler.jump_n_sample or 1),
        schedule,
        condition=torch.from_numpy(spec.mask.channel(sphere, frame))[None, None].to(device),
        noise=seeded_noise(seed, device),
        step=STEPS[sampler.method or "ddpm"],
    )
    return made[0].float().cpu().numpy()
