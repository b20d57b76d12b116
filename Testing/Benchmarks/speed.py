"""How fast we are, and against what: every ratio is of the same run, baseline and candidate in turn.

    python Testing/Benchmarks/speed.py [-o docs/benchmarks/speed] [--repeats 3] [--device cpu|cuda] [--only PART ...]

The baseline is `plain_network.py`: the paper's network written down plainly, in float32. Weights are random, which does
not change the arithmetic; operations (products and convolutions) are counted by PyTorch's own counter. Wall seconds
depend on what else the machine does; on a processor the ratios are therefore of processor seconds, medians of the
repeats.
"""

import argparse
import copy
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from plain_network import PlainUNet3D
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import LeFusionLib as lf
from LeFusionLib.diffusion import evaluations as evaluations_of
from LeFusionLib.diffusion.resampling import paper_times, time_grid
from LeFusionLib.models.blocks import DepthConv
from LeFusionLib.models.card import bundled_models, read_card
from LeFusionLib.models.engine import ENGINES, evaluated
from LeFusionLib.models.fast import FastUNet3D
from LeFusionLib.models.unet3d import UNet3D
from LeFusionLib.threads import OWN_WORDS, wait_politely

LIDC = {"in_channels": 1, "out_channels": 1, "dim": 64, "condition_size": 16}
EMIDEC = {"in_channels": 2, "out_channels": 2, "dim": 72, "condition_size": 32}
BUNDLED = {name: read_card(folder).spec for name, folder in bundled_models().items()}
FULL_SIZE = "lidc (published, full size)"
# name: (options of UNet3D, patch (D, H, W)), one for each patch
NETWORKS: dict[str, list[tuple[dict[str, Any], tuple[int, int, int]]]] = {
    FULL_SIZE: [(LIDC, (32, 64, 64))],
    "emidec (published, full size)": [(EMIDEC, (10, 72, 72))],
    **{name: [(spec.network_options(), shape) for shape in spec.patch_shapes] for name, spec in BUNDLED.items()},
}
TIMESTEPS = 300
GROWTH = [(16, 32, 32), (32, 32, 32), (32, 64, 64)]


def measured(
    jobs: Mapping[str, Callable[[], object]], repeats: int, device: torch.device
) -> dict[str, dict[str, float]]:
    """Medians of wall and processor seconds of each job; they take turns, so that all meet the same weather."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for turn in range(repeats + 1):  # the first warms up
        for name, job in jobs.items():
            if device.type == "cuda":
                torch.cuda.synchronize()
            wall, own = time.perf_counter(), time.process_time()
            job()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:
                times[name].append((time.perf_counter() - wall, time.process_time() - own))
    return {
        name: {
            "seconds": round(statistics.median(wall for wall, _ in rows), 5),
            "processor_seconds": round(statistics.median(own for _, own in rows), 5),
        }
        for name, rows in times.items()
    }


def spent(row: Mapping[str, float], device: torch.device) -> float:
    return row["seconds" if device.type == "cuda" else "processor_seconds"]


@torch.inference_mode()
def ceilings(repeats: int, device: torch.device) -> dict[str, float]:
    """GFLOP per second (per processor second) of a matrix product and of a 3x3 convolution, float32."""
    n, channels = 1024, 64
    a = torch.randn(n, n, device=device)
    x = torch.randn(8, 64, 64, channels, device=device).permute(0, 3, 1, 2)
    weight = torch.randn(channels, channels, 3, 3, device=device).contiguous(memory_format=torch.channels_last)
    rows = measured({"product": lambda: a @ a, "convolution": lambda: F.conv2d(x, weight, padding=1)}, repeats, device)
    flop = {"product": 2 * n**3, "convolution": 2 * x.numel() * channels * 9}
    return {name: round(flop[name] / spent(row, device) / 1e9, 1) for name, row in rows.items()}


def variants(net: UNet3D, device: torch.device) -> dict[str, nn.Module]:
    """The same function in different ways, the baseline first."""
    deep = any(isinstance(module, DepthConv) for module in net.modules())  # ours alone: the published one has none
    made: dict[str, nn.Module] = {} if deep else {"plain": PlainUNet3D(copy.deepcopy(net))}
    made["network as trained"] = copy.deepcopy(net)
    if device.type == "cpu":
        made["fast"] = FastUNet3D(copy.deepcopy(net))
    else:
        for precision, engine in (("float32", "graph"), *product(("bfloat16", "float16"), ENGINES)):
            made[f"{precision}, {engine}"] = evaluated(copy.deepcopy(net), precision, engine, replay=True)
    return made


def inputs(
    options: Mapping[str, Any], patch: tuple[int, int, int], device: torch.device, rows: int = 1
) -> list[Tensor]:
    dice = torch.Generator().manual_seed(0)
    x = torch.randn(rows, options["in_channels"], *patch, generator=dice)
    condition = torch.rand(rows, options["condition_size"], generator=dice)
    return [x.to(device), torch.full((rows,), 150, device=device), condition.to(device)]


@torch.inference_mode()
def evaluations(repeats: int, device: torch.device, names: Sequence[str]) -> list[dict[str, Any]]:
    """One evaluation of each network in each way; errors are against the first way, the baseline."""
    rows = []
    for name, options, patch in ((n, *row) for n in names for row in NETWORKS[n]):
        torch.manual_seed(0)
        net = UNet3D(**options).to(device).eval().requires_grad_(False)
        given = inputs(options, patch, device)
        with FlopCounterMode(display=False) as counter:
            copy.deepcopy(net).to("meta")(*(value.to("meta") for value in given))
        gflop = counter.get_total_flops() / 1e9
        outputs: dict[str, Tensor] = {}

        def run(way: str, module: nn.Module, given: list[Tensor] = given, kept: dict[str, Tensor] = outputs) -> None:
            kept[way] = module(*given)

        ways = {way: partial(run, way, module) for way, module in variants(net, device).items()}
        first, times = next(iter(ways)), measured(ways, repeats, device)
        for way, row in times.items():
            error = outputs[way] - outputs[first]
            rows.append(
                {
                    "network": name,
                    "patch": "x".join(map(str, patch)),
                    "gflop": round(gflop, 1),
                    "way": way,
                    **row,
                    "gflop_per_s": round(gflop / spent(row, device), 1),
                    "times_faster": round(spent(times[first], device) / spent(row, device), 2),
                    "largest_error": float(error.abs().max() / outputs[first].abs().max()),
                    "relative_l2": float(error.norm() / outputs[first].norm()),
                }
            )
            print(rows[-1], flush=True)
    return rows


def schedules(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Seconds a lesion with the full-size networks: the evaluations of a schedule, counted on the sampler's own steps,
    times the seconds that `evaluations` measured for one. Products, not lesions that were timed."""
    ways = [
        ("paper's (5, 5)", "plain", paper_times(TIMESTEPS, 5, 5)),
        ("paper's (2, 2)", "plain", paper_times(TIMESTEPS, 2, 2)),
        ("paper's (2, 2)", "fast", paper_times(TIMESTEPS, 2, 2)),
        ("65 points, each twice", "fast", time_grid(TIMESTEPS, 65, 1, 2)),
        ("background clean, 10 steps", "fast", time_grid(TIMESTEPS, 10)),
        ("background clean, 2 steps", "fast", time_grid(TIMESTEPS, 2)),
    ]
    made = []
    there = {row["network"] for row in rows}
    for network in (name for name in NETWORKS if name in there and name not in BUNDLED):
        one = {row["way"]: row["processor_seconds"] for row in rows if row["network"] == network}
        longest, shorter = (evaluations_of(times) * one["plain"] for _, _, times in ways[:2])
        for schedule, way, times in ways:
            count = evaluations_of(times)
            seconds = count * one[way]
            made.append(
                {
                    "network": network,
                    "schedule": schedule,
                    "way": way,
                    "evaluations": count,
                    "processor_seconds": round(seconds, 1),
                    "times_fewer_than_(5, 5)": round(longest / seconds, 1),
                    "times_fewer_than_(2, 2)": round(shorter / seconds, 1),
                }
            )
    return made


def peaks() -> list[dict[str, Any]]:
    """Peak memory of one evaluation of the full-size network, each way in a process of its own."""
    rows = []
    for way in ("nothing", "plain", "network as trained", "fast"):
        code = f"import speed; speed.peak({way!r})"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        rows.append({"way": way, "gib": float(done.stdout)})
    return rows


@torch.inference_mode()
def peak(way: str) -> None:
    options, patch = NETWORKS[FULL_SIZE][0]
    net = UNet3D(**options).eval().requires_grad_(False)
    ways = {"plain": PlainUNet3D, "network as trained": lambda net: net, "fast": FastUNet3D}
    if way in ways:
        ways[way](net)(*inputs(options, patch, torch.device("cpu")))
    print(round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2))


@torch.inference_mode()
def growth(repeats: int, device: torch.device) -> list[dict[str, Any]]:
    """The full-size network over the patch's size, and over lesions in one call."""
    net = UNet3D(**LIDC).to(device).eval().requires_grad_(False)
    quick = FastUNet3D(net) if device.type == "cpu" else evaluated(net, "bfloat16", "graph", replay=True)
    cases = {f"patch {'x'.join(map(str, patch))}": inputs(LIDC, patch, device) for patch in GROWTH}
    cases |= {f"{n} lesions of 16x32x32": inputs(LIDC, GROWTH[0], device, n) for n in (2, 4)}
    times = measured({name: partial(quick, *given) for name, given in cases.items()}, repeats, device)
    return [{"case": name, **row} for name, row in times.items()]


def nodule(device: torch.device) -> dict[str, Callable[[], object]]:
    """A 12 mm nodule in the made-up chest CT with the bundled models, models open: its shape, and tissue by sampler."""
    from LeFusionLib.phantom import chest_phantom, lung_sites

    volume, lungs = chest_phantom()
    sphere = lf.ControlSphere(tuple(lung_sites(volume, lungs, 12.0)[0]), 12.0)
    model, mask_model = lf.load_model("lung-nodule", str(device)), lf.load_model("lung-nodule-mask", str(device))
    student = lf.load_model("lung-nodule-mask-live", str(device))
    lesion = lf.draw_lesion_mask(volume, sphere, mask_model, seed=7)
    jobs: dict[str, Callable[[], object]] = {
        "its shape": lambda: lf.draw_lesion_mask(volume, sphere, mask_model, seed=7),
        "its shape, by the student": lambda: lf.draw_lesion_mask(volume, sphere, student, seed=7),
    }
    for sampler in ("draft", "standard", "ddim:1", "ddim:5", "ddim:20", "ddim:50"):
        jobs[sampler] = partial(lf.synthesize, volume, lesion, model, "solid", lf.SamplerSpec.parse(sampler), seed=7)
    return jobs


def lesions(repeats: int, device: torch.device) -> list[dict[str, Any]]:
    """The shape and the tissue of a nodule."""
    return [{"job": name, **row} for name, row in measured(nodule(device), repeats, device).items()]


def batch(device: torch.device) -> list[dict[str, Any]]:
    """`lefusion batch` in this process: four cases of three nodules each (8, 12 and 16 mm) with the bundled models."""
    from LeFusionLib.batch import BatchCase, BatchSettings, run_batch
    from LeFusionLib.phantom import chest_phantom, lung_sites

    volume, lungs = chest_phantom()
    sites = lung_sites(volume, lungs, 16.0, count=3)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        scan = Path(folder) / "ct.nii.gz"
        lf.write_volume(volume, scan)
        cases = [
            BatchCase(
                f"case_{seed}",
                str(scan),
                tuple(
                    lf.LesionRequest(tuple(site), diameter, "random", seed=seed)
                    for site, diameter in zip(sites, (8.0, 12.0, 16.0), strict=True)
                ),
            )
            for seed in range(4)
        ]
        for quality in ("draft", "standard"):
            settings = BatchSettings(sampler=lf.SamplerSpec(quality), device=str(device))
            wall = time.perf_counter()
            made = run_batch(cases, settings, Path(folder) / quality)
            took = time.perf_counter() - wall
            assert len(made["done"]) == len(cases), made
            count = len(cases) * len(sites)
            rows.append({"sampler": quality, "lesions": count, "seconds": round(took, 1),
                         "lesions_per_hour": round(3600 * count / took)})  # fmt: skip
    return rows


def company(repeats: int) -> list[dict[str, Any]]:
    """A draft in a process of its own, alone and beside as many busy programs as there are cores: with threads that
    wait as OpenMP has it, as our processes let them, and with one thread."""
    bare = {name: value for name, value in os.environ.items() if name not in OWN_WORDS}
    ours = dict(bare)
    wait_politely(ours)
    ways = {"threads wait as OpenMP has it": bare, "as ours do": ours, "one thread": {**bare, "OMP_NUM_THREADS": "1"}}
    rows = []
    for others in (0, os.cpu_count() or 1):
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(others)]
        try:
            took: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(repeats):
                for way, environment in ways.items():
                    done = subprocess.run(
                        [sys.executable, "-c", "import speed; speed.draft()"], cwd=Path(__file__).parent, text=True,
                        capture_output=True, check=True, env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
                    )  # fmt: skip
                    took[way].append(float(done.stdout))
        finally:
            for program in busy:
                program.kill()
        medians = {way: statistics.median(seconds) for way, seconds in took.items()}
        first = next(iter(medians.values()))
        rows += [
            {
                "beside": f"{others} busy programs",
                "way": way,
                "seconds": round(s, 2),
                "times_faster": round(first / s, 2),
            }
            for way, s in medians.items()
        ]
    return rows


def draft(times: int = 4) -> None:
    """Prints the seconds of a draft, its model open: the median of some."""
    device = torch.device("cpu")
    print(measured({"draft": nodule(device)["draft"]}, times, device)["draft"]["seconds"])


def starts() -> list[dict[str, Any]]:
    """What a user waits for from the start, each a process of its own; processor seconds of the process beside it."""
    from LeFusionLib.phantom import chest_phantom, lung_sites

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        volume, lungs = chest_phantom()
        lf.write_volume(volume, Path(folder) / "ct.nii.gz")
        center = [f"{mm:.1f}" for mm in lung_sites(volume, lungs, 12.0)[0]]
        lesion = ["--center", *center, "--diameter", "12", "--texture", "solid", "--seed", "7"]
        for name, words in {
            "lefusion --help": ["--help"],
            "lefusion models": ["models"],
            "lefusion synthesize (cold)": ["synthesize", f"{folder}/ct.nii.gz", *lesion, "-o", f"{folder}/out"],
        }.items():
            before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run([sys.executable, "-m", "LeFusionLib", *words], check=True, capture_output=True)
            took, after = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_CHILDREN)
            own = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            rows.append({"job": name, "seconds": round(took, 2), "processor_seconds": round(own, 2)})
        rows += _through_the_worker(volume, tuple(map(float, center)))
    return rows


def _through_the_worker(volume: "lf.Volume", center: tuple[float, ...]) -> list[dict[str, Any]]:
    """What a panel asks of a worker: the first sketch, another with the models open, the lesion as it is made."""
    from LeFusionLib.synthesis.sketch import sketch_of
    from LeFusionLib.worker_client import Job, WorkerClient

    asked = lf.SynthesisRequest((lf.LesionRequest(center, 12.0, "solid"),), "lung-nodule", device="cpu", seed=7)
    rows = []
    with WorkerClient() as worker:
        for name in ("first sketch through a fresh worker", "sketch through a warm worker", "the same again"):
            wall = time.perf_counter()
            sketch = sketch_of(volume, asked, None, BUNDLED["lung-nodule"])
            worker.run(Job("synthesize", sketch.volume, sketch.request))
            rows.append({"job": name, "seconds": round(time.perf_counter() - wall, 2), "processor_seconds": None})
        for name in ("shape and tissue in full, its shapes' model fresh", "in full, warm"):
            wall = time.perf_counter()
            worker.run(Job("synthesize", volume, asked))
            rows.append({"job": name, "seconds": round(time.perf_counter() - wall, 2), "processor_seconds": None})
    return rows


@torch.inference_mode()
def profile(device: torch.device) -> list[dict[str, Any]]:
    """Where the fast evaluation of the full-size network spends its time."""
    net = UNet3D(**LIDC).to(device).eval().requires_grad_(False)
    quick = FastUNet3D(net) if device.type == "cpu" else evaluated(net, "bfloat16", "eager", replay=False)
    given = inputs(LIDC, (16, 64, 64), device)
    quick(*given)
    with torch.profiler.profile() as recorded:
        quick(*given)
    kind = "self_cpu_time_total" if device.type == "cpu" else "self_device_time_total"
    events = sorted(recorded.key_averages(), key=lambda event: -getattr(event, kind))
    total = sum(getattr(event, kind) for event in events)
    return [{"operation": e.key, "share": round(getattr(e, kind) / total, 3), "calls": e.count} for e in events[:12]]


PARTS = ("evaluations", "schedules", "peaks", "growth", "lesions", "batch", "company", "starts", "profile")


def table(rows: list[dict[str, Any]]) -> list[str]:
    def cell(value: Any) -> str:
        return "" if value is None else f"{value:.2g}" if isinstance(value, float) and abs(value) < 1e-3 else str(value)

    names = list(rows[0])
    lines = ["| " + " | ".join(name.replace("_", " ") for name in names) + " |", "|" + "---|" * len(names)]
    return lines + ["| " + " | ".join(cell(row[name]) for name in names) + " |" for row in rows] + [""]


TITLES = {
    "evaluations": "One evaluation",
    "schedules": "A lesion with the full-size networks: evaluations of the schedule times the seconds of one, above",
    "peaks": "Peak memory of one evaluation of the full-size network, GiB (whole process)",
    "growth": "Growth of the fast evaluation, full-size network",
    "lesions": "A 12 mm nodule with the bundled models, models open",
    "batch": "A batch: four made-up chest CTs, three nodules each, from opening the models to the last file",
    "company": "A draft of that nodule, and what others on the machine make of it",
    "starts": "From the start",
    "profile": "Where the fast evaluation spends its time (full-size network, 16x64x64)",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", default="docs/benchmarks/speed")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--networks", nargs="+", choices=tuple(NETWORKS), default=tuple(NETWORKS))
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    device = torch.device(options.device)
    output = Path(options.output)
    kept = output.with_suffix(".json")
    result: dict[str, Any] = json.loads(kept.read_text()) if options.only != PARTS and kept.exists() else {}
    result |= {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "ceilings_gflop_per_s": ceilings(options.repeats, device),
        "load_average": round(os.getloadavg()[0], 1),
    }
    work: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "evaluations": lambda: evaluations(options.repeats, device, options.networks),
        "schedules": lambda: schedules(result.get("evaluations", [])),
        "peaks": peaks,
        "growth": lambda: growth(options.repeats, device),
        "lesions": lambda: lesions(options.repeats, device),
        "batch": lambda: batch(device),
        "company": lambda: company(options.repeats),
        "starts": starts,
        "profile": lambda: profile(device),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        if part in options.only and not (device.type == "cuda" and part in ("schedules", "peaks", "company")):
            result[part] = work[part]()
        lines = [
            "# Speed",
            "",
            f"{result['device']}, {result['threads']} thread(s), PyTorch {result['torch']}, float32 unless said "
            f"otherwise; load average {result['load_average']} at the start. Ceilings measured in the same run, GFLOP "
            f"per {'second' if device.type == 'cuda' else 'processor second'}: "
            + ", ".join(f"{name} {value}" for name, value in result["ceilings_gflop_per_s"].items())
            + ". Parts may come from several calls (`--only`); these numbers are of the last.",
            "",
        ]
        for done in (name for name in PARTS if result.get(name)):
            lines += [f"## {TITLES[done]}", "", *table(result[done])]
        lines.append("Made by `python Testing/Benchmarks/speed.py`; how it measures stands at the head of that file.")
        kept.write_text(json.dumps(result, indent=1) + "\n")
        output.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
