"""The range of intensities that a picture shows from black to white."""

import numpy as np

SHARE = 1.0
"""Percentage of the foreground that is darker than black, and that is brighter than white."""


def window(values: np.ndarray) -> tuple[float, float]:
    """Return the 1st and the 99th percentile of the foreground.

    Args:
        values: of any shape and real dtype. The foreground is what is finite, not 0 and above the minimum, which are
            the values of air and of pixels that a map leaves out.

    Returns:
        The intensities of black and of white; those one apart if there is no foreground or it is constant.
    """
    finite = values[np.isfinite(values)].astype(np.float64)
    foreground = finite[(finite != 0) & (finite > finite.min(initial=np.inf))]
    low, high = np.percentile(foreground, (SHARE, 100 - SHARE)) if foreground.size else (0.0, 0.0)
    return float(low), float(high if high > low else low + 1)
