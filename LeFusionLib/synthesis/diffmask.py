"""DiffMask: a lesion's shape from noise, inside its control sphere and a boundary (LeFusion, Sec. 3.3)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from ..diffusion import CORRECTIONS, STEPS, DiffusionSchedule, evaluations, inpaint, seeded_noise, time_grid
from ..errors import LeFusionError, unknown_name
from ..geometry import ControlSphere, PatchFrame
from ..level_set import LevelSet
from ..models.denoiser import Denoiser
from ..models.sampler_spec import SamplerSpec
from ..models.spec import ModelSpec
from ..models.zoo import Model, bundled_models, load_model
from ..volume import Volume
from .boundary import boundary_in
from .draw import HANDCRAFTED, Drawer, Shape
from .grid_shape import GridShape, smooth_slices
from .published_mask import clean_up, zoomed_frame
from .watch import Cancel, Progress, Watch


def open_mask_model(
    model: Model | str | Path,
    device: str = "auto",
    precision: str = "float32",
    opened_by: Callable[[str, str, str], Model] = load_model,
) -> Model:
    """The model, opened where it is a name or a path; one that makes tissue is refused."""
    possible = (HANDCRAFTED, *bundled_models("mask"))
    if isinstance(model, str) and not Path(model).exists() and model not in bundled_models():
        raise unknown_name("mask model", model, possible)
    opened = model if isinstance(model, Model) else opened_by(str(model), device, precision)
    if opened.spec.kind != "mask":
        raise LeFusionError(
            f"'{opened.spec.name}' makes tissue; a model that draws shapes is needed. Possible: {', '.join(possible)}."
        )
    return opened


def mask_drawer(
    model: Model,
    volume: Volume,
    boundary: np.ndarray | None,
    classes: Sequence[str],
    ratings: Mapping[str, float],
    sampler: SamplerSpec | None,
    progress: Progress | None,
    cancel: Cancel | None,
) -> Drawer:
    """Shapes drawn by `model`, of the `classes` named or, with none, of all of its own as chance has it."""
    spec, mask = model.spec, model.spec.mask
    assert mask is not None
    for name in classes:
        if name not in spec.classes:
            raise unknown_name(f"lesion class in mask model '{spec.name}'", name, spec.classes)
    drawn = {name: name in classes for name in mask.optional} if classes else {}
    keep = [index for index, name in enumerate(spec.classes) if not classes or name in classes]
    chosen = model.card.sampler_for(sampler)
    watch = Watch(0, "drawing the shape", progress, cancel)

    def shape(sphere: ControlSphere, rng: np.random.Generator) -> Shape | None:
        frame = mask.frame(sphere, spec.patch_shapes[0], spec.spacing_mm, volume)
        inside = None if boundary is None else boundary_in(frame, boundary, volume)
        seed = int(rng.integers(2**63))
        patch = diffuse_shape(
            model.denoiser, model.schedule, sphere, frame, chosen, seed, ratings, inside, watch, drawn
        )
        return shape_of(patch, frame, spec, keep, inside)

    name = f"{spec.name}@{model.card.sha256[:8]}"
    return Drawer(name, tuple(spec.classes[index] for index in keep), mask.diameter_tolerance, shape)


def shape_of(
    patch: np.ndarray, frame: PatchFrame, spec: ModelSpec, keep: Sequence[int], inside: np.ndarray | None = None
) -> LevelSet | GridShape | None:
    """What a network has drawn, (L, D, H, W) in [-1, 1] in the patch `frame`, as a shape of the classes `keep`; inside
    (D, H, W) bool: where it was allowed to draw."""
    mask = spec.mask
    assert mask is not None
    if mask.smoothing_voxels:
        patch = smooth_slices(patch, mask.smoothing_voxels, inside)
    if mask.levels:
        patch = patch - np.reshape(mask.levels, (-1, 1, 1, 1)).astype(np.float32)
    patch = mask.classes_of(patch, keep)
    if mask.published:
        cleaned = np.stack([clean_up(channel > 0) for channel in patch])
        return LevelSet.of_occupancy(cleaned.astype(np.float32), zoomed_frame(frame))
    if spec.spacing_mm is None and mask.sphere_voxels is None:
        return GridShape.of(patch, frame, max(mask.pieces, default=1))
    return LevelSet.of_occupancy((patch + 1) / 2, frame, mask.pieces or (1,) * len(keep))


def diffuse_shape(
    denoiser: Denoiser,
    schedule: DiffusionSchedule,
    sphere: ControlSphere,
    frame: PatchFrame,
    sampler: SamplerSpec,
    seed: int,
    ratings: Mapping[str, float] | None = None,
    boundary: np.ndarray | None = None,
    watch: Watch | None = None,
    drawn: Mapping[str, bool] | None = None,
) -> np.ndarray:
    """The shape (L, D, H, W) in [-1, 1] in the patch `frame` of `sphere`, above 0 where it is lesion.

    boundary (D, H, W) bool: at every step what lies outside is set to background, noised to that step's level. Drawing
    inside a boundary is inpainting a patch of background. drawn: which of the spec's optional classes are wanted.
    """
    spec, device = denoiser.spec, next(denoiser.parameters()).device
    assert spec.mask is not None
    shape = (1, len(spec.classes), *frame.shape)
    allowed = torch.ones(shape) if boundary is None else torch.from_numpy(boundary).float().expand(shape)
    row = torch.from_numpy(spec.mask.traits(sphere, ratings or {}, drawn))
    traits = row[None].to(device) if spec.condition_size else None
    times = time_grid(schedule.timesteps, sampler.num_steps or 1, sampler.jump_length or 1, sampler.jump_n_sample or 1)
    watch = watch or Watch(0, "drawing the shape")
    watch.total += evaluations(times)
    method = sampler.method or "ddpm"
    made = inpaint(
        watch.over(lambda x_t, t, condition: denoiser(x_t, t, condition, traits=traits)),
        torch.full(shape, -1.0, device=device),
        allowed.to(device),
        times,
        schedule,
        condition=torch.from_numpy(spec.mask.channels(sphere, frame, boundary))[None].to(device),
        noise=seeded_noise(seed, device),
        step=STEPS[method],
        correct=CORRECTIONS.get(method),
    )
    return made[0].float().cpu().numpy()
