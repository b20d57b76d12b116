"""One evaluation of the full-size published networks in our implementation: seconds and GFLOP/s, beside what the
machine reaches in a plain matrix product in the same run.

    python Testing/Benchmarks/network_evaluation.py [-o docs/benchmarks/network_evaluation] [--repeats 3] [--device cpu]

Weights are random: they do not change the arithmetic. Operations are counted by PyTorch's own counter.
"""

import argparse
import json
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from LeFusionLib.models.unet3d import UNet3D

NETWORKS = {
    # name: (options of UNet3D, input channels and patch (C, D, H, W))
    "lidc": ({"in_channels": 1, "out_channels": 1, "dim": 64, "condition_size": 16}, (1, 32, 64, 64)),
    "emidec": ({"in_channels": 2, "out_channels": 2, "dim": 72, "condition_size": 32}, (2, 10, 72, 72)),
    "diffmask": ({"in_channels": 2, "out_channels": 1, "dim": 64}, (2, 32, 64, 64)),
}


def seconds(job: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Median of `repeats` runs after one warm-up."""
    job()
    measured = []
    for _ in range(repeats):
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        job()
        if device.type == "cuda":
            torch.cuda.synchronize()
        measured.append(time.perf_counter() - start)
    return statistics.median(measured)


def ceiling(repeats: int, device: torch.device) -> float:
    """GFLOP/s of a square float32 matrix product."""
    n = 2048
    a = torch.randn(n, n, device=device)
    return 2 * n**3 / seconds(lambda: a @ a, repeats, device) / 1e9


@torch.inference_mode()
def measure(name: str, repeats: int, device: torch.device) -> dict[str, float | int | str]:
    options, shape = NETWORKS[name]
    network = UNet3D(**options).to(device).eval()  # type: ignore[arg-type]
    x, t = torch.randn(1, *shape, device=device), torch.tensor([150], device=device)
    with FlopCounterMode(display=False) as counter:
        network(x, t)
    took = seconds(lambda: network(x, t), repeats, device)
    return {
        "network": name,
        "parameters": sum(p.numel() for p in network.parameters()),
        "patch": "x".join(map(str, shape)),
        "gflop": round(counter.get_total_flops() / 1e9, 1),
        "seconds": round(took, 3),
        "gflop_per_s": round(counter.get_total_flops() / 1e9 / took, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", default="docs/benchmarks/network_evaluation")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    options = parser.parse_args()
    device = torch.device(options.device)
    rows = [measure(name, options.repeats, device) for name in options.networks]
    result = {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "matrix_product_gflop_per_s": round(ceiling(options.repeats, device), 1),
        "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "evaluations": rows,
    }
    lines = [
        "# One evaluation of the published networks",
        "",
        f"{result['device']}, {result['threads']} threads, PyTorch {result['torch']}, float32; a matrix product "
        f"reaches {result['matrix_product_gflop_per_s']} GFLOP/s in the same run; peak memory "
        f"{result['peak_memory_gib']} GiB.",
        "",
        "| network | parameters | patch (C, D, H, W) | GFLOP | seconds | GFLOP/s |",
        "|---|---|---|---|---|---|",
        *(
            f"| {r['network']} | {r['parameters']:,} | {r['patch']} | {r['gflop']} | {r['seconds']} "
            f"| {r['gflop_per_s']} |"
            for r in rows
        ),
        "",
        "Made by `python Testing/Benchmarks/network_evaluation.py`. Operations are those of convolutions and matrix "
        "products; norms, activations and copies are not counted but timed.",
        "",
    ]
    output = Path(options.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    output.with_suffix(".md").write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
