"""Training cases of a mask model: real lesion shapes as smooth surfaces, with what readers said of them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ..errors import LeFusionError
from ..geometry import ControlSphere, Grid, PatchFrame, ras_from_kji
from ..lesion_mask import LesionMask
from ..level_set import LevelSet, largest_pieces
from ..models.mask_spec import MaskSpec
from ..models.spec import ModelSpec

logger = logging.getLogger(__name__)

MIN_VOXELS = 8  # smaller masks have no shape to learn
ARCHIVES, PAIRS = "lidc_nodules_*.npz", "*_mask.*"


class AnyShape(Protocol):
    """A case of a mask model. `grid`: the volume's, where shapes are kept on it; `present`: {class: is it there?} of
    the classes that may be absent."""

    @property
    def sphere(self) -> ControlSphere: ...
    @property
    def ratings(self) -> Mapping[str, float]: ...
    @property
    def patient(self) -> str: ...
    @property
    def grid(self) -> Grid | None: ...
    @property
    def present(self) -> Mapping[str, bool]: ...

    def volume_mm3(self) -> float:
        """Of all classes together."""

    def drawn_in(
        self, frame: PatchFrame, mask: MaskSpec, about: ControlSphere, rng: np.random.Generator | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """What the network is to draw in a patch, (L, D, H, W) in [-1, 1], and the organ (D, H, W) bool or None; turned
        and mirrored at random about the sphere's centre, or with no `rng` as it is."""


@dataclass(frozen=True, eq=False)
class ShapeCase:
    """One lesion: its surface, the smallest sphere around it, ratings by name (1 to 5), and who it is from."""

    shape: LevelSet
    sphere: ControlSphere
    ratings: Mapping[str, float]
    patient: str
    key: str

    @classmethod
    def of(cls, lesion: LesionMask, ratings: Mapping[str, float], patient: str, key: str) -> "ShapeCase":
        shape = LevelSet.of(lesion)
        return cls(shape, shape.enclosing_sphere(), ratings, patient, key)

    @property
    def grid(self) -> None:
        """A surface is on none."""

    @property
    def present(self) -> Mapping[str, bool]:
        """Nothing is known of classes."""
        return {}

    def volume_mm3(self) -> float:
        """Of all classes together."""
        return self.shape.volume_mm3()

    def drawn_in(
        self, frame: PatchFrame, mask: MaskSpec, about: ControlSphere, rng: np.random.Generator | None
    ) -> tuple[np.ndarray, None]:
        """See `AnyShape`."""
        return shape_in(self, frame, np.eye(3) if rng is None else _turned(rng), about), None


def shape_in(case: ShapeCase, frame: PatchFrame, turn: np.ndarray, about: ControlSphere) -> np.ndarray:
    """The lesion (L, D, H, W), turned by (3, 3) about the middle of the sphere, as the network is to draw it: 1 inside,
    -1 outside, linear in between over a patch voxel on either side of the surface."""
    points = ras_from_kji(frame.ijk_to_ras, np.indices(frame.shape).reshape(3, -1).T)
    points = (points - about.center_ras) @ turn + about.center_ras
    levels = case.shape.at(points).reshape(-1, *frame.shape)
    return np.clip(-levels / min(frame.spacing_mm), -1, 1).astype(np.float32)


def _turned(rng: np.random.Generator) -> np.ndarray:
    """Any angle about the body's axis, and each axis mirrored or not."""
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
    return turn * rng.choice([-1.0, 1.0], 3)


def read_shapes(folder: str | Path, spec: ModelSpec) -> Sequence[AnyShape]:
    """All lesion shapes under `folder`: with the organ where the network is shown it (`organ_cases`); otherwise
    archives of consensus masks, or label maps `NAME_mask.*`."""
    folder = Path(folder)
    if spec.mask is not None and spec.mask.boundary_channel:
        from .organ_cases import read_organs

        return read_organs(folder, spec)
    archives, label_maps = sorted(folder.glob(ARCHIVES)), sorted(folder.glob(PAIRS))
    cases = [case for file in archives for case in _from_archive(file, spec)]
    cases += [case for file in label_maps for case in _from_label_map(file, spec)]
    if not cases:
        raise LeFusionError(
            f"There are no lesion masks in the folder {folder.name}. Possible: label maps named like {PAIRS}, with the "
            f"numbers 1, 2, ... for {', '.join(spec.classes)}, or archives {ARCHIVES}."
        )
    logger.info("%d shapes of %d patients read", len(cases), len({case.patient for case in cases}))
    return cases


def read_masks(folder: Path) -> list[tuple[np.ndarray, str]]:
    """The masks (D, H, W) bool of the archives in `folder`, as they are, with their patients."""
    found = [
        (mask, str(p)) for file in sorted(folder.glob(ARCHIVES)) for mask, p in zip(*_archived(file)[:2], strict=True)
    ]
    if not found:
        raise LeFusionError(f"There are no archives {ARCHIVES} in the folder {folder.name}.")
    return found


def _archived(file: Path) -> tuple[np.ndarray, np.ndarray, np.lib.npyio.NpzFile]:
    archive = np.load(file)
    masks = np.unpackbits(archive["masks"], axis=1).reshape(-1, *archive["shape"]).astype(bool)
    return masks, archive["patient_id"], archive


def _from_archive(file: Path, spec: ModelSpec) -> list[ShapeCase]:
    """Consensus masks at equal spacing with the ratings of up to four readers; 0 is no such reader."""
    masks, patients, archive = _archived(file)
    matrix = np.diag([*archive["spacing_mm"][::-1].astype(float), 1.0])
    names = [str(name) for name in archive["rating_names"]]
    wanted = spec.mask.ratings if spec.mask is not None else ()
    cases = []
    for mask, patient, readers, key in zip(masks, patients, archive["ratings"], archive["nodule_key"], strict=True):
        mask = largest_pieces(mask)
        if mask.sum() < MIN_VOXELS:
            continue
        given = {name: column[column > 0] for name, column in zip(names, readers.T, strict=True)}
        ratings = {name: float(given[name].mean()) for name in wanted if len(given.get(name, ()))}
        cases.append(ShapeCase.of(LesionMask(mask, matrix, spec.classes), ratings, str(patient), str(key)))
    return cases


def _from_label_map(file: Path, spec: ModelSpec) -> list[ShapeCase]:
    """Every connected lesion of a label map; the part of the name before the first underscore is the patient."""
    from ..io import read_labels

    labels, ijk_to_ras, _ = read_labels(file)
    lesions = LesionMask.from_labels(labels, ijk_to_ras, {name: n for n, name in enumerate(spec.classes, 1)})
    stem = file.name.split("_mask.", 1)[0]
    return [
        ShapeCase.of(lesion, {}, stem.split("_")[0], f"{stem}/{number}")
        for number, lesion in enumerate(lesions.components())
        if lesion.voxels() >= MIN_VOXELS
    ]
