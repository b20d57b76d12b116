"""The main job: a lesion painted into a volume."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import LeFusionError
from ..intensity import window_for
from ..lesion_mask import LesionMask
from ..modality import check_modality
from ..models.sampler_spec import SamplerSpec
from ..models.zoo import Model, load_model
from ..volume import Volume
from .lesions import plan_lesions
from .paint import paint_back
from .report import make_report
from .result import SynthesisResult, numbered, together
from .tissue import make_tissue


def synthesize(
    volume: Volume,
    lesion: LesionMask | Sequence[LesionMask],
    model: Model | str | Path,
    texture: Any = "random",
    sampler: SamplerSpec | None = None,
    seed: int | Sequence[int] = 0,
    progress: Callable[[int, int, str], None] | None = None,
    cancel: Callable[[], bool] | None = None,
    any_modality: bool = False,
) -> SynthesisResult:
    """Make tissue inside `lesion`; every other voxel stays bit-identical.

    volume: the scan. lesion: one mask on its grid, or several; each connected part is a lesion of its own.
    model: from `load_model`, or its name. texture: a preset's name or index, a `TextureHistogram`, 16 numbers, a JSON
    or CSV file, "random" (the paper's draw), or {class: any of these}; for a list of masks also a list. sampler: open
    settings are the model's own. seed: the same seed, settings and device give the same bytes; one, or one per mask.
    progress(step, total, message) and cancel() are called at every network evaluation. any_modality: also in scans that
    the model was not made for.

    Raises `LeFusionError` for what cannot be made, `Cancelled` within one evaluation of `cancel()` being true.
    """
    clock = Clock()
    model = model if isinstance(model, Model) else load_model(model)
    if model.spec.kind != "texture":
        raise LeFusionError(
            f"'{model.spec.name}' draws lesion shapes; choose a model that makes tissue (`lefusion models`)."
        )
    if not any_modality:
        check_modality(volume, model.spec.modality, model.spec.name)
    sampler = model.card.sampler_for(sampler)
    window = window_for(model.spec.intensity, volume.array)
    clock.lap("model")
    masks = [lesion] if isinstance(lesion, LesionMask) else list(lesion)
    lesions = plan_lesions(volume, lesion, model.spec, model.textures, window, texture, seed)
    clock.lap("prepare")
    patches, network_evaluations = make_tissue(model, lesions, sampler, progress, cancel)
    clock.lap("network")
    painted = volume.array.copy()
    for planned, made in zip(lesions, patches, strict=True):
        paint_back(painted, volume, planned.mask, planned.frame, made, window)
    result = volume.with_array(painted)
    mask = together([planned.mask for planned in lesions])
    clock.lap("paint")
    report = make_report(volume, result, mask, lesions, window, model, sampler, network_evaluations, seed, clock.laps)
    return SynthesisResult(result, mask, report, volume, numbered(masks))


class Clock:
    """Where the time went, in seconds per stage."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._since = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name] = self.laps.get(name, 0.0) + now - self._since
        self._since = now

    def add(self, laps: Mapping[str, float]) -> None:
        """Stages that were timed elsewhere, up to now."""
        for name, seconds in laps.items():
            self.laps[name] = self.laps.get(name, 0.0) + seconds
        self._since = time.monotonic()
