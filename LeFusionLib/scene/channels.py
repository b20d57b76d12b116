"""The classes of a lesion as a panel offers them: which the model makes, which are chosen, which can be left out."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import LeFusionError, unknown_name
from ..models.spec import ModelSpec
from ..synthesis.result import class_color
from ..terminology import class_label, class_meanings
from .spheres import SphereSettings

GREY = (0.6, 0.6, 0.6)


@dataclass(frozen=True)
class Channel:
    """One class of lesion. `label` and `meaning` are for people, `color` (r, g, b in 0 to 1) is that of its segments.

    offered: the model makes it. chosen: the lesion has it. fixed: why that cannot be changed; "" where it can.
    """

    name: str
    label: str
    meaning: str
    color: tuple[float, float, float]
    offered: bool
    chosen: bool
    fixed: str


def channels_of(spec: ModelSpec | None, mask_spec: ModelSpec | None, settings: SphereSettings) -> list[Channel]:
    """All classes that are known, for a lesion with these `settings`; `spec` is of the model that makes tissue, or None
    where there is none yet, `mask_spec` of the one that draws shapes, None where they are drawn by hand."""
    offered = spec.classes if spec is not None else ()
    meanings = class_meanings()
    rows = []
    for name in dict.fromkeys([*meanings, *offered, *settings.classes]):
        chosen, there = name in settings.classes, name in offered
        rows.append(
            Channel(
                name,
                class_label(name),
                meanings.get(name, "A class of this model, without a code of its own"),
                class_color(name, offered) if there else GREY,
                there,
                chosen,
                _fixed(name, spec, mask_spec) if chosen or not there else "",
            )
        )
    return rows


def with_class(settings: SphereSettings, channels: Sequence[Channel], name: str, on: bool) -> SphereSettings:
    """The settings with one of the classes chosen or let go; the last one stays, those the model lacks are let go."""
    channel = next((channel for channel in channels if channel.name == name), None)
    if channel is None:
        raise unknown_name("lesion class", name, [channel.name for channel in channels])
    if channel.fixed:
        raise LeFusionError(channel.fixed)
    names = [one.name for one in channels if one.offered and (on if one is channel else one.chosen)]
    return settings.with_classes(names) if names else settings


def _fixed(name: str, spec: ModelSpec | None, mask_spec: ModelSpec | None) -> str:
    if spec is None:
        return "No model is chosen."
    if name not in spec.classes:
        return f"Model '{spec.name}' does not make {class_label(name)}."
    drawn = mask_spec.mask if mask_spec is not None else None
    if drawn is not None and len(spec.classes) > 1 and drawn.optional and name not in drawn.optional:
        return f"{class_label(name).capitalize()} is always drawn: the model of the shapes cannot leave it out."
    return ""
