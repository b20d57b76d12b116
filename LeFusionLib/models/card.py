"""What a model folder says about itself, and the models that come with the library. Needs no torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import LeFusionError, MissingWeights, unknown_name
from ..texture import TextureHistogram, TexturePresets
from .sampler_spec import QUALITIES, SamplerSpec
from .spec import ModelSpec

FORMAT = 1  # of model.json
CARD, WEIGHTS = "model.json", "weights.safetensors"
DEFAULT = "lung-nodule"  # of the bundled models, where none is named
BUNDLED = Path(__file__).resolve().parent.parent / "data" / "models"


@dataclass(frozen=True)
class ModelCard:
    """What `model.json` says: the network, the textures of each class, the sampler it does best with, licence and
    where it comes from. `qualities`: samplers by name ("draft", "standard", "paper"), where they are not what
    `quality_rule` says. `training` is free text and numbers for people."""

    spec: ModelSpec
    sampler: SamplerSpec
    textures: Mapping[str, TexturePresets] = field(default_factory=dict)
    licence: str = "not stated"
    description: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""
    qualities: Mapping[str, SamplerSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, sampler in {"sampler": self.sampler, **self.qualities}.items():
            if sampler.is_open:
                raise LeFusionError(f"The card of '{self.spec.name}' leaves open how to sample ({name}: {sampler}).")
        for name in self.qualities:
            if name not in QUALITIES:
                raise unknown_name(f"quality in the card of '{self.spec.name}'", name, QUALITIES)

    def sampler_for(self, asked: SamplerSpec | None) -> SamplerSpec:
        """The settings asked for, open ones filled in: from the named quality, else from the model's own sampler."""
        asked = asked or SamplerSpec()
        if asked.method not in QUALITIES:
            return asked.filled_from(self.sampler)
        named = self.qualities.get(asked.method) or quality_rule(self.spec, self.sampler, asked.method)
        return replace(asked, method=None).filled_from(named)

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "spec": self.spec.to_dict(),
            "sampler": self.sampler.to_dict(),
            "qualities": {name: sampler.to_dict() for name, sampler in self.qualities.items()},
            "textures": {
                name: {
                    "presets": {preset: histogram.as_list() for preset, histogram in presets.items()},
                    "probabilities": dict(presets.probabilities or {}),
                }
                for name, presets in self.textures.items()
            },
            "licence": self.licence,
            "description": self.description,
            "training": dict(self.training),
            "sha256": self.sha256,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ModelCard":
        known = (
            "format", "spec", "sampler", "qualities", "textures", "licence", "description", "training", "sha256"
        )  # fmt: skip
        try:
            for key in values:
                if key not in known:
                    raise unknown_name("entry of model.json", key, known)
            textures = {
                name: TexturePresets(
                    {preset: TextureHistogram(tuple(row)) for preset, row in entry["presets"].items()},
                    entry["probabilities"],
                )
                for name, entry in values["textures"].items()
            }
            return cls(
                spec=ModelSpec.from_dict(values["spec"]),
                sampler=SamplerSpec.from_dict(values["sampler"]),
                qualities={n: SamplerSpec.from_dict(row) for n, row in values.get("qualities", {}).items()},
                textures=textures,
                licence=values["licence"],
                description=values["description"],
                training=values["training"],
                sha256=values["sha256"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise LeFusionError(f"The model's {CARD} is incomplete: {error!r}. Take the model folder anew.") from error


def quality_rule(spec: ModelSpec, own: SamplerSpec, quality: str) -> SamplerSpec:
    """What "draft", "standard" and "paper" are where a card does not say.

    "paper": all time steps, passed twice where the background is shown noised. A network that sees it so needs the
    repeats on a coarse grid too: 65 points twice are 129 evaluations, 25 are 49. One that sees the true background does
    without: "standard" is the model's own sampler, "draft" has half its steps.
    """
    noised = spec.kind == "texture" and spec.context == "noised"
    passes = 2 if noised else 1
    if quality == "paper":
        return SamplerSpec("ddpm", spec.timesteps, passes, passes, 1.0)
    if noised:
        return SamplerSpec("ddpm", min(spec.timesteps, 65 if quality == "standard" else 25), 1, 2, 1.0)
    if quality == "standard":
        return own
    return replace(own, num_steps=max(1, (own.num_steps or 1) // 2))


def read_card(folder: Path) -> ModelCard:
    """The card of a model folder; reads no weights."""
    try:
        return ModelCard.from_dict(json.loads((folder / CARD).read_text()))
    except FileNotFoundError:
        raise MissingWeights(
            f"The folder {folder.name} holds no model: there is no {CARD} in it. "
            "Give a bundled name (`lefusion models`) or a folder made by `lefusion train` or `lefusion convert`."
        ) from None
    except (OSError, ValueError) as error:  # ValueError: neither JSON nor text
        raise LeFusionError(f"{folder.name}/{CARD} cannot be read: {error}. Take the model folder anew.") from error


def bundled_models(kind: str | None = None) -> dict[str, Path]:
    """Names and folders of the models that come with the library, all or those of one kind."""
    there = {folder.name: folder for folder in sorted(BUNDLED.glob("*")) if (folder / CARD).is_file()}
    return {name: folder for name, folder in there.items() if kind in (None, read_card(folder).spec.kind)}


def default_model() -> str:
    """The bundled texture model that is used when none is named."""
    there = bundled_models("texture")
    for name in (DEFAULT, *there):
        if name in there:
            return name
    raise MissingWeights("No model comes with this installation; give a model folder with --model.")


def live_model(model: str) -> str:
    """The bundled student of a bundled model, made for few steps (`NAME-live`); the model itself where it has none."""
    student = f"{model}-live"
    return student if student in bundled_models() else model


def mask_model_for(spec: ModelSpec) -> str | None:
    """The bundled model that draws shapes for `spec`: the one it names, else one of the same classes; or None."""
    there = bundled_models("mask")
    if spec.mask_model in there:
        return spec.mask_model
    for name, folder in there.items():
        if read_card(folder).spec.classes == spec.classes:
            return name
    return None


def find_card(model: str) -> ModelCard:
    """The card of a bundled name or a model folder. A published `.pt` has none: convert it first."""
    bundled = bundled_models()
    if model in bundled:
        return read_card(bundled[model])
    if Path(model).is_dir():
        return read_card(Path(model))
    if Path(model).suffix == ".pt":
        raise LeFusionError("A published checkpoint must be converted first: `lefusion convert FILE -o FOLDER`.")
    if Path(model).name != model:  # it was a folder
        raise MissingWeights(f"The model folder '{Path(model).name}' is not there any more. Choose another.")
    raise unknown_name("model", model, bundled)
