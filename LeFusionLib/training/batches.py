"""What one training step sees: patches, masks, histograms, times and noise, all decided by seed and step number."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import LeFusionError
from ..models.denoiser import clean_context
from ..models.spec import ModelSpec
from ..texture import BINS, TextureHistogram
from .augment import random_view, smallest_shape
from .cases import LesionCase

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Batch:
    """`x_start`, `lesion_mask`, `noise` (B, L, D, H, W); `condition` (B, 16 L); `t` (B,); `drop` (B,) bool: rows that
    are shown the null condition."""

    x_start: Tensor
    lesion_mask: Tensor
    condition: Tensor
    t: Tensor
    noise: Tensor
    drop: Tensor

    def to(self, device: torch.device) -> "Batch":
        return Batch(**{name: value.to(device) for name, value in vars(self).items()})

    def shown(self, spec: ModelSpec) -> dict[str, Any]:
        """What the network is shown beside the noised patch: arguments of `Denoiser`."""
        return {
            "condition": self.condition if spec.condition_size else None,
            "context": clean_context(self.x_start, self.lesion_mask) if spec.context == "clean" else None,
            "drop": self.drop,
        }

    def counts(self) -> Tensor:
        """Where the loss counts: 1 in each class's own lesion (B, L, D, H, W)."""
        return self.lesion_mask


def texture_condition(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The histograms (16 L) of each class's own voxels; zeros for a class that is absent (as published)."""
    rows = [TextureHistogram.of(image[m]).weights if m.any() else np.zeros(BINS) for m in mask]
    return np.concatenate(rows).astype(np.float32)


class BatchMaker:
    """Draws step `n` of a training run: the same on every machine, after every resume."""

    def __init__(self, cases: Sequence[LesionCase], spec: ModelSpec, batch_size: int, null_share: float, seed: int):
        self.spec, self.null_share, self.seed = spec, null_share, seed
        self.groups: list[list[LesionCase]] = [[] for _ in spec.patch_shapes]
        for case in cases:
            if (index := smallest_shape(case, spec.patch_shapes, spec.margin_mm)) is not None:
                self.groups[index].append(case)
        fitting = sum(map(len, self.groups))
        if fitting < len(cases):
            logger.warning(
                "%d of %d lesions are larger than the model's patches and left out", len(cases) - fitting, len(cases)
            )
        if not fitting:
            raise LeFusionError(f"None of the {len(cases)} lesions fits the model's patches {spec.patch_shapes}.")
        voxels = np.array([np.prod(shape) for shape in spec.patch_shapes])
        self.sizes = np.maximum(1, np.round(batch_size * voxels[0] / voxels)).astype(int)
        # Shapes are drawn as often as their lesions would be if each batch held the same number.
        share = np.array([len(group) for group in self.groups]) / self.sizes
        self.shape_share = share / share.sum()

    def draw(self, step: int) -> Batch:
        """The batch of step `step`."""
        rng = np.random.default_rng([self.seed, step])
        group = int(rng.choice(len(self.groups), p=self.shape_share))
        return self.assemble([self._pick(group, rng) for _ in range(self.sizes[group])], rng)

    def _pick(self, group: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        case = self.groups[group][rng.integers(len(self.groups[group]))]
        return random_view(case, self.spec.patch_shapes[group], self.spec.margin_mm, rng)

    def assemble(self, views: Sequence[tuple[np.ndarray, np.ndarray]], rng: np.random.Generator) -> Batch:
        """Views (image, mask) with times, noise and null conditions drawn from `rng`."""
        mask = torch.from_numpy(np.stack([m for _, m in views]).astype(np.float32))
        image = torch.from_numpy(np.stack([i for i, _ in views]))[:, None].expand_as(mask)
        condition = torch.from_numpy(np.stack([texture_condition(i, m) for i, m in views]))
        rows = len(views)
        return Batch(
            x_start=image,
            lesion_mask=mask,
            condition=condition,
            t=torch.from_numpy(rng.integers(0, self.spec.timesteps, rows)),
            noise=torch.from_numpy(rng.standard_normal(mask.shape, dtype=np.float32)),
            drop=torch.from_numpy(rng.random(rows) < self.null_share),
        )
