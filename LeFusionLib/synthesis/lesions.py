"""What is to be made: each lesion with its patch, its texture and its own stream of chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from ..errors import LeFusionError, unknown_name
from ..geometry import PatchFrame
from ..intensity import IntensityWindow
from ..lesion_mask import LesionMask
from ..models.spec import ModelSpec
from ..texture import BINS, Texture, TextureHistogram, TexturePresets, resolve_texture
from ..volume import Volume
from .chance import place_generator

# What hangs together within this distance is one lesion: masks drawn by hand leave single voxels beside the rest.
GAP_MM = 3.0


@dataclass(frozen=True, eq=False)
class PlannedLesion:
    """One lesion to make: `mask` on the volume's grid; `frame`, the patch around it; `background` (d, h, w) in [-1, 1];
    `patch_mask` (L, d, h, w); `textures` per class (name, histogram); `seed` of its own noise."""

    mask: LesionMask
    frame: PatchFrame
    background: np.ndarray
    patch_mask: np.ndarray
    textures: Mapping[str, tuple[str, TextureHistogram]]
    seed: int

    @property
    def condition(self) -> np.ndarray:
        """The histograms of all classes in a row (16 L); zeros for a class that is not made."""
        rows = [
            np.array(self.textures[name][1].weights) if name in self.textures else np.zeros(BINS)
            for name in self.mask.classes
        ]
        return np.concatenate(rows).astype(np.float32)


def plan_lesions(
    volume: Volume,
    lesion: LesionMask | Sequence[LesionMask],
    spec: ModelSpec,
    presets: Mapping[str, TexturePresets],
    window: IntensityWindow,
    texture: Any,
    seed: int | Sequence[int],
) -> list[PlannedLesion]:
    """Every connected lesion of `lesion` with its patch, texture and seed.

    `texture` and `seed` are for all, or one for each mask of a list. Noise and random textures depend on the seed and
    on the lesion's place, not on its company: the same lesion comes out the same alone and together with others.
    """
    masks = [lesion] if isinstance(lesion, LesionMask) else list(lesion)
    if not masks:
        raise LeFusionError("There is no lesion to make: give a lesion mask or a list of them.")
    several = isinstance(lesion, Sequence)
    textures = (
        _one_each(texture, masks, "textures") if several and _is_list_of_textures(texture) else [texture] * len(masks)
    )
    seeds = _one_each(seed, masks, "seeds") if isinstance(seed, Sequence) else [seed] * len(masks)
    taken = np.zeros(volume.shape, dtype=bool)
    planned = []
    for mask, its_texture, its_seed in zip(masks, textures, seeds, strict=True):
        mask.check_on_grid_of(volume)
        mask = _as_classes_of(mask, spec)
        if (taken & mask.union).any():
            raise LeFusionError("Two of the lesions overlap. Move one, or make them one after the other.")
        taken |= mask.union
        for part in mask.components(GAP_MM):
            frame = PatchFrame.smallest_around(part, spec.patch_shapes, spec.spacing_mm, spec.margin_mm, spec.axes)
            rng = place_generator(its_seed, frame.ijk_to_ras[:3, 3])
            planned.append(
                PlannedLesion(
                    mask=part,
                    frame=frame,
                    background=window.normalize(frame.extract(volume)),
                    patch_mask=frame.extract_mask(part),
                    textures=_textures_of(part, its_texture, presets, rng),
                    seed=int(rng.integers(2**63)),
                )
            )
    return planned


def _as_classes_of(mask: LesionMask, spec: ModelSpec) -> LesionMask:
    """The mask with all the model's classes, in the model's order; a class the model lacks is refused."""
    for name in mask.classes:
        if name not in spec.classes:
            raise unknown_name(f"lesion class in model '{spec.name}'", name, spec.classes)
    if mask.classes == spec.classes:
        return mask
    array = np.zeros((len(spec.classes), *mask.shape), dtype=bool)
    for index, name in enumerate(spec.classes):
        if name in mask.classes:
            array[index] = mask.array[mask.classes.index(name)]
    return LesionMask(array, mask.ijk_to_ras, spec.classes, mask.sphere, mask.drawn_by)


def _textures_of(
    part: LesionMask,
    texture: Texture | Mapping[str, Texture],
    presets: Mapping[str, TexturePresets],
    rng: np.random.Generator,
) -> dict[str, tuple[str, TextureHistogram]]:
    present = [name for name in part.classes if part.voxels(name)]
    if not presets:
        return {}  # a model without texture condition
    asked = dict(texture) if isinstance(texture, Mapping) else dict.fromkeys(present, texture)
    for name in asked:
        if name not in presets:
            raise unknown_name("lesion class", name, presets)
    missing = [name for name in present if name not in asked]
    if missing:
        raise LeFusionError(
            f"No texture was given for {', '.join(missing)}. Give one for each of {', '.join(present)}, or 'random'."
        )
    return {name: resolve_texture(asked[name], presets[name], rng) for name in present}


def _is_list_of_textures(texture: Any) -> bool:
    """A list of one texture per lesion (numbers are indices there), not the 16 numbers of one histogram."""
    histogram = isinstance(texture, Sequence) and len(texture) == BINS and all(isinstance(t, Real) for t in texture)
    return isinstance(texture, list | tuple) and not histogram


def _one_each(values: Sequence[Any], masks: Sequence[LesionMask], what: str) -> list[Any]:
    if len(values) != len(masks):
        raise LeFusionError(
            f"There are {len(masks)} lesion masks and {len(values)} {what}. Give one each, or one for all."
        )
    return list(values)
