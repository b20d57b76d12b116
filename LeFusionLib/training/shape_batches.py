"""What one training step of a mask model sees: shapes in the patch of their sphere, decided by seed and step number."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import LeFusionError
from ..geometry import ControlSphere
from ..models.spec import ModelSpec
from .shape_cases import AnyShape

# Users' spheres are not perfect, so training's are not: shares of the diameter, standard deviations.
CENTER_JITTER, DIAMETER_JITTER = 0.02, 0.03


@dataclass(frozen=True, eq=False)
class ShapeBatch:
    """`x_start`, `noise` (B, L, D, H, W), the shape in [-1, 1]; `sphere` (B, 1 or 2, D, H, W): it, and the
    organ where the network is shown one; `traits` (B, traits_size);
    `t` (B,); `drop` (B,) bool: never set, ratings are left out one by one."""

    x_start: Tensor
    sphere: Tensor
    traits: Tensor
    t: Tensor
    noise: Tensor
    drop: Tensor

    def to(self, device: torch.device) -> "ShapeBatch":
        return ShapeBatch(**{name: value.to(device) for name, value in vars(self).items()})

    def shown(self, spec: ModelSpec) -> dict[str, Any]:
        """What the network is shown beside the noised patch: arguments of `Denoiser`."""
        return {"condition": self.sphere, "traits": self.traits, "drop": self.drop}

    def counts(self) -> Tensor:
        """Where the loss counts: all of the patch, lesion and air alike; of a patch shown with its organ all of the
        organ, since what lies outside is given at every step."""
        if self.sphere.shape[1] == 1:
            return torch.ones_like(self.x_start)
        return (self.sphere[:, 1:] > 0).to(self.x_start.dtype).expand_as(self.x_start)


class ShapeBatchMaker:
    """Draws step `n` of a training run: the same on every machine, after every resume."""

    def __init__(self, cases: Sequence[AnyShape], spec: ModelSpec, batch_size: int, null_share: float, seed: int):
        assert spec.mask is not None
        self.spec, self.mask, self.batch_size, self.null_share, self.seed = (
            spec,
            spec.mask,
            batch_size,
            null_share,
            seed,
        )
        low, high = spec.mask.diameter_range_mm or (0.0, np.inf)
        self.cases = [case for case in cases if low <= case.sphere.diameter_mm <= high]
        if not self.cases:
            raise LeFusionError(
                f"None of the {len(cases)} lesions is {low:g} to {high:g} mm wide, as the model is to learn."
            )

    def draw(self, step: int) -> ShapeBatch:
        """The batch of step `step`."""
        rng = np.random.default_rng([self.seed, step])
        chosen = [self.cases[index] for index in rng.integers(len(self.cases), size=self.batch_size)]
        views = [self.view(case, rng) for case in chosen]
        return ShapeBatch(
            x_start=torch.from_numpy(np.stack([shape for shape, _, _ in views])),
            sphere=torch.from_numpy(np.stack([sphere for _, sphere, _ in views])),
            traits=torch.from_numpy(np.stack([traits for _, _, traits in views])),
            t=torch.from_numpy(rng.integers(0, self.spec.timesteps, len(views))),
            noise=torch.from_numpy(rng.standard_normal((len(views), *views[0][0].shape), dtype=np.float32)),
            drop=torch.zeros(len(views), dtype=torch.bool),
        )

    def view(self, case: AnyShape, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A lesion turned about the body's axis and mirrored at random, in a slightly wrong sphere.

        Returns the shape (L, D, H, W) in [-1, 1], the channels of sphere and organ (1 or 2, D, H, W) and the traits.
        """
        true = case.sphere
        sphere = ControlSphere(
            tuple(true.center_ras + true.diameter_mm * CENTER_JITTER * rng.standard_normal(3)),
            true.diameter_mm * float(np.exp(DIAMETER_JITTER * rng.standard_normal())),
        )
        frame = self.mask.frame(sphere, self.spec.patch_shapes[0], self.spec.spacing_mm, case.grid)
        shape, organ = case.drawn_in(frame, self.mask, sphere, rng)
        shown = {name: value for name, value in case.ratings.items() if rng.random() >= self.null_share}
        if rng.random() < self.null_share:
            shown = {}
        drawn = {name: there for name, there in case.present.items() if rng.random() >= self.null_share}
        return shape, self.mask.channels(sphere, frame, organ), self.mask.traits(sphere, shown, drawn)
