"""Where tissue is made: one mask per lesion class, with its place in the world."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from .errors import LeFusionError, unknown_name
from .geometry import ControlSphere, Grid, describe_grid, minimum_enclosing_sphere, ras_from_kji, same_grid
from .volume import checked_matrix, spacing_of


@dataclass(frozen=True, eq=False)
class LesionMask:
    """`array` (L, D, H, W) bool, 1 where tissue of class l is made, and the matrix from voxel (i, j, k) to RAS mm.

    Given as (D, H, W) or (L, D, H, W), bool or 0 and 1 of any dtype; kept as a read-only bool copy.
    `classes` names the L classes. A voxel belongs to one class at most. A class may be empty, the whole mask may not.
    `sphere` is the control sphere the shape was asked for with, and `drawn_by` what drew it; None for a given mask.
    """

    array: np.ndarray
    ijk_to_ras: np.ndarray
    classes: tuple[str, ...] = ("nodule",)
    sphere: ControlSphere | None = None
    drawn_by: str | None = None

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        classes = (self.classes,) if isinstance(self.classes, str) else tuple(self.classes)
        if array.ndim == 3:
            array = array[None]
        if array.ndim != 4 or 0 in array.shape:
            raise LeFusionError(
                f"A lesion mask needs axes (D, H, W) or (classes, D, H, W), with voxels; got {np.shape(self.array)}."
            )
        if len(classes) != len(array) or len(set(classes)) != len(classes):
            raise LeFusionError(
                f"The lesion mask has {len(array)} classes and the names {', '.join(map(repr, classes))}. "
                "Give one name per class, each once; for an array of label numbers use LesionMask.from_labels."
            )
        if array.dtype != bool:
            wrong = (array != 0) & (array != 1)
            if wrong.any():
                found = ", ".join(str(value) for value in np.unique(array[wrong])[:5])
                raise LeFusionError(
                    f"A lesion mask holds 0 and 1 only; this one also holds {found}. "
                    "Set lesion voxels to 1, or name the label numbers with LesionMask.from_labels."
                )
        array = array.astype(bool)
        if not array.any():
            raise LeFusionError(
                "The lesion mask is empty. Mark at least one voxel, or draw a mask from a control sphere."
            )
        if len(array) > 1:
            shared = int((array.sum(axis=0, dtype=np.uint8) > 1).sum())
            if shared:
                raise LeFusionError(
                    f"{shared} voxels belong to more than one of the classes {', '.join(classes)}. A voxel is made of "
                    "one class: take these voxels out of all but one of them."
                )
        array.flags.writeable = False
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "classes", classes)
        object.__setattr__(self, "ijk_to_ras", checked_matrix(self.ijk_to_ras))

    @classmethod
    def from_labels(
        cls, label_array: np.ndarray, ijk_to_ras: np.ndarray, labels: Mapping[str, int] | None = None
    ) -> "LesionMask":
        """The mask from label numbers (D, H, W) and `labels` {class: number}, by default {"nodule": 1}.

        Other numbers (background, organs) are no lesion.
        """
        labels = {"nodule": 1} if labels is None else dict(labels)
        label_array = np.asarray(label_array)
        if label_array.ndim != 3 or not labels or len(set(labels.values())) != len(labels):
            raise LeFusionError(
                "Labels need an array (D, H, W) and a different number for each class; "
                f"got shape {label_array.shape} and {labels}."
            )
        array = np.stack([label_array == number for number in labels.values()])
        if not array.any():
            found = ", ".join(str(value) for value in np.unique(label_array)[:20])
            asked = ", ".join(f"{number} ({name})" for name, number in labels.items())
            raise LeFusionError(f"No voxel has the label {asked}; the labels there are {found}. Name one of these.")
        return cls(array, ijk_to_ras, tuple(labels))

    def labels(self) -> np.ndarray:
        """(D, H, W) uint8: 0 background, 1 to L the classes in their order."""
        numbers = np.zeros(self.shape, dtype=np.uint8)
        for number, mask in enumerate(self.array, start=1):
            numbers[mask] = number
        return numbers

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W)."""
        return self.array.shape[1:]  # type: ignore[return-value]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along (D, H, W), in mm."""
        return spacing_of(self.ijk_to_ras)

    @cached_property
    def union(self) -> np.ndarray:
        """(D, H, W) bool: all classes together."""
        return self.array[0] if len(self.array) == 1 else np.any(self.array, axis=0)

    @cached_property
    def kji(self) -> np.ndarray:
        """(N, 3) int: the indices of the union's voxels, in array order."""
        box = self.bounding_box()
        return np.argwhere(self.union[box]) + [axis.start for axis in box]

    def bounding_box(self) -> tuple[slice, slice, slice]:
        """The slices (k, j, i) that just hold the union."""
        rows = np.any(self.union, axis=2)
        spans = (np.any(rows, axis=1), np.any(rows, axis=0), np.any(self.union, axis=(0, 1)))
        k, j, i = (slice(int(met.argmax()), int(met.size - met[::-1].argmax())) for met in spans)
        return k, j, i

    def voxels(self, class_name: str | None = None) -> int:
        """Number of voxels of one class, or of all."""
        return int(np.count_nonzero(self._mask(class_name)))

    def volume_mm3(self, class_name: str | None = None) -> float:
        """Volume of one class, or of all, in mm3."""
        return self.voxels(class_name) * float(abs(np.linalg.det(self.ijk_to_ras[:3, :3])))

    def diameter_mm(self, class_name: str | None = None) -> float:
        """Largest diameter of one class, or of all: of the smallest sphere round the voxel centres, plus one voxel.

        The voxel added is the mean spacing in the slice: a voxel centre stands for tissue half a voxel around it.
        A sphere drawn with diameter d measures d to within a voxel. 0 for an empty class.
        """
        mask = self._mask(class_name)
        kji = self.kji[mask[tuple(self.kji.T)]]
        if not len(kji):
            return 0.0
        radius_mm = minimum_enclosing_sphere(ras_from_kji(self.ijk_to_ras, kji))[1]
        return 2 * radius_mm + (self.spacing_mm[1] + self.spacing_mm[2]) / 2

    @property
    def center_ras(self) -> tuple[float, float, float]:
        """Centre (R, A, S) in mm of the smallest sphere round all voxel centres."""
        r, a, s = minimum_enclosing_sphere(ras_from_kji(self.ijk_to_ras, self.kji))[0]
        return float(r), float(a), float(s)

    def components(self, gap_mm: float = 0.0) -> list["LesionMask"]:
        """The single lesions, each with all its classes, ordered by the first (k, j, i) corner of their bounding boxes.

        A lesion is what hangs together over faces, edges or corners of voxels (26 neighbours), classes taken together.
        Parts whose nearest voxel centres are at most `gap_mm` apart count as one lesion.
        """
        from scipy.ndimage import label
        from scipy.sparse.csgraph import connected_components
        from scipy.spatial import cKDTree

        if not (np.isfinite(gap_mm) and gap_mm >= 0):
            raise LeFusionError(f"The gap between lesions must be 0 mm or more; got {gap_mm!r}.")
        box = self.bounding_box()
        numbers, count = label(self.union[box], structure=np.ones((3, 3, 3)))
        part_of_voxel = numbers[tuple((self.kji - [axis.start for axis in box]).T)] - 1
        if gap_mm > 0 and count > 1:
            points = ras_from_kji(self.ijk_to_ras, self.kji)
            parts = [cKDTree(points[part_of_voxel == part]) for part in range(count)]
            near = np.zeros((count, count), dtype=bool)
            for a in range(count):
                for b in range(a):
                    distances, _ = parts[a].query(parts[b].data, distance_upper_bound=gap_mm * (1 + 1e-9))
                    near[a, b] = np.isfinite(distances).any()
            count, lesion_of_part = connected_components(near, directed=False)
            part_of_voxel = lesion_of_part[part_of_voxel]
        voxels = [self.kji[part_of_voxel == part] for part in range(count)]
        return [self._only(kji) for kji in sorted(voxels, key=lambda kji: tuple(kji.min(axis=0)))]

    def check_on_grid_of(self, volume: Grid) -> None:
        """Refuse a mask whose voxels are not the volume's: other shape, or corners off by a thousandth of a voxel."""
        if not same_grid(self, volume):
            raise LeFusionError(
                f"The lesion mask and the volume are on different grids. Mask: {describe_grid(self)}. "
                f"Volume: {describe_grid(volume)}. Resample the mask onto the volume with nearest neighbour "
                "(in 3D Slicer: export the segmentation with the volume as reference)."
            )

    def _mask(self, class_name: str | None) -> np.ndarray:
        if class_name is None:
            return self.union
        if class_name not in self.classes:
            raise unknown_name("lesion class", class_name, self.classes)
        return self.array[self.classes.index(class_name)]

    def _only(self, kji: np.ndarray) -> "LesionMask":
        """The same mask with these voxels only."""
        array = np.zeros_like(self.array)
        where = (slice(None), *kji.T)
        array[where] = self.array[where]
        return replace(self, array=array)
