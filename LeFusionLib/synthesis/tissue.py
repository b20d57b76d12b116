"""From noise to tissue: planned lesions through the network."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import numpy as np
import torch

from ..diffusion import STEPS, evaluations, inpaint, seeded_noise, time_grid, with_guidance
from ..diffusion.inpaint import Denoiser
from ..errors import LeFusionError
from ..models.denoiser import clean_context
from ..models.sampler_spec import SamplerSpec
from ..models.zoo import Model
from .lesions import PlannedLesion

Progress = Callable[[int, int, str], None]


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
    per_chunk = evaluations(times)
    done, made = 0, {}
    for chunk in chunks:

        def report(step: int, total: int, message: str, before: int = done) -> None:
            if progress is not None:
                progress(before + step, per_chunk * len(chunks), message)

        for index, patch in zip(
            chunk, _inpaint_rows(model, lesions, chunk, sampler, times, report, cancel), strict=False
        ):
            made[index] = patch
        done += per_chunk
    factor = 1 if sampler.guidance_scale in (None, 1.0) or not model.spec.condition_size else 2
    return [made[index] for index in range(len(lesions))], done * factor


def _chunks(lesions: Sequence[PlannedLesion], rows: int) -> Iterator[list[int]]:
    """Indices of lesions with the same patch shape, `rows` at a time; the last index fills up a short chunk."""
    order = sorted(range(len(lesions)), key=lambda index: lesions[index].frame.shape)
    for _, group in groupby(order, key=lambda index: lesions[index].frame.shape):
        indices = list(group)
        for start in range(0, len(indices), rows):
            chunk = indices[start : start + rows]
            yield chunk + chunk[-1:] * (rows - len(chunk))


def _inpaint_rows(
    model: Model,
    lesions: Sequence[PlannedLesion],
    chunk: Sequence[int],
    sampler: SamplerSpec,
    times: Sequence[int],
    progress: Progress,
    cancel: Callable[[], bool] | None,
) -> Iterator[np.ndarray]:
    chosen = [lesions[index] for index in chunk]
    device, spec = model.device, model.spec
    lesion_mask = torch.from_numpy(np.stack([lesion.patch_mask for lesion in chosen])).to(device)
    background = torch.from_numpy(np.stack([lesion.background for lesion in chosen]))[:, None].to(device)
    context = clean_context(background, lesion_mask) if spec.context == "clean" else None
    condition = (
        torch.from_numpy(np.stack([lesion.condition for lesion in chosen])).to(device) if spec.condition_size else None
    )

    def denoiser(x_t: torch.Tensor, t: torch.Tensor, c: torch.Tensor | None) -> torch.Tensor:
        return model.denoiser(x_t, t, c, context)

    guided: Denoiser = denoiser
    scale = sampler.guidance_scale
    if scale is not None and condition is not None and model.denoiser.net.null_condition is not None:
        guided = with_guidance(denoiser, model.denoiser.net.null_condition, scale)
    made = inpaint(
        guided,
        background.expand_as(lesion_mask).contiguous(),
        lesion_mask,
        times,
        model.schedule,
        condition=condition,
        noise=seeded_noise([lesion.seed for lesion in chosen], device),
        step=STEPS[sampler.method or "ddpm"],
        progress=progress,
        cancel=cancel,
    )
    yield from made.float().cpu().numpy()
