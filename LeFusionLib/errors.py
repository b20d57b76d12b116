"""Errors a user can cause, and the words that help her out of them."""

import difflib
from collections.abc import Iterable


class LeFusionError(Exception):
    """Parent of every error a user can cause: says what was given, what is possible, what to do."""


class Cancelled(LeFusionError):
    """The user stopped the work; nothing was written."""


class MissingWeights(LeFusionError):
    """A model's folder or weights are not whole on this machine; getting the model anew helps."""


def unknown_name(kind: str, given: object, options: Iterable[str]) -> LeFusionError:
    """The error for a name that does not exist; it names the nearest one and all that do.

    >>> str(unknown_name("texture", "sold", ["solid", "part-solid"]))
    "There is no texture 'sold'. Did you mean 'solid'? Possible: solid, part-solid."
    """
    options = list(options)
    near = difflib.get_close_matches(str(given), options, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return LeFusionError(f"There is no {kind} '{given}'.{hint} Possible: {', '.join(options) or 'none'}.")


def check_keys(kind: str, given: Iterable[str], options: Iterable[str]) -> None:
    """Refuse the first key that is not known, and name its neighbour."""
    options = list(options)
    for key in given:
        if key not in options:
            raise unknown_name(kind, key, options)
