"""The verbs of storage on this machine; the same on an S3 is in tests/integration."""

import os
import time
from pathlib import Path

import pytest

from tumorprog import storage
from tumorprog.errors import InputError


def names(root):
    return sorted(os.path.relpath(file.path, root) for file in storage.walk(root))


def test_every_file_is_found_once_also_where_links_go_round(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "file").write_text("abc")
    (tmp_path / ".hidden").write_text("")
    (tmp_path / "deep" / "er" / "up").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "deep")
    found = {os.path.relpath(file.path, tmp_path): file.num_bytes for file in storage.walk(tmp_path)}
    assert found in ({".hidden": 0, "deep/file": 3}, {".hidden": 0, "again/file": 3})


def test_what_cannot_be_examined_is_found_all_the_same(tmp_path):
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert {file.num_bytes for file in storage.walk(tmp_path)} == {-1}
    assert names(tmp_path) == ["dangling", "self"]


def test_a_single_file_is_a_tree_too_and_nothing_is_none(tmp_path):
    (tmp_path / "one").write_text("x")
    assert [file.num_bytes for file in storage.walk(tmp_path / "one")] == [1]
    assert list(storage.walk(tmp_path / "none")) == []


def test_any_change_of_a_file_gives_it_another_stamp(tmp_path):
    path = tmp_path / "file"
    path.write_text("abc")
    seen = [next(iter(storage.walk(path))).modified]
    for change in (
        lambda: path.write_text("abd"),
        lambda: os.utime(path, (0, 0)),  # as a copy that keeps its times
        lambda: path.chmod(0o600),
    ):
        time.sleep(0.02)
        change()
        seen.append(next(iter(storage.walk(path))).modified)
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("name", [b"plain", "Müller 1.dcm".encode(), b"M\xfcller.dcm", b"a\xff\xfe b"])
def test_a_name_of_any_bytes_is_text_and_leads_back_to_the_file(name, tmp_path):
    Path(tmp_path, os.fsdecode(name)).write_bytes(name)
    (found,) = storage.walk(tmp_path)
    found.path.encode("utf-8")
    with storage.open_binary(found.path) as file:
        assert file.read() == name


def test_a_name_that_looks_escaped_is_taken_as_it_is(tmp_path):
    (tmp_path / r"a\xff").write_bytes(b"literal")
    (found,) = storage.walk(tmp_path)
    assert storage.open_binary(found.path).read() == b"literal"


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    storage.write_text(path, "old")

    def fails():
        with storage.whole(path) as file:
            file.write(b"half of the n")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        fails()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_moved_folder_takes_the_place_of_what_stood_there(tmp_path):
    for folder, file in (("old", "x"), ("new", "y")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text(file)
    storage.move(tmp_path / "new", tmp_path / "old")
    assert names(tmp_path) == ["old/y"]


def test_a_copy_of_the_same_bytes_leaves_the_file_untouched(tmp_path):
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_text("same")
    storage.copy(source, target)
    before = next(iter(storage.walk(target))).modified
    storage.copy(source, target)
    assert next(iter(storage.walk(target))).modified == before
    source.write_text("other")
    storage.copy(source, target)
    assert target.read_text() == "other"


def test_a_store_without_a_driver_is_a_mistake_that_can_be_mended():
    with pytest.raises(InputError, match=r"nostore://bucket/run: cannot be reached"):
        storage.place("nostore://bucket/run")


def test_an_address_is_absolute_already_and_a_path_becomes_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("s3://bucket/tree/") == "s3://bucket/tree"
    assert storage.absolute("tree") == str(tmp_path / "tree")
