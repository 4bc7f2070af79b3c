"""Members come out of archives whole, alone, and never outside the folder they are meant for."""

import io
import os
import stat
import tarfile
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from compress.archives import extract
from compress.errors import SourceError

FILES = {"top/a.txt": b"a", "top/data/b.txt": b"b", "top/data/deep/c.txt": b"c", "top/database.txt": b"d"}


def make_tar(path: Path, files: dict[str, bytes], *special: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in special:
            tar.addfile(info)
    return path


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
    return path


@pytest.fixture
def into(tmp_path):
    folder = tmp_path / "box" / "into"
    folder.mkdir(parents=True)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_a_folder_comes_out_whole_and_alone(make, tmp_path, into):
    found = extract(make(tmp_path / "archive", FILES), ["top/data"], into)
    assert found == into / "data"
    assert contents(into) == {"data/b.txt": b"b", "data/deep/c.txt": b"c"}


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_without_the_top_folder_the_same_file_comes_out(make, tmp_path, into):
    found = extract(make(tmp_path / "archive", FILES), ["data/b.txt"], into, skip_top=True)
    assert found.read_bytes() == b"b"


def test_a_member_may_lie_in_an_archive_within(tmp_path, into):
    inner = make_tar(tmp_path / "inner.tar.gz", FILES)
    outer = make_zip(tmp_path / "outer.zip", {"x/inner.tar.gz": inner.read_bytes()})
    found = extract(outer, ["x/inner.tar.gz", "top/a.txt"], into)
    assert found == into / "a.txt"
    assert contents(into.parent) == {"into/a.txt": b"a"}


def test_a_tar_archive_that_ends_with_a_zip_file_is_read_as_tar(tmp_path, into):
    inner = make_zip(tmp_path / "inner.zip", FILES)
    with tarfile.open(tmp_path / "outer.tar", "w") as tar:
        tar.add(inner, "inner.zip")
    assert extract(tmp_path / "outer.tar", ["inner.zip"], into).read_bytes() == inner.read_bytes()


@pytest.mark.parametrize("name", ["top/../../escaped.txt", "top/sub\\..\\escaped.txt", "top/c:escaped.txt"])
@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_no_name_leads_out_of_the_folder(make, name, tmp_path, into):
    with pytest.raises(SourceError, match="may leave the folder"):
        extract(make(tmp_path / "archive", {**FILES, name: b"!"}), ["top"], into)
    assert not list(tmp_path.rglob("*escaped*"))


def test_asking_for_a_path_outside_is_refused(tmp_path, into):
    archive = make_tar(tmp_path / "archive", {"../a.txt": b"a"})
    for member in ("../a.txt", "/etc/hosts"):
        with pytest.raises(SourceError, match="may leave the folder"):
            extract(archive, [member], into)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_archive_are_refused(kind, tmp_path, into):
    link = tarfile.TarInfo("top/link")
    link.type, link.linkname = kind, "top/a.txt"
    with pytest.raises(SourceError, match="top/link is a link"):
        extract(make_tar(tmp_path / "archive", FILES, link), ["top"], into)
    assert not (into / "top" / "link").exists()


def test_a_link_in_a_zip_archive_is_refused(tmp_path, into):
    info = zipfile.ZipInfo("top/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive = make_zip(tmp_path / "archive.zip", FILES)
    with zipfile.ZipFile(archive, "a") as zipped:
        zipped.writestr(info, "/etc/hosts")
    with pytest.raises(SourceError, match="top/link is a link"):
        extract(archive, ["top"], into)


def test_a_missing_member_names_the_closest_one(tmp_path, into):
    with pytest.raises(SourceError, match=r"holds no top/data/d\.txt; did you mean top/data/b\.txt\?"):
        extract(make_tar(tmp_path / "archive.tar.gz", FILES), ["top/data/d.txt"], into)


def test_a_cut_or_foreign_file_is_an_error_of_the_source(tmp_path, into):
    whole = make_tar(tmp_path / "archive.tar.gz", {"a.bin": os.urandom(100_000)})
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole.read_bytes()[:50_000])
    with pytest.raises(SourceError, match="not a whole archive"):
        extract(cut, ["a.bin"], into)
    (tmp_path / "plain.txt").write_text("hello")
    with pytest.raises(SourceError, match="neither a tar nor a zip"):
        extract(tmp_path / "plain.txt", ["a"], into)


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_device_that_is_asked_for_by_name_is_refused(kind, tmp_path, into):
    device = tarfile.TarInfo("top/device")
    device.type = kind
    with pytest.raises(SourceError, match="top/device is a link or a device"):
        extract(make_tar(tmp_path / "archive", FILES, device), ["top/device"], into)
    assert not contents(into)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_out_of_the_archive_does_not_bring_the_file_it_points_to(kind, tmp_path, into):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    link = tarfile.TarInfo("top/data/link.txt")
    link.type, link.linkname = kind, str(secret)
    with pytest.raises(SourceError, match="is a link"):
        extract(make_tar(tmp_path / "archive", FILES, link), ["top/data/link.txt"], into)
    assert not contents(into)


def test_a_file_is_not_written_through_a_link_that_came_before_it(tmp_path, into):
    link = tarfile.TarInfo("top/data")
    link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
    with tarfile.open(tmp_path / "archive", "w:gz") as tar:
        tar.addfile(link)
        inner = tarfile.TarInfo("top/data/escaped.txt")
        inner.size = 1
        tar.addfile(inner, io.BytesIO(b"!"))
    with pytest.raises(SourceError, match="is a link"):
        extract(tmp_path / "archive", ["top"], into)
    assert not list(tmp_path.rglob("*escaped*"))


@pytest.mark.parametrize("name", ["/absolute.txt", "top//../../up.txt", "top/C:\\Windows\\x.txt"])
def test_asking_by_a_name_that_leads_out_is_refused_before_anything_is_written(name, tmp_path, into):
    with pytest.raises(SourceError, match="may leave the folder"):
        extract(make_zip(tmp_path / "archive", {name: b"!"}), [name], into)
    assert not contents(into)


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_no_more_comes_out_than_half_of_what_is_free(make, tmp_path, into, monkeypatch):
    free = 100_000
    usage = namedtuple("usage", "total used free")(free, 0, free)
    monkeypatch.setattr("compress.archives.shutil.disk_usage", lambda _path: usage)
    bomb = make(tmp_path / "bomb", {"top/a": bytes(free // 4), "top/b": bytes(free // 4), "top/c": b"!"})
    assert bomb.stat().st_size < free // 50
    with pytest.raises(SourceError, match="half of the disk's free space"):
        extract(bomb, ["top"], into)
    assert sum(map(len, contents(into).values())) <= free // 2
    assert len(extract(bomb, ["top/a"], into / "..").read_bytes()) == free // 4
