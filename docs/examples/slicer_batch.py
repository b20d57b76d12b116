"""Lesions of a table into the scans of a folder, inside 3D Slicer without a window.

    Slicer --no-splash --no-main-window --python-script slicer_batch.py SCANS lesions.csv OUT

lesions.csv: file,r,a,s,diameter_mm,texture,seed; one row per lesion, world coordinates (RAS) in mm. For each file OUT
gets the volume (.nrrd), the segments (.seg.nrrd) and the report (.json). Run it again to go on where it stopped.
"""

import csv
import sys
from pathlib import Path

import slicer

from LeFusion import LeFusionLogic, library


def rows_by_file(table):
    """{file name: its spheres}, in the order of the table."""
    cases = {}
    with open(table, newline="", encoding="utf-8-sig") as stream:
        for row in csv.DictReader(stream):
            sphere = {
                "centerRas": (float(row["r"]), float(row["a"]), float(row["s"])),
                "diameterMm": float(row["diameter_mm"]),
                "texture": row.get("texture") or "random",
                "seed": int(row.get("seed") or 0),
            }
            cases.setdefault(row["file"], []).append(sphere)
    return cases


def run(scans, table, out, load=slicer.util.loadVolume, logic=None):
    """Number of cases that failed; each failure is told and the next case begun."""
    logic, failed = logic or LeFusionLogic(), 0
    for file, spheres in rows_by_file(table).items():
        target = Path(out) / Path(file).name.split(".")[0]
        if target.is_dir():
            print(f"{file}: there already")
            continue
        try:
            result = logic.synthesize(load(str(Path(scans) / file)), spheres, seed=spheres[0]["seed"])
            target.mkdir(parents=True)
            library("scene").export_result(result.volumeNode, target)
            print(f"{file}: {len(spheres)} lesions")
        except (library().LeFusionError, RuntimeError) as error:  # RuntimeError: Slicer could not load the file
            failed += 1
            print(f"{file}: {error}", file=sys.stderr)
        slicer.mrmlScene.Clear(False)
    logic.close()
    return failed


if __name__ == "__main__":
    sys.exit(1 if run(*sys.argv[1:4]) else 0)
