"""The lungs of a chest CT, found by their air: the boundary inside which a nodule may be drawn.

Air-filled regions with vessels in them are lung; air without is outside, windpipe or bowel. Each lung is closed with a
ball, so that nodules, vessels and the bays they leave at the pleura and the hilum belong to it. The search runs on
blocks of about 2 mm; the edge between air and tissue is then taken from the volume's own voxels.

A volume may show any part of the chest, also lungs that the field of view cuts off: the border is no chest wall.
"""

from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from .errors import LeFusionError
from .volume import Volume, spacing_of

AIR_HU = -400.0  # half way between lung (about -850 HU) and tissue (about 50 HU)
PURE_AIR_HU = -890.0  # the brightest tenth of mere air stays below; that of lung does not, for its vessels
BLOCK_MM = 2.0  # the search runs on blocks of about this size
CORE_MM = 4.0  # this far from tissue a block is not blurred with it
THICK_MM = 4.0  # tables, tubes and clothes are less than twice as thick
INSIDE = 0.7  # share of a lung within the body's outline; the cut surface of a cropped lung may bulge out of it
PATCH_MM = 120.0  # a narrower field of view shows no outline of a body
OUTSIDE_HU = -890.0  # what lies beyond that outline may be lung in a crop that shows no wall, but hardly below
CLOSING_MM = 10.0  # bays narrower than twice this belong to the lung, but for a shallow dent at their mouth
SMALLEST_PART_ML = 10.0  # smaller pieces of air are bubbles in the bowel
SMALLEST_LUNG_ML = 40.0  # lungs together; less cannot be told from bowel
LEAST_TISSUE = 0.005  # share of tissue around and in the lungs, also deep in them
LUNGS_APART_MM = 60.0  # the middles of a right and a left lung are farther apart, to the side
AIRWAY_HU = -700.0  # airway walls are thin: a block on one may be half air
AIRWAY_MM2 = (60.0, 700.0)  # cross sections of windpipe and main bronchi
AIRWAY_LENGTH_MM = 25.0  # the tip of a lung is as narrow, but over less
AIRWAY_ROUNDNESS = 0.5  # area of the largest disc inside, in parts of the whole


def segment_lungs(volume: Volume) -> np.ndarray:
    """The lungs in a chest CT in HU: (D, H, W) bool on the volume's grid.

    With their vessels, nodules and juxtapleural bays up to 20 mm wide; without windpipe and main bronchi (where they
    are seen over 25 mm), bowel gas and the air round the body. A crop is fine, also from inside a lung. The order and
    the direction in which the voxels are stored do not matter. A sheared grid is taken as if its axes were orthogonal.
    A LeFusionError says what was looked for where there are no lungs.
    """
    axes, flips = _to_patient_axes(volume.ijk_to_ras)
    array = np.flip(volume.array.transpose(axes), flips)  # k to the head, j to the back, i to the left
    spacing_mm = np.array(volume.spacing_mm)[list(axes)]
    step = np.maximum(np.rint(BLOCK_MM / spacing_mm).astype(int), 1)
    blocks = _Blocks(_block_means(array, step), tuple(step * spacing_mm))

    airway = _airway(blocks)
    parts = _lung_parts(blocks, airway)
    if parts.sum() * blocks.voxel_ml < SMALLEST_LUNG_ML or (blocks.hu > AIR_HU).mean() < LEAST_TISSUE:
        raise _no_lungs(volume)
    closed = np.any([_closed(blocks, lung) for lung in _right_and_left(blocks, parts)], axis=0) & ~airway
    lungs = _on_voxels(array, step, closed, parts, airway)
    return np.ascontiguousarray(np.flip(lungs, flips).transpose(np.argsort(axes)))


@dataclass(frozen=True)
class _Blocks:
    """The volume in blocks: mean HU (d, h, w) float32, axes to the head, back and left; size of a block in mm."""

    hu: np.ndarray
    spacing_mm: tuple[float, ...]

    @property
    def voxel_ml(self) -> float:
        return float(np.prod(self.spacing_mm)) / 1000

    def depth_mm(self, mask: np.ndarray) -> np.ndarray:
        """Distance in mm from each block of the mask to the nearest one outside it; 0 outside. Borders are no edge."""
        import SimpleITK as sitk

        if mask.all() or not mask.any():
            return np.where(mask, np.float32(np.inf), np.float32(0))
        image = sitk.GetImageFromArray((~mask).astype(np.uint8))
        image.SetSpacing([float(mm) for mm in self.spacing_mm[::-1]])
        distance = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
        return np.where(mask, sitk.GetArrayViewFromImage(distance), 0)

    def typical_and_bright_hu(self, mask: np.ndarray, box: tuple[slice, ...]) -> tuple[float, float]:
        """Median and 90th percentile of a region away from its edge; `mask` is the region within `box`."""
        depth_mm = self.depth_mm(mask)
        core = depth_mm > min(CORE_MM, depth_mm.max() / 2)
        typical, bright = np.percentile(self.hu[box][core], (50, 90))
        return float(typical), float(bright)


def _to_patient_axes(ijk_to_ras: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which array axes run most along S, A and R, and which of the three to flip, to go to the head, back and left."""
    along = (ijk_to_ras[:3, 2::-1] / spacing_of(ijk_to_ras))[::-1]  # rows S, A, R; columns k, j, i
    axes = max(permutations(range(3)), key=lambda order: np.abs(along[range(3), order]).sum())
    s, a, r = along[range(3), axes]
    return axes, tuple(n for n, wrong in enumerate((s < 0, a > 0, r > 0)) if wrong)


def _block_means(array: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Mean HU of blocks of `step` voxels, float32; the last ones may be smaller. Metal and padding do not count more
    than bone and air."""
    starts = [np.arange(0, n, s) for n, s in zip(array.shape, step, strict=True)]
    sizes = [np.diff([*first, n]) for first, n in zip(starts, array.shape, strict=True)]
    means = np.empty([len(first) for first in starts], dtype=np.float32)
    for k, first in enumerate(starts[0]):
        slab = np.clip(array[first : first + step[0]].astype(np.float32), -1024, 400).sum(axis=0)
        rows = np.add.reduceat(np.add.reduceat(slab, starts[1], axis=0), starts[2], axis=1)
        means[k] = rows / (sizes[0][k] * np.outer(sizes[1], sizes[2]))
    return means


def _airway(blocks: _Blocks) -> np.ndarray:
    """Windpipe and main bronchi: tubes of air, narrow and round in every slice, with nothing else in them."""
    from scipy import ndimage

    slice_mm2 = blocks.spacing_mm[1] * blocks.spacing_mm[2]
    air = blocks.hu < AIRWAY_HU
    in_slice = ndimage.generate_binary_structure(3, 1)
    in_slice[[0, 2]] = False
    numbers, _ = ndimage.label(air, in_slice)
    areas_mm2 = np.bincount(numbers.ravel()) * slice_mm2
    narrow = (areas_mm2 >= AIRWAY_MM2[0]) & (areas_mm2 <= AIRWAY_MM2[1])
    narrow[0] = False
    tubes, _ = ndimage.label(narrow[numbers])
    airway = np.zeros_like(air)
    in_slices = replace(blocks, spacing_mm=(1e6, *blocks.spacing_mm[1:]))  # so that the nearest is in the same slice
    for number, box in enumerate(ndimage.find_objects(tubes), start=1):
        tube = tubes[box] == number
        if len(tube) * blocks.spacing_mm[0] < AIRWAY_LENGTH_MM:
            continue
        if blocks.typical_and_bright_hu(tube, box)[1] > PURE_AIR_HU:
            continue
        radii_mm = in_slices.depth_mm(np.pad(tube, ((0, 0), (1, 1), (1, 1)))).max(axis=(1, 2))
        roundness = np.pi * np.square(radii_mm) / (tube.sum(axis=(1, 2)) * slice_mm2)  # 1: a disc
        if np.median(roundness) > AIRWAY_ROUNDNESS:
            airway[box] |= tube
    return airway


def _lung_parts(blocks: _Blocks, airway: np.ndarray) -> np.ndarray:
    """(d, h, w) bool: the connected regions of air that lie in the body and hold more than air."""
    from scipy import ndimage

    in_body = _inside_body(blocks)
    numbers, count = ndimage.label((blocks.hu < AIR_HU) & ~airway)
    sizes = np.bincount(numbers.ravel(), minlength=count + 1)
    inside = np.bincount(numbers[in_body], minlength=count + 1) > INSIDE * sizes
    is_lung = sizes * blocks.voxel_ml >= SMALLEST_PART_ML
    is_lung[0] = False
    boxes = ndimage.find_objects(numbers)
    for number in np.flatnonzero(is_lung):
        box = boxes[number - 1]
        typical, bright = blocks.typical_and_bright_hu(numbers[box] == number, box)
        is_lung[number] = bright > PURE_AIR_HU and (inside[number] or typical > OUTSIDE_HU)
    return is_lung[numbers]


def _inside_body(blocks: _Blocks) -> np.ndarray:
    """(d, h, w) bool: the convex outline of the body in each slice; table, clothes and the air in corners lie outside.

    All of a field of view that is too small to show an outline.
    """
    from scipy import ndimage
    from scipy.spatial import ConvexHull, QhullError

    if max(np.multiply(blocks.hu.shape, blocks.spacing_mm)[1:]) < PATCH_MM:
        return np.ones(blocks.hu.shape, dtype=bool)
    solid = blocks.depth_mm(blocks.hu > AIR_HU) > THICK_MM  # table tops and tubes are thinner
    numbers, _ = ndimage.label(solid)
    sizes = np.bincount(numbers.ravel())
    sizes[0] = 0
    body = numbers == sizes.argmax() if sizes.any() else solid
    inside = np.zeros_like(body)
    j, i = np.ogrid[: body.shape[1], : body.shape[2]]
    for k, one in enumerate(body):
        try:
            sides = ConvexHull(np.argwhere(one)).equations
        except (QhullError, ValueError):  # no body in this slice, or a line of it
            continue
        inside[k] = True
        for along_j, along_i, offset in sides:
            inside[k] &= along_j * j + along_i * i + offset <= 0
    return inside


def _right_and_left(blocks: _Blocks, parts: np.ndarray) -> list[np.ndarray]:
    """The parts of each lung, so that closing one does not fill what lies between the two; one where there is one."""
    from scipy import ndimage

    depth_mm = blocks.depth_mm(parts)
    for least_mm in (0.0, 2.0, 4.0, 6.0):  # the lungs may touch before the heart: seen from deeper they are apart
        numbers, count = ndimage.label(depth_mm > least_mm)
        if not count:
            break
        sizes = np.bincount(numbers.ravel())[1:]
        sideways_mm = np.array([c[2] for c in ndimage.center_of_mass(parts, numbers, np.arange(1, count + 1))])
        sideways_mm = sideways_mm * blocks.spacing_mm[2]
        first = int(sizes.argmax())
        beside = np.where(np.abs(sideways_mm - sideways_mm[first]) > LUNGS_APART_MM, sizes, 0)
        if beside.max() < 0.15 * sizes[first]:
            continue
        second = int(beside.argmax())
        is_second = np.abs(sideways_mm - sideways_mm[second]) < np.abs(sideways_mm - sideways_mm[first])
        side = np.zeros(count + 1, dtype=np.int8)
        side[1:] = np.where(is_second, 2, 1)
        sides = side[numbers]
        nearer_first = blocks.depth_mm(sides != 1) <= blocks.depth_mm(sides != 2)
        return [parts & nearer_first, parts & ~nearer_first]
    return [parts]


def _closed(blocks: _Blocks, lung: np.ndarray) -> np.ndarray:
    """The lung with its holes, and its bays that a ball of `CLOSING_MM` does not enter from outside.

    Beyond the border of the volume the lung goes on as it is at the border.
    """
    from scipy import ndimage

    reach = np.ceil(CLOSING_MM / np.array(blocks.spacing_mm)).astype(int) + 1
    box = ndimage.find_objects(lung.astype(np.uint8))[0]
    box = tuple(slice(max(s.start - r, 0), s.stop + r) for s, r in zip(box, reach, strict=True))
    wide = np.pad(lung[box], [(r, r) for r in reach], mode="edge")
    grown = blocks.depth_mm(~wide) <= CLOSING_MM
    shrunk = blocks.depth_mm(grown) > CLOSING_MM
    closed = ndimage.binary_fill_holes(wide | shrunk)
    whole = np.zeros_like(lung)
    whole[box] = closed[tuple(slice(r, -r) for r in reach)]
    return whole


def _on_voxels(
    array: np.ndarray, step: np.ndarray, closed: np.ndarray, parts: np.ndarray, airway: np.ndarray
) -> np.ndarray:
    """(D, H, W) bool from the blocks: between lung and tissue the voxels decide, in filled bays the blocks' outline."""
    import SimpleITK as sitk
    from scipy import ndimage

    around = np.ones(np.where(step > 1, 3, 1), dtype=bool)  # where a block is one voxel thick, it is no mixture
    edge = parts & ndimage.binary_dilation(~closed, around)  # blocks that hold both lung and tissue
    near = ndimage.binary_dilation(closed, around) & ~(ndimage.binary_dilation(airway, around) & ~parts)
    lungs = np.zeros(array.shape, dtype=bool)
    low_high = [(s.start, s.stop) for s in ndimage.find_objects(near.astype(np.uint8))[0]]
    blocks = tuple(slice(low, high) for low, high in low_high)
    voxels = tuple(slice(low * n, high * n) for (low, high), n in zip(low_high, step.tolist(), strict=True))
    here = array[voxels]

    image = sitk.GetImageFromArray(np.where((closed & ~edge)[blocks], np.uint8(200), np.uint8(0)))
    image.SetSpacing([float(n) for n in step[::-1]])
    image.SetOrigin([(float(n) - 1) / 2 for n in step[::-1]])
    size = [int(n) for n in here.shape[::-1]]
    smooth = sitk.Resample(image, size, sitk.Transform(), sitk.sitkLinear, (0.0,) * 3, (1.0,) * 3)
    inner = sitk.GetArrayViewFromImage(smooth) > 100
    whole_blocks = near[blocks]
    for axis, n in enumerate(step.tolist()):
        whole_blocks = whole_blocks.repeat(n, axis).take(range(here.shape[axis]), axis)
    lungs[voxels] = inner | ((here < AIR_HU) & whole_blocks)
    return lungs


def _no_lungs(volume: Volume) -> LeFusionError:
    low, high = (f"{value:g}" for value in (volume.array.min(), volume.array.max()))
    return LeFusionError(
        f"No lungs were found in {volume.name}, whose values run from {low} to {high}. Looked for: regions below "
        f"{AIR_HU:g} HU of {SMALLEST_LUNG_ML:g} ml or more inside a body, with vessels in them (air alone is bowel gas "
        "or outside). Give a chest CT in Hounsfield units, or a segmentation of the lungs with --boundary FILE."
    )
