"""A chest CT that nobody's chest was scanned for: for the demo, the tests and a first look without patient data.

Anatomy is written as simple solids in patient millimetres (x to the patient's right, y anterior, z superior; the origin
lies between the hila), painted in anatomical order, blurred by a scanner's point spread and covered with its noise.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from .errors import LeFusionError
from .volume import Volume

HU = {
    "air": -1000.0, "lung": -875.0, "fat": -100.0, "water": 10.0, "blood": 42.0, "muscle": 55.0, "liver": 62.0,
    "cartilage": 95.0, "marrow": 190.0, "cortex": 620.0,
}  # fmt: skip
# the lobar vessels of the right lung, from the hilum outwards (x, y, z) mm; the left lung has their mirror image
ARTERIES = [
    (35, -8, -6), (44, -13, -20), (49, -19, -36), (54, -26, -54), (60, -36, -72), (43, -4, 12), (50, 0, 30),
    (56, -4, 52), (58, 14, -26), (74, 32, -36), (56, 22, 26), (60, -40, -22), (66, -14, -66), (60, -26, 36),
]  # fmt: skip
VEINS = [
    (26, -6, -32), (40, -14, -42), (50, -30, -58), (58, -48, -74), (40, 8, -14), (48, 16, 8), (54, 14, 32),
    (56, 28, -30), (72, -20, -70), (56, -16, 22),
]  # fmt: skip
PSF_MM = 0.8  # Gaussian blur of the scanner, standard deviation
Z_CENTRE_MM = -12.0  # the middle of the default field of view
BODY_EXPONENT = 2.5  # of the superellipse, 2 = ellipse: chests are a little square


def chest_ct(
    seed: int = 0,
    shape: tuple[int, int, int] = (128, 176, 240),
    spacing_mm: tuple[float, float, float] = (2.0, 1.5, 1.5),
) -> Volume:
    """A small procedural chest CT (int16 HU, supine, stored as a DICOM series would be). See `chest_phantom`."""
    return chest_phantom(seed, shape, spacing_mm)[0]


def chest_phantom(
    seed: int = 0,
    shape: tuple[int, int, int] = (128, 176, 240),
    spacing_mm: tuple[float, float, float] = (2.0, 1.5, 1.5),
) -> tuple[Volume, np.ndarray]:
    """The chest CT of `chest_ct` and its lung fields, (D, H, W) bool: parenchyma with its vessels, without mediastinum.

    The same seed gives the same bytes. `shape` times `spacing_mm` (D, H, W) is the field of view around the mid-chest;
    the default shows the whole chest, less crops it.
    """
    if len(shape) != 3 or min(shape) < 8 or len(spacing_mm) != 3 or min(spacing_mm) <= 0:
        raise LeFusionError(
            f"The phantom needs three axes of 8 voxels or more and a positive spacing; got {shape} at {spacing_mm} mm."
        )
    scan = _Scan(seed, shape, spacing_mm)
    _paint_body(scan)
    lungs = _paint_lungs(scan)
    air = scan.hu.copy()
    _paint_mediastinum(scan)
    _paint_bones(scan)
    lungs &= scan.hu == air  # what the heart, a vessel or a rib has taken is no lung
    _paint_trees(scan, lungs)
    return Volume(_acquire(scan), scan.ijk_to_ras, name=f"phantom-chest-{seed}"), lungs


def lung_sites(volume: Volume, lungs: np.ndarray, diameter_mm: float, count: int = 1, seed: int = 0) -> np.ndarray:
    """Centres for nodules, (count, 3) RAS mm: a sphere of `diameter_mm` there lies in aerated lung."""
    step = np.array([max(round(3 / mm), 1) for mm in volume.spacing_mm])  # every 3 mm is fine enough
    thin = tuple(slice(None, None, n) for n in step)
    spacing = step * volume.spacing_mm
    depth = ndimage.distance_transform_edt(np.pad(lungs[thin], 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    mean_hu = ndimage.gaussian_filter(volume.array[thin].astype(np.float32), diameter_mm / 3 / spacing)
    candidates = np.argwhere((depth > diameter_mm / 2 + 4) & (mean_hu < -780)) * step
    if len(candidates) == 0:
        raise LeFusionError(
            f"No place in these lungs holds a sphere of {diameter_mm} mm; ask for a smaller one (deepest point: "
            f"{depth.max():.0f} mm from the pleura)."
        )
    rng = np.random.default_rng([seed, 7])
    kji = candidates[rng.choice(len(candidates), count, replace=len(candidates) < count)]
    return kji[:, ::-1] @ volume.ijk_to_ras[:3, :3].T + volume.ijk_to_ras[:3, 3]


class _Scan:
    """The canvas: HU so far, patient coordinates per axis (they broadcast to (D, H, W)), and the dice."""

    def __init__(self, seed: int, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> None:
        (d, h, w), (dz, dy, dx) = shape, spacing_mm
        first = np.array([(w - 1) / 2 * dx, (h - 1) / 2 * dy, Z_CENTRE_MM - (d - 1) / 2 * dz])
        self.ijk_to_ras = np.diag([-dx, -dy, dz, 1.0])
        self.ijk_to_ras[:3, 3] = first
        self.spacing_mm = np.array(spacing_mm, dtype=np.float32)
        self.z = (first[2] + dz * np.arange(d, dtype=np.float32))[:, None, None].astype(np.float32)
        self.y = (first[1] - dy * np.arange(h, dtype=np.float32))[None, :, None].astype(np.float32)
        self.x = (first[0] - dx * np.arange(w, dtype=np.float32))[None, None, :].astype(np.float32)
        self.hu = np.full(shape, HU["air"], dtype=np.float32)
        self.shape = shape
        self.rng = np.random.default_rng(seed)
        self.size = float(self.rng.uniform(0.96, 1.03))  # of this patient
        self.wobble = self.smooth_noise(26.0)
        # the rib cage's inner wall: an egg, narrow at the apex, which lies behind the sternum's slope
        taper = np.clip((self.z + 55) / (161 * self.size), 0, 1) ** 2.4
        self.cage_a = np.maximum(134 * self.size * np.sqrt(1 - taper), 1)
        self.cage_b = np.maximum(92 * self.size * np.sqrt(1 - taper) ** 0.85, 1)
        self.cage_y = -22 * np.clip((self.z + 30) / 140, 0, 1) ** 1.3
        spine = 1 - 0.20 * np.exp(-((self.x / 30) ** 2))  # lungs reach further back beside the spine than before it
        behind = self.y < self.cage_y
        v = np.where(behind, (self.y - self.cage_y) / self.cage_b, (self.y - self.cage_y) / (0.94 * self.cage_b))
        self.cage = _superellipse(self.x / self.cage_a, v, 2.25) / np.where(behind, spine, 1).astype(np.float32)

    def smooth_noise(self, scale_mm: float) -> np.ndarray:
        """(D, H, W) smooth random field, standard deviation about 1, features of `scale_mm`."""
        coarse = [max(int(np.ceil(n * s / scale_mm)) + 1, 2) for n, s in zip(self.shape, self.spacing_mm, strict=True)]
        field = self.rng.standard_normal(coarse).astype(np.float32)
        for n in self.shape:  # one axis at a time, as a product with that axis' weights
            at = np.linspace(0, len(field) - 1, n)
            t = np.clip(1 - np.abs(at[:, None] - np.arange(len(field))), 0, 1).astype(np.float32)
            field = np.moveaxis(np.tensordot(t * t * (3 - 2 * t), field, 1), 0, -1)
        return np.ascontiguousarray(field)

    def box(self, low: ArrayLike, high: ArrayLike) -> tuple[slice, slice, slice]:
        """Slices (D, H, W) of the voxels between two corners (x, y, z) in mm."""
        (x0, y0, z0), (x1, y1, z1) = np.asarray(low), np.asarray(high)
        ox, oy, oz, (dz, dy, dx) = *self.ijk_to_ras[:3, 3], self.spacing_mm
        steps = [((z0 - oz) / dz, (z1 - oz) / dz), ((oy - y1) / dy, (oy - y0) / dy), ((ox - x1) / dx, (ox - x0) / dx)]
        k, j, i = [slice(max(math.ceil(a), 0), max(math.floor(b) + 1, 0)) for a, b in steps]
        return k, j, i

    def ellipsoid(self, centre: ArrayLike, semi_axes: ArrayLike, tilt_deg: float = 0.0) -> tuple[tuple, np.ndarray]:
        """Box and, in it, the ellipsoid's level (1 on its surface), turned about z by `tilt_deg`."""
        c, s = np.asarray(centre, float), np.asarray(semi_axes, float)
        reach = np.array([max(s[:2])] * 2 + [s[2]]) * 1.35
        box = self.box(c - reach, c + reach)
        x, y, z = self.x[:, :, box[2]] - c[0], self.y[:, box[1]] - c[1], self.z[box[0]] - c[2]
        cos, sin = np.cos(np.radians(tilt_deg)), np.sin(np.radians(tilt_deg))
        level = np.sqrt(((x * cos + y * sin) / s[0]) ** 2 + ((y * cos - x * sin) / s[1]) ** 2 + (z / s[2]) ** 2)
        return box, level.astype(np.float32)

    def along(self, points: ArrayLike, reach_mm: float) -> Iterator[tuple[tuple, np.ndarray]]:
        """For each piece of a path (n, 3): its box and the distance to the piece in mm."""
        path = np.asarray(points, dtype=np.float32)
        for a, b in zip(path[:-1], path[1:], strict=True):
            box = self.box(np.minimum(a, b) - reach_mm, np.maximum(a, b) + reach_mm)
            px, py, pz = self.x[:, :, box[2]] - a[0], self.y[:, box[1]] - a[1], self.z[box[0]] - a[2]
            vx, vy, vz = b - a
            t = np.clip((px * vx + py * vy + pz * vz) / max(vx * vx + vy * vy + vz * vz, 1e-6), 0, 1)
            yield box, np.sqrt((px - t * vx) ** 2 + (py - t * vy) ** 2 + (pz - t * vz) ** 2)

    def tube(self, points: ArrayLike, radius_mm: float, hu: float, within: np.ndarray | None = None) -> None:
        for box, distance in self.along(points, radius_mm + 2):
            share = np.clip(0.5 + (radius_mm - distance) / self.spacing_mm.mean(), 0, 1)
            if within is not None:
                share = share * within[box]
            self.hu[box] += share * (hu - self.hu[box])


def _superellipse(u: np.ndarray, v: np.ndarray, exponent: float) -> np.ndarray:
    return (np.abs(u) ** exponent + np.abs(v) ** exponent) ** np.float32(1 / exponent)


def _paint_body(scan: _Scan) -> None:
    """Skin, fat, muscle, and the table below."""
    x, y, z, hu = scan.x, scan.y, scan.z, scan.hu
    a = scan.size * (171 - 14 * np.clip((z - 40) / 80, 0, 1) ** 2 - 6 * np.clip((-z - 60) / 80, 0, 1))
    b = scan.size * (115 - 8 * np.clip((z - 40) / 80, 0, 1) ** 2)
    groove = 6 * np.exp(-((x / 16) ** 2)) * (y < -40)  # the furrow over the spine
    outline = _superellipse(x / a, (y + 9) / b, BODY_EXPONENT)
    depth = (1 - outline) * (b + 0.35 * (a - b)) + 0.4 * scan.wobble - groove
    breast = np.exp(-(((np.abs(x) - 75) / 45) ** 2) - ((z + 15) / 50) ** 2) * (y > 0)
    flank = np.clip((np.abs(x) - 90) / 60, 0, 1) * np.clip((20 - z) / 120, 0, 1)
    fat_mm = 9 + 7 * breast + 9 * flank + 1.2 * scan.wobble
    hu[depth > 0] = HU["fat"]
    muscle = depth > fat_mm
    hu[muscle] = HU["muscle"]
    sheets = np.minimum(np.abs(scan.cage - 1.17), np.abs(scan.cage - 1.30)) * 95  # mm to the fat between muscles
    np.copyto(hu, HU["fat"] + 10, where=muscle & (sheets < 1.3 + 1.2 * scan.wobble))
    hu[(depth > 0) & (depth < 1.6)] = 10  # skin
    low = scan.box((-215, -400, -1000), (215, -90, 1000))
    under = -9 - scan.size * 118 + (x[:, :, low[2]] / 260) ** 2 * 40 - y[:, low[1]]  # mm below the table's top
    free = (hu[low] < -900) & (under > 0) & (under < 24)
    np.copyto(hu[low], np.where((under < 2.2) | (under > 21.5), -520, -930), where=free)


def _paint_lungs(scan: _Scan) -> np.ndarray:
    """Fill the cage: abdomen below the domes, fat in the mediastinum, aerated lung in the rest; return the rest."""
    x, y, z, hu = scan.x, scan.y, scan.z, scan.hu
    inside = scan.cage < 1 + 0.006 * scan.wobble
    right = -58 - 58 * (((x - 66) / 80) ** 2 + ((y - 8) / 96) ** 2)
    left = -70 - 58 * (((x + 68) / 80) ** 2 + ((y - 8) / 96) ** 2)
    recess = -118 + 28 * np.exp(-((x / 36) ** 2))  # no lung below, and less beside the spine
    dome = np.maximum(np.maximum(right, left), recess)
    above = z > dome + 1.5 * scan.wobble
    solid = np.abs(x) < 5 + 0 * y + 0 * z  # the two lungs never touch
    spaces = [  # what the mediastinum holds, centre and semi-axes, mm, and the tilt about z
        ((0, 2, 40), (33, 46, 62), 0), ((0, -4, 96), (27, 34, 60), 0), ((-24, 22, -58), (63, 47, 52), 24),
        ((4, 34, -8), (34, 40, 46), 0), ((0, -66, -20), (24, 32, 260), 0), ((-23, -40, -40), (18, 19, 110), 0),
        ((37, -8, -12), (17, 20, 25), 0), ((-37, -8, -6), (17, 20, 24), 0), ((4, -26, -80), (27, 26, 90), 0),
        ((-22, 0, 26), (24, 34, 19), 0), ((30, 14, 30), (13, 15, 60), 0), ((0, 78, 10), (15, 24, 80), 0),
        ((22, 34, -98), (34, 34, 24), 0), ((-34, 42, -92), (48, 34, 20), 20),
    ]  # fmt: skip
    solid = np.broadcast_to(solid, scan.shape).copy()
    for centre, semi, tilt in spaces:
        box, level = scan.ellipsoid(np.array(centre) * scan.size, np.array(semi) * scan.size, tilt)
        solid[box] |= level < 1 + 0.03 * scan.wobble[box]
    hu[inside & ~above] = HU["fat"]
    hu[inside & above & solid] = HU["fat"] - 5
    for centre, semi, value in [  # liver, spleen, stomach with its bubble of gas
        ((58, 4, -130), (92, 84, 78), HU["liver"]), ((20, 38, -124), (70, 48, 44), HU["liver"]),
        ((-84, -42, -122), (42, 42, 50), 50), ((-58, 22, -118), (48, 42, 42), 30),
        ((-56, 42, -108), (34, 22, 22), -960),
    ]:  # fmt: skip
        box, level = scan.ellipsoid(np.array(centre) * scan.size, np.array(semi) * scan.size)
        hu[box][(level < 1 + 0.03 * scan.wobble[box]) & (inside & ~above & (z < dome - 3))[box]] = value
    hu[inside & ~above & (z > dome - 3.5)] = HU["muscle"]  # the diaphragm itself
    lungs = inside & above & ~solid
    # dependent lung is denser; the texture is secondary lobules (coarse) and what lies below resolution (fine)
    gravity = 45 * np.clip((-y - 10) / 90, -0.7, 1.2)
    fine = ndimage.gaussian_filter(scan.rng.standard_normal(scan.shape, dtype=np.float32), 0.9 / scan.spacing_mm * 1.5)
    tissue = HU["lung"] + gravity + 10 * scan.wobble + 42 * fine * np.sqrt(1.5 / scan.spacing_mm.mean())
    oblique = (z - 48 + (y + 60) * 1.05 - 3 * scan.wobble) / 1.45  # mm from the fissure
    horizontal = np.where((x > 0) & (oblique > 0), z + 2 - 0.06 * (x - 60) - 3 * scan.wobble, 99)
    fissure = np.exp(-((np.minimum(np.abs(oblique), np.abs(horizontal)) / 0.9) ** 2))
    hu[lungs] = (tissue + 70 * fissure)[lungs]
    return lungs


def _paint_mediastinum(scan: _Scan) -> None:
    """Heart, great vessels, oesophagus, trachea and main bronchi in the mediastinal fat."""
    for centre, semi, tilt in [  # ventricles, right atrium, left atrium, outflow
        ((-26, 24, -62), (54, 37, 44), 26), ((20, 16, -48), (27, 32, 36), 0), ((0, -12, -34), (34, 20, 24), 0),
        ((-12, 30, -22), (22, 20, 24), 0),
    ]:  # fmt: skip
        box, level = scan.ellipsoid(np.array(centre) * scan.size, np.array(semi) * scan.size, tilt)
        inner = np.clip((1 + 0.02 * scan.wobble[box] - level) * 20 + 0.5, 0, 1)
        scan.hu[box] += inner * (HU["blood"] + 4 - scan.hu[box])
    s = scan.size
    blood = HU["blood"]
    turn = np.linspace(0, np.pi, 9)
    arch = np.stack([4 - 20 * (1 - np.cos(turn)) / 2 * 1.4, 24 - 30 * (1 - np.cos(turn)), 22 + 21 * np.sin(turn)], -1)
    scan.tube(s * np.array([(8, 22, -30), (15, 25, -6), (9, 25, 14), *arch[1:3]]), 15.5 * s, blood)  # ascending aorta
    scan.tube(s * arch[1:], 13.5 * s, blood)
    scan.tube(s * np.array([arch[-1], (-25, -38, 0), (-23, -40, -60), (-12, -38, -160)]), 12.5 * s, blood)
    scan.tube(s * np.array([(30, 14, -34), (30, 15, 20), (25, 17, 60)]), 9.5 * s, blood)  # superior vena cava
    scan.tube(s * np.array([(26, 4, -60), (28, 0, -100), (26, -6, -160)]), 12 * s, blood + 4)  # inferior vena cava
    scan.tube(s * np.array([(-10, 36, -28), (-14, 28, -4), (-20, 8, 3), (-34, -8, 2)]), 13 * s, blood)  # lung trunk
    scan.tube(s * np.array([(-14, 22, -2), (4, 4, -6), (22, -3, -8), (36, -8, -9)]), 10.5 * s, blood)  # right artery
    for end, radius in [((32, 26, 92), 6), ((18, 8, 104), 5), ((-24, 0, 104), 4.5), ((-40, 16, 96), 6)]:  # neck, arms
        start = np.array([6 if end[0] > 0 else -12, 14 if radius < 6 else 24, 42])
        scan.tube(s * np.array([start, 0.5 * (start + end) + (0, -2, 6), np.array(end)]), radius * s, blood)
    scan.tube(s * np.array([(-6, -26, 120), (-6, -30, 20), (-6, -34, -60), (-14, -22, -110)]), 6.5 * s, 38)  # gullet
    for centre, radius in [((12, -6, 22), 4), ((-16, 8, 14), 4), ((10, -20, -18), 5), ((18, 2, 40), 3.5)]:  # nodes
        box, level = scan.ellipsoid(s * np.array(centre), (radius * 1.5, radius, radius))
        scan.hu[box][level < 1] = 45
    fork = np.array((1, -12, 4))
    airway = [([(0, 0, 120), (0, -6, 60), fork], 8.6), ([fork, (20, -14, -10), (34, -14, -20)], 6.6),
              ([fork, (-20, -16, -10), (-38, -18, -18)], 5.8)]  # fmt: skip
    for extra, hu in [(1.7, 20.0), (0.0, -995.0)]:  # walls first, then their lumen
        for points, radius in airway:
            scan.tube(s * np.array(points), (radius + extra) * s, hu)


def _paint_bones(scan: _Scan) -> None:
    """Ribs with their cartilage, spine, sternum, shoulder blades, collar bones: cortex around marrow."""
    x, y, z, hu, s = scan.x, scan.y, scan.z, scan.hu, scan.size
    # Ribs: bands on a shell around the cage, falling from back to front; one formula paints them all.
    band = np.flatnonzero(((scan.cage > 0.97) & (scan.cage < 1.22)).ravel())
    k, j, i = np.unravel_index(band, scan.shape)
    px, py, pz = x[0, 0, i], y[0, j, 0], z[k, 0, 0]
    a, b, cy = scan.cage_a[k, 0, 0], scan.cage_b[k, 0, 0], scan.cage_y[k, 0, 0]
    angle = np.arctan2(np.abs(px) / a, -(py - cy) / b)  # 0 behind, pi in front
    radial = (scan.cage.ravel()[band] - 1) * (a + b) / 2 - 6.5
    fall = 54 * np.clip((angle - 0.35) / 1.7, 0, 1) ** 1.2 - 22 * np.clip((angle - 2.1) / 0.9, 0, 1)
    pitch = 23.5 * s
    height = (pz + fall + 7) / pitch
    off = (height - np.round(height)) * pitch
    number = np.round(height)
    level = np.sqrt((radial / 3.9) ** 2 + (off / (6.3 - 1.5 * (number > 2))) ** 2)
    front = angle > 2.25 + 0.06 * np.sin(number * 2.1)
    keep = (level < 1) & (angle > 0.30) & (angle < 2.95) & (pz < 108 * s)
    bone = np.where(level > 0.58, HU["cortex"] + 60, HU["marrow"])
    hu.ravel()[band[keep]] = np.where(front, HU["cartilage"], bone)[keep]

    _paint_spine(scan)

    # Sternum on the cage's front, manubrium wider.
    front_y = scan.cage_y + scan.cage_b + 7
    wide = np.where(z > 46, 25.0, 15.0 + 3 * np.cos(z / 12))
    plate = np.maximum(np.abs(x) / wide, np.abs(y - front_y) / 6.5) + 0.12 * (np.abs(x) / wide) ** 2
    plate = np.where((z > -78 * s) & (z < 76 * s) & (np.abs(z - 46) > 1.8), plate, 9)
    np.copyto(hu, HU["cortex"] - 150, where=plate < 1)
    np.copyto(hu, HU["marrow"] - 40, where=plate < 0.74)

    for side in (-1, 1):
        # Shoulder blade: a curved blade behind the upper ribs, its spine behind it.
        blade = scan.box((min(side * 60, side * 135), -125, -40), (max(side * 60, side * 135), -10, 108))
        bx, by, bz = np.abs(x[:, :, blade[2]]), y[:, blade[1]], z[blade[0]]
        cage = scan.cage[blade]
        sheet = np.abs((cage - 1.235) * 100 - 0.02 * (bz - 40)) / (2.2 + 1.8 * (bx > 112))
        reach = (bx > 74 + 0.22 * (60 - bz)) & (bz > -30 + (bx - 74) * 1.1) & (bz < 98) & (by < -14)
        ridge = (np.abs(bz - 74 - (bx - 74) * 0.25) < 4) & (cage > 1.22) & (cage < 1.42) & (bx > 80) & (by < -30)
        hu[blade][(sheet < 1) & reach] = 480
        hu[blade][ridge] = 430
        path = s * np.array([(side * 20, 58, 74), (side * 52, 62, 86), (side * 92, 34, 101), (side * 130, 8, 112)])
        scan.tube(path, 6.0, HU["cortex"] - 60)
        scan.tube(path, 3.6, HU["marrow"] + 40)


def _paint_spine(scan: _Scan) -> None:
    """Bodies and discs in turn, canal with its cord, arch and processes, in the box that holds them."""
    s = scan.size
    box = scan.box((-45, -140, -1000), (45, -20, 1000))
    x, y, z, hu, wobble = scan.x[:, :, box[2]], scan.y[:, box[1]], scan.z, scan.hu[box], scan.wobble[box]
    half_x, half_y, pitch = 17.5 * s, 15.0 * s, 24.0 * s
    front = -55 * s - 5 * np.cos((z + 10) / 110)  # y of the bodies' centres along the kyphosis
    phase = np.abs((z / pitch) - np.round(z / pitch)) * pitch  # 0 in the middle of a body, pitch / 2 in the disc
    body = np.sqrt((x / half_x) ** 2 + ((y - front) / half_y) ** 2) + 0.10 * (1 - phase / (pitch / 2))
    hu[(body < 1) & (phase > pitch / 2 - 3)] = 85
    solid = (body < 1) & (phase <= pitch / 2 - 3)
    np.copyto(hu, HU["marrow"] + 25 * wobble, where=solid)
    np.copyto(hu, HU["cortex"] - 120, where=solid & ((body > 0.87) | (phase > pitch / 2 - 4.8)))

    canal_y = front - half_y - 9 * s
    canal = np.sqrt((x / (10 * s)) ** 2 + ((y - canal_y) / (8.5 * s)) ** 2)
    arch = (canal < 1.42) & (canal >= 1) & (phase < 8.5) & (y < front - 0.75 * half_y)
    spinous = (np.abs(x) < 3.2) & (y < canal_y - 10 * s) & (y > canal_y - 32 * s)
    spinous = spinous & (np.abs((z - 0.9 * (y - canal_y) - 26) / pitch % 1 - 0.5) < 0.17)
    sideways = np.hypot((y - canal_y + 0.22 * np.abs(x)) / 5.0, phase / 5.5)
    transverse = (np.abs(x) > 11 * s) & (np.abs(x) < 31 * s) & (sideways < 1)
    for piece in (arch, spinous, transverse):
        np.copyto(hu, HU["cortex"] - 60, where=piece)
        np.copyto(hu, HU["marrow"] + 60, where=ndimage.binary_erosion(piece))
    np.copyto(hu, 18, where=canal < 0.98)
    np.copyto(hu, 42, where=canal < 0.58)


def _paint_trees(scan: _Scan, lungs: np.ndarray) -> None:
    """Arteries with their bronchi, and veins: trees that grow from the hila to points spread through the lungs."""
    step = tuple(max(int(round(6 / s)), 1) for s in scan.spacing_mm)
    coarse = lungs[:: step[0], :: step[1], :: step[2]]
    room = np.argwhere(ndimage.binary_erosion(coarse)) * step
    places = np.stack([scan.x[0, 0, room[:, 2]], scan.y[0, room[:, 1], 0], scan.z[room[:, 0], 0, 0]], -1)
    for side in (1, -1):
        here = places[np.sign(places[:, 0]) == side]
        for trunk, count, with_bronchi in [(ARTERIES, 800, True), (VEINS, 600, False)]:
            if len(here) < count // 8:
                continue
            chosen = here[scan.rng.choice(len(here), min(count, len(here)), replace=False)]
            goals = chosen + scan.rng.uniform(-3, 3, chosen.shape)
            nodes, parent = grow_tree(scan.size * np.array(trunk, float) * (side, 1, 1), goals)
            radius = branch_radii(nodes, parent, thinnest_mm=0.62, thickest_mm=7.5)
            for n in range(1, len(nodes)):
                scan.tube(nodes[[parent[n], n]], radius[n], HU["blood"] * min(1, radius[n] + 0.1), within=lungs)
            if with_bronchi:
                _paint_bronchi(scan, lungs, nodes, parent, radius)


def _paint_bronchi(scan: _Scan, lungs: np.ndarray, nodes: np.ndarray, parent: np.ndarray, radius: np.ndarray) -> None:
    """An airway beside every artery that is wide enough, its wall just resolved."""
    wide = [n for n in range(1, len(nodes)) if radius[n] > 1.35]
    aside = np.array([0.35, 0.75, 0.55])  # the same side for all keeps the airways joined
    pieces = [(nodes[[parent[n], n]] + 1.75 * radius[n] * aside, 0.72 * radius[n]) for n in wide]
    for extra, hu in [(0.95, -150.0), (0.0, -960.0)]:
        for points, lumen in pieces:
            scan.tube(points, lumen + extra, hu, within=lungs)


def grow_tree(trunk: np.ndarray, goals: np.ndarray, balance: float = 0.45) -> tuple[np.ndarray, np.ndarray]:
    """Join points into a tree with short wire and short ways (Cuntz et al. 2010, minimum spanning tree with a balance).

    `trunk` (t, 3) mm: the root, then the wide branches, where a way counts a quarter; `goals` (n, 3) mm.
    Returns nodes (t + n, 3), trunk first, and each node's parent index (root: 0).
    """
    order = np.argsort(np.linalg.norm(goals - trunk[0], axis=1), kind="stable")
    nodes = np.vstack([trunk, goals[order]])
    parent = np.zeros(len(nodes), dtype=int)
    way = np.zeros(len(nodes))
    for n in range(1, len(nodes)):
        direct = np.linalg.norm(nodes[:n] - nodes[n], axis=1)
        parent[n] = np.argmin(direct + balance * way[:n])
        way[n] = way[parent[n]] + direct[parent[n]] * (0.25 if n < len(trunk) else 1)
    for _ in range(3):  # pull each fork towards its neighbours: branches bend instead of zigzag
        total, number = np.zeros_like(nodes), np.zeros(len(nodes))
        np.add.at(total, parent[1:], nodes[1:])
        np.add.at(number, parent[1:], 1)
        inner = (number > 0) & (np.arange(len(nodes)) > 0)
        nodes[inner] = 0.4 * nodes[inner] + 0.35 * nodes[parent[inner]] + 0.25 * (total[inner] / number[inner, None])
    return nodes, parent


def branch_radii(nodes: np.ndarray, parent: np.ndarray, thinnest_mm: float, thickest_mm: float) -> np.ndarray:
    """Radius (n,) mm of the piece that ends in each node, by Murray's law: r^2.7 adds up at forks."""
    power = np.zeros(len(nodes))
    for n in range(len(nodes) - 1, 0, -1):  # children come after their parents
        power[n] = max(power[n], thinnest_mm**2.7)
        power[parent[n]] += power[n]
    return np.minimum(power ** (1 / 2.7), thickest_mm)


def _acquire(scan: _Scan) -> np.ndarray:
    """What the scanner makes of it: point spread, and correlated noise that is strongest where rays cross most bone."""
    hu = ndimage.gaussian_filter(scan.hu, PSF_MM / scan.spacing_mm)
    noise = ndimage.gaussian_filter(scan.rng.standard_normal(scan.shape, dtype=np.float32), (0.35, 0.75, 0.75))
    noise /= noise.std()
    depth = np.exp(-((scan.x / 130) ** 2) - (scan.y / 100) ** 2)
    hu += noise * (9 + 11 * depth)
    return np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
