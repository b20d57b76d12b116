"""Our own model folder: `model.json` says what the model is, `weights.safetensors` holds it."""

import hashlib
import json
import os
from pathlib import Path

import torch

from ..errors import LeFusionError, MissingWeights
from .card import CARD as CARD
from .card import WEIGHTS
from .card import ModelCard as ModelCard
from .card import read_card as read_card
from .denoiser import Denoiser

DTYPES = {"float16": torch.float16, "float32": torch.float32}


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
