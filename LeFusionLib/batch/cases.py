"""One case of a batch: what is asked, as plain data that can be handed to another process, and how it is made."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled, LeFusionError
from ..given import GivenBoundary, given_boundary, given_mask, only_classes
from ..io import output_suffix, read_volume
from ..models.sampler_spec import SamplerSpec
from ..synthesis.request import LesionRequest, SynthesisRequest, run_request
from ..synthesis.result import SynthesisResult

if TYPE_CHECKING:
    from ..models.zoo import Model

Cancel = Callable[[], bool]


@dataclass(frozen=True)
class BatchSettings:
    """What holds for every case of a batch; see the flags of `lefusion batch`."""

    model: str | None = None
    mask_model: str | None = None
    sampler: SamplerSpec = SamplerSpec()
    device: str = "auto"
    labels: tuple[str, ...] = ()
    any_modality: bool = False
    image_format: str | None = None
    overwrite: bool = False
    precision: str = "float32"


@dataclass(frozen=True)
class BatchCase:
    """One volume and its lesions: either spheres, or a mask whose lesions are all of one `texture` and `seed`.

    volume, mask, boundary: as on the command line, paths absolute. classes: of the mask, those to be made; () is all.
    """

    name: str
    volume: str
    lesions: tuple[LesionRequest, ...] = ()
    boundary: str | None = None
    mask: str | None = None
    classes: tuple[str, ...] = ()
    texture: Any = "random"
    seed: int = 0

    def fingerprint(self, settings: BatchSettings) -> str:
        """The same for the same case under the same settings: what is done need not be done again."""
        asked = {"case": asdict(self), "settings": asdict(settings) | {"overwrite": None}}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def make_case(
    case: BatchCase,
    settings: BatchSettings,
    folder: Path,
    models: "Callable[[str, str, str], Model]",
    cancel: Cancel | None = None,
) -> tuple[SynthesisResult, list[Path]]:
    """Read, make, write: the same bytes as `lefusion synthesize` gives.

    models(name, device, precision): opens a model, or hands out one that is open.
    Raises `LeFusionError` for what cannot be made; nothing of the case is written then.
    """
    from ..models.zoo import default_model
    from ..synthesis.synthesize import synthesize

    volume = read_volume(case.volume)
    boundary = GivenBoundary() if case.boundary is None else given_boundary(case.boundary, volume)
    if case.mask is None:
        request = SynthesisRequest(
            case.lesions,
            settings.model,
            settings.mask_model,
            boundary.built_in,
            settings.sampler,
            settings.device,
            any_modality=settings.any_modality,
            precision=settings.precision,
        )
        result = run_request(volume, request, boundary.mask, None, cancel, models)
    else:
        model = models(settings.model or default_model(), settings.device, settings.precision)
        lesion = only_classes(given_mask(case.mask, model.spec, settings.labels), case.classes)
        result = synthesize(
            volume, lesion, model, case.texture, settings.sampler, case.seed, None, cancel, settings.any_modality
        )
    if cancel is not None and cancel():
        raise Cancelled(f"Stopped before anything of '{case.name}' was written.")
    inputs = [case.volume, *filter(None, [case.mask, boundary.file])]
    suffix = settings.image_format or output_suffix(volume)
    return result, result.save(folder / case.name, suffix, settings.overwrite, inputs)


def check_files(case: BatchCase) -> None:
    """Find what is not there before the first case is made, not after the last but one."""
    for kind, path in (("volume", case.volume), ("mask", case.mask)):
        if path is not None and not Path(path).exists():
            raise LeFusionError(f"There is no {kind} {path}, which the case '{case.name}' needs. Correct the table.")
