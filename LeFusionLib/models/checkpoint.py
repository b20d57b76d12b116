"""Our own model folder: `model.json` says what the model is, `weights.safetensors` holds it."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..errors import LeFusionError, MissingWeights, unknown_name
from ..texture import TextureHistogram, TexturePresets
from .denoiser import Denoiser
from .sampler_spec import SamplerSpec
from .spec import ModelSpec

FORMAT = 1  # of model.json
CARD, WEIGHTS = "model.json", "weights.safetensors"
DTYPES = {"float16": torch.float16, "float32": torch.float32}


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


def save_model(folder: Path, denoiser: Denoiser, card: ModelCard, dtype: str = "float16") -> Path:
    """Write card and weights; the card appears last, so that a folder with a card is whole."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: value.detach().cpu().to(DTYPES[dtype]).contiguous() for name, value in denoiser.net.state_dict().items()
    }
    # Our own temporary names: safetensors writes in place.
    save_file(state, folder / f"{WEIGHTS}.tmp")
    (folder / f"{WEIGHTS}.tmp").chmod(0o644)  # safetensors lets only the owner read
    values = card.to_dict() | {"sha256": file_sha256(folder / f"{WEIGHTS}.tmp")}
    (folder / f"{CARD}.tmp").write_text(json.dumps(values, indent=1) + "\n")
    os.replace(folder / f"{WEIGHTS}.tmp", folder / WEIGHTS)
    os.replace(folder / f"{CARD}.tmp", folder / CARD)
    return folder


def read_card(folder: Path) -> ModelCard:
    """The card of a model folder; needs no torch model and reads no weights."""
    try:
        return ModelCard.from_dict(json.loads((folder / CARD).read_text()))
    except FileNotFoundError:
        raise MissingWeights(
            f"The folder {folder.name} holds no model: there is no {CARD} in it. "
            "Give a bundled name (`lefusion models`) or a folder made by `lefusion train` or `lefusion convert`."
        ) from None
    except (OSError, ValueError) as error:  # ValueError: neither JSON nor text
        raise LeFusionError(f"{folder.name}/{CARD} cannot be read: {error}. Take the model folder anew.") from error


def load_denoiser(folder: Path, card: ModelCard) -> Denoiser:
    """The network with its weights in float32, the file's hash and every key checked."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = folder / WEIGHTS
    if not file.is_file():
        raise MissingWeights(f"The weights of model '{card.spec.name}' are missing: no {WEIGHTS} in {folder.name}.")
    if file_sha256(file) != card.sha256:
        raise MissingWeights(
            f"The weights of model '{card.spec.name}' are not those its card describes (another sha256). "
            "Take the model folder anew."
        )
    try:
        state = load_file(file)
    except (SafetensorError, OSError) as error:
        raise LeFusionError(f"{folder.name}/{WEIGHTS} cannot be read: {error}.") from error
    denoiser = Denoiser(card.spec)
    ours = denoiser.net.state_dict()
    differing = [f"missing: {k}" for k in ours.keys() - state.keys()]
    differing += [f"unknown: {k}" for k in state.keys() - ours.keys()]
    differing += [f"other shape: {k}" for k in ours.keys() & state.keys() if ours[k].shape != state[k].shape]
    if differing:
        shown = "; ".join(sorted(differing)[:8]) + (f"; and {len(differing) - 8} more" if len(differing) > 8 else "")
        raise LeFusionError(f"The weights are of another network than the card of '{card.spec.name}' says ({shown}).")
    denoiser.net.load_state_dict({name: value.float() for name, value in state.items()})
    return denoiser.eval()


def file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
