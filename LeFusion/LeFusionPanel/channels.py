"""The classes of a lesion: a box to tick for each that is known, grey where the model lacks it, and a texture each."""

import qt
from slicer.i18n import tr as _

from LeFusionLib.scene import channels_of, with_class
from LeFusionLib.terminology import class_label
from LeFusionLib.texture import CUSTOM, RANDOM, expected_texture

from .textures import drawHistogram, rangeText

SWATCH = 12  # pixels


class Channels:
    """Shows the classes and textures of the selected lesion and tells of changes.

    `onSettings(settings)` and `onTexture(name, texture)` are called with what the user chose. The first class is shown
    by the panel's own widgets, each further one by widgets like them.
    """

    def __init__(self, ui, onSettings, onTexture):
        self.ui, self.onSettings = ui, onSettings
        self.boxes, self.channels, self.settings, self.updating = {}, [], None, False
        self.onTexture = onTexture
        self.rows = [TextureRow(self, ui.textureLabel, ui.textureCombo, ui.histogramLabel, ui.rangeLabel)]

    def show(self, card, maskSpec, settings, window):
        """What `settings` of a sphere say, for the model of `card` (or None), whose grey values are `window`'s, and the
        specification of the one that draws shapes."""
        self.updating = True
        self.settings = settings
        self.channels = channels_of(card.spec if card is not None else None, maskSpec, settings)
        for channel in self.channels:
            if channel.name not in self.boxes:
                self.boxes[channel.name] = self._newBox(channel.name)
            box = self.boxes[channel.name]
            box.enabled = not channel.fixed
            box.checked = channel.chosen
            box.toolTip = ". ".join(filter(None, [channel.meaning, channel.fixed]))
            box.setIcon(swatch(channel.color))
        names = [channel.name for channel in self.channels]
        for name, box in self.boxes.items():
            box.setVisible(name in names)
        chosen = settings.classes
        while len(self.rows) < len(chosen):
            self.rows.append(self._newRow())
        for row, name in zip(self.rows, chosen, strict=False):
            presets = card.textures.get(name, {}) if card is not None else {}
            row.show(name, presets, settings.texture_of(name), window, len(chosen) > 1)
        for row in self.rows[len(chosen) :]:
            row.hide()
        self.updating = False

    def onTicked(self, name):
        """A box was clicked."""
        if not self.updating:
            self.onSettings(with_class(self.settings, self.channels, name, self.boxes[name].checked))

    def _newBox(self, name):
        box = qt.QCheckBox(class_label(name))
        box.objectName = f"{name}Box"
        self.ui.classBoxes.layout().addWidget(box)
        box.connect("clicked()", lambda: self.onTicked(name))
        return box

    def _newRow(self):
        """A texture's widgets for one more class."""
        label, combo, histogram, text = qt.QLabel(), qt.QComboBox(), qt.QLabel(), qt.QLabel()
        combo.toolTip = self.ui.textureCombo.toolTip
        histogram.alignment = self.ui.histogramLabel.alignment
        text.alignment, text.wordWrap = self.ui.rangeLabel.alignment, True
        for widget in (label, combo, histogram, text):
            self.ui.moreTextures.layout().addWidget(widget)
        return TextureRow(self, label, combo, histogram, text)


class TextureRow:
    """The texture of one class: a list to choose from, its histogram, and its grey values in words."""

    def __init__(self, channels, label, combo, histogram, text):
        self.channels, self.label, self.combo, self.histogram, self.text = channels, label, combo, histogram, text
        self.name = ""
        combo.connect("activated(int)", self.onActivated)

    def show(self, name, presets, texture, window, named):
        """The `texture` of class `name`; `named`: say which class it is of."""
        self.name = name
        shown = texture if isinstance(texture, str) else CUSTOM
        fill(self.combo, [*presets, RANDOM], shown)
        self.label.text = _("Texture of {name}:").format(name=class_label(name)) if named else _("Texture:")
        histogram = expected_texture(texture, presets) if window is not None else None
        self.label.setVisible(True)
        self.combo.setVisible(True)
        self.histogram.setVisible(histogram is not None)
        self.text.setVisible(histogram is not None)
        if histogram is not None:
            self.histogram.setPixmap(drawHistogram(histogram, window, self.histogram.palette))
            self.text.text = rangeText(histogram, window, texture)

    def hide(self):
        for widget in (self.label, self.combo, self.histogram, self.text):
            widget.setVisible(False)

    def onActivated(self, index):
        texture = self.combo.itemText(index)
        if texture != CUSTOM and not self.channels.updating:
            self.channels.onTexture(self.name, texture)


def swatch(colour):
    """A small square of the colour (r, g, b in 0 to 1) that the class's segments have."""
    pixmap = qt.QPixmap(SWATCH, SWATCH)
    pixmap.fill(qt.QColor(*(int(255 * part) for part in colour)))
    return qt.QIcon(pixmap)


def fill(combo, names, current):
    """The names in a combo box, with the current one even if it is not among them: it is said why that does not go."""
    names = [*names, *([] if current in names else [current])]
    combo.clear()
    for name in names:
        combo.addItem(name)
    combo.currentIndex = names.index(current)
