"""Fuzz test: damage valid files and read them; `python fuzz.py FOLDER FIRST LAST` for a range of seeds.

FOLDER contains valid files. The seed of each case is written to FOLDER/seed before the case is run, so that a crash or
a hang (a case has ten seconds) can be reproduced. Address space is limited: a case that needs half a gigabyte more than
the interpreter fails with a MemoryError.
"""

import resource
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
from pydicom.filereader import data_element_generator

from tumorprog.errors import DicomError
from tumorprog.formats.columns import REASONS
from tumorprog.formats.dicom import elements, header, pixels

_SPARE_BYTES = 2**29
_CASE_SECONDS = 10
_EXTREMES = (0, 1, 7, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)


def vulnerable_offsets(content):
    """Return vulnerable byte offsets of a file: tags, VRs, lengths and values of elements, items and fragments."""
    offsets = [0, 64, 128, 132]
    for start, implicit, little in (
        (132, False, True),
        (_data_set_offset(content), content[_data_set_offset(content) + 4] < 65, True),
    ):
        with tempfile.TemporaryFile() as file, elements.quiet_pydicom():
            file.write(content)
            file.seek(start)
            try:
                for element in data_element_generator(file, implicit, little, lambda tag, *_: int(tag) >= 0x7FE00008):
                    value = getattr(element, "value_tell", None) or element.file_tell
                    offsets += [value - 12, value - 8, value - 6, value - 4, value - 2, value, value + 1]
            except elements.DAMAGE:  # deflated
                pass
    for mark in (
        b"\xfe\xff\x00\xe0",
        b"\xfe\xff\xdd\xe0",
        b"\xe0\x7f\x10\x00",
        b"\x7f\xe0\x00\x10",
        b"\xff\x51",
        b"\xff\xc3",
    ):
        at = content.find(mark)
        while at >= 0:
            offsets += [at, at + 2, at + 4, at + 6, at + 8, at + 10, at + 12]
            at = content.find(mark, at + 1)
    return sorted({offset for offset in offsets if 0 <= offset < len(content)})


def _data_set_offset(content):
    return 144 + int.from_bytes(content[140:144], "little")


def damage(content, offsets, rng):
    """Return the content of a file with one to three kinds of damage."""
    damaged = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        offset = int(rng.choice(offsets)) if rng.random() < 0.6 else int(rng.integers(len(content)))
        rng.choice([_flip, _overwrite, _overwrite_the_end, _set_length, _cut, _insert, _repeat, _remove])(
            damaged, min(offset, len(damaged) - 1), rng
        )
    return bytes(damaged)


def _flip(damaged, offset, rng):
    damaged[offset] ^= 1 << int(rng.integers(8))


def _overwrite(damaged, offset, rng):
    for at in rng.integers(0, len(damaged), rng.choice([1, 5, 20])):
        damaged[at] = rng.integers(256)


def _overwrite_the_end(damaged, offset, rng):
    for at in rng.integers(len(damaged) // 2, len(damaged), rng.choice([1, 3, 10])):
        damaged[at] = rng.integers(256)


def _set_length(damaged, offset, rng):
    width, order = int(rng.choice([2, 4])), str(rng.choice(["little", "big"]))
    damaged[offset : offset + width] = (int(rng.choice(_EXTREMES)) % 256**width).to_bytes(width, order)


def _cut(damaged, offset, rng):
    del damaged[max(offset, 1) :]


def _insert(damaged, offset, rng):
    damaged[offset:offset] = rng.bytes(rng.choice([1, 2, 8, 100]))


def _repeat(damaged, offset, rng):
    damaged[offset:offset] = damaged[offset : offset + int(rng.choice([2, 8, 60, 500]))]


def _remove(damaged, offset, rng):
    del damaged[max(offset, 1) : max(offset, 1) + int(rng.choice([1, 2, 8, 60]))]


def read(path):
    """Read a file in both ways; the result must be well-formed or a DicomError with a defined reason."""
    rows = _result_or_none(header.read_rows, path)
    assert rows is None or rows
    for frame in {0, len(rows or [0]) - 1}:
        image = _result_or_none(pixels.read_frame, path, frame)
        if image is not None:
            assert image.dtype == np.float32
            assert image.ndim == 2
            assert np.isfinite(image).all()


def _result_or_none(function, *args):
    try:
        return function(*args)
    except DicomError as error:
        if error.reason not in REASONS:
            raise
        return None


def main(folder, first, last):
    """Run the seeds from `first` up to but not including `last`."""
    sources = sorted(Path(folder).glob("*.dcm"))
    valid = [(path.name, path.read_bytes()) for path in sources]
    for path in sources:
        read(str(path))
    offsets = [vulnerable_offsets(content) for _, content in valid]
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resource.setrlimit(resource.RLIMIT_AS, (used + _SPARE_BYTES, used + _SPARE_BYTES))
    path, seed_file = Path(folder) / "damaged", Path(folder) / "seed"
    for seed in range(first, last):
        rng = np.random.default_rng(seed)
        choice = int(rng.integers(len(valid)))
        seed_file.write_text(f"{seed} ({valid[choice][0]})")
        path.write_bytes(damage(valid[choice][1], offsets[choice], rng))
        signal.alarm(_CASE_SECONDS)
        read(str(path))
    signal.alarm(0)
    grown = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    assert grown < _SPARE_BYTES // 2, f"{grown:,} bytes more than the valid files need"


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
