"""On what kind of file system a path lies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inferlease import _mounts
from inferlease._mounts import mount_type, network_type

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 27 0:40 / /mnt/nfs rw,relatime shared:2 master:1 - nfs4 server:/export rw,vers=4.2
31 30 0:41 / /mnt/nfs/local rw - tmpfs tmpfs rw
32 27 0:42 / /mnt/two\040words rw - cifs //server/share rw
33 27 0:43 / /mnt/covered rw - nfs server:/old rw
34 33 0:44 / /mnt/covered rw - xfs /dev/sdb rw
35 27 0:45 / /mnt/ssh rw - fuse.sshfs me@server: rw
36 27 0:46 / /mnt/ntfs rw - fuseblk /dev/sdc rw
37 27 0:47 / /mnt/zip rw - fuse.archivemount archive rw

nonsense
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/srv/x", "ext4"),
        ("/proc/1", "proc"),
        ("/mnt/nfs", "nfs4"),
        ("/mnt/nfs/a/b", "nfs4"),
        ("/mnt/nfs2", "ext4"),
        ("/mnt/nfs/local/a", "tmpfs"),
        ("/mnt/two words/a", "cifs"),
        ("/mnt/covered/a", "xfs"),
        ("/mnt/ssh/a", "fuse.sshfs"),
    ],
)
def test_the_deepest_mount_tells_the_type(path: str, kind: str) -> None:
    assert mount_type(Path(path), TABLE) == kind


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, str], None]:
    """Has the system say that a file system of some type is mounted at a folder."""

    def mount(folder: Path, kind: str) -> None:
        table = tmp_path / "mountinfo"
        table.write_text(f"{TABLE}40 27 0:50 / {folder.resolve()} rw - {kind} x rw\n")
        monkeypatch.setattr(_mounts, "_MOUNTS", table)

    return mount


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "ceph", "lustre", "fuse.rclone"])
def test_a_network_is_one(tmp_path: Path, mounted: Callable[[Path, str], None], kind: str) -> None:
    mounted(tmp_path, kind)
    assert network_type(tmp_path / "not" / "there") == kind


@pytest.mark.parametrize("kind", ["ext4", "overlay", "tmpfs", "btrfs", "fuseblk", "fuse.archivemount", "zfs"])
def test_a_disk_is_none(tmp_path: Path, mounted: Callable[[Path, str], None], kind: str) -> None:
    mounted(tmp_path, kind)
    assert network_type(tmp_path) is None


def test_a_link_leads_to_the_network(tmp_path: Path, mounted: Callable[[Path, str], None]) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    mounted(tmp_path / "there", "nfs4")
    assert network_type(tmp_path / "link" / "below") == "nfs4"
    assert network_type(tmp_path / "elsewhere") is None


def test_where_the_system_does_not_say_it_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_mounts, "_MOUNTS", tmp_path / "missing")
    assert network_type(tmp_path) is None
