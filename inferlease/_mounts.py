"""On what kind of file system a path lies: on that of a network, a lock does not tell whether its owner lives."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["network_type"]

# Those that are served by another machine, or by the host of a virtual one.
_NETWORK = frozenset({
    "9p", "afs", "afpfs", "beegfs", "ceph", "cifs", "coda", "davfs", "glusterfs", "gpfs", "lustre", "ncpfs",
    "nfs", "nfs4", "ocfs2", "orangefs", "osxfs", "panfs", "pvfs2", "smb2", "smb3", "smbfs", "vboxsf",
    "virtiofs", "vmhgfs", "wekafs", "webdav",
})  # fmt: skip
_NETWORK_FUSE = frozenset({
    "afp", "azfile", "blobfuse", "blobfuse2", "ceph", "ceph-fuse", "cephfs", "curlftpfs", "davfs", "davfs2",
    "gcsfuse", "geesefs", "glusterfs", "goofys", "grpcfuse", "juicefs", "JuiceFS", "lustre", "mfs", "moosefs",
    "mount-s3", "mountpoint-s3", "nfs", "objectivefs", "orangefs", "osxfs", "rclone", "s3fs", "seaweedfs",
    "sshfs", "vmhgfs-fuse", "weed",
})  # fmt: skip
_MOUNTS = Path("/proc/self/mountinfo")


def network_type(path: Path) -> str | None:
    """The type of the network file system that `path` lies on; `None` if it is local, or that is not known here.

    The path need not exist. Raises OSError if its links cannot be followed.
    """
    real = path.resolve()  # first: what mounts itself when it is used is mounted by this
    try:
        table = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:  # not Linux: taken for local
        return None
    kind = mount_type(real, table)
    name = kind.removeprefix("fuse.")
    return kind if name in (_NETWORK_FUSE if kind != name else _NETWORK) else None


def mount_type(path: Path, table: str) -> str:
    """The type of the file system at a path without links, by the text of `mountinfo`; empty if it does not say."""
    longest, kind = -1, ""
    for line in table.splitlines():
        before, _, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if len(fields) < 5 or not rest[0]:
            continue
        point = Path(_unescaped(fields[4]))
        # Of two at one point, the later one covers the earlier.
        if len(point.parts) >= longest and path.is_relative_to(point):
            longest, kind = len(point.parts), rest[0]
    return kind


def _unescaped(point: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), point)
