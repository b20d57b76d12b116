"""Colours of segments as the page writes them."""


def css(color: tuple[float, float, float]) -> str:
    """Of (r, g, b) in 0 to 1."""
    return "rgb({:.0f} {:.0f} {:.0f})".format(*(255 * part for part in color))
