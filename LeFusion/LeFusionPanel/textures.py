"""What a texture will look like: its histogram as a picture, and the grey values to expect."""

import qt
from slicer.i18n import tr as _

from LeFusionLib.texture import RANDOM

WIDTH, HEIGHT, FOOT = 300, 84, 16  # pixels; the foot holds the ends of the window


def rangeText(histogram, window, texture):
    """The middle nine tenths of the grey values, in words."""
    low, high = histogram.range(window)
    text = _("Expected: {low} to {high} {unit} (nine of ten voxels)").format(
        low=round(low), high=round(high), unit=window.unit
    )
    return text if texture != RANDOM else text + _("; drawn anew for each seed")


def drawHistogram(histogram, window, palette):
    """A QPixmap: 16 bars over the model's window, dark to bright, as the voxels will be."""
    pixmap = qt.QPixmap(WIDTH, HEIGHT)
    ink = palette.color(qt.QPalette.WindowText)
    pixmap.fill(palette.color(qt.QPalette.Base))
    painter = qt.QPainter()
    painter.begin(pixmap)
    highest, room, step = max(histogram.weights), HEIGHT - FOOT, WIDTH / len(histogram.weights)
    for number, weight in enumerate(histogram.weights):
        height = int(round(weight / highest * (room - 4)))
        grey = int(40 + 190 * number / (len(histogram.weights) - 1))
        painter.fillRect(int(number * step) + 1, room - height, int(step) - 2, height, qt.QColor(grey, grey, grey))
    painter.setPen(ink)
    painter.drawLine(0, room, WIDTH, room)
    painter.drawText(2, HEIGHT - 3, f"{window.low:.0f} {window.unit}")
    high = f"{window.high:.0f} {window.unit}"
    painter.drawText(WIDTH - 7 * len(high) - 2, HEIGHT - 3, high)
    painter.end()
    return pixmap
