"""How a stored slice is turned so that it is seen as radiologists see it, from its direction cosines.

Axial and coronal slices show the patient's right at the left of the picture, sagittal ones the front; axial slices show
the front at the top, the others the head.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))
"""The ends of the patient's axes x, y and z (DICOM PS3.3 C.7.6.2.1.1): negative, positive."""

_TO_RIGHT_AND_DOWN = (((0, 1, 0), (0, 0, -1)), ((1, 0, 0), (0, 0, -1)), ((1, 0, 0), (0, 1, 0)))
"""The directions to the right and down in the picture of a sagittal, coronal and axial slice: the normal is x, y, z."""

_MIN_COMPONENT = 0.5
"""Component from which a direction is named: within 60 degrees of the axis."""
_ALONG_AXIS = 0.99
"""Component from which a normal counts as an axis: within 8 degrees."""


@dataclass(frozen=True, kw_only=True)
class Display:
    """How a slice is turned, in this order, and the patient's directions at the edges of the picture."""

    transpose: bool = False
    """Whether rows become columns."""
    flip_rows: bool = False
    """Whether the last row comes first."""
    flip_columns: bool = False
    """Whether the last column comes first."""
    left: str = ""
    """R, L, A, P, S, I or two of them, the greater component first; "" if unknown. The same holds for other edges."""
    right: str = ""
    top: str = ""
    bottom: str = ""


AS_STORED = Display()
"""For slices without an orientation."""


def parse(text: str) -> tuple[float, ...]:
    """Return the direction cosines of the column `orientation` of the catalogue; () for ""."""
    return tuple(float(cosine) for cosine in text.split(",")) if text else ()


def display(cosines: Sequence[float]) -> Display:
    """Return how a slice is turned for display; an oblique one as the plane that it is nearest to.

    Args:
        cosines: of the directions along a row and along a column, as in ImageOrientationPatient; () if unknown.

    Source: DICOM PS3.3 C.7.6.2.1.1.
    """
    if len(cosines) != 6:
        return AS_STORED
    along_row, along_column = np.reshape(np.asarray(cosines, np.float64), (2, 3))
    to_right, down = np.asarray(_TO_RIGHT_AND_DOWN[_main_axis(cosines)])
    straight = abs(along_row @ to_right) + abs(along_column @ down)
    transpose = bool(abs(along_column @ to_right) + abs(along_row @ down) > straight)
    across, downwards = (along_column, along_row) if transpose else (along_row, along_column)
    flip_columns, flip_rows = bool(across @ to_right < 0), bool(downwards @ down < 0)
    across, downwards = -across if flip_columns else across, -downwards if flip_rows else downwards
    return Display(
        transpose=transpose,
        flip_rows=flip_rows,
        flip_columns=flip_columns,
        left=_letters(-across),
        right=_letters(across),
        top=_letters(-downwards),
        bottom=_letters(downwards),
    )


def turn(values: np.ndarray, shown: Display) -> np.ndarray:
    """Turn an array for display.

    Args:
        values: (H, W), as stored.
        shown: how to turn it.

    Returns:
        A view, (H, W) or, if transposed, (W, H).
    """
    turned = values.T if shown.transpose else values
    return turned[:: -1 if shown.flip_rows else 1, :: -1 if shown.flip_columns else 1]


def axis(cosines: Sequence[float]) -> str:
    """Return the patient's axis that the slice is perpendicular to, "x", "y" or "z"; "" if none or unknown."""
    if len(cosines) != 6:
        return ""
    main = _main_axis(cosines)
    return "xyz"[main] if abs(_normal(cosines)[main]) >= _ALONG_AXIS else ""


def _main_axis(cosines: Sequence[float]) -> int:
    return int(np.argmax(np.abs(_normal(cosines)).round(6)))


def _normal(cosines: Sequence[float]) -> np.ndarray:
    normal = np.cross(cosines[:3], cosines[3:])
    return normal / np.linalg.norm(normal)


def _letters(direction: np.ndarray) -> str:
    named = sorted(itertools.compress(range(3), np.abs(direction) >= _MIN_COMPONENT), key=lambda i: -abs(direction[i]))
    return "".join(_LETTERS[i][int(direction[i] > 0)] for i in named)
