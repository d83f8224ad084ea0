"""File access on this machine; tests/integration checks the same functions on an S3 server."""

import os
import time
from pathlib import Path

import pytest

from tumorprog import storage
from tumorprog.errors import InputError


def names(root):
    return sorted(os.path.relpath(file.path, root) for file in storage.walk(root))


def test_every_file_is_found_once_even_if_links_form_a_loop(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "file").write_text("abc")
    (tmp_path / ".hidden").write_text("")
    (tmp_path / "deep" / "er" / "up").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "deep")
    found = {os.path.relpath(file.path, tmp_path): file.num_bytes for file in storage.walk(tmp_path)}
    assert found in ({".hidden": 0, "deep/file": 3}, {".hidden": 0, "again/file": 3})


def test_broken_links_are_listed_with_unknown_size(tmp_path):
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert {file.num_bytes for file in storage.walk(tmp_path)} == {-1}
    assert names(tmp_path) == ["dangling", "self"]


def test_a_single_file_is_listed_and_a_missing_path_yields_nothing(tmp_path):
    (tmp_path / "one").write_text("x")
    assert [file.num_bytes for file in storage.walk(tmp_path / "one")] == [1]
    assert list(storage.walk(tmp_path / "none")) == []


def test_every_change_of_a_file_changes_its_modification_stamp(tmp_path):
    path = tmp_path / "file"
    path.write_text("abc")
    stamps = [next(iter(storage.walk(path))).modified]
    for change in (
        lambda: path.write_text("abd"),
        lambda: os.utime(path, (0, 0)),  # like a copy that preserves times
        lambda: path.chmod(0o600),
    ):
        time.sleep(0.02)
        change()
        stamps.append(next(iter(storage.walk(path))).modified)
    assert len(set(stamps)) == len(stamps)


@pytest.mark.parametrize("name", [b"plain", "Müller 1.dcm".encode(), b"M\xfcller.dcm", b"a\xff\xfe b"])
def test_a_name_of_any_bytes_becomes_text_by_which_the_file_can_be_opened(name, tmp_path):
    Path(tmp_path, os.fsdecode(name)).write_bytes(name)
    (found,) = storage.walk(tmp_path)
    found.path.encode("utf-8")
    with storage.open_binary(found.path) as file:
        assert file.read() == name


def test_a_name_that_looks_escaped_is_used_literally(tmp_path):
    (tmp_path / r"a\xff").write_bytes(b"literal")
    (found,) = storage.walk(tmp_path)
    assert storage.open_binary(found.path).read() == b"literal"


def test_a_file_is_written_atomically(tmp_path):
    path = tmp_path / "file"
    storage.write_text(path, "old")

    def fail_while_writing():
        with storage.atomic_write(path) as file:
            file.write(b"half of the n")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        fail_while_writing()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_moved_folder_replaces_the_target(tmp_path):
    for folder, file in (("old", "x"), ("new", "y")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text(file)
    storage.move(tmp_path / "new", tmp_path / "old")
    assert names(tmp_path) == ["old/y"]


def test_copying_identical_bytes_leaves_the_target_unchanged(tmp_path):
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_text("same")
    storage.copy(source, target)
    before = next(iter(storage.walk(target))).modified
    storage.copy(source, target)
    assert next(iter(storage.walk(target))).modified == before
    source.write_text("other")
    storage.copy(source, target)
    assert target.read_text() == "other"


def test_an_address_without_a_driver_is_reported_as_an_input_error():
    with pytest.raises(InputError, match=r"nostore://bucket/run: cannot be reached"):
        storage.as_path("nostore://bucket/run")


def test_a_path_becomes_absolute_and_an_address_is_absolute_already(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("s3://bucket/tree/") == "s3://bucket/tree"
    assert storage.absolute("tree") == str(tmp_path / "tree")
