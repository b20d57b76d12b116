"""Training cases: a grey-value crop with its lesion, read from archives or from folders of image and mask pairs."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from ..errors import LeFusionError
from ..intensity import IntensityWindow, window_for
from ..models.spec import ModelSpec
from . import hearts

logger = logging.getLogger(__name__)

MIN_VOXELS = 8  # smaller lesions have no texture to learn


@dataclass(frozen=True, eq=False)
class LesionCase:
    """`image` (D, H, W) float32 in [-1, 1] of its `window`, on the grid the model sees, whose voxels are `spacing_mm`
    apart; `mask` (L, D, H, W) bool; who it is from; and `organ` (D, H, W) bool, in which it lies, where it is known."""

    image: np.ndarray
    mask: np.ndarray
    window: IntensityWindow
    patient: str
    key: str
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    organ: np.ndarray | None = None

    @property
    def voxels(self) -> int:
        return int(self.mask.sum())


Reader = Callable[[Path, ModelSpec], list[LesionCase]]


def read_cases(folder: str | Path, spec: ModelSpec) -> list[LesionCase]:
    """All cases under `folder`, by the first reader that knows the model's classes and what lies there, without
    lesions below 8 voxels."""
    folder = Path(folder)
    wanted = set(spec.classes)
    readers = [(pattern, reader) for known, pattern, reader in READERS if not known or wanted <= set(known)]
    for pattern, reader in readers:
        if any(folder.glob(pattern)):
            cases = [case for case in reader(folder, spec) if case.voxels >= MIN_VOXELS]
            if cases:
                logger.info("%d cases of %d patients read", len(cases), len({c.patient for c in cases}))
                return cases
    patterns = ", ".join(pattern for pattern, _ in readers)
    raise LeFusionError(
        f"There are no training cases of {', '.join(spec.classes)} in the folder {folder.name}. Possible: files named "
        f"like {patterns}, where an image and its mask share the part before the last underscore."
    )


class OfPatient(Protocol):
    """A case of any kind."""

    @property
    def patient(self) -> str: ...


Case = TypeVar("Case", bound=OfPatient)


def split_by_patient(
    cases: Sequence[Case], validation_share: float, seed: int, named: Sequence[str] = ()
) -> tuple[list[Case], list[Case]]:
    """Training and validation cases; no patient is in both.

    Those `named` are held out where they are among the cases; otherwise a share of the patients is drawn.
    """
    patients = sorted({case.patient for case in cases})
    if len(patients) < 2:
        raise LeFusionError("A patient split needs cases of at least 2 patients; all cases here are of one.")
    shuffled = np.random.default_rng(seed).permutation(patients)
    held_out = set(shuffled[: max(1, round(validation_share * len(patients)))])
    if known := set(named) & set(patients):
        held_out = known
    return [c for c in cases if c.patient not in held_out], [c for c in cases if c.patient in held_out]


def read_nodule_archives(folder: Path, spec: ModelSpec) -> list[LesionCase]:
    """CT crops of lung nodules in 8 bit, with the tight LIDC consensus mask where one is linked and agrees.

    The crops' own masks hold a rim of lung (1.3 to 1.4 times the consensus volume), which teaches too pale textures.
    """
    consensus = _consensus_masks(folder / "lidc_nodules_consensus_dev.npz")
    cases, tight = [], 0
    for file in sorted(folder.glob("nodules_*.npz")):
        archive = np.load(file)
        images = archive["images_u8"] * archive["hu_scale"] + archive["hu_offset"]
        masks = np.unpackbits(archive["masks_packed"], axis=1).reshape(images.shape).astype(bool)
        for index, (image, mask) in enumerate(zip(images, masks, strict=True)):
            linked = str(archive["lidc_nodule_key"][index])
            aligned = _align(consensus[linked], mask) if linked in consensus else None
            tight += aligned is not None
            used = mask if aligned is None else aligned
            window = window_for(spec.intensity, image)
            patient, key = str(archive["patient_id"][index]), f"{file.stem}/{index}"
            cases.append(LesionCase(window.normalize(image), used[None], window, patient, key))
    logger.info("%d of %d crops have a consensus mask", tight, len(cases))
    return cases


def _consensus_masks(file: Path) -> dict[str, np.ndarray]:
    if not file.exists():
        return {}
    archive = np.load(file)
    masks = np.unpackbits(archive["masks"], axis=1).reshape(-1, *archive["shape"]).astype(bool)
    return dict(zip(map(str, archive["nodule_key"]), masks, strict=True))


def _align(consensus: np.ndarray, loose: np.ndarray, least_dice: float = 0.5) -> np.ndarray | None:
    """The consensus mask shifted onto the crop by whole voxels, or None where the two do not agree.

    The archives centre their masks differently; the shift is found by comparing the masks around equal centroids.
    """
    points = np.argwhere(consensus)
    if not len(points) or not loose.any():
        return None
    start = np.round(np.argwhere(loose).mean(0) - points.mean(0)).astype(int)
    best, best_dice = None, least_dice
    for nudge in np.ndindex(5, 5, 5):
        moved = points + start + np.array(nudge) - 2
        if (moved < 0).any() or (moved >= loose.shape).any():
            continue
        dice = 2 * loose[tuple(moved.T)].sum() / (len(points) + loose.sum())
        if dice > best_dice:
            best, best_dice = moved, dice
    if best is None:
        return None
    aligned = np.zeros_like(loose)
    aligned[tuple(best.T)] = True
    return aligned


def read_pairs(folder: Path, spec: ModelSpec) -> list[LesionCase]:
    """Folders of whole images with masks: `NAME_image.*` or `NAME_ct.*` beside `NAME_mask.*`, labels 1, 2, ... being
    the model's classes. Every connected lesion that fits the largest patch becomes a case; the part of the name
    before the first underscore is the patient."""
    from ..geometry import PatchFrame
    from ..io import read_labels, read_volume
    from ..lesion_mask import LesionMask

    cases = []
    for mask_file in sorted(folder.glob("*_mask.*")):
        stem, suffix = mask_file.name.split("_mask.", 1)
        images = [folder / f"{stem}_{word}.{suffix}" for word in ("image", "ct")]
        image_file = next((file for file in images if file.exists()), None)
        if image_file is None:
            raise LeFusionError(
                f"{mask_file.name} has no image beside it; expected {images[0].name} or {images[1].name}."
            )
        volume = read_volume(image_file)
        window = window_for(spec.intensity, volume.array)
        labels, ijk_to_ras, _ = read_labels(mask_file)
        lesions = LesionMask.from_labels(labels, ijk_to_ras, {name: i + 1 for i, name in enumerate(spec.classes)})
        lesions.check_on_grid_of(volume)
        for number, lesion in enumerate(lesions.components()):
            try:
                frame = PatchFrame.around(lesion, spec.patch_shapes[-1], spec.spacing_mm, spec.axes)
            except LeFusionError as error:
                logger.warning("%s, lesion %d left out: %s", mask_file.name, number, error)
                continue
            mask = frame.extract_mask(lesion) > 0.5
            image = window.normalize(frame.extract(volume))
            cases.append(LesionCase(image, mask, window, stem.split("_")[0], f"{stem}/{number}", frame.spacing_mm))
    return cases


def read_hearts(pattern: str, folder: Path, spec: ModelSpec) -> list[LesionCase]:
    """Hearts in the volume's own grid. All lesions of one heart are one case, its classes together; a heart without
    a lesion of the model's classes is none."""
    cases = []
    for file in sorted(folder.glob(pattern)):
        for heart in hearts.SOURCES[pattern](file):
            mask = heart.masks(spec.classes)
            if mask.any():
                window = heart.window(spec.intensity)
                image = window.normalize(heart.image)
                cases.append(
                    LesionCase(image, mask, window, heart.patient, heart.patient, heart.spacing_mm, heart.organ)
                )
    return cases


# The classes a reader knows (any where none are named), what lies in the folder, the reader.
READERS: list[tuple[tuple[str, ...], str, Reader]] = [
    (("nodule",), "nodules_*.npz", read_nodule_archives),
    *((tuple(hearts.LABELS), pattern, partial(read_hearts, pattern)) for pattern in hearts.SOURCES),
    ((), "*_mask.*", read_pairs),
]
