"""What `lefusion app` is started with."""

from dataclasses import dataclass, field
from pathlib import Path

from ..errors import LeFusionError
from ..given import boundary_file
from ..models.sampler_spec import SamplerSpec

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class AppOptions:
    """volume: a file or DICOM folder to open first; None is the made-up chest CT. boundary: in what the lesions of that
    scan stay, as on the command line; can be changed on the page. data: folder whose scans can be chosen on the page,
    nothing outside it can. output: folder that results are saved into; None leaves downloads. any_modality: the model
    may be used for scans it was not made for.
    token: word that every request must bring; needed on any `host` but this computer itself. idle_minutes: a session
    without a hand on it ends then; 0 is never. max_voxels: larger scans are refused.
    """

    volume: Path | None = None
    boundary: str | None = None
    data: Path | None = None
    output: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    token: str | None = None
    model: str | None = None
    mask_model: str | None = None
    device: str = "auto"
    any_modality: bool = False
    sampler: SamplerSpec = field(default_factory=SamplerSpec)
    idle_minutes: float = 120.0
    max_voxels: int = 600_000_000

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise LeFusionError(f"A port is a number from 1 to 65535 (0: any free one); got {self.port}.")
        if self.host not in LOOPBACK and not self.token:
            raise LeFusionError(f"Serving on {self.host} needs a token.")
        if self.volume is not None and not self.volume.exists():
            raise LeFusionError(f"There is no {self.volume}. Give a NIfTI, NRRD or MetaImage file, or a DICOM folder.")
        file = boundary_file(self.boundary)
        if file is not None and self.volume is None:
            raise LeFusionError(f"--boundary {self.boundary} belongs to a scan. Name that, too: lefusion app SCAN ...")
        if file is not None and not Path(file).is_file():
            raise LeFusionError(f"There is no boundary {file}. Give a label map or segmentation, FILE or FILE:SEGMENT.")
        for name, folder in (("data", self.data), ("output", self.output)):
            if folder is not None and not folder.is_dir():
                raise LeFusionError(f"--{name} is a folder that exists; {folder} is none.")

    @property
    def local(self) -> bool:
        """Can only this computer reach it?"""
        return self.host in LOOPBACK
