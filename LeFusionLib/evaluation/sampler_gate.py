"""May a faster sampler stand in for a slow one? Its lesions against the slow one's, and these against each other.

The slow sampler makes every lesion with several seeds. How far apart two sets of its lesions are, drawn with different
seeds, is the spread; a faster setting passes where its distance from the slow sampler's sets lies within it, in all
measures. Sets are drawn anew from the seeds for each lesion many times, so that the spread has a distribution.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..lesion_mask import LesionMask
from ..models.sampler_spec import SamplerSpec
from ..models.zoo import Model
from ..synthesis.synthesize import synthesize
from ..volume import Volume
from .lesion_features import (
    Appearance,
    appearance,
    crop_around,
    random_directions,
    scale_of,
    seam_contrast,
    set_distance,
)

logger = logging.getLogger(__name__)

MEASURES = ("texture", "seam", "swd", "kid")
DRAWS = 100  # sets drawn from the seeds
WITHIN = 95  # percentile of the slow sampler's distances from itself
Setting = tuple[str, Model, SamplerSpec]  # its name in the tables; the model, which may be a student of few steps


@dataclass(frozen=True, eq=False)
class Scene:
    """A lesion to be made: where, and which texture."""

    name: str
    volume: Volume
    lesion: LesionMask
    texture: Any


@dataclass(frozen=True, eq=False)
class Look(Appearance):
    """One made lesion, measured: `texture` its distance from the texture asked for, `seam` its contrast at the rim,
    both in grey values."""

    texture: float
    seam: float
    seconds: float


@dataclass(frozen=True)
class Row:
    """One setting: distance from the slow sampler per measure beside what is allowed, means, and whether it passes."""

    setting: str
    evaluations: int
    seconds: float
    texture: float
    texture_difference: float
    texture_allowed: float
    seam: float
    seam_difference: float
    seam_allowed: float
    swd_difference: float
    swd_allowed: float
    kid_difference: float
    kid_allowed: float
    passes: bool


def sampler_gate(
    scenes: Sequence[Scene],
    slow: Setting,
    settings: Sequence[Setting],
    seeds: int = 2,
    seed: int = 0,
) -> list[Row]:
    """One row for the slow sampler (its own spread) and one for each of `settings`.

    seeds: how often the slow sampler makes each lesion, at least 2; the others make it once, with a seed of their own.
    """
    made: dict[str, list[list[Look]]] = {}
    counts: dict[str, int] = {}
    for number, (name, model, sampler) in enumerate((slow, *settings)):
        made[name] = []
        for own_seed in range(seed, seed + seeds) if number == 0 else [seed + seeds]:
            looks = []
            for index, scene in enumerate(scenes):
                look, counts[name] = _made(model, scene, sampler, own_seed * 1_000_003 + index)
                looks.append(look)
            made[name].append(looks)
            logger.info("%s: %.1f s a lesion", name, np.mean([look.seconds for look in looks]))
    return judged(made, slow[0], counts, seed)


def _made(model: Model, scene: Scene, sampler: SamplerSpec, seed: int) -> tuple[Look, int]:
    result = synthesize(scene.volume, scene.lesion, model, scene.texture, sampler, seed=seed)
    image, mask = crop_around(result.volume.array, scene.lesion.union)
    seen = appearance(image, mask)
    texture = float(np.mean([row["texture"]["wasserstein"] for row in result.report["lesions"]]))
    seconds = result.report["seconds"]["network"]
    look = Look(seen.points, seen.features, texture, seam_contrast(image, mask), seconds)
    return look, result.report["sampler"]["network_evaluations"]


def judged(made: dict[str, list[list[Look]]], slow: str, counts: dict[str, int], seed: int = 0) -> list[Row]:
    """The rows from what was made: {setting: one list of looks, a look per scene, for each seed}."""
    rng = np.random.default_rng(seed)
    scenes, seeds = len(made[slow][0]), len(made[slow])
    scale = scale_of([look for looks in made[slow] for look in looks])
    directions = random_directions(made[slow][0][0].points.shape[1], rng)

    def distances(first: Sequence[Look], second: Sequence[Look]) -> tuple[float, ...]:
        return (
            abs(float(np.mean([a.texture - b.texture for a, b in zip(first, second, strict=True)]))),
            abs(float(np.mean([a.seam - b.seam for a, b in zip(first, second, strict=True)]))),
            *set_distance(first, second, scale, directions),
        )

    orders = [np.array([rng.permutation(seeds)[:2] for _ in range(scenes)]) for _ in range(DRAWS)]

    def drawn(order: np.ndarray, which: int) -> list[Look]:
        return [made[slow][order[scene, which]][scene] for scene in range(scenes)]

    own = np.array([distances(drawn(order, 0), drawn(order, 1)) for order in orders])
    allowed = np.percentile(own, WITHIN, axis=0)
    rows = []
    for name, sets in made.items():
        if name == slow:
            difference = own.mean(axis=0)
        else:
            difference = np.mean([distances(sets[0], drawn(order, 0)) for order in orders], axis=0)
        rows.append(_row(name, sets, counts[name], difference, allowed))
    return rows


def _row(name: str, sets: list[list[Look]], count: int, difference: np.ndarray, allowed: np.ndarray) -> Row:
    looks = [look for looks in sets for look in looks]

    def mean(pick: Callable[[Look], float]) -> float:
        return round(float(np.mean([pick(look) for look in looks])), 2)

    numbers = {
        f"{measure}_{word}": round(float(values[index]), 3)
        for word, values in (("difference", difference), ("allowed", allowed))
        for index, measure in enumerate(MEASURES)
    }
    return Row(
        setting=name,
        evaluations=count,
        seconds=mean(lambda look: look.seconds),
        texture=mean(lambda look: look.texture),
        seam=mean(lambda look: look.seam),
        passes=bool((difference <= allowed).all()),
        **numbers,
    )


def as_markdown(rows: Sequence[Row], about: str) -> str:
    """The table of `docs/experiments/sampling.md`."""
    lines = [
        about,
        "",
        "| setting | evaluations | s a lesion | texture distance, HU | seam, HU | "
        + " | ".join(f"{m}: difference / allowed" for m in MEASURES)
        + " | within the spread |",
        "|" + "---|" * (6 + len(MEASURES)),
    ]
    for row in rows:
        cells = [f"{getattr(row, f'{m}_difference'):.3g} / {getattr(row, f'{m}_allowed'):.3g}" for m in MEASURES]
        lines.append(
            f"| {row.setting} | {row.evaluations} | {row.seconds:.2f} | {row.texture:.1f} | {row.seam:.1f} | "
            + " | ".join(cells)
            + f" | {'yes' if row.passes else 'no'} |"
        )
    return "\n".join(lines) + "\n"
