"""A guest's root file system as the machine writes into it, where every name and every link is the guest's choice."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from .errors import LabError

IDS = 65_536
"""How many users a uid map has."""
LIMIT = 1 << 20
"""No file that is read here is larger."""
_OPENAT2 = 437  # the same number on every architecture
_IN_ROOT, _NO_MAGIC = 0x10, 0x02
_libc = ctypes.CDLL(None, use_errno=True)


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _open_in(root: int, name: str, flags: int) -> int:
    """Opens a file as if `root` were the root directory: no link leads out, whatever changes meanwhile."""
    how = _How(flags | os.O_CLOEXEC, 0, _IN_ROOT | _NO_MAGIC)
    for _ in range(100):
        handle = _libc.syscall(_OPENAT2, root, os.fsencode(name), ctypes.byref(how), ctypes.sizeof(how))
        if handle >= 0:
            return int(handle)
        if ctypes.get_errno() != errno.EAGAIN:  # somebody renamed something on the way
            break
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code), name)


class Root:
    """A guest's root file system; `offset` is what its uid map adds to owners."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.offset = offset

    def write(self, name: str, text: str, mode: int = 0o644, group: int = 0) -> None:
        """Writes a file owned by the guest's root. A link with that name is replaced, not followed."""
        place = PurePosixPath(name)
        part = f"{place.name}.lab"
        with self._held(str(place.parent), 0o755) as folder:
            with suppress(FileNotFoundError):
                os.unlink(part, dir_fd=folder)
            handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode, dir_fd=folder)
            with os.fdopen(handle, "w") as file:
                file.write(text)
                os.fchown(handle, self.offset, self.offset + group)
                os.fchmod(handle, mode)
            os.replace(part, place.name, src_dir_fd=folder, dst_dir_fd=folder)

    def rewrite(self, name: str, text: str) -> None:
        """Writes a file that has the mode and the group of the one that is there."""
        with self._opened(name, os.O_PATH) as handle:
            found = os.fstat(handle)
        self.write(name, text, stat.S_IMODE(found.st_mode), max(found.st_gid - self.offset, 0))

    def folder(self, name: str, mode: int) -> None:
        """Makes a directory of the guest's root, and those above it, if it is missing."""
        with self._held(name, mode):
            pass

    def link(self, name: str, target: str) -> None:
        """Makes a symbolic link, unless there is one."""
        place = PurePosixPath(name)
        with self._held(str(place.parent), 0o755) as folder, suppress(FileExistsError):
            os.symlink(target, place.name, dir_fd=folder)

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        place = PurePosixPath(name)
        with suppress(FileNotFoundError), self._opened(str(place.parent), os.O_PATH | os.O_DIRECTORY) as folder:
            os.unlink(place.name, dir_fd=folder)

    def give(self, name: str, owner: int) -> None:
        """Gives a file or directory to a user of the guest and to the group of the same number."""
        if owner >= IDS:
            raise LabError(f"user {owner} is outside of the uid map")
        with self._opened(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK) as handle:
            os.fchown(handle, self.offset + owner, self.offset + owner)

    def read(self, name: str) -> str:
        """A file's text, empty if there is none; raises LabError when it is no file, or a huge one."""
        try:
            with self._opened(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY) as handle:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise LabError(f"{name} is no file in the guest's root file system")
                with os.fdopen(os.dup(handle), "rb") as file:
                    content = file.read(LIMIT + 1)
        except (FileNotFoundError, NotADirectoryError):
            return ""
        if len(content) > LIMIT:
            raise LabError(f"{name} in the guest's root file system is larger than {LIMIT >> 20} MiB")
        return content.decode(errors="replace")

    @contextmanager
    def _opened(self, name: str, flags: int) -> Iterator[int]:
        root = os.open(self.path, os.O_PATH | os.O_DIRECTORY)
        try:
            handle = _open_in(root, name.strip("/") or ".", flags)
        finally:
            os.close(root)
        try:
            yield handle
        finally:
            os.close(handle)

    @contextmanager
    def _held(self, name: str, mode: int) -> Iterator[int]:
        """A directory, made with those above it if it is missing."""
        parts = PurePosixPath(name.strip("/")).parts
        for number in range(1, len(parts) + 1):
            self._ensure("/".join(parts[: number - 1]), parts[number - 1], mode if number == len(parts) else 0o755)
        with self._opened(name, os.O_RDONLY | os.O_DIRECTORY) as handle:
            yield handle

    def _is_directory(self, name: str) -> bool:
        try:
            with self._opened(name, os.O_PATH | os.O_DIRECTORY):
                return True
        except NotADirectoryError as error:
            raise LabError(f"{name} is no directory in the guest's root file system") from error
        except FileNotFoundError:
            return False

    def _ensure(self, above: str, part: str, mode: int) -> None:
        name = f"{above}/{part}"
        if self._is_directory(name):
            return
        with self._opened(above, os.O_RDONLY | os.O_DIRECTORY) as folder:
            try:
                os.mkdir(part, dir_fd=folder)
            except FileExistsError as error:
                if self._is_directory(name):
                    return  # another thread was faster
                raise LabError(f"{name} leads nowhere in the guest's root file system") from error
            made = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
        try:
            os.fchown(made, self.offset, self.offset)
            os.fchmod(made, mode)
        finally:
            os.close(made)
