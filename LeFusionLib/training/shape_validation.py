"""What a mask model in training is worth: loss on held-out patients, and shapes drawn in their lesions' spheres."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..diffusion import DiffusionSchedule
from ..models.denoiser import Denoiser
from ..models.sampler_spec import SamplerSpec
from ..synthesis.diffmask import diffuse_shape, shape_of
from .objective import batch_loss
from .settings import TrainSettings
from .shape_batches import ShapeBatchMaker
from .shape_cases import AnyShape

LOSS_BATCHES, SAMPLES, SAMPLE_STEPS = 12, 12, 20


class ShapeValidation:
    """Fixed held-out batches and spheres, the same at every step of a run."""

    def __init__(self, cases: Sequence[AnyShape], settings: TrainSettings, run: Path):
        self.settings, self.run = settings, run
        maker = ShapeBatchMaker(cases, settings.spec, settings.batch_size, settings.null_share, settings.seed)
        self.batches = [maker.draw(step) for step in range(LOSS_BATCHES)]
        chosen = np.random.default_rng(settings.seed).permutation(len(maker.cases))[:SAMPLES]
        self.cases = sorted((maker.cases[i] for i in chosen), key=lambda case: case.sphere.diameter_mm)

    @torch.inference_mode()
    def measure(self, denoiser: Denoiser, schedule: DiffusionSchedule, step: int) -> dict[str, float]:
        """Validation loss; how far drawn shapes are from real ones in diameter and volume; writes the sample sheet.

        `diameter_error`: median share of the sphere's diameter. `volume_ratio`: of all drawn to all real, median.
        """
        device, spec = next(denoiser.parameters()).device, self.settings.spec
        assert spec.mask is not None
        denoiser.eval()
        losses = [batch_loss(denoiser, b.to(device), schedule, self.settings).item() for b in self.batches]
        sampler = SamplerSpec("ddim", SAMPLE_STEPS, 1, 1, 1.0)
        drawn, errors, ratios = [], [], []
        for seed, case in enumerate(self.cases):
            frame = spec.mask.frame(case.sphere, spec.patch_shapes[0], spec.spacing_mm, case.grid)
            real, organ = case.drawn_in(frame, spec.mask, case.sphere, None)
            patch = diffuse_shape(denoiser, schedule, case.sphere, frame, sampler, seed, boundary=organ)
            shape = shape_of(patch, frame, spec, range(len(spec.classes)), organ)
            drawn.append((real, patch))
            width = 0.0 if shape is None else shape.enclosing_sphere().diameter_mm
            errors.append(abs(width / case.sphere.diameter_mm - 1))
            ratios.append(0.0 if shape is None else shape.volume_mm3() / case.volume_mm3())
        denoiser.train()
        self._sheet(drawn, step)
        return {
            "validation_loss": float(np.mean(losses)),
            "diameter_error": float(np.median(errors)),
            "volume_ratio": float(np.median(ratios)),
        }

    def _sheet(self, drawn: Sequence[tuple[np.ndarray, np.ndarray]], step: int) -> None:
        """Middle slices along two axes of each pair: real above, drawn below."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt

        figure, axes = plt.subplots(4, len(drawn), figsize=(1.2 * len(drawn), 5), squeeze=False)
        for column, pair in enumerate(drawn):
            for row, patch in enumerate(pair):
                union = patch.max(axis=0)
                middle = [n // 2 for n in union.shape]
                for axis, picture in zip(
                    axes[2 * row :, column], (union[middle[0]], union[:, middle[1]]), strict=False
                ):
                    axis.imshow(picture, cmap="gray", vmin=-1, vmax=1)
                    axis.axis("off")
        figure.suptitle(f"held-out shapes (real: rows 1, 2) and shapes drawn in their spheres, step {step}", fontsize=8)
        figure.savefig(self.run / f"samples_{step:06d}.png", dpi=110, bbox_inches="tight")
        plt.close(figure)
