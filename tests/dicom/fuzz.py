"""Damages sound files, reads them, and says what went wrong: `python fuzz.py FOLDER FIRST LAST` for seeds.

FOLDER holds sound files. The seed of each case is written to FOLDER/seed before the case is tried, so that a crash or a
hang (a case has ten seconds) is known by it. Address space is bounded: what wants half a gigabyte more than the
interpreter gets a MemoryError.
"""

import resource
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
from pydicom.filereader import data_element_generator

from tumorprog import tables
from tumorprog.dicom import elements, header, pixels
from tumorprog.errors import DicomError

_SPARE_BYTES = 2**29
_CASE_SECONDS = 10
_EXTREMES = (0, 1, 7, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)


def places_of(whole):
    """Byte offsets where a file is most easily hurt: tags, VRs, lengths and values of elements, items, fragments."""
    places = [0, 64, 128, 132]
    for start, implicit, little in ((132, False, True), (_data_set(whole), whole[_data_set(whole) + 4] < 65, True)):
        with tempfile.TemporaryFile() as file, elements.quiet_pydicom():
            file.write(whole)
            file.seek(start)
            try:
                for element in data_element_generator(file, implicit, little, lambda tag, *_: int(tag) >= 0x7FE00008):
                    value = getattr(element, "value_tell", None) or element.file_tell
                    places += [value - 12, value - 8, value - 6, value - 4, value - 2, value, value + 1]
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
        at = whole.find(mark)
        while at >= 0:
            places += [at, at + 2, at + 4, at + 6, at + 8, at + 10, at + 12]
            at = whole.find(mark, at + 1)
    return sorted({place for place in places if 0 <= place < len(whole)})


def _data_set(whole):
    return 144 + int.from_bytes(whole[140:144], "little")


def damage(whole, places, rng):
    """The file with one to three kinds of damage."""
    damaged = bytearray(whole)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        place = int(rng.choice(places)) if rng.random() < 0.6 else int(rng.integers(len(whole)))
        rng.choice([_flip, _overwrite, _overwrite_the_end, _set_length, _cut, _insert, _repeat, _remove])(
            damaged, min(place, len(damaged) - 1), rng
        )
    return bytes(damaged)


def _flip(damaged, place, rng):
    damaged[place] ^= 1 << int(rng.integers(8))


def _overwrite(damaged, place, rng):
    for at in rng.integers(0, len(damaged), rng.choice([1, 5, 20])):
        damaged[at] = rng.integers(256)


def _overwrite_the_end(damaged, place, rng):
    for at in rng.integers(len(damaged) // 2, len(damaged), rng.choice([1, 3, 10])):
        damaged[at] = rng.integers(256)


def _set_length(damaged, place, rng):
    width, order = int(rng.choice([2, 4])), str(rng.choice(["little", "big"]))
    damaged[place : place + width] = (int(rng.choice(_EXTREMES)) % 256**width).to_bytes(width, order)


def _cut(damaged, place, rng):
    del damaged[max(place, 1) :]


def _insert(damaged, place, rng):
    damaged[place:place] = rng.bytes(rng.choice([1, 2, 8, 100]))


def _repeat(damaged, place, rng):
    damaged[place:place] = damaged[place : place + int(rng.choice([2, 8, 60, 500]))]


def _remove(damaged, place, rng):
    del damaged[max(place, 1) : max(place, 1) + int(rng.choice([1, 2, 8, 60]))]


def read(path):
    """Reads a file in each way; what comes is right in form, or a DicomError with a reason of the list."""
    rows = _or_reason(header.read_rows, path)
    assert rows is None or rows
    for frame in {0, len(rows or [0]) - 1}:
        image = _or_reason(pixels.read_frame, path, frame)
        if image is not None:
            assert image.dtype == np.float32
            assert image.ndim == 2
            assert np.isfinite(image).all()


def _or_reason(function, *given):
    try:
        return function(*given)
    except DicomError as error:
        if error.reason not in tables.REASONS:
            raise
        return None


def main(folder, first, last):
    """Tries the seeds from first to before last."""
    sources = sorted(Path(folder).glob("*.dcm"))
    sound = [(path.name, path.read_bytes()) for path in sources]
    for path in sources:
        read(str(path))
    places = [places_of(whole) for _, whole in sound]
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resource.setrlimit(resource.RLIMIT_AS, (used + _SPARE_BYTES, used + _SPARE_BYTES))
    path, note = Path(folder) / "damaged", Path(folder) / "seed"
    for seed in range(first, last):
        rng = np.random.default_rng(seed)
        which = int(rng.integers(len(sound)))
        note.write_text(f"{seed} ({sound[which][0]})")
        path.write_bytes(damage(sound[which][1], places[which], rng))
        signal.alarm(_CASE_SECONDS)
        read(str(path))
    signal.alarm(0)
    grown = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    assert grown < _SPARE_BYTES // 2, f"{grown:,} bytes more than the sound files need"


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
