"""One random view of a case, drawn once for image and mask."""

import numpy as np

from .cases import LesionCase


def smallest_shape(case: LesionCase, shapes: tuple[tuple[int, int, int], ...], margin_mm: float) -> int | None:
    """Index of the first patch shape that holds the lesion with `margin_mm` around, as `PatchFrame.smallest_around`
    chooses it, or None."""
    needed = [
        int(np.ptp(axis)) + 1 + 2 * margin_mm / mm
        for axis, mm in zip(np.nonzero(case.mask.any(0)), case.spacing_mm, strict=True)
    ]
    for index, shape in enumerate(shapes):
        if all(n <= s for n, s in zip(needed, shape, strict=True)):
            return index
    return None


def random_view(
    case: LesionCase, shape: tuple[int, int, int], margin_mm: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A crop of `shape` with the whole lesion at a random place in it, flipped and turned in plane at random.

    Returns image (D, H, W) and mask (L, D, H, W). A case smaller than `shape`, of few slices say, is continued by its
    nearest grey values, as `PatchFrame.extract` continues a volume; the mask is empty there, so that what is continued
    is seen and never learned.
    """
    index, inside_case = [], []
    for axis, (size, length) in enumerate(zip(shape, case.image.shape, strict=True)):
        inside = np.nonzero(np.any(case.mask, axis=(0, *(a + 1 for a in range(3) if a != axis))))[0]
        margin = int(margin_mm / case.spacing_mm[axis] + 1e-6)
        # The crop starts low enough to hold the lesion's end and high enough to hold its beginning.
        lowest, highest = inside[-1] + 1 + margin - size, inside[0] - margin
        if length >= size:  # no padding: at the case's border a lesion would be repeated outside its mask
            lowest, highest = np.clip((lowest, highest), 0, length - size)
        start = rng.integers(lowest, highest + 1)
        wanted = np.arange(start, start + size)
        index.append(np.clip(wanted, 0, length - 1))
        inside_case.append(index[-1] == wanted)
    within = np.logical_and.outer(np.logical_and.outer(*inside_case[:2]), inside_case[2])
    image, mask = case.image[np.ix_(*index)], case.mask[np.ix_(np.arange(len(case.mask)), *index)] & within
    for axis in (-3, -2, -1):
        if rng.random() < 0.5:
            image, mask = np.flip(image, axis), np.flip(mask, axis)
    turns = int(rng.integers(4)) if shape[1] == shape[2] else 0
    return np.rot90(image, turns, axes=(-2, -1)).copy(), np.rot90(mask, turns, axes=(-2, -1)).copy()
