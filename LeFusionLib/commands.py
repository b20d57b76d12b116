"""What each command of `lefusion` does: read, call the library, write."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import LeFusionLib as lf

from .errors import Cancelled, LeFusionError
from .given import boundary_file, given_boundary, given_mask, given_texture, only_classes
from .progress import Interrupt, Reporter

if TYPE_CHECKING:
    from .models.zoo import Model
    from .synthesis.result import SynthesisResult


def synthesize(options: argparse.Namespace) -> None:
    """`lefusion synthesize`: the main job on the user's volume."""
    from .io import check_output, output_suffix
    from .synthesis.result import output_paths
    from .synthesis.synthesize import Clock

    clock = Clock()
    volume = lf.read_volume(options.volume)
    clock.lap("read")
    models = cache(lf.load_model)
    model = load_model(options, models)
    clock.lap("model")
    inputs = [options.volume, *filter(None, [options.mask, boundary_file(options.boundary)])]
    inputs += options.texture_from or []
    stem = Path(options.output) / volume.name
    suffix = options.image_format or output_suffix(volume)
    wanted = output_paths(stem, suffix) + ([_figure_path(stem)] if options.figure else [])
    check_output(wanted, inputs, options.overwrite)
    if (options.mask is None) == (options.center is None):
        raise LeFusionError("Say where the lesion is: either --mask FILE, or --center R A S with --diameter MM.")
    texture = _texture(options, model)
    reporter = reporter_of(options)
    with Interrupt() as cancel:
        if options.mask is not None:
            lesion = only_classes(given_mask(options.mask, model.spec, options.labels), classes_asked(options))
            result = lf.synthesize(
                volume,
                lesion,
                model,
                texture,
                sampler_of(options),
                options.seed,
                reporter.progress,
                cancel,
                options.any_modality,
            )
        else:
            boundary = given_boundary(options.boundary, volume)
            request = _request(options, texture, boundary.built_in)
            result = lf.run_request(volume, request, boundary.mask, reporter.progress, cancel, models)
        clock.add(result.report["seconds"])
        if cancel():
            raise Cancelled("Stopped before anything was written.")
        files = result.save(stem, suffix, options.overwrite, inputs)
        clock.lap("save")
        if options.figure:
            files.append(_draw_figure(result, _figure_path(stem)))
            clock.lap("figure")
    _tell(reporter, result, files, clock.laps)


def demo(options: argparse.Namespace) -> None:
    """`lefusion demo`: the main job on a chest CT that the library makes itself."""
    from .io import check_output
    from .phantom import chest_phantom, lung_sites
    from .synthesis.result import output_paths
    from .synthesis.synthesize import Clock

    clock = Clock()
    stem = Path(options.output) / "phantom_with_nodule"
    scan = Path(options.output) / "phantom.nii.gz"
    check_output([*output_paths(stem, ".nii.gz"), _figure_path(stem), scan], [], options.overwrite)
    volume, lungs = chest_phantom()
    clock.lap("make the phantom")
    models = cache(lf.load_model)
    texture = _texture(options, load_model(options, models))
    clock.lap("model")
    site = tuple(lung_sites(volume, lungs, options.diameter)[0])
    request = lf.SynthesisRequest(
        (lf.LesionRequest(site, options.diameter, texture),),
        options.model,
        sampler=sampler_of(options),
        device=options.device,
        seed=options.seed,
        precision=options.precision,
    )
    reporter = reporter_of(options)
    with Interrupt() as cancel:
        result = lf.run_request(volume, request, None, reporter.progress, cancel, models)
        clock.add(result.report["seconds"])
    files = result.save(stem, ".nii.gz", options.overwrite)
    lf.write_volume(volume, scan)
    files += [scan, _draw_figure(result, _figure_path(stem))]
    clock.lap("save and draw")
    _tell(reporter, result, files, clock.laps)


def batch(options: argparse.Namespace) -> None:
    """`lefusion batch`: the lesions of a table; run again to go on."""
    from .batch import BatchSettings, read_cases, run_batch

    texture, table, folder = given_texture(options.texture), Path(options.table), Path(options.output)
    cases = read_cases(table, texture, options.boundary, options.seed)
    settings = BatchSettings(
        options.model,
        options.mask_model,
        sampler_of(options),
        options.device,
        tuple(options.labels or ()),
        options.any_modality,
        options.image_format,
        options.overwrite,
        options.precision,
    )
    reporter = reporter_of(options)
    with Interrupt() as cancel:
        names = run_batch(cases, settings, folder, options.engine, options.workers, reporter.progress, cancel)
    counted = ", ".join(f"{len(cases)} {what}" for what, cases in names.items())
    reporter.say(f"{counted}; {folder / 'manifest.csv'}", **names)
    if names["failed"]:
        raise LeFusionError(
            f"{len(names['failed'])} of {len(cases)} cases failed ({', '.join(names['failed'][:3])}...); the manifest "
            "says why. Correct the table and run the same command again: what is done is not done again."
        )


def draw_mask(options: argparse.Namespace) -> None:
    """`lefusion draw-mask`: shapes from control spheres, as a label map or segmentation; several to choose from."""
    from .io import check_output
    from .synthesis.draw import DIFFMASK
    from .synthesis.request import draw_lesions
    from .synthesis.result import together

    first = Path(options.output)
    targets = [first] if options.count == 1 else [_numbered(first, options.shape + n) for n in range(options.count)]
    check_output(targets, [options.volume, *filter(None, [boundary_file(options.boundary)])], options.overwrite)
    volume = lf.read_volume(options.volume)
    lesions, mask_model = _lesions(options), options.mask_model or DIFFMASK
    boundary = given_boundary(options.boundary, volume)
    reporter, models = reporter_of(options), cache(lf.load_model)
    masks = []
    with Interrupt() as cancel:
        for number in range(options.shape, options.shape + options.count):
            request = lf.SynthesisRequest(
                tuple(replace(lesion, shape=number) for lesion in lesions),
                boundary=boundary.built_in,
                device=options.device,
                seed=options.seed,
                precision=options.precision,
            )
            drawn = draw_lesions(volume, request, mask_model, None, boundary.mask, reporter.progress, cancel, models)
            masks.append(together(drawn))
    first.parent.mkdir(parents=True, exist_ok=True)
    for mask, target in zip(masks, targets, strict=True):
        _write_mask(mask, volume, target, options.seed)
    lines = [
        f"{target}: {mask.voxels()} voxels in {_slices(mask)} slices, {mask.volume_mm3():.0f} mm3, "
        f"{mask.diameter_mm():.1f} mm across"
        for mask, target in zip(masks, targets, strict=True)
    ]
    reporter.say("\n".join(lines), files=[str(target) for target in targets])


def _numbered(path: Path, number: int) -> Path:
    """mask.nii.gz -> mask-3.nii.gz"""
    from .io import split_name

    stem, _ = split_name(path)
    return path.with_name(f"{stem}-{number}{path.name[len(stem) :]}")


def _slices(mask: "lf.LesionMask") -> int:
    return int(mask.union.any(axis=(1, 2)).sum())


def _write_mask(mask: "lf.LesionMask", volume: "lf.Volume", target: Path, seed: int) -> None:
    from .io import write_segmentation

    marks = {"synthetic": "true", "software": f"LeFusion {lf.__version__}", "seed": str(seed)}
    if target.name.endswith(".seg.nrrd"):
        segments = [{"name": name, "label": n, "color": (0.9, 0.35, 0.25)} for n, name in enumerate(mask.classes, 1)]
        write_segmentation(mask.labels(), volume.ijk_to_ras, target, segments, synthetic=marks)
    else:
        lf.write_volume(lf.Volume(mask.labels(), volume.ijk_to_ras, name=volume.name), target, synthetic=marks)


def models(options: argparse.Namespace) -> None:
    """`lefusion models`: what can be named with --model."""
    from .models.card import WEIGHTS, bundled_models, read_card

    for name, folder in bundled_models().items():
        card = read_card(folder)
        textures = "; ".join(f"{cls}: {', '.join(presets)}" for cls, presets in card.textures.items())
        textures = f"  textures {textures}, random\n" if textures else ""  # a model of shapes has none
        size = (folder / WEIGHTS).stat().st_size / 2**20
        sys.stdout.write(
            f"{name}\n  {card.description}\n  kind {card.spec.kind}, classes {', '.join(card.spec.classes)}, "
            f"{size:.1f} MiB\n{textures}  licence {card.licence}\n"
        )


def convert(options: argparse.Namespace) -> None:
    """`lefusion convert`: a published checkpoint as a model folder of our own format."""
    from .io import check_output
    from .models.checkpoint import CARD, WEIGHTS, file_sha256, save_model
    from .models.released import load_released_checkpoint
    from .models.zoo import published_card

    source, target = Path(options.checkpoint), Path(options.output)
    check_output([target / CARD, target / WEIGHTS], [source], options.overwrite)
    denoiser = load_released_checkpoint(source)
    save_model(target, denoiser, published_card(denoiser, file_sha256(source)), dtype="float32")
    reporter_of(options).say(f"{target}: {denoiser.spec.kind} model, classes {', '.join(denoiser.spec.classes)}")


def train(options: argparse.Namespace) -> None:
    """`lefusion train`: a preset on the user's data; or a student of few steps, of a model that is there."""
    from .training.distill_settings import DISTILLATIONS, distillation
    from .training.settings import preset

    distilled = options.preset in DISTILLATIONS
    if distilled and options.mixed_precision != "no":
        raise LeFusionError(f"'{options.preset}' is distilled in float32; leave --mixed-precision away.")
    settings: Any = (distillation if distilled else preset)(
        options.preset,
        steps=options.steps,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        seed=options.seed,
    )
    if options.dry_run:
        sys.stdout.write(json.dumps(settings.to_dict(), indent=1) + "\n")
        return
    data, run = Path(options.data), Path(options.run)
    if distilled:
        from .models.zoo import chosen_device
        from .training.distill import distill

        folder = distill(settings, data, run, chosen_device("auto"))
    else:
        from .training.train import train as run_training

        folder = run_training(settings, data, run, options.mixed_precision)
    sys.stdout.write(f"{folder}\n")


def evaluate(options: argparse.Namespace) -> None:
    """`lefusion evaluate`: tables and pictures about a model or its training data."""
    if options.data is None and options.what != "ratings":
        raise LeFusionError(f"`lefusion evaluate {options.what}` needs a folder: --data DIR (see --help).")
    from .evaluations import EVALUATIONS

    EVALUATIONS[options.what](options)


def app(options: argparse.Namespace) -> None:
    """`lefusion app`: the browser app, until it is stopped."""
    from .app.options import LOOPBACK, AppOptions
    from .app.start import new_token, run

    settings = AppOptions(
        volume=_path(options.volume),
        boundary=options.boundary,
        data=_path(options.data),
        output=_path(options.output),
        host=options.host,
        port=options.port,
        token=options.token or (None if options.host in LOOPBACK else new_token()),
        model=options.model,
        mask_model=options.mask_model,
        device=options.device,
        any_modality=options.any_modality,
        sampler=sampler_of(options),
        idle_minutes=options.idle,
    )

    def say(address: str) -> None:
        sys.stdout.write(f"LeFusion is at {address}\nStop it with Ctrl-C.\n")
        sys.stdout.flush()

    run(settings, say)


COMMANDS: Mapping[str, Callable[[argparse.Namespace], None]] = {
    "models": models,
    "synthesize": synthesize,
    "draw-mask": draw_mask,
    "convert": convert,
    "train": train,
    "batch": batch,
    "evaluate": evaluate,
    "demo": demo,
    "app": app,
}


def _path(given: str | None) -> Path | None:
    return Path(given) if given else None


def load_model(options: argparse.Namespace, models: "Callable[[str, str, str], Model] | None" = None) -> "Model":
    from .models.zoo import default_model

    return (models or lf.load_model)(options.model or default_model(), options.device, options.precision)


def reporter_of(options: argparse.Namespace) -> Reporter:
    return Reporter("quiet" if options.quiet else options.progress)


def sampler_of(options: argparse.Namespace) -> "lf.SamplerSpec":
    return lf.SamplerSpec(options.sampler, options.steps, options.jump_length, options.jump_n_sample, options.guidance)


def classes_asked(options: argparse.Namespace) -> tuple[str, ...]:
    """`--classes A,B`; () where nothing is said."""
    return tuple(name.strip() for name in (options.classes or "").split(",") if name.strip())


def _request(options: argparse.Namespace, texture: Any, boundary: str | None) -> "lf.SynthesisRequest":
    return lf.SynthesisRequest(
        _lesions(options, texture),
        options.model,
        options.mask_model,
        boundary,
        sampler_of(options),
        options.device,
        options.seed,
        options.any_modality,
        options.precision,
    )


def _lesions(options: argparse.Namespace, texture: Any = "random") -> "tuple[lf.LesionRequest, ...]":
    """One for each --center."""
    diameters = options.diameter or []
    if len(diameters) == 1:
        diameters = diameters * len(options.center)
    if len(diameters) != len(options.center):
        raise LeFusionError(
            f"{len(options.center)} centres need as many --diameter, or one for all; got {len(diameters)}."
        )
    return tuple(
        lf.LesionRequest(
            tuple(center),
            diameter,
            texture,
            classes_asked(options) or None,
            shape=options.shape,
            ratings=_ratings(options),
        )
        for center, diameter in zip(options.center, diameters, strict=True)
    )


def _ratings(options: argparse.Namespace) -> dict[str, float]:
    """`--rating NAME=1..5 ...`"""
    ratings = {}
    for text in options.rating or []:
        name, _, value = text.partition("=")
        try:
            ratings[name] = float(value)
        except ValueError:
            raise LeFusionError(f"A rating is written NAME=NUMBER, such as sphericity=4; got {text!r}.") from None
    return ratings


def _texture(options: argparse.Namespace, model: "Model") -> Any:
    """What `--texture` or `--texture-from` ask for: one texture, or {class: texture}."""
    if getattr(options, "texture_from", None):
        image, mask = options.texture_from
        return _texture_of(image, mask, model, options.labels)
    return given_texture(options.texture)


def _texture_of(
    image: str, mask: str, model: "Model", labels: Sequence[str] | None
) -> "dict[str, lf.TextureHistogram]":
    """The histograms of a real lesion, per class."""
    from .intensity import window_for

    volume = lf.read_volume(image)
    lesion = given_mask(mask, model.spec, labels)
    lesion.check_on_grid_of(volume)
    values = window_for(model.spec.intensity, volume.array).normalize(volume.array)
    return {
        name: lf.TextureHistogram.of(values[lesion.array[index]])
        for index, name in enumerate(lesion.classes)
        if lesion.voxels(name)
    }


def _figure_path(stem: Path) -> Path:
    return stem.with_name(stem.name + ".png")


def _draw_figure(result: "SynthesisResult", path: Path) -> Path:
    from .evaluation.figure import result_figure

    rows = [row for row in result.report["lesions"] if "texture" in row]
    largest = {row["class"]: row for row in sorted(rows, key=lambda row: row["voxels"])}
    asked = {name: lf.TextureHistogram(tuple(row["texture"]["asked"])) for name, row in largest.items()}
    delivered = {name: lf.TextureHistogram(tuple(row["texture"]["delivered"])) for name, row in largest.items()}
    low, high = rows[0]["texture"]["window"] if rows else (-1000.0, 400.0)
    window = lf.IntensityWindow(low, high, rows[0]["texture"]["unit"] if rows else "HU")
    title = ", ".join(f"{name}: {row['texture']['name']}" for name, row in largest.items())
    return result_figure(result.original, result.volume, result.lesion_mask, window, asked, delivered, title, path)


def _tell(reporter: Reporter, result: "SynthesisResult", files: list[Path], seconds: Mapping[str, float]) -> None:
    lines = [f"wrote {', '.join(str(file) for file in files)}"]
    for row in result.report["lesions"]:
        unit = row["mean"]["unit"]
        size = f"{row['diameter_mm']['delivered']:.1f} mm in {row['slices']} slices"
        line = f"{row['class']}: {size}, mean {row['mean']['value']:.0f} {unit}"
        if "texture" in row:
            texture = row["texture"]
            line += f", {texture['name']}, {texture['wasserstein']:.0f} {unit} from the texture asked"
        lines.append(line)
    background = result.report["background"]
    lines.append(
        f"{background['changed_voxels_outside_mask']} of {background['voxels_outside_mask']} voxels outside changed"
    )
    spent = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
    lines.append(f"{sum(seconds.values()):.1f} s: {spent}")
    reporter.say(
        "\n".join(lines), files=[str(file) for file in files], seconds=dict(seconds), lesions=result.report["lesions"]
    )
