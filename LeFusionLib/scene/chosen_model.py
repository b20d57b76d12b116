"""What the model chosen in the scene says of itself: its card, who draws its shapes, the grey values it sees."""

from typing import Any

import numpy as np
from vtk.util.numpy_support import vtk_to_numpy

from ..errors import LeFusionError
from ..intensity import IntensityWindow, window_for
from ..models.card import ModelCard, find_card, mask_model_for
from ..models.spec import ModelSpec
from ..synthesis.draw import HANDCRAFTED
from .parameters import Parameters


class ChosenModel:
    """Asked at every change of a panel, so everything found is kept. Needs no torch."""

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.error = ""  # why there is no card
        self._cards: dict[str, tuple[ModelCard | None, str]] = {}
        self._mask_specs: dict[tuple[str, str], ModelSpec | None] = {}
        self._window: tuple[Any, IntensityWindow | None] = (None, None)

    def look_again(self) -> None:
        """Models may have been made or removed since."""
        self._cards.clear()
        self._mask_specs.clear()

    def card(self) -> ModelCard | None:
        """What the chosen model says of itself, or None; then `error` says why."""
        name = self.parameters.model
        if name not in self._cards:
            try:
                self._cards[name] = find_card(name), ""
            except LeFusionError as error:
                self._cards[name] = None, str(error)
        card, self.error = self._cards[name]
        return card

    def mask_spec(self) -> ModelSpec | None:
        """The specification of the model that will draw the shapes; None where they are drawn by hand."""
        asked, card = (self.parameters.model, self.parameters.mask_model), self.card()
        if asked not in self._mask_specs:
            name = asked[1] or (mask_model_for(card.spec) if card is not None else None) or HANDCRAFTED
            try:
                self._mask_specs[asked] = None if name == HANDCRAFTED else find_card(name).spec
            except LeFusionError:  # of a scene from elsewhere; the job will say so
                self._mask_specs[asked] = None
        return self._mask_specs[asked]

    def window(self) -> IntensityWindow | None:
        """The grey values the chosen model sees, for the chosen volume; None as long as they are not known."""
        card, volume = self.card(), self.parameters.volume
        if card is None:
            return None
        fixed = card.spec.intensity["kind"] == "fixed"
        image: Any = None if fixed or volume is None else volume.GetImageData()
        if not fixed and image is None:
            return None
        asked = (self.parameters.model, None if fixed else (volume.GetID(), image.GetMTime()))
        if asked != self._window[0]:  # else a percentile of all voxels, while a slider is dragged
            array = np.empty(0) if fixed else vtk_to_numpy(image.GetPointData().GetScalars())
            try:
                self._window = asked, window_for(card.spec.intensity, array)
            except LeFusionError:  # a flat volume; Apply says so
                self._window = asked, None
        return self._window[1]
