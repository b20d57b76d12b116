"""What a model folder says about itself, and the models that come with the library. Needs no torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import LeFusionError, MissingWeights, unknown_name
from ..texture import TextureHistogram, TexturePresets
from .sampler_spec import SamplerSpec
from .spec import ModelSpec

FORMAT = 1  # of model.json
CARD, WEIGHTS = "model.json", "weights.safetensors"
DEFAULT = "lung-nodule"  # of the bundled models, where none is named
BUNDLED = Path(__file__).resolve().parent.parent / "data" / "models"


@dataclass(frozen=True)
class ModelCard:
    """What `model.json` says: the network, the textures of each class, the sampler it does best with, licence and
    where it comes from. `training` is free text and numbers for people."""

    spec: ModelSpec
    sampler: SamplerSpec
    textures: Mapping[str, TexturePresets] = field(default_factory=dict)
    licence: str = "not stated"
    description: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""

    def __post_init__(self) -> None:
        still_open = [name for name, value in self.sampler.to_dict().items() if value is None]
        if still_open:
            raise LeFusionError(f"The card of '{self.spec.name}' leaves open how to sample: {', '.join(still_open)}.")

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "spec": self.spec.to_dict(),
            "sampler": self.sampler.to_dict(),
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
        known = ("format", "spec", "sampler", "textures", "licence", "description", "training", "sha256")
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
                textures=textures,
                licence=values["licence"],
                description=values["description"],
                training=values["training"],
                sha256=values["sha256"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise LeFusionError(f"The model's {CARD} is incomplete: {error!r}. Take the model folder anew.") from error


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
