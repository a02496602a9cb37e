"""Which journal claimed which instance: a small file for each id, which is there whole or not at all, and stays."""

from __future__ import annotations

import errno
import os
import uuid
from hashlib import sha256
from pathlib import Path

from ._journal_lines import Claim, Contents, GarbledError, claim_line, read_claim
from ._locked_files import remove, sync_folder, write_whole

__all__ = ["Claims", "hashed"]

# With these nobody else can note anything either.
_NOT_WRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Claims:
    """The folder of these files. Its methods raise OSError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def is_known(self, instance_id: str) -> bool:
        """Whether any journal has claimed it."""
        try:
            self._path(instance_id).lstat()
        except FileNotFoundError:
            return False
        return True

    def claimer(self, instance_id: str) -> str | None:
        """The journal that claimed it, `None` if none did."""
        try:
            raw = self._path(instance_id).read_bytes()
        except FileNotFoundError:
            return None
        try:
            return read_claim(raw).journal
        except GarbledError:
            return ""  # somebody's, for certain

    def note(self, claim: Claim) -> bool:
        """Note whose an id is: `False` if it is another journal's. Atomic among all processes."""
        hidden = self.folder / f".{uuid.uuid4().hex}.new"
        try:
            descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                write_whole(descriptor, claim_line(claim))
            finally:
                os.close(descriptor)
            try:
                # As exclusive as to create it, but whole at once.
                os.link(hidden, self._path(claim.instance_id))
            except FileExistsError:
                if self.claimer(claim.instance_id) != claim.journal:
                    return False
            sync_folder(self.folder)
        finally:
            remove(hidden)
        return True

    def valid(self, contents: Contents, *, is_settled: bool) -> Claim | None:
        """The claim of a journal that counts, if one does.

        A claim is written into the journal, then noted here. If its owner died between the two, it is noted now
        (`is_settled`: nobody else is about to): what is in the journal must not be lost.
        """
        claimers = [(claim, self.claimer(claim.instance_id)) for claim in contents.claims]
        for claim, claimer in claimers:
            if claimer == claim.journal:
                return claim
        for claim, claimer in reversed(claimers):
            if claimer is None and is_settled and self._is_noted_late(claim):
                return claim
        return None

    def _is_noted_late(self, claim: Claim) -> bool:
        try:
            return self.note(claim)
        except OSError as error:
            if error.errno not in _NOT_WRITABLE:
                raise
            return True

    def _path(self, instance_id: str) -> Path:
        return self.folder / hashed(instance_id)


def hashed(key: str) -> str:
    """A file name for any text."""
    return sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:40]
