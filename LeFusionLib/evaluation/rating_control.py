"""Do ratings steer a shape? The same seeds and spheres drawn with each rating low, left to chance, and high."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..geometry import ControlSphere
from ..models.sampler_spec import SamplerSpec
from ..models.zoo import Model
from ..synthesis.draw import draw_lesion_mask
from ..volume import Volume
from .shape_features import shape_features

CHANCE = "chance"
MEASURES = ("sphericity", "solidity", "surface_to_volume", "concavities")


@dataclass(frozen=True)
class Row:
    """One drawn shape: which rating was set to what (`chance`: none), and what was measured on it."""

    rating: str
    value: float
    diameter_mm: float
    seed: int
    sphericity: float
    solidity: float
    surface_to_volume: float
    concavities: int


def rating_control(
    model: Model,
    shapes: int,
    seed: int = 0,
    diameters_mm: tuple[float, float] = (8.0, 24.0),
    sampler: SamplerSpec | None = None,
) -> list[Row]:
    """Draw in `shapes` spheres of random size on a grid of 1 mm: by chance, and with every rating of the model at 1 and
    at 5. A seed has the same noise each time."""
    assert model.spec.mask is not None
    sizes = np.random.default_rng(seed).uniform(*diameters_mm, shapes)
    settings = [(CHANCE, 0.0)] + [(name, value) for name in model.spec.mask.ratings for value in (1.0, 5.0)]
    rows = []
    for number, diameter_mm in enumerate(sizes):
        side = int(np.ceil(diameter_mm)) + 6
        volume = Volume(np.zeros((side, side, side), np.int16), np.diag([-1.0, -1.0, 1.0, 1.0]))
        sphere = ControlSphere((-side / 2, -side / 2, side / 2), float(diameter_mm))
        for rating, value in settings:
            ratings = {} if rating == CHANCE else {rating: value}
            mask = draw_lesion_mask(volume, sphere, model, seed=seed + number, ratings=ratings, sampler=sampler).union
            measured = shape_features(mask, (1.0, 1.0, 1.0))
            found = {name: getattr(measured, name) for name in MEASURES}
            rows.append(Row(rating, value, round(float(diameter_mm), 2), seed + number, **found))
    return rows


def summarize(rows: Sequence[Row]) -> dict[str, object]:
    """Means at each setting; and per rating how each measure goes from 1 to 5: the mean difference between shapes of
    one seed in standard deviations of those drawn by chance, and the share of seeds in which it rose."""

    def column(rating: str, value: float, measure: str) -> np.ndarray:
        return np.array([getattr(row, measure) for row in rows if (row.rating, row.value) == (rating, value)], float)

    ratings = sorted({row.rating for row in rows} - {CHANCE})
    summary: dict[str, object] = {"shapes": len({row.seed for row in rows})}
    summary[CHANCE] = {m: round(float(column(CHANCE, 0.0, m).mean()), 4) for m in MEASURES}
    for rating in ratings:
        effects = {}
        for measure in MEASURES:
            low, high = column(rating, 1.0, measure), column(rating, 5.0, measure)
            spread = float(column(CHANCE, 0.0, measure).std()) or 1.0
            effects[measure] = {
                "at_1": round(float(low.mean()), 4),
                "at_5": round(float(high.mean()), 4),
                "effect": round(float((high - low).mean()) / spread, 2),
                "rose": round(float((high > low).mean()), 2),
            }
        summary[rating] = effects
    return summary
