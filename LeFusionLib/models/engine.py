"""How a network is evaluated on a device: precision, and what is prepared before the first call.

On a processor the default is `fast`, on a GPU PyTorch as it is in float32. Everything else is asked for by name: lower
precision, CUDA graphs and `torch.compile` change bytes or waiting times, which must surprise nobody.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import LeFusionError, unknown_name
from .denoiser import Denoiser
from .fast import fast

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ENGINES = ("eager", "graph", "compile")

Record = Callable[[Callable[[], Tensor]], tuple[Tensor, Callable[[], None]]]


def prepared(denoiser: Denoiser, device: torch.device, precision: str = "float32", engine: str = "eager") -> Denoiser:
    """The denoiser on `device`, its network evaluated as asked; it is not trained any more.

    precision: of products and convolutions on a GPU; norms and softmaxes stay in float32. engine: "graph" records the
    launches of an evaluation once per shape and replays them (GPU); "compile" has `torch.compile` write the kernels
    first, which takes minutes at the first call of each shape (less where its cache on disk has them).

    Raises `LeFusionError` for names that are unknown and for what the device cannot do.
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    if engine not in ENGINES:
        raise unknown_name("engine", engine, ENGINES)
    if device.type != "cuda" and (precision != "float32" or engine == "graph"):
        raise LeFusionError(
            f"Precision '{precision}' with engine '{engine}' needs an NVIDIA GPU; the device is '{device.type}'. "
            "Possible here: precision 'float32' with engine 'eager' or 'compile'."
        )
    denoiser.to(device).eval().requires_grad_(False)
    if device.type == "cpu" and engine == "eager":
        return fast(denoiser)
    denoiser.net = evaluated(denoiser.net, precision, engine, replay=device.type == "cuda")  # type: ignore[assignment]
    return denoiser


def evaluated(net: nn.Module, precision: str, engine: str, replay: bool) -> nn.Module:
    """The network in the precision and by the engine asked for. replay: can launches be recorded? Compiled kernels are
    recorded too then, as without it launching them takes longer than they do."""
    if precision != "float32":
        net = Autocast(net, PRECISIONS[precision])
    if engine == "compile":
        net = torch.compile(net, dynamic=False)  # type: ignore[assignment]
    return Replayed(net) if replay and engine != "eager" else net


class Autocast(nn.Module):
    """A network whose products and convolutions are computed in `dtype`; in and out come float32."""

    def __init__(self, net: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.net, self.dtype = net, dtype
        self.null_condition = net.null_condition

    def forward(self, x: Tensor, *rest: Tensor | None) -> Tensor:
        with torch.autocast(x.device.type, self.dtype):
            return self.net(x, *rest).float()


class Replayed(nn.Module):
    """A network whose evaluation is recorded once for each set of shapes, then replayed.

    record: runs a function and returns its output and what runs it again into the same output.
    """

    def __init__(self, net: nn.Module, record: Record | None = None):
        super().__init__()
        self.net, self.record = net, record or cuda_graph
        self.null_condition = net.null_condition
        self.recorded: dict[tuple[object, ...], tuple[list[Tensor], Tensor, Callable[[], None]]] = {}

    def forward(
        self, x: Tensor, t: Tensor, condition: Tensor | None = None, focus_present_mask: Tensor | None = None
    ) -> Tensor:
        """As `UNet3D.forward`; `focus_present_mask` belongs to training and is not recorded."""
        if focus_present_mask is not None:
            return self.net(x, t, condition, focus_present_mask)
        given = [x, t] + ([] if condition is None else [condition])
        key = tuple((tuple(value.shape), value.dtype) for value in given)
        if key not in self.recorded:
            kept = [value.clone() for value in given]
            self.recorded[key] = kept, *self.record(lambda: self.net(*kept))
        kept, output, again = self.recorded[key]
        for place, value in zip(kept, given, strict=True):
            place.copy_(value)
        again()
        return output.clone()


def cuda_graph(function: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
    """`function` as a CUDA graph; warmed up on a stream of its own, as capture demands."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = function()
    return output, graph.replay
