"""The batch itself: skip what is done, make the rest, write down what became of it."""

import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from ..errors import Cancelled, LeFusionError, unknown_name
from .cases import BatchCase, BatchSettings, Cancel, make_case
from .engines import ENGINES, Job
from .manifest import BETWEEN, DONE, FAILED, Manifest


def run_batch(
    cases: Sequence[BatchCase],
    settings: BatchSettings,
    folder: Path,
    engine: str = "local",
    workers: int | None = None,
    told: Callable[[int, int, str], None] = lambda step, total, message: None,
    cancel: Cancel = lambda: False,
) -> dict[str, list[str]]:
    """Make every case into `folder`; returns {"done": [...], "failed": [...], "skipped": [...]}, names of cases.

    `manifest.csv` there has a row for each case, from the moment it ended. Cases that it says are done with the same
    settings are skipped; failed ones are tried again. A case that fails does not stop the others. told(step, total,
    message) is called after each. Raises `Cancelled` within one network evaluation; what was done then stays done.
    """
    if engine not in ENGINES:
        raise unknown_name("engine", engine, ENGINES)
    manifest = Manifest(folder)
    skipped = [case.name for case in cases if manifest.has(case.name, case.fingerprint(settings))]
    left = [case for case in cases if case.name not in skipped]
    names: dict[str, list[str]] = {DONE: [], FAILED: [], "skipped": skipped}
    if left:
        for row in ENGINES[engine](left, partial(_new_job, settings, folder), workers, cancel):
            manifest.add(row)
            names[row["status"]].append(row["case"])
            said = "done" if row["status"] == DONE else row["message"]
            told(len(cases) - len(left) + len(names[DONE]) + len(names[FAILED]), len(cases), f"{row['case']}: {said}")
    return names


def _new_job(settings: BatchSettings, folder: Path) -> Job:
    """What makes one case and gives its row; models stay open from case to case."""
    from ..models.zoo import load_model

    return partial(_job, settings, folder, cache(load_model))


def _job(settings: BatchSettings, folder: Path, models: Any, case: BatchCase, cancel: Cancel | None) -> dict[str, Any]:
    since = time.monotonic()
    row: dict[str, Any] = {
        "case": case.name, "file": Path(case.volume).name, "settings": case.fingerprint(settings)
    }  # fmt: skip
    try:
        result, files = make_case(case, settings, folder, models, cancel)
    except Cancelled:
        raise
    except (LeFusionError, OSError) as error:
        return row | {"status": FAILED, "message": str(error), "seconds": round(time.monotonic() - since, 2)}
    return row | {
        "status": DONE,
        "lesions": len(result.report["lesions"]),
        "voxels": result.lesion_mask.voxels(),
        "changed_outside": result.report["background"]["changed_voxels_outside_mask"],
        "seconds": round(time.monotonic() - since, 2),
        "outputs": BETWEEN.join(path.name for path in files),
    }
