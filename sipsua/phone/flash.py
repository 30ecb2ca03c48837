"""The flash: the files that one phone keeps, certificates, keys and settings, as a directory.

A phone that loses power in the middle of an upload has the old file or the new one, never half of one, and so it is here: a file is
written beside its place, made durable, and renamed. Several processes may work on one flash, so whoever changes it holds its lock. The
lock is the kernel's (`flock`) and dies with its holder; what a killed writer left lying about is swept away by the next one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sipsua.errors import BadConfiguration, Misuse
from sipsua.trust.store import without_waiting

LARGEST = 10_000_000
"""Bytes. A certificate of 5 MB, the most that the phone takes, has 7 MB as PEM."""

LOCK_PATIENCE = 10.0
"""Seconds to wait for another process to let go of the flash. Each change takes milliseconds."""

_LOCK = ".lock"
_NEW = ".sipsua-new-"
"""How the names begin of files that are being written. Whatever begins so is swept away, so nobody else's files may."""


def home() -> Path:
    """Where a flash is kept if nobody says where: `$SIPSUA_HOME/phone`, else `$XDG_DATA_HOME/sipsua/phone`, else
    `~/.local/share/sipsua/phone`. Raises BadConfiguration where there is no home directory either."""
    if own := os.environ.get("SIPSUA_HOME"):
        return Path(own) / "phone"
    data = os.environ.get("XDG_DATA_HOME", "")
    if os.path.isabs(data):  # a relative one is invalid and to be ignored, says the XDG Base Directory specification
        return Path(data) / "sipsua" / "phone"
    try:
        return Path.home() / ".local" / "share" / "sipsua" / "phone"
    except RuntimeError:
        raise BadConfiguration(
            "there is no home directory to keep the phone's flash in", fix="set SIPSUA_HOME, or give --flash DIR"
        ) from None


class Flash:
    """One phone's stored files. Reading makes nothing; the directory comes with the first change.

    Names are relative, with `/` between the folder and the file: `trusted/01-ca.pem`, `settings.cfg`. All methods raise BadConfiguration,
    naming the file, for what the disk or the rights on it do not permit, and Misuse for a name that cannot be one.
    """

    __slots__ = ("_depth", "_mutex", "_swept", "directory")

    directory: Path
    """Where the files are."""

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        """`directory` None is `home()`."""
        self.directory = Path(directory) if directory is not None else home()
        self._mutex = threading.RLock()
        self._depth = 0
        self._swept = False

    def __repr__(self) -> str:
        return f"<Flash: {self.directory}>"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep all others from changing the flash, in this process and in others, from a look at it to the change that follows.

        A lock within a lock of the same Flash is none. Raises BadConfiguration if another holds it for longer than LOCK_PATIENCE.
        """
        if not self._mutex.acquire(timeout=LOCK_PATIENCE):
            raise self._busy()
        try:
            if self._depth:
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1
                return
            descriptor = self._lock_file()
            try:
                if not self._swept:  # once will do: a flash of ten thousand certificates takes a while to walk through
                    self._sweep()
                    self._swept = True
                self._depth = 1
                try:
                    yield
                finally:
                    self._depth = 0
            finally:
                os.close(descriptor)  # which lets go of the lock
        finally:
            self._mutex.release()

    def read(self, name: str) -> bytes | None:
        """What the file holds; None if there is no such file.

        Raises BadConfiguration if it is empty, nothing but NUL (what file systems make of a file that was cut off by a power failure), or
        larger than LARGEST.
        """
        path = self.path(name)
        try:
            with open(path, "rb", opener=without_waiting) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise self._fault("read", path, OSError(errno.EINVAL, "it is no regular file"))
                data = file.read(LARGEST + 1)
        except FileNotFoundError:
            return None
        except NotADirectoryError as error:
            self._check_directory(error)
            return None
        except OSError as error:
            raise self._fault("read", path, error) from error
        if len(data) > LARGEST:
            raise BadConfiguration(
                f"{path} is larger than {LARGEST // 1_000_000} MB",
                fix="it is none of sipsua's files: move it elsewhere",
            )
        if not data.strip(b"\0"):
            raise self.torn(name, "it is empty" if not data else "it holds nothing but NUL")
        return data

    def write(self, name: str, data: bytes) -> None:
        """Store a file, mode 0600, in place of what had this name before. It is there in full, and durable, or not at all."""
        path = self.path(name)
        if not data:
            raise Misuse(f"{name} would be empty", fix="delete it instead")
        with self.lock():
            new = path.parent / f"{_NEW}{path.name}"
            try:
                self._make(path.parent)
                new.unlink(missing_ok=True)
                descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                try:
                    with open(descriptor, "wb") as file:
                        file.write(data)
                        file.flush()
                        os.fsync(descriptor)
                    new.replace(path)
                except BaseException:
                    new.unlink(missing_ok=True)
                    raise
                _sync(path.parent)
            except OSError as error:
                raise self._fault("write", path, error) from error

    def delete(self, name: str) -> bool:
        """Delete a file; False if there was none."""
        path = self.path(name)
        try:
            path.lstat()  # so that nothing is made where there is nothing
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise self._fault("delete", path, error) from error
        with self.lock():
            try:
                path.unlink()
                _sync(path.parent)
            except FileNotFoundError:
                return False
            except OSError as error:
                raise self._fault("delete", path, error) from error
        return True

    def names(self, folder: str = "") -> list[str]:
        """The names of the files in a folder, sorted, with the folder before them; a folder that is not there has none."""
        directory = self.path(folder) if folder else self.directory
        try:
            with os.scandir(directory) as entries:
                found = sorted(entry.name for entry in entries if _is_name(entry.name) and entry.is_file())
        except FileNotFoundError:
            return []
        except NotADirectoryError as error:
            self._check_directory(error)
            return []
        except OSError as error:
            raise self._fault("read", directory, error) from error
        return [f"{folder}/{name}" if folder else name for name in found]

    def path(self, name: str) -> Path:
        """Where a file is. Raises Misuse for a name that leads out of the flash, or is hidden or not printable."""
        if not all(map(_is_name, name.split("/"))):
            raise Misuse(f"{name!r} cannot be a name in the flash", fix="give a relative one, without hidden parts")
        return self.directory / name

    def torn(self, name: str, why: str, *, delete: str | None = None) -> BadConfiguration:
        """The error to raise for a file that is not whole: `why` says what is missing, `delete` is a command that deletes it."""
        path = self.path(name)
        command = delete if delete is not None else f"rm {shlex.quote(str(path))}"
        return BadConfiguration(
            f"{path} is torn: {why}", fix=f"put it back from a copy, or delete it with `{command}` and load it again"
        )

    @property
    def foreign(self) -> bool:
        """Whether the directory has files, and none that a phone would have: it is somebody else's."""
        try:
            names = set(os.listdir(self.directory))
        except OSError:
            return False
        return bool(names) and names.isdisjoint((_LOCK, "settings.cfg", "trusted", "device"))

    def _check_directory(self, error: OSError) -> None:
        """What is no directory where a folder is to be has no files; where the flash itself is to be, it is a wrong path."""
        if self.directory.exists() and not self.directory.is_dir():
            raise self._fault("read", self.directory, error) from error

    def _lock_file(self) -> int:
        """The open lock file, locked."""
        path = self.directory / _LOCK
        try:
            self._make(self.directory)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise self._fault("write", path, error) from error
        # The kernel's own waiting has no time limit, and a stopped process would hold up all others for ever.
        patience = time.monotonic() + LOCK_PATIENCE
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return descriptor
                except BlockingIOError:
                    if time.monotonic() > patience:
                        raise self._busy() from None
                    time.sleep(0.005)
        except OSError as error:
            os.close(descriptor)
            raise self._fault("lock", path, error) from error
        except BaseException:
            os.close(descriptor)
            raise

    def _make(self, directory: Path) -> None:
        """Make a directory, for its owner only, and those above it that are not there: each of them durable, or else none is."""
        if directory.is_dir():
            return
        self._make(directory.parent)
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
        except FileExistsError:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
        _sync(directory.parent)

    def _sweep(self) -> None:
        """Remove what killed writers left. Only for who holds the lock: nobody else is writing then."""
        for place, folders, files in os.walk(self.directory):
            # A flash within this one, such as the manufacturer's beside the phone's, has its own lock and its own writers.
            folders[:] = [folder for folder in folders if not os.path.exists(os.path.join(place, folder, _LOCK))]
            for file in files:
                if file.startswith(_NEW):
                    left = Path(place, file)
                    try:
                        left.unlink(missing_ok=True)
                    except OSError as error:
                        raise self._fault("delete", left, error) from error

    def _busy(self) -> BadConfiguration:
        return BadConfiguration(
            f"another process has been changing {self.directory} for {LOCK_PATIENCE:g} s",
            fix="see who it is with `fuser -v " + str(self.directory / _LOCK) + "`, or try again",
        )

    def _fault(self, what: str, path: Path, error: OSError) -> BadConfiguration:
        return BadConfiguration(
            f"cannot {what} {path}: {error.strerror or type(error).__name__}",
            fix="check the directory and the rights on it, or give another: --flash DIR for a phone, SIPSUA_HOME for all",
        )


def _is_name(part: str) -> bool:
    return part.isprintable() and 0 < len(part.encode()) <= 200 and part[0] != "."


def _sync(directory: Path) -> None:
    """Make durable which files a directory has: a rename is only in memory until then."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
