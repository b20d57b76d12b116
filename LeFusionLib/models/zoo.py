"""Models by name: the bundled ones, folders, and published checkpoints, ready to be used on a device."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..diffusion.schedule import DiffusionSchedule, cosine_schedule
from ..errors import LeFusionError, unknown_name
from ..texture import TexturePresets, published_sets, published_textures
from .card import ModelCard, read_card
from .card import bundled_models as bundled_models
from .card import default_model as default_model
from .card import mask_model_for as mask_model_for
from .checkpoint import file_sha256, load_denoiser
from .denoiser import Denoiser
from .engine import prepared
from .released import ReleasedDenoiser, load_released_checkpoint
from .sampler_spec import SamplerSpec
from .spec import ModelSpec

# The published scripts pass each time five times, five steps back; two are what their authors recommend for speed.
PUBLISHED_SAMPLER = SamplerSpec("ddpm", 300, jump_length=2, jump_n_sample=2, guidance_scale=1.0)
PUBLISHED_LICENCE = "as published by the authors of LeFusion (HINTLab/LeFusion); see there"


@dataclass(frozen=True, eq=False)
class Model:
    """A network on a device with all that `synthesize` needs to know about it; precision and engine as `prepared` has
    them."""

    card: ModelCard
    denoiser: Denoiser
    schedule: DiffusionSchedule
    device: torch.device
    precision: str = "float32"
    engine: str = "eager"

    @property
    def spec(self) -> ModelSpec:
        return self.card.spec

    @property
    def textures(self) -> dict[str, TexturePresets]:
        return dict(self.card.textures)

    @property
    def rows_at_once(self) -> int:
        """Lesions per network call. One on the CPU, where more gain nothing. Elsewhere always the same number, so that
        a lesion goes through the same kernels alone and in company, to the same bytes."""
        return 1 if self.device.type == "cpu" else 4


def load_model(model: str | Path, device: str = "auto", precision: str = "float32", engine: str = "eager") -> Model:
    """A bundled name, a model folder, or a published `.pt` checkpoint, on `device`.

    device: "auto", "cpu", "cuda", "cuda:1" or "mps". precision: on a GPU also "bfloat16" or "float16". engine: "eager",
    "graph" or "compile", see `engine.prepared`; the defaults start at once and give the bytes that a seed stands for.

    Raises `LeFusionError` for unknown names and devices that are not there.
    """
    target = chosen_device(device)

    def on_target(card: ModelCard, denoiser: Denoiser, schedule: DiffusionSchedule) -> Model:
        return Model(card, prepared(denoiser, target, precision, engine), schedule, target, precision, engine)

    bundled = bundled_models()
    path = Path(model)
    if str(model) in bundled:
        path = bundled[str(model)]
    elif path.suffix == ".pt":
        return on_target(*_published(path))
    elif not path.is_dir():
        raise unknown_name("model", model, bundled)
    card = read_card(path)
    return on_target(card, load_denoiser(path, card), cosine_schedule(card.spec.timesteps))


def _published(path: Path) -> tuple[ModelCard, ReleasedDenoiser, DiffusionSchedule]:
    denoiser = load_released_checkpoint(path)
    return published_card(denoiser, file_sha256(path)), denoiser, denoiser.schedule


def published_card(denoiser: ReleasedDenoiser, sha256: str) -> ModelCard:
    """The card of a published checkpoint: its specification with the published textures of its classes."""
    textures = next(
        (
            published
            for name in published_sets()
            if set(published := published_textures(name)) == set(denoiser.spec.classes)
        ),
        {},
    )
    return ModelCard(
        spec=denoiser.spec,
        sampler=replace(PUBLISHED_SAMPLER, num_steps=denoiser.spec.timesteps),
        textures=textures if denoiser.spec.condition_size else {},
        licence=PUBLISHED_LICENCE,
        description="published LeFusion weights",
        sha256=sha256,
    )


def chosen_device(device: str) -> torch.device:
    """The torch device of a user's word; what is not there is refused, not replaced."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if there[name]))
    kind, _, number = device.partition(":")
    if kind not in there or (number and not number.isdigit()):
        raise unknown_name("device", device, ("auto", *there))
    possible = [name for name, here in there.items() if here]
    if kind not in possible or (kind == "cuda" and number and int(number) >= torch.cuda.device_count()):
        raise LeFusionError(f"The device '{device}' is not on this machine. Possible here: {', '.join(possible)}.")
    return torch.device(device)
