"""Compare the region of a stack with its tumour mask: overlap, volumes, distance of the surfaces, lesions found.

The distances are MONAI's, which takes seconds to import and is therefore imported on first use.
"""

import math
import warnings
from typing import Any

import numpy as np
from scipy import ndimage

Spacing = tuple[float, float, float]
"""Distance of the slices, of the rows and of the columns in mm; NaN if unknown."""

_TOUCHING = np.ones((3, 3, 3), bool)
"""Voxels of a lesion touch at faces, edges or corners."""
_PERCENTILE = 95


def overlap(region: np.ndarray, mask: np.ndarray, spacing_mm: Spacing) -> dict[str, Any]:
    """Return the part of `score` that needs no distances and lesions: both, region, mask, region_ml and mask_ml."""
    voxels_of = {"both": region & mask, "region": region, "mask": mask}
    counts = {name: int(np.count_nonzero(voxels)) for name, voxels in voxels_of.items()}
    voxel_ml = math.prod(spacing_mm) / 1000
    return {**counts, "region_ml": counts["region"] * voxel_ml, "mask_ml": counts["mask"] * voxel_ml}


def score(region: np.ndarray, mask: np.ndarray, spacing_mm: Spacing) -> dict[str, Any]:
    """Compare the region of a stack with its mask.

    A lesion is a 26-connected component of the mask. It is found if the region contains at least one of its voxels: the
    most generous criterion, which says whether a lesion was noticed and not how well it is outlined. A component of the
    region that contains no voxel of the mask is a false lesion.

    Args:
        region: (N, H, W) bool.
        mask: (N, H, W) bool.
        spacing_mm: of the voxels.

    Returns:
        both, region and mask, numbers of voxels; region_ml and mask_ml; hd95_mm, the larger of the 95th percentiles of
        the distances from either surface to the other one, NaN if the region or the mask is empty; lesions,
        lesions_found and false_lesions. Volumes and distances are NaN where the spacing is unknown.

    Source: Huttenlocher et al. 1993, IEEE TPAMI 15:850-863, for the distance; its 95th percentile is that of Menze et
    al. 2015, IEEE TMI 34:1993-2024.
    """
    region, mask = _cropped(region, mask)
    both = region & mask
    lesions, number = ndimage.label(mask, _TOUCHING)
    pieces, number_of_pieces = ndimage.label(region, _TOUCHING)
    return {
        **overlap(region, mask, spacing_mm),
        "hd95_mm": _hausdorff_mm(region, mask, spacing_mm),
        "lesions": number,
        "lesions_found": len(np.unique(lesions[both])),
        "false_lesions": number_of_pieces - len(np.unique(pieces[both])),
    }


def lesions(region: np.ndarray, mask: np.ndarray, spacing_mm: Spacing) -> list[tuple[float, float]]:
    """Return the volume of each lesion of a mask, and how much of it the region contains, both in ml.

    Args:
        region: (N, H, W) bool.
        mask: (N, H, W) bool; its lesions are as for `score`.
        spacing_mm: of the voxels.
    """
    region, mask = _cropped(region, mask)
    labels, number = ndimage.label(mask, _TOUCHING)
    voxel_ml = math.prod(spacing_mm) / 1000
    volumes, found = (
        np.bincount(part, minlength=number + 1)[1:] * voxel_ml for part in (labels.ravel(), labels[region])
    )
    return list(zip(volumes.tolist(), found.tolist(), strict=True))


def _cropped(region: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest box that contains both; an empty one if both are empty."""
    boxes = ndimage.find_objects((region | mask).astype(np.uint8))
    box = boxes[0] if boxes else (slice(0),) * region.ndim
    return region[box], mask[box]


def _hausdorff_mm(region: np.ndarray, mask: np.ndarray, spacing_mm: Spacing) -> float:
    if not (region.any() and mask.any() and np.isfinite(spacing_mm).all()):
        return math.nan
    import torch
    from monai.metrics import compute_hausdorff_distance

    first, second = (torch.from_numpy(np.ascontiguousarray(part))[None, None] for part in (region, mask))
    options: dict[str, Any] = {"include_background": True, "percentile": _PERCENTILE, "spacing": list(spacing_mm)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI 1.6 warns about an argument that it passes itself
        return float(compute_hausdorff_distance(first, second, **options))
