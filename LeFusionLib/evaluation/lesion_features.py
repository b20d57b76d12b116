"""What a lesion in its surroundings looks like, in numbers: for comparing sets of lesions without a trained network.

The "filter bank" features are grey-value statistics and the answers of Gaussian derivatives in the lesion and at its
rim. They are fixed and need no download; they are not those of an Inception or a medical network, so that a distance in
them can be compared only with another distance in them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

MARGIN = 4  # voxels around a lesion that the filters see
NEIGHBOURHOOD = 3  # voxels along an axis
PERCENTILES = (10, 50, 90)
POINTS, DIRECTIONS = 64, 64  # neighbourhoods per lesion, and directions they are looked at from


@dataclass(frozen=True, eq=False)
class Appearance:
    """One lesion: `points` (64, 27) its neighbourhoods; `features` (18,) of the filter bank."""

    points: np.ndarray
    features: np.ndarray


def appearance(image: np.ndarray, mask: np.ndarray) -> Appearance:
    """Of a lesion cut by `crop_around`; the same mask is looked at in the same places."""
    return Appearance(neighbourhoods(image, mask, POINTS, np.random.default_rng(0)), filter_bank(image, mask))


Scale = tuple[np.ndarray, np.ndarray]  # of features (18,): their middle and spread


def scale_of(lesions: Sequence[Appearance]) -> Scale:
    features = np.stack([lesion.features for lesion in lesions])
    return features.mean(axis=0), features.std(axis=0) + 1e-6


def set_distance(
    first: Sequence[Appearance], second: Sequence[Appearance], scale: Scale, directions: np.ndarray
) -> tuple[float, float]:
    """Sliced Wasserstein distance of the neighbourhoods, in grey values, and kernel distance of the scaled features."""
    points, neighbours = (np.concatenate([lesion.points for lesion in lesions]) for lesions in (first, second))
    features, others = (
        (np.stack([lesion.features for lesion in lesions]) - scale[0]) / scale[1] for lesions in (first, second)
    )
    return sliced_wasserstein(points, neighbours, directions), kernel_distance(features, others)


def crop_around(array: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Image (float32) and mask (D, H, W) cut to the lesion with a margin."""
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    wide = tuple(slice(max(0, s.start - MARGIN), s.stop + MARGIN) for s in box)
    return array[wide].astype(np.float32), mask[wide]


def seam_contrast(image: np.ndarray, mask: np.ndarray) -> float:
    """Mean absolute grey-value difference between neighbours of which one lies in the lesion and one does not."""
    differences = []
    for axis in range(3):
        crossing = np.diff(mask.astype(np.int8), axis=axis) != 0
        differences.append(np.abs(np.diff(image, axis=axis))[crossing])
    return float(np.concatenate(differences).mean())


def filter_bank(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(18,) features of one lesion: `image` (D, H, W) in grey values, `mask` bool, cut by `crop_around`."""
    inside = image[mask]
    shell = ndimage.binary_dilation(mask) & ~mask
    core_edge = mask & ~ndimage.binary_erosion(mask)
    features = [inside.mean(), inside.std(), *np.percentile(inside, PERCENTILES)]
    features += [image[core_edge].mean() - image[shell].mean(), seam_contrast(image, mask)]
    for sigma in (1.0, 2.0):
        gradient = ndimage.gaussian_gradient_magnitude(image, sigma)[mask]
        laplace = ndimage.gaussian_laplace(image, sigma)[mask]
        features += [gradient.mean(), gradient.std(), laplace.mean(), laplace.std()]
    for axis in range(3):
        step = ndimage.correlate1d(image, np.array([-1.0, 1.0, 0.0]), axis=axis, mode="nearest")[mask]
        features.append(np.abs(step).mean())
    return np.array(features)


def neighbourhoods(image: np.ndarray, mask: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 27) grey values of 3x3x3 neighbourhoods of voxels of the lesion, drawn with repetition."""
    padded = np.pad(image, NEIGHBOURHOOD // 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (NEIGHBOURHOOD,) * 3)
    places = np.argwhere(mask)
    return windows[tuple(places[rng.integers(len(places), size=count)].T)].reshape(count, -1)


def random_directions(size: int, rng: np.random.Generator) -> np.ndarray:
    """(DIRECTIONS, size), each of length 1."""
    directions = rng.standard_normal((DIRECTIONS, size))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def sliced_wasserstein(first: np.ndarray, second: np.ndarray, directions: np.ndarray) -> float:
    """Mean over `directions` (K, d) of the 1-D Wasserstein distance between equally many points (n, d) (Rabin et al.
    2011)."""
    return float(np.abs(np.sort(first @ directions.T, axis=0) - np.sort(second @ directions.T, axis=0)).mean())


def kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """The unbiased squared MMD with the kernel (x y / d + 1)^3 of two sets of features (n, d), as in KID (Binkowski et
    al. 2018, Sec. 4); features are scaled by the caller. Near 0, and as often below, for sets of one distribution.

    Row i of both sets is the same lesion made twice, so that a row is not compared with its counterpart either (Gretton
    et al. 2012, Eq. 4).
    """

    def mean(a: np.ndarray, b: np.ndarray) -> float:
        kernel = (a @ b.T / a.shape[1] + 1) ** 3
        return float((kernel.sum() - np.trace(kernel)) / (len(a) * (len(a) - 1)))

    return mean(first, first) + mean(second, second) - 2 * mean(first, second)
