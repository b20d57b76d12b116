"""LeFusion: realistic lesions in medical scans, every other voxel untouched.

Importing this package imports neither torch nor slicer nor qt: each name is fetched when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Cancelled": "errors",
    "LeFusionError": "errors",
    "Volume": "volume",
    "ControlSphere": "geometry",
    "PatchFrame": "geometry",
    "LesionMask": "lesion_mask",
    "IntensityWindow": "intensity",
    "TextureHistogram": "texture",
    "SamplerSpec": "models.sampler_spec",
    "ModelSpec": "models.spec",
    "read_volume": "io",
    "write_volume": "io",
    "read_labels": "io",
    "load_model": "models.zoo",
    "bundled_models": "models.zoo",
    "draw_lesion_mask": "synthesis.draw",
    "synthesize": "synthesis.synthesize",
    "SynthesisResult": "synthesis.result",
    "LesionRequest": "synthesis.request",
    "SynthesisRequest": "synthesis.request",
    "run_request": "synthesis.request",
    "chest_ct": "phantom",
}
__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from .errors import Cancelled as Cancelled
    from .errors import LeFusionError as LeFusionError
    from .geometry import ControlSphere as ControlSphere
    from .geometry import PatchFrame as PatchFrame
    from .intensity import IntensityWindow as IntensityWindow
    from .io import read_labels as read_labels
    from .io import read_volume as read_volume
    from .io import write_volume as write_volume
    from .lesion_mask import LesionMask as LesionMask
    from .models.sampler_spec import SamplerSpec as SamplerSpec
    from .models.spec import ModelSpec as ModelSpec
    from .models.zoo import bundled_models as bundled_models
    from .models.zoo import load_model as load_model
    from .phantom import chest_ct as chest_ct
    from .synthesis.draw import draw_lesion_mask as draw_lesion_mask
    from .synthesis.request import LesionRequest as LesionRequest
    from .synthesis.request import SynthesisRequest as SynthesisRequest
    from .synthesis.request import run_request as run_request
    from .synthesis.result import SynthesisResult as SynthesisResult
    from .synthesis.synthesize import synthesize as synthesize
    from .texture import TextureHistogram as TextureHistogram
    from .volume import Volume as Volume


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'LeFusionLib' has no attribute '{name}'")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
