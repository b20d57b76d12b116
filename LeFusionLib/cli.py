"""The `lefusion` command: argument parsing only; what each command does stands in `commands`."""

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from . import __version__
from .errors import Cancelled, LeFusionError
from .threads import wait_politely

MISTAKE, CANCELLED = 2, 130  # exit statuses beside 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status. Leaves logging as it was, for programs that call it."""
    disabled = logging.root.manager.disable
    try:
        options = _parser().parse_args(argv)
        logging.basicConfig(level=logging.INFO if options.command == "train" else logging.WARNING, format="%(message)s")
        if options.quiet:
            logging.disable(logging.WARNING)
        wait_politely()
        from . import commands

        commands.COMMANDS[options.command](options)
    except Cancelled as cancelled:
        return _say(cancelled, CANCELLED)
    except KeyboardInterrupt:
        return _say("Stopped.", CANCELLED)
    except (LeFusionError, OSError) as error:
        return _say(error, MISTAKE)
    except ImportError as error:
        extras = "lefusion[demo,evaluate,train]"
        return _say(f"A package is missing ({error.name}). Install it with: pip install '{extras}'", MISTAKE)
    finally:
        logging.disable(disabled)
    return 0


def _say(message: object, status: int) -> int:
    line = " ".join(str(message).split())
    sys.stderr.write(f"lefusion: {line}\n")
    return status


class _Parser(argparse.ArgumentParser):
    """Refuses in one line instead of a page of usage."""

    def error(self, message: str) -> NoReturn:
        raise LeFusionError(f"{message} (see `{self.prog} --help`)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="lefusion", description="Realistic lesions in medical scans, every other voxel untouched.")
    parser.add_argument("--version", action="version", version=f"LeFusion {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--quiet", action="store_true", help="print nothing but errors")
        return sub

    command("models", "list the models: kind, classes, textures, size, licence")

    sub = command("synthesize", "paint lesions into a volume")
    sub.add_argument("volume", help="NIfTI, NRRD, MHA, or a folder with one DICOM series")
    sub.add_argument("--mask", help="lesion mask on the volume's grid (label map or .seg.nrrd), instead of --center")
    _sphere(sub, required=False)
    _tissue(sub)
    sub.add_argument("--texture-from", nargs=2, metavar=("IMAGE", "MASK"), help="the texture of a real lesion")
    sub.add_argument("--figure", action="store_true", help="also write a picture of the result")
    _model(sub)
    _sampler(sub)
    _output(sub, "folder for the volume, its segmentation and the report")

    sub = command("batch", "paint the lesions of a table into many volumes; run again to go on")
    sub.add_argument("table", help="CSV: file,r,a,s,diameter_mm or file,mask; also case,boundary,classes,texture,seed")
    _boundary(sub)
    _shapes(sub)
    _seed(sub)
    _tissue(sub)
    sub.add_argument("--engine", default="local", help="local: this process; ray: many (default: local)")
    sub.add_argument("--workers", type=_positive, help="processes of the engine ray (default: one for each GPU)")
    _model(sub)
    _sampler(sub)
    _output(sub, "folder for volumes, segmentations, reports and manifest.csv")

    sub = command("draw-mask", "draw a lesion's shape from a control sphere")
    sub.add_argument("volume")
    _sphere(sub, required=True)
    sub.add_argument("--count", type=_positive, default=1, help="so many shapes to choose from, numbered")
    _device(sub)
    _output(sub, "the mask's file (.nii.gz, .nrrd, .mha, .seg.nrrd)")

    sub = command("convert", "turn a published checkpoint into a model folder")
    sub.add_argument("checkpoint", help="lidc.pt, emidec.pt or diffmask.pt")
    _output(sub, "the model folder to make")

    sub = command("train", "train a model; run again to resume")
    sub.add_argument("preset", help="a training preset, such as lung-nodule")
    sub.add_argument("--data", required=True, help="folder with training cases")
    sub.add_argument("--run", required=True, help="folder of the run: settings, checkpoint, logs, samples, model")
    sub.add_argument("--steps", type=int)
    sub.add_argument("--batch-size", type=int)
    sub.add_argument("--learning-rate", type=float)
    sub.add_argument("--seed", type=int)
    sub.add_argument("--mixed-precision", choices=("no", "bf16", "fp16"), default="no")
    sub.add_argument("--dry-run", action="store_true", help="print the resolved settings and stop")

    sub = command("evaluate", "measure a model; tables as CSV and JSON, pictures")
    sub.add_argument(
        "what",
        choices=("texture", "groups", "remade", "redrawn", "shapes", "spheres", "ratings", "sampler"),
        help="texture: every preset at the same sites of normal tissue; groups: the texture groups of a training set; "
        "remade: lesions of held-out patients made again in their own place; redrawn: their shapes drawn again; "
        "shapes: real, hand-crafted and drawn shapes of held-out patients; spheres: diameters asked and delivered; "
        "ratings: shapes with each rating low and high; sampler: faster --settings against the slow sampler, which is "
        "--sampler (default: paper) and stays in float32",
    )
    sub.add_argument(
        "--data",
        help="texture, spheres: folder with NAME_ct.* and NAME_lungs.*; groups, remade, redrawn, shapes: training "
        "cases; sampler: training cases, and scans where there are any; ratings: none",
    )
    sub.add_argument("--sites", type=int, default=5, help="sites per scan, or lesions at most (default: 5)")
    sub.add_argument(
        "--diameters", nargs=2, type=float, metavar=("LOW", "HIGH"),
        help="texture, spheres: smallest and largest, in mm (default: 6 20; 5 25)",
    )  # fmt: skip
    sub.add_argument("--settings", nargs="+", default=["draft", "standard"], help="such as draft, ddim:10, ddpm:50:1:2")
    sub.add_argument(
        "--students", nargs="+", default=[], metavar="MODEL", help="sampler: models of few steps, beside the --settings"
    )
    sub.add_argument(
        "--classes", help="remade: only these are made again, such as no_reflow; others stay (default: all)"
    )
    sub.add_argument(
        "--then", nargs="+", default=[], metavar="MODEL", help="remade: models that make their classes after --model"
    )
    sub.add_argument(
        "--variety",
        action="store_true",
        help="remade: with a second seed too; how far apart the two are, beside how far from the real",
    )
    _seed(sub)
    _model(sub)
    _sampler(sub)
    _output(sub, "the tables' path without extension")

    sub = command("demo", "paint a nodule into a made-up chest CT and draw the picture")
    sub.add_argument("--texture", nargs="+", default=["solid"])
    sub.add_argument("--diameter", type=float, default=16.0, help="in mm")
    _seed(sub)
    _model(sub)
    _sampler(sub)
    _output(sub, "folder for the results", default="out/demo")

    sub = command("app", "place and make lesions in a browser, on this computer")
    sub.add_argument("volume", nargs="?", help="the scan to open first (default: a made-up chest CT)")
    _boundary(sub)
    sub.add_argument("--port", type=int, default=8080, help="of the page's address; 0 takes a free one (default: 8080)")
    sub.add_argument("--host", default="127.0.0.1", help="the network interface; any but this computer's needs a token")
    sub.add_argument("--token", help="word that the address must bring (default: none here, a new one elsewhere)")
    sub.add_argument("--data", help="folder whose scans can be chosen on the page; nothing outside it can")
    sub.add_argument("-o", "--output", help="folder that results are saved into (default: downloads only)")
    sub.add_argument("--mask-model", help="what draws the shapes: a name, a folder, or 'handcrafted'")
    _any_modality(sub)
    sub.add_argument("--idle", type=float, default=120.0, help="minutes without use that end a session; 0 is never")
    _model(sub)
    _sampler(sub)
    return parser


def _sphere(sub: argparse.ArgumentParser, required: bool) -> None:
    sub.add_argument(
        "--center",
        nargs=3,
        type=float,
        action="append",
        required=required,
        metavar=("R", "A", "S"),
        help="centre of a control sphere in RAS mm; repeat for several lesions",
    )
    sub.add_argument("--diameter", type=float, action="append", required=required, help="its diameter in mm")
    _boundary(sub)
    sub.add_argument(
        "--classes", help="classes of the lesion, such as infarct,no_reflow; others are not made (default: the first)"
    )
    _shapes(sub)
    sub.add_argument("--shape", type=_number, default=0, help="which of the seed's shapes, 0, 1, ... (default: 0)")
    sub.add_argument("--rating", nargs="+", metavar="NAME=1..5", help="steer the shape, such as sphericity=5")
    _seed(sub)


def _boundary(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--boundary",
        help="where the lesion must stay: 'lung', or a label map or segmentation, FILE, FILE:SEGMENT or FILE:2,3,4; "
        "'none' lets a model that draws inside an organ draw without one",
    )


def _shapes(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--mask-model", help="what draws the shape: a name, a folder, a published .pt, or 'handcrafted'")


def _tissue(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--texture",
        nargs="+",
        default=["random"],
        help="preset, its number, a JSON or CSV file of 16 numbers, or 'random'; CLASS=TEXTURE for one class each",
    )
    sub.add_argument(
        "--labels", nargs="+", metavar="CLASS=NUMBER", help="which number of a mask is which class, such as infarct=3"
    )
    _any_modality(sub)
    sub.add_argument("--image-format", choices=(".nii.gz", ".nii", ".nrrd", ".mha"), help="default: the input's")


def _any_modality(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--any-modality", action="store_true", help="use the model for scans it was not made for")


def _seed(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes (default: 0)")


def _number(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"a whole number from 0 is needed, not {text!r}")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1 is needed, not {text!r}")
    return int(text)


def _model(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--model", help="a bundled name, a model folder, or a published .pt file")
    _device(sub)


def _device(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    sub.add_argument(
        "--precision", default="float32", help="on an NVIDIA GPU also bfloat16 or float16 (default: float32)"
    )


def _sampler(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--sampler", help="draft, standard or paper; or ddpm, ddim, dpm++, unipc (default: the model's own)"
    )
    sub.add_argument("--steps", type=int, help="steps of the sampler")
    sub.add_argument("--jump-length", type=int)
    sub.add_argument("--jump-n-sample", type=int)
    sub.add_argument("--guidance", type=float, help="how far to exaggerate the texture; 1 is as learned")


def _output(sub: argparse.ArgumentParser, text: str, **kwargs: Any) -> None:
    sub.add_argument("-o", "--output", required="default" not in kwargs, help=text, **kwargs)
    sub.add_argument("--overwrite", action="store_true", help="replace existing outputs (never an input)")
    sub.add_argument("--progress", choices=("bar", "json"), default="bar", help="json: one object per line on stdout")
