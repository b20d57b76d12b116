"""What training makes small."""

from collections.abc import Callable

import torch

from ..diffusion import DiffusionSchedule, lesion_focused_loss, q_sample, velocity
from .batches import Batch
from .settings import TrainSettings
from .shape_batches import ShapeBatch


def batch_loss(
    denoiser: Callable[..., torch.Tensor],
    batch: Batch | ShapeBatch,
    schedule: DiffusionSchedule,
    settings: TrainSettings,
) -> torch.Tensor:
    """The lesion-focused loss of one batch (LeFusion, Eqs. 4, 6; of shapes, Sec. 3.3), on what the spec says the
    network predicts, where the batch says it counts."""
    spec = settings.spec
    alpha_bar = schedule.alphas_cumprod.to(batch.t.device)[batch.t].float()[:, None, None, None, None]
    x_t = q_sample(batch.x_start, alpha_bar, batch.noise)
    target = velocity(batch.x_start, alpha_bar, batch.noise) if spec.prediction == "velocity" else batch.noise
    predicted = denoiser(x_t, batch.t, **batch.shown(spec), as_noise=False)
    return lesion_focused_loss(target, predicted, batch.counts(), settings.distance, settings.reduction)
