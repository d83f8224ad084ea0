import pandas as pd

from tumorprog.regions.agreement import with_masks


def slices():
    """Two slices of a series and of its mask."""
    common = {"frame": 0, "PatientID": "P", "StudyDate": "2000-01-01", "Rows": 64, "Columns": 64, "plane": "axial"}
    return pd.DataFrame(
        [
            {**common, "sequence": kind, "path": f"{kind}-{number}", "position_mm": 5.0 * number}
            for kind in ("T1post", "mask")
            for number in range(2)
        ]
    )


def changed(**values):
    """The slices with other values for the mask."""
    rows = slices()
    is_mask = rows["sequence"] == "mask"
    return rows.assign(**{name: rows[name].where(~is_mask, value) for name, value in values.items()})


def test_slices_are_paired_with_the_mask_at_the_same_position():
    pairs = with_masks(slices())
    assert list(zip(pairs["path"], pairs["path_mask"], pairs["frame_mask"], strict=True)) == [
        ("T1post-0", "mask-0", 0),
        ("T1post-1", "mask-1", 0),
    ]
    assert len(with_masks(changed(position_mm=5.04))) == 2  # the second slice has two


def test_a_mask_at_another_position_of_another_plane_study_or_size_is_not_paired():
    for other in ({"position_mm": 1.0}, {"plane": "coronal"}, {"StudyDate": "2000-02-01"}, {"Rows": 32}):
        assert with_masks(changed(**other)).empty, other
    assert with_masks(slices().query("sequence != 'mask'")).empty
