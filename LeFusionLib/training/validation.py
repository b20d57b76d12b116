"""What a model in training is worth: loss on held-out patients, and lesions made again in their own place."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..diffusion import DiffusionSchedule, inpaint, seeded_noise, time_grid
from ..diffusion.samplers import ddim_step
from ..models.denoiser import Denoiser, clean_context
from ..texture import TextureHistogram
from .augment import random_view, smallest_shape
from .batches import BatchMaker, texture_condition
from .cases import LesionCase
from .objective import batch_loss
from .settings import TrainSettings

LOSS_BATCHES, SAMPLES, SAMPLE_STEPS = 12, 8, 20


class Validation:
    """Fixed held-out batches and lesions, the same at every step of a run."""

    def __init__(self, cases: Sequence[LesionCase], settings: TrainSettings, run: Path):
        self.settings, self.run = settings, run
        spec = settings.spec
        # Null conditions are left out: the question is how well the condition is followed.
        maker = BatchMaker(cases, spec, settings.batch_size, null_share=0.0, seed=settings.seed)
        self.batches = [maker.draw(step) for step in range(LOSS_BATCHES)]
        rng = np.random.default_rng(settings.seed)
        fitting = [c for c in cases if smallest_shape(c, spec.patch_shapes, spec.margin_mm) is not None]
        chosen = rng.permutation(len(fitting))[:SAMPLES]
        self.views = []
        for case in (fitting[i] for i in chosen):
            shape = spec.patch_shapes[smallest_shape(case, spec.patch_shapes, spec.margin_mm) or 0]
            self.views.append((case, *random_view(case, shape, spec.margin_mm, rng)))

    @torch.inference_mode()
    def measure(self, denoiser: Denoiser, schedule: DiffusionSchedule, step: int) -> dict[str, float]:
        """Validation loss and the median texture distance of remade lesions; writes the sample sheet."""
        device = next(denoiser.parameters()).device
        denoiser.eval()
        losses = [batch_loss(denoiser, b.to(device), schedule, self.settings).item() for b in self.batches]
        remade = [self._remake(denoiser, schedule, image, mask, device) for _, image, mask in self.views]
        denoiser.train()
        distances = []
        for (case, image, mask), made in zip(self.views, remade, strict=True):
            for m in mask[[bool(m.any()) for m in mask]]:
                asked, got = TextureHistogram.of(image[m]), TextureHistogram.of(made[m])
                distances.append(got.wasserstein(asked, case.window))
        self._sheet(remade, step)
        return {"validation_loss": float(np.mean(losses)), "texture_distance": float(np.median(distances))}

    def _remake(
        self, denoiser: Denoiser, schedule: DiffusionSchedule, image: np.ndarray, mask: np.ndarray, device: torch.device
    ) -> np.ndarray:
        lesion = torch.from_numpy(mask.astype(np.float32))[None].to(device)
        background = torch.from_numpy(image)[None, None].to(device).expand_as(lesion)
        context = clean_context(background, lesion) if denoiser.spec.context == "clean" else None
        condition = torch.from_numpy(texture_condition(image, mask))[None].to(device)
        passes = 1 if denoiser.spec.context == "clean" else 2
        made = inpaint(
            lambda x, t, c: denoiser(x, t, c if denoiser.spec.condition_size else None, context),
            background,
            lesion,
            time_grid(schedule.timesteps, SAMPLE_STEPS, jump_n_sample=passes),
            schedule,
            condition=condition,
            noise=seeded_noise(0, device),
            step=ddim_step,
        )[0].cpu()
        # Each class from its own channel, the background from any.
        chosen = torch.where(lesion[0].cpu() > 0.5, made, torch.zeros_like(made)).sum(0)
        return torch.where(lesion[0].cpu().amax(0) > 0.5, chosen, background[0, 0].cpu()).numpy()

    def _sheet(self, remade: Sequence[np.ndarray], step: int) -> None:
        """The middle slice of each lesion: real above, remade below."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt

        figure, axes = plt.subplots(2, len(remade), figsize=(1.6 * len(remade), 3.4), squeeze=False)
        for column, ((_, image, mask), made) in enumerate(zip(self.views, remade, strict=True)):
            k = int(mask.any(0).sum(axis=(1, 2)).argmax())
            for row, picture in enumerate((image[k], made[k])):
                axes[row, column].imshow(picture, cmap="gray", vmin=-1, vmax=1)
                axes[row, column].contour(np.any(mask[:, k], axis=0), [0.5], colors="tab:red", linewidths=0.5)
                axes[row, column].axis("off")
        figure.suptitle(f"held-out lesions, real and remade, step {step}", fontsize=8)
        figure.savefig(self.run / f"samples_{step:06d}.png", dpi=110, bbox_inches="tight")
        plt.close(figure)
