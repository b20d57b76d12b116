"""What training makes small."""

from collections.abc import Callable

import torch

from ..diffusion import DiffusionSchedule, lesion_focused_loss, q_sample, velocity
from ..models.denoiser import clean_context
from .batches import Batch
from .settings import TrainSettings
from .shape_batches import ShapeBatch


def batch_loss(
    denoiser: Callable[..., torch.Tensor], batch: Batch, schedule: DiffusionSchedule, settings: TrainSettings
) -> torch.Tensor:
    """The lesion-focused loss of one batch (LeFusion, Eqs. 4, 6), on what the spec says the network
    predicts, context and condition shown as it says."""
    spec = settings.spec
    alpha_bar = schedule.alphas_cumprod.to(batch.t.device)[batch.t].float()[:, None, None, None, None]
    x_t = q_sample(batch.x_start, alpha_bar, batch.noise)
    target = velocity(batch.x_start, alpha_bar, batch.noise) if spec.prediction == "velocity" else batch.noise
    context = clean_context(batch.x_start, batch.lesion_mask) if spec.context == "clean" else None
    condition = batch.condition if spec.condition_size else None
    predicted = denoiser(x_t, batch.t, condition, context, drop=batch.drop, as_noise=False)
    return lesion_focused_loss(target, predicted, batch.lesion_mask, settings.distance, settings.reduction)


def shape_loss(
    denoiser: Callable[..., torch.Tensor], batch: ShapeBatch, schedule: DiffusionSchedule, settings: TrainSettings
) -> torch.Tensor:
    """The loss of a mask model: all of the patch counts, lesion and air alike (LeFusion, Sec. 3.3); of a patch shown
    with its organ all of the organ, since what lies outside is given at every step."""
    alpha_bar = schedule.alphas_cumprod.to(batch.t.device)[batch.t].float()[:, None, None, None, None]
    x_t = q_sample(batch.x_start, alpha_bar, batch.noise)
    velocities = settings.spec.prediction == "velocity"
    target = velocity(batch.x_start, alpha_bar, batch.noise) if velocities else batch.noise
    predicted = denoiser(x_t, batch.t, batch.sphere, drop=batch.drop, as_noise=False, traits=batch.traits)
    organ = (batch.sphere[:, 1:] > 0).to(target.dtype)
    counts = organ.expand_as(target) if organ.shape[1] else torch.ones_like(target)
    return lesion_focused_loss(target, predicted, counts, settings.distance, settings.reduction)
