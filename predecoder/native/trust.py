"""Whether only this user and root can write where compiled code is kept."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

__all__ = ["UntrustedError", "is_ours", "require_ours"]


class UntrustedError(Exception):
    """Others can write where compiled code is kept; the message says where, and how to mend it."""


def require_ours(folder: Path) -> None:
    """Raise `UntrustedError` unless only this user and root can change what is in a folder.

    A folder in which everyone may write and nobody may remove what is another's, such as /tmp, is no way in
    for what lies deeper.
    """
    folder, real = folder.absolute(), folder.resolve()
    for place in {*(folder, real), *folder.parents, *real.parents}:
        status = place.stat()
        shared = status.st_mode & stat.S_ISVTX and place not in (folder, real)
        if not is_ours(status) and not (shared and status.st_uid in (0, os.geteuid())):
            raise UntrustedError(
                f"others than this user can write in {place} (owner {status.st_uid}, mode "
                f"{stat.filemode(status.st_mode)}), so that no compiled code is kept in {folder}; to keep "
                f"it, give {place} to this user and run: chmod go-w {place}"
            )


def is_ours(status: os.stat_result) -> bool:
    """Whether only this user and root can write a file or folder."""
    group = status.st_mode & stat.S_IWGRP and not _is_alone_in(status.st_gid)
    return status.st_uid in (0, os.geteuid()) and not group and not status.st_mode & stat.S_IWOTH


def _is_alone_in(gid: int) -> bool:
    """Whether a group is this user's private one, of the same name, as many distributions make them."""
    try:
        group, user = grp.getgrgid(gid), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return group.gr_gid == user.pw_gid and group.gr_name == user.pw_name and {*group.gr_mem} <= {user.pw_name}
