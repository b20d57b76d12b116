"""Is the texture that was asked for delivered? Every texture at the same sites in normal tissue of real scans."""

import csv
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LeFusionError
from ..geometry import ControlSphere, ras_from_kji
from ..intensity import IntensityWindow
from ..io import atomic_write, read_labels, read_volume
from ..lesion_mask import LesionMask
from ..models.sampler_spec import SamplerSpec
from ..models.zoo import Model
from ..synthesis.draw import draw_lesion_mask
from ..synthesis.synthesize import synthesize
from ..texture import TextureHistogram
from ..volume import Volume

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One lesion: where, how large, what was asked and what came out. Distances and means in grey values."""

    scan: str
    site: int
    diameter_mm: float
    texture: str
    mean: float
    mean_asked: float
    distance: float
    changed_outside: int
    seconds: float


def texture_control(
    model: Model,
    data: Path,
    sites: int,
    seed: int = 0,
    sampler: SamplerSpec | None = None,
    diameters_mm: tuple[float, float] = (6.0, 20.0),
    picture: Path | None = None,
) -> list[Row]:
    """Paint every preset of the model's first class at `sites` random places of each scan under `data`.

    data: pairs `NAME_ct.*` and `NAME_lungs.*`, the second the tissue in which sites are chosen. The shape and the noise
    of a site are the same for every texture. `picture`: where to draw a montage of the sites.
    """
    presets = model.textures[model.spec.classes[0]]
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    strips: list[list[np.ndarray]] = []
    for name, volume, tissue in read_scans(data):
        for site, sphere in enumerate(normal_sites(volume, tissue, sites, diameters_mm, rng)):
            lesion = draw_lesion_mask(volume, sphere, seed=seed + site, lesion_class=model.spec.classes[0])
            results = {t: synthesize(volume, lesion, model, t, sampler, seed=seed + site) for t in presets}
            for texture, result in results.items():
                report = result.report
                row = report["lesions"][0]
                rows.append(
                    Row(
                        name,
                        site,
                        round(sphere.diameter_mm, 2),
                        texture,
                        row["mean"]["value"],
                        round(_mean_asked(row["texture"]), 1),
                        row["texture"]["wasserstein"],
                        report["background"]["changed_voxels_outside_mask"],
                        report["seconds"]["network"],
                    )
                )
            strips.append([_slice(volume, lesion)] + [_slice(result.volume, lesion) for result in results.values()])
            logger.info("%s, site %d: %s", name, site, {r.texture: r.mean for r in rows[-len(presets) :]})
    if picture is not None:
        _montage(strips, ["before", *presets], picture)
    return rows


def read_scans(data: Path, needed: bool = True) -> list[tuple[str, Volume, np.ndarray]]:
    """(name, volume, tissue (D, H, W) bool) of every `NAME_ct.*` with a `NAME_lungs.*` beside it; none is refused where
    one is `needed`."""
    scans = []
    for file in sorted(Path(data).glob("*_ct.*")):
        name, suffix = file.name.split("_ct.", 1)
        tissue_file = file.with_name(f"{name}_lungs.{suffix}")
        if not tissue_file.exists():
            continue
        volume = read_volume(file)
        labels, ijk_to_ras, _ = read_labels(tissue_file)
        tissue = LesionMask(labels > 0, ijk_to_ras, ("tissue",))
        tissue.check_on_grid_of(volume)
        scans.append((name, volume, tissue.union))
    if needed and not scans:
        raise LeFusionError(f"No scans in {Path(data).name}: expected NAME_ct.nii.gz beside NAME_lungs.nii.gz.")
    return scans


def normal_sites(
    volume: Volume, tissue: np.ndarray, count: int, diameters_mm: tuple[float, float], rng: np.random.Generator
) -> list[ControlSphere]:
    """Random control spheres that lie wholly in the tissue, a millimetre from its edge."""
    from scipy.ndimage import distance_transform_edt

    room_mm = distance_transform_edt(tissue, sampling=volume.spacing_mm)
    spheres = []
    for diameter in rng.uniform(*diameters_mm, count):
        places = np.argwhere(room_mm > diameter / 2 + 1)
        if not len(places):
            raise LeFusionError(f"There is no room for a lesion of {diameter:.0f} mm in the tissue of {volume.name}.")
        center = ras_from_kji(volume.ijk_to_ras, places[rng.integers(len(places))][None])[0]
        spheres.append(ControlSphere(tuple(center), float(diameter)))
    return spheres


def summarize(rows: Sequence[Row]) -> dict[str, object]:
    """Medians per texture, and at how many sites the means rise from the darkest texture to the brightest."""
    textures = list(dict.fromkeys(row.texture for row in rows))
    of_site: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        of_site.setdefault((row.scan, row.site), []).append(row.mean)
    ordered = sum(all(a < b for a, b in zip(means, means[1:], strict=False)) for means in of_site.values())

    def of(texture: str, pick: Callable[[Row], float]) -> list[float]:
        return [pick(row) for row in rows if row.texture == texture]

    return {
        "sites": len(of_site),
        "sites_in_order": ordered,
        "changed_outside": sum(row.changed_outside for row in rows),
        "median_distance": round(float(np.median([row.distance for row in rows])), 1),
        "median_network_seconds": round(float(np.median([row.seconds for row in rows])), 2),
        "textures": {
            t: {
                "mean_asked": round(float(np.mean(of(t, lambda r: r.mean_asked))), 1),
                "mean_delivered": round(float(np.mean(of(t, lambda r: r.mean))), 1),
                "median_distance": round(float(np.median(of(t, lambda r: r.distance))), 1),
                "distance_90_percent": round(float(np.percentile(of(t, lambda r: r.distance), 90)), 1),
            }
            for t in textures
        },
    }


def write_tables(rows: Sequence[Any], summary: dict[str, object], stem: Path) -> list[Path]:
    """`stem`.csv, one line per row (a dataclass), and `stem`.json, the summary."""
    table, short = stem.with_suffix(".csv"), stem.with_suffix(".json")
    with atomic_write(table) as temporary, Path(temporary).open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(asdict(rows[0])))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    with atomic_write(short) as temporary:
        Path(temporary).write_text(json.dumps(summary, indent=1) + "\n")
    return [table, short]


def _mean_asked(texture: Mapping[str, Any]) -> float:
    low, high = texture["window"]
    return TextureHistogram(tuple(texture["asked"])).mean(IntensityWindow(low, high, texture["unit"]))


def _slice(volume: Volume, lesion: LesionMask, half_mm: float = 24.0) -> np.ndarray:
    """The slice through the lesion's middle, cropped to a square around it."""
    k, j, i = (int(round(c)) for c in lesion.kji.mean(axis=0))
    reach = [int(half_mm / mm) for mm in volume.spacing_mm[1:]]
    padded = np.pad(volume.array[k], [(r, r) for r in reach], mode="edge")
    return padded[j : j + 2 * reach[0] + 1, i : i + 2 * reach[1] + 1]


def _montage(strips: Sequence[Sequence[np.ndarray]], titles: Sequence[str], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(strips), len(titles), figsize=(1.7 * len(titles), 1.7 * len(strips)), squeeze=False)
    for row, strip in zip(axes, strips, strict=True):
        for axis, picture in zip(row, strip, strict=True):
            axis.imshow(picture, cmap="gray", vmin=-1350, vmax=150)  # lung window: level -600, width 1500
            axis.axis("off")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=8)
    figure.subplots_adjust(0, 0, 1, 0.97, 0.02, 0.02)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=90)
    plt.close(figure)
