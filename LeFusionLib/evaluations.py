"""What each `lefusion evaluate` does: measure a model, write tables and pictures."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import LeFusionLib as lf

from .commands import classes_asked, load_model, reporter_of, sampler_of
from .errors import LeFusionError


def evaluate_texture(options: argparse.Namespace) -> None:
    """Asked against delivered, at the same sites of real scans."""
    from .evaluation.texture_control import summarize, texture_control, write_tables
    from .io import check_output

    stem = Path(options.output)
    wanted = [stem.with_suffix(suffix) for suffix in (".csv", ".json", ".png")]
    check_output(wanted, [], options.overwrite)
    sizes = _diameters(options)
    stem.parent.mkdir(parents=True, exist_ok=True)
    rows = texture_control(
        load_model(options), Path(options.data), options.sites, options.seed, sampler_of(options), picture=wanted[2],
        **sizes,
    )  # fmt: skip
    summary = summarize(rows)
    write_tables(rows, summary, stem)
    reporter_of(options).say(json.dumps(summary, indent=1), summary=summary)


def _diameters(options: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """{"diameters_mm": what was asked for}; nothing where the evaluation's own are to be taken."""
    if options.diameters is None:
        return {}
    low, high = options.diameters
    if not 0 < low <= high:
        raise LeFusionError(f"--diameters are the smallest and the largest in mm, such as 20 30; got {low:g} {high:g}.")
    return {"diameters_mm": (low, high)}


def evaluate_groups(options: argparse.Namespace) -> None:
    """The texture groups of a training set, one picture for each class of the model."""
    from .io import check_output
    from .training.cases import read_cases
    from .training.group_figure import group_figure

    model = load_model(options)
    pictures = {name: Path(f"{options.output}-{name}.png") for name in model.textures}
    check_output(list(pictures.values()), [], options.overwrite)
    cases = read_cases(options.data, model.spec)
    for name, picture in pictures.items():
        channel = model.spec.classes.index(name)
        sizes = group_figure(cases, channel, list(model.textures[name]), picture, options.seed)
        reporter_of(options).say(f"{picture}: {sizes}", groups=sizes)


def evaluate_shapes(options: argparse.Namespace) -> None:
    """Real shapes of held-out patients, hand-crafted and drawn ones compared: distributions, variety, copying, size."""
    from .evaluation.mask_shapes import evaluate_shapes as compare
    from .synthesis.diffmask import open_mask_model
    from .synthesis.draw import DIFFMASK, HANDCRAFTED

    model = open_mask_model(options.model or DIFFMASK, options.device, options.precision)
    held_out, training = _shapes_of(model, options)
    refused: list[str] = []

    def drawer(shape_model: Any) -> Callable[..., lf.LesionMask]:
        def draw(volume: lf.Volume, sphere: lf.ControlSphere, seed: int) -> lf.LesionMask:
            try:
                return lf.draw_lesion_mask(volume, sphere, shape_model, seed=seed, sampler=sampler_of(options))
            except LeFusionError as error:
                refused.append(str(error))
                return draw(volume, sphere, seed + 1)

        return draw

    drawers = {HANDCRAFTED: drawer(HANDCRAFTED), model.spec.name: drawer(model)}
    summary = compare(held_out, training, drawers, options.seed, Path(options.output))
    summary["refused and drawn with another seed"] = len(refused)
    reporter_of(options).say(json.dumps(summary, indent=1), summary=summary)


def _shapes_of(model: Any, options: argparse.Namespace) -> tuple[list[Any], list[Any]]:
    """Real masks of sizes that the mask model draws: of patients that it has not seen, and of the others."""
    from .evaluation.mask_shapes import lesion_of
    from .training.shape_cases import read_masks
    from .training.train import patient_hash

    hashes = model.card.training.get("held_out_patients_sha256", ())
    low, high = (model.spec.mask and model.spec.mask.diameter_range_mm) or (0.0, float("inf"))
    sides: dict[bool, list[Any]] = {True: [], False: []}
    for mask, patient in read_masks(Path(options.data)):
        if low <= lesion_of(mask, (1.0, 1.0, 1.0)).diameter_mm() <= high:
            sides[patient_hash(patient) in hashes].append(mask)
    if not sides[True]:
        raise LeFusionError("None of these patients was held out of the model's training; nothing can be compared.")
    return sides[True], sides[False]


def evaluate_spheres(options: argparse.Namespace) -> None:
    """Diameters asked for against delivered, in an organ of real scans."""
    from .evaluation.sphere_control import sphere_control, summarize
    from .evaluation.texture_control import write_tables
    from .io import check_output
    from .synthesis.diffmask import open_mask_model
    from .synthesis.draw import DIFFMASK, HANDCRAFTED

    stem = Path(options.output)
    check_output([stem.with_suffix(suffix) for suffix in (".csv", ".json")], [], options.overwrite)
    sizes = _diameters(options)
    stem.parent.mkdir(parents=True, exist_ok=True)
    named = options.model or DIFFMASK
    model = named if named == HANDCRAFTED else open_mask_model(named, options.device, options.precision)
    rows = sphere_control(model, Path(options.data), options.sites, options.seed, sampler=sampler_of(options), **sizes)
    summary = summarize(rows)
    write_tables(rows, summary, stem)
    reporter_of(options).say(json.dumps(summary, indent=1), summary=summary)


def evaluate_ratings(options: argparse.Namespace) -> None:
    """Shapes of the same seeds with each rating low and high."""
    from .evaluation.rating_control import rating_control, summarize
    from .evaluation.texture_control import write_tables
    from .io import check_output
    from .synthesis.diffmask import open_mask_model
    from .synthesis.draw import DIFFMASK

    stem = Path(options.output)
    check_output([stem.with_suffix(suffix) for suffix in (".csv", ".json")], [], options.overwrite)
    stem.parent.mkdir(parents=True, exist_ok=True)
    model = open_mask_model(options.model or DIFFMASK, options.device, options.precision)
    rows = rating_control(model, options.sites, options.seed, sampler=sampler_of(options))
    summary = summarize(rows)
    write_tables(rows, summary, stem)
    reporter_of(options).say(json.dumps(summary, indent=1), summary=summary)


def evaluate_remade(options: argparse.Namespace) -> None:
    """Lesions of held-out patients made again in their own place, with their own masks and histograms."""
    from .evaluation.remade import classes_of, markdown, remake, summarize
    from .evaluation.remade_figure import denoising, histograms, montage
    from .evaluation.set_distances import set_distances
    from .evaluation.variety import variety
    from .training.cases import read_cases

    files = _outputs(options, (".csv", ".json", ".md", "-lesions.png", "-histograms.png", "-denoising.png"))
    models = [load_model(options), *(lf.load_model(name, options.device, options.precision) for name in options.then)]
    classes, first = classes_of(models), models[0]
    if any(model.spec.intensity != first.spec.intensity for model in models):
        raise LeFusionError(
            "These models see grey values in different windows; they cannot be compared in one picture."
        )
    cases = _held_out(read_cases(options.data, replace(first.spec, classes=classes)), first, options)
    lesions, rows = remake(models, cases, classes_asked(options), options.seed, sampler_of(options))
    summary = summarize(rows) | {"models": [_weights(model) for model in models]}
    found = [set_distances(lesions, classes)]
    if options.variety:
        again, _ = remake(models, cases, classes_asked(options), options.seed + 1, sampler_of(options))
        found.append(variety(lesions, again, classes))
    for name, row in summary["classes"].items():
        for more in found:
            row |= more[name]
    _write(rows, summary, markdown(summary), files)
    montage(lesions, classes, files[3])
    histograms(lesions, classes, files[4])
    most = max(cases, key=lambda case: (case.mask.any(axis=(1, 2, 3)).sum(), case.voxels))
    denoising(models[-1], most, files[5], classes, options.seed, sampler_of(options))
    reporter_of(options).say(json.dumps(summary, indent=1), summary=summary)


def evaluate_redrawn(options: argparse.Namespace) -> None:
    """Shapes of held-out patients drawn again in their own sphere and organ."""
    from .evaluation.redrawn import markdown, picture, redraw, summarize
    from .synthesis.diffmask import open_mask_model
    from .training.shape_cases import read_shapes

    if options.model is None:
        raise LeFusionError("Say which mask model is to draw: --model NAME (see `lefusion models`).")
    model = open_mask_model(options.model, options.device, options.precision)
    if model.spec.mask is None or not model.spec.mask.boundary_channel:
        raise LeFusionError(
            f"'{model.spec.name}' draws in no organ; compare its shapes with `lefusion evaluate shapes`."
        )
    files = _outputs(options, (".csv", ".json", ".md", ".png"))
    cases: Any = _held_out(read_shapes(options.data, model.spec), model, options)
    drawn, rows = redraw(model, cases, options.seed, sampler_of(options))
    summary = summarize(rows) | _weights(model)
    _write(rows, summary, markdown(summary), files)
    picture(cases, drawn, files[3])
    reporter_of(options).say(json.dumps(summary, indent=1), summary=summary)


def _outputs(options: argparse.Namespace, endings: Sequence[str]) -> list[Path]:
    """The files `-o` with these endings, none of them there already."""
    from .io import check_output

    stem = Path(options.output)
    files = [stem.with_name(stem.name + ending) for ending in endings]
    check_output(files, [], options.overwrite)
    stem.parent.mkdir(parents=True, exist_ok=True)
    return files


def _held_out(cases: Sequence[Any], model: Any, options: argparse.Namespace) -> list[Any]:
    """Of patients that the model was not trained on; at most `--sites`, the same ones whenever it is run again."""
    from .training.train import patient_hash

    hashes = model.card.training.get("held_out_patients_sha256", ())
    found = [case for case in cases if patient_hash(case.patient) in hashes]
    if not found:
        raise LeFusionError("None of these patients was held out of the model's training; nothing can be compared.")
    chosen = np.random.default_rng(options.seed).permutation(len(found))[: options.sites]
    return [found[index] for index in sorted(chosen)]


def _weights(model: Any) -> dict[str, Any]:
    return {"model": model.spec.name, "weights_sha256": model.card.sha256}


def _write(rows: Sequence[Any], summary: dict[str, Any], markdown: str, files: Sequence[Path]) -> None:
    """Rows as CSV, summary as JSON, and its table as Markdown."""
    from .evaluation.texture_control import write_tables
    from .io import atomic_write

    write_tables(rows, summary, files[0].with_suffix(""))
    with atomic_write(files[2]) as temporary:
        Path(temporary).write_text(markdown, encoding="utf-8")


def evaluate_sampler(options: argparse.Namespace) -> None:
    """Faster settings of the sampler against the slow one: on held-out lesions and in normal tissue, or of a model of
    shapes in the spheres of held-out lesions."""
    from .models.sampler_spec import SamplerSpec

    files = _outputs(options, (".csv", ".json", ".md"))
    models = cache(lf.load_model)
    model = load_model(options, models)
    exact = load_model(argparse.Namespace(**vars(options) | {"precision": "float32"}), models)
    asked = sampler_of(options)
    slow = model.card.sampler_for(asked if asked.method else replace(asked, method="paper"))
    settings = [(text, model, model.card.sampler_for(SamplerSpec.parse(text))) for text in options.settings]
    for student in _students(model, options):
        few = student.card.sampler
        settings.append((f"{student.spec.name} {few.method}:{few.num_steps}", student, few))
    judge = _judged_shapes if model.spec.kind == "mask" else _judged_tissue
    rows, table, made = judge(model, (f"slow ({slow.method})", exact, slow), settings, options)
    about = f"`{model.spec.name}`, {made}, slow sampler {slow.method} with {slow.num_steps} steps in float32."
    passes = {row.setting: row.passes for row in rows[1:]}
    _write(rows, {"about": about, "passes": passes}, table(rows, about), files)
    reporter_of(options).say(table(rows, about), passes=passes)


def _students(model: Any, options: argparse.Namespace) -> list[Any]:
    """Other models that shall stand in for `model`, each with its own sampler."""
    from .models.zoo import load_model

    found = [load_model(name, options.device, options.precision) for name in options.students]
    for student in found:
        if (student.spec.kind, student.spec.classes) != (model.spec.kind, model.spec.classes):
            raise LeFusionError(
                f"'{student.spec.name}' cannot stand in for '{model.spec.name}': it makes something else "
                f"({student.spec.kind}, {', '.join(student.spec.classes)})."
            )
    return found


def _judged_tissue(model: Any, slow: Any, settings: Any, options: argparse.Namespace) -> tuple[Any, Any, str]:
    from .evaluation.sampler_gate import as_markdown, sampler_gate

    scenes = [*_held_out_scenes(model, options), *_normal_scenes(model, options)]
    return sampler_gate(scenes, slow, settings, seed=options.seed), as_markdown, f"{len(scenes)} lesions"


def _judged_shapes(model: Any, slow: Any, settings: Any, options: argparse.Namespace) -> tuple[Any, Any, str]:
    from .evaluation.shape_gate import as_markdown, shape_gate

    if model.spec.mask.boundary_channel:
        raise LeFusionError(
            f"'{model.spec.name}' draws inside {model.spec.mask.organ}; only models that draw in a sphere alone are "
            "judged here. Compare its settings with `lefusion evaluate redrawn`."
        )
    held_out, _ = _shapes_of(model, options)
    chosen = np.random.default_rng(options.seed).permutation(len(held_out))[: options.sites]
    real = [held_out[index] for index in sorted(chosen)]
    return shape_gate(real, slow, settings, seed=options.seed), as_markdown, f"{len(real)} spheres"


def _held_out_scenes(model: Any, options: argparse.Namespace) -> list[Any]:
    """Lesions that the model never saw, to be made again with their own texture."""
    from .evaluation.sampler_gate import Scene
    from .training.augment import smallest_shape
    from .training.cases import read_cases

    spec = model.spec
    cases = read_cases(options.data, spec)
    cases = [case for case in cases if smallest_shape(case, spec.patch_shapes, spec.margin_mm) is not None]
    scenes = []
    for case in _held_out(cases, model, options):
        ijk_to_ras = np.diag([*case.spacing_mm[::-1], 1.0])
        textures = {
            name: lf.TextureHistogram.of(case.image[mask])
            for name, mask in zip(spec.classes, case.mask, strict=True)
            if mask.any()
        }
        volume = lf.Volume(case.window.restore(case.image), ijk_to_ras, case.key)
        scenes.append(Scene(case.key, volume, lf.LesionMask(case.mask, ijk_to_ras, spec.classes), textures))
    return scenes


def _normal_scenes(model: Any, options: argparse.Namespace) -> list[Any]:
    """Each texture in turn in the normal tissue of scans, where the folder has any."""
    from .evaluation.sampler_gate import Scene
    from .evaluation.texture_control import normal_sites, read_scans

    name = model.spec.classes[0]
    presets, rng = list(model.textures[name]), np.random.default_rng(options.seed)
    scenes: list[Any] = []
    for scan, volume, tissue in read_scans(options.data, needed=False):
        for sphere in normal_sites(volume, tissue, max(1, options.sites // 5), (6.0, 16.0), rng):
            lesion = lf.draw_lesion_mask(volume, sphere, seed=len(scenes), lesion_class=name)
            scenes.append(Scene(scan, volume, lesion, presets[len(scenes) % len(presets)]))
    return scenes


EVALUATIONS: Mapping[str, Callable[[argparse.Namespace], None]] = {
    "texture": evaluate_texture,
    "groups": evaluate_groups,
    "redrawn": evaluate_redrawn,
    "remade": evaluate_remade,
    "shapes": evaluate_shapes,
    "spheres": evaluate_spheres,
    "ratings": evaluate_ratings,
    "sampler": evaluate_sampler,
}
