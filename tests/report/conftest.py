"""A made-up table of regions for tests of pictures."""

import math

import numpy as np
import pyarrow as pa
import pytest

from tumorprog import tables
from tumorprog.imaging.intensity import SIDE
from tumorprog.regions.columns import REGIONS
from tumorprog.regions.packing import pack

REGION = np.zeros((SIDE, SIDE), bool)
REGION[60:110, 80:150] = True


@pytest.fixture(scope="module")
def write_regions(tmp_path_factory):
    """Write a shard of regions in which the region of every slice, given by path and frame, is the same mask."""

    def write(slices):
        empty = {field.name: {"string": "", "double": math.nan}.get(str(field.type), 0) for field in REGIONS}
        own = {"cohort": "progression", "method": "mask", "region": pack(REGION)}
        rows = [{**empty, **own, **row} for row in slices[["path", "frame"]].to_dict("records")]
        path = tmp_path_factory.mktemp("regions") / "part-00000.parquet"
        tables.write_shard(path, pa.Table.from_pylist(rows, REGIONS), REGIONS)
        return [path]

    return write
