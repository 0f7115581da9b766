"""Files that must not be lost: written aside, synced, renamed, and only then believed.

The order is write -> fsync(file) -> rename -> fsync(folder): after a kill or a power cut a path
holds either the old file or the new one, whole.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from vaes.errors import DiskError, RunError, UsageError

TEMPORARY = ".tmp"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns a full disk or a refused write into one line that names `path`."""
    try:
        yield
    except OSError as error:
        if isinstance(error, DiskError):
            raise
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            told = f"{path} could not be written: the disk is full; make room and resume"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            told = f"{path} could not be written: no permission there; choose another folder"
        elif error.errno in (errno.EEXIST, errno.ENOTDIR):
            told = f"{path} could not be written: a file lies where a folder is needed"
        else:
            told = f"{path} could not be written: {error.strerror or error}"
        raise DiskError(told) from error


def write_bytes(path: Path, content: bytes) -> str:
    """Replaces `path` by `content` as one step; returns the sha256 of what was written."""
    aside = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    with writing(path):
        try:
            with open(aside, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    return hashlib.sha256(content).hexdigest()


def write_new(path: Path, text: str) -> None:
    """Writes `text` to `path`, which must not exist; one line where it does."""
    with writing(path):
        try:
            with open(path, "x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            told = f"{path} exists and is never written over; choose another name"
            raise UsageError(told) from None


def write_json(path: Path, content: Any) -> str:
    """Replaces `path` by JSON; numbers that are not finite become null."""
    text = json.dumps(_finite(content), indent=1, ensure_ascii=False, allow_nan=False)
    return write_bytes(path, (text + "\n").encode())


def json_line(content: Any) -> str:
    """One line of JSON; numbers that are not finite become null."""
    return json.dumps(_finite(content), ensure_ascii=False, allow_nan=False)


def read_json(path: Path, what: str) -> Any:
    """The JSON of `path`; a missing or broken file is one line that calls it `what`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{what} is incomplete: {path.name} is missing") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{what} is damaged: {path.name} is no JSON ({error})") from error


def refuse_existing(out: str | None) -> None:
    """One line where `out` is taken, before anything is computed for it."""
    if out is not None and Path(out).exists():
        raise UsageError(f"{out} exists and is never written over; choose another folder")


def new_folder(path: Path | None, numbered: str) -> Path:
    """Makes `path`, or <numbered>-<n> with the first free n; an existing `path` is one line.

    `mkdir` is the one step that two processes cannot both win.
    """
    for n in itertools.count(1):
        candidate = path if path is not None else Path(f"{numbered}-{n}")
        with writing(candidate):
            candidate.parent.mkdir(parents=True, exist_ok=True)
            try:
                candidate.mkdir()
            except FileExistsError:
                if path is not None:
                    told = f"{path} exists and is never written over; choose another folder"
                    raise UsageError(told) from None
                continue
            sync_folder(candidate.parent)
            return candidate
    raise AssertionError("counting never ends")


def sync_folder(folder: Path) -> None:
    """Makes renames in `folder` durable, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """Of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sweep(folder: Path) -> None:
    """Removes what a killed process left half-written; call it under the folder's lock."""
    for stray in folder.glob(f".*{TEMPORARY}"):
        stray.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Holds `path` as a lock; another holder is one line with its process. Freed by any death."""
    with writing(path):
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - open as long as the lock is held
    try:
        if not _lock(file):
            file.seek(0)
            raise RunError(f"{what} is in use by {file.read().strip() or 'another process'}")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {_host()}\n")
        file.flush()
        yield
    finally:
        file.close()


def _lock(file: IO[str]) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _host() -> str:
    import socket

    return socket.gethostname()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value
