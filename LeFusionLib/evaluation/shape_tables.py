"""The comparison of lesion shapes as tables: one line per lesion as CSV, the summary as JSON and as Markdown."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..io import atomic_write
from .shape_features import ShapeFeatures

Features = Mapping[str, Sequence[ShapeFeatures]]


def write_tables(features: Features, nearest: Mapping[str, np.ndarray], summary: dict[str, Any], stem: Path) -> None:
    """`stem`.csv with every lesion, `stem`.json with the summary, `stem`.md with the summary's tables."""
    rows = csv_rows(features, nearest)
    with atomic_write(stem.with_name(f"{stem.name}.csv")) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with atomic_write(stem.with_name(f"{stem.name}.json")) as temporary:
        temporary.write_text(json.dumps(summary, indent=1) + "\n")
    with atomic_write(stem.with_name(f"{stem.name}.md")) as temporary:
        temporary.write_text(markdown(summary), encoding="utf-8")


def csv_rows(features: Features, nearest: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """One row per lesion: its set, its place in it, its features, and the Dice with the nearest training shape (empty
    for the training shapes). Equal places of the held-out and the drawn sets belong to one control sphere."""
    return [
        {
            "set": name,
            "number": number,
            **{key: round(value, 5) for key, value in asdict(one).items()},
            "nearest_training_dice": round(float(nearest[name][number]), 5) if name in nearest else "",
        }
        for name, found in features.items()
        for number, one in enumerate(found)
    ]


def markdown(summary: Mapping[str, Any]) -> str:
    """The summary of `evaluate_shapes` as Markdown tables."""
    names = list(dict.fromkeys(row["set"] for row in summary["features"]))
    distance = {(row["feature"], row["set"]): row["distance_sd"] for row in summary["features"]}
    by_feature: dict[str, list[dict[str, Any]]] = {}
    for row in summary["features"]:
        by_feature.setdefault(row["feature"], []).append(row)
    lines = ["Wasserstein distance to the real lesions, in their standard deviations:", ""]
    lines += markdown_table(
        ["feature", *names],
        [[feature, *(f"{distance[feature, name]:.2f}" for name in names)] for feature in by_feature]
        + [["mean of all", *(f"{np.mean([distance[f, name] for f in by_feature]):.2f}" for name in names)]],
    )
    lines += ["", "The same in each feature's own unit, with the mean in brackets:", ""]
    lines += markdown_table(
        ["feature", *names],
        [[f, *(f"{row['distance']:.3g} ({row['mean']:.3g})" for row in rows)] for f, rows in by_feature.items()],
    )
    lines += ["", "Variety as mean Dice of pairs (lower is more varied), and Dice with the nearest training shape:", ""]
    near = summary["nearest_training_shape"]
    lines += markdown_table(
        ["set", "lesions", "pairs, own size", "pairs, same size", "nearest, median", "95th percentile", "highest"],
        [
            [name, str(summary["lesions"][name]), *(f"{n:.3f}" for n in [*pairs.values(), *near[name].values()])]
            for name, pairs in summary["variety"].items()
        ],
    )
    for name, rows in summary["diameters"].items():
        lines += ["", f"Diameter asked and delivered, {name}:", ""]
        lines += markdown_table(
            [key.replace("_mm", " (mm)").replace("_", " ") for key in rows[0]],
            [[v if isinstance(v, str) else f"{v:.4g}" for v in row.values()] for row in rows],
        )
    return "\n".join(lines) + "\n"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of one Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *rows]]
