"""From noise to tissue: planned lesions through the network."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import numpy as np
import torch

from ..diffusion import CORRECTIONS, STEPS, evaluations, inpaint, seeded_noise, time_grid, with_guidance
from ..errors import LeFusionError
from ..models.denoiser import clean_context
from ..models.sampler_spec import SamplerSpec
from ..models.zoo import Model
from .lesions import PlannedLesion
from .watch import Progress, Watch


def make_tissue(
    model: Model,
    lesions: Sequence[PlannedLesion],
    sampler: SamplerSpec,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
) -> tuple[list[np.ndarray], int]:
    """The made patches (L, d, h, w) in [-1, 1], in the order of `lesions`, and the number of network evaluations.

    `progress` and `cancel` are called at every evaluation. Out of GPU memory, fewer lesions are tried at once.
    """
    rows = model.rows_at_once
    while True:
        try:
            return _make(model, lesions, sampler, rows, progress, cancel)
        except torch.cuda.OutOfMemoryError as error:
            if rows == 1:
                raise LeFusionError(
                    f"The GPU has too little free memory for model '{model.spec.name}'. Close other programs that use "
                    "it, choose a smaller model, or use the processor with `--device cpu`."
                ) from error
            rows //= 2
            torch.cuda.empty_cache()


def _make(
    model: Model,
    lesions: Sequence[PlannedLesion],
    sampler: SamplerSpec,
    rows: int,
    progress: Progress | None,
    cancel: Callable[[], bool] | None,
) -> tuple[list[np.ndarray], int]:
    times = time_grid(
        model.spec.timesteps, sampler.num_steps or 1, sampler.jump_length or 1, sampler.jump_n_sample or 1
    )
    chunks = list(_chunks(lesions, rows))
    guided = sampler.guidance_scale not in (None, 1.0) and model.spec.condition_size > 0
    watch = Watch(evaluations(times) * len(chunks) * (2 if guided else 1), "making tissue", progress, cancel)
    made: dict[int, np.ndarray] = {}
    for chunk in chunks:
        patches = _inpaint_rows(model, [lesions[index] for index in chunk], sampler, times, watch)
        made.update(zip(chunk, patches, strict=True))
    return [made[index] for index in range(len(lesions))], watch.done


def _chunks(lesions: Sequence[PlannedLesion], rows: int) -> Iterator[list[int]]:
    """Indices of lesions with the same patch shape, `rows` at a time; the last index fills up a short chunk."""
    order = sorted(range(len(lesions)), key=lambda index: lesions[index].frame.shape)
    for _, group in groupby(order, key=lambda index: lesions[index].frame.shape):
        indices = list(group)
        for start in range(0, len(indices), rows):
            chunk = indices[start : start + rows]
            yield chunk + chunk[-1:] * (rows - len(chunk))


def _inpaint_rows(
    model: Model, lesions: Sequence[PlannedLesion], sampler: SamplerSpec, times: Sequence[int], watch: Watch
) -> np.ndarray:
    """The made patches (B, L, d, h, w) of lesions with patches of one shape."""
    device, spec = model.device, model.spec
    lesion_mask = torch.from_numpy(np.stack([lesion.patch_mask for lesion in lesions])).to(device)
    background = torch.from_numpy(np.stack([lesion.background for lesion in lesions]))[:, None].to(device)
    context = clean_context(background, lesion_mask) if spec.context == "clean" else None
    condition = None
    if spec.condition_size:
        condition = torch.from_numpy(np.stack([lesion.condition for lesion in lesions])).to(device)
    denoiser = watch.over(lambda x_t, t, c: model.denoiser(x_t, t, c, context))
    null_condition = model.denoiser.net.null_condition
    if null_condition is not None and sampler.guidance_scale is not None:
        denoiser = with_guidance(denoiser, null_condition, sampler.guidance_scale)
    method = sampler.method or "ddpm"
    made = inpaint(
        denoiser,
        background.expand_as(lesion_mask).contiguous(),
        lesion_mask,
        times,
        model.schedule,
        condition=condition,
        noise=seeded_noise([lesion.seed for lesion in lesions], device),
        step=STEPS[method],
        correct=CORRECTIONS.get(method),
    )
    return made.float().cpu().numpy()
