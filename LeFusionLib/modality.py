"""Is a volume the kind of scan that a model was made for? Told by its header, or by what its grey values can be."""

from dataclasses import dataclass

import numpy as np

from .errors import LeFusionError, unknown_name
from .volume import Volume

AIR = -300.0  # in HU; darker voxels are air or lung, of which every CT of the body has some
LEAST_SHARE = 0.001  # of the voxels; a few dark ones are noise or resampling


@dataclass(frozen=True)
class Modality:
    """`name` for people; has_air: are there voxels darker than -300? `hint`: what else may be wrong."""

    name: str
    has_air: bool
    hint: str


MODALITIES = {  # by the codes of DICOM
    "CT": Modality("CT in HU", True, "a CT must be loaded with its HU, air near -1000"),
    "MR": Modality("MRI", False, "MRI has no voxels as dark as the air of a CT"),
}


def likely_modality(volume: Volume) -> str:
    """Of `MODALITIES`: the header's word, else what the grey values can be."""
    if volume.modality in MODALITIES:
        return volume.modality
    return next(code for code, row in MODALITIES.items() if row.has_air == _has_air(volume))


def _has_air(volume: Volume) -> bool:
    return bool(np.count_nonzero(volume.array < AIR) >= LEAST_SHARE * volume.array.size)


def check_modality(volume: Volume, modality: str | None, model: str) -> None:
    """Refuse a volume of another modality than the one that `model` was made for; None goes with all.

    The header's word counts (`Volume.modality`); most formats have none, then the grey values do.
    """
    if modality is None:
        return
    if modality not in MODALITIES:
        raise unknown_name("modality", modality, MODALITIES)
    wanted = MODALITIES[modality]
    if volume.modality is not None:
        fits, found = volume.modality == modality, f"says that it is {volume.modality}"
    else:
        fits = _has_air(volume) == wanted.has_air
        found = f"has values from {volume.array.min():g} to {volume.array.max():g} ({wanted.hint})"
    if not fits:
        raise LeFusionError(
            f"Model '{model}' was made for {wanted.name}, and the volume '{volume.name}' {found}. Choose a model for "
            "it (`lefusion models`), or allow any modality to use this one all the same (--any-modality)."
        )
