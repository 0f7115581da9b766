"""Files that must not be lost: the order of writing, every point of failure, locks, folders."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pytest

from vaes import disk
from vaes.errors import DiskError, RunError, UsageError

posix = pytest.mark.skipif(os.name == "nt", reason="folders cannot be synced there")
OLD, NEW = b"old " * 1000, b"new!" * 2000


class Log:
    """Calls of the system in order; the n-th of all calls may be made to fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail_at: int = -1, code: int = 5) -> None:
        self.calls: list[str] = []
        self.fail_at, self.code, self.names = fail_at, code, dict[int, str]()
        real_open, real_sync, real_replace = os.open, os.fsync, os.replace

        def opened(file, mode="r", *args, **kwargs):
            self.note(f"open({'file' if 'w' in mode else 'read'})")
            return _Watched(open(file, mode, *args, **kwargs), self)

        def opened_low(path, *args, **kwargs):
            handle = real_open(path, *args, **kwargs)
            if os.path.isdir(path):
                self.names[handle] = "folder"
            return handle

        def sync(handle):
            self.note(f"fsync({self.names.get(handle, 'file')})")
            real_sync(handle)

        def replace(a, b):
            self.note("replace")
            real_replace(a, b)

        monkeypatch.setattr(disk, "open", opened, raising=False)
        monkeypatch.setattr(os, "open", opened_low)
        monkeypatch.setattr(os, "fsync", sync)
        monkeypatch.setattr(os, "replace", replace)

    def note(self, call: str) -> None:
        self.calls.append(call)
        if len(self.calls) - 1 == self.fail_at:
            raise OSError(self.code, os.strerror(self.code))


class _Watched:
    """A file whose writes are noted; half of what a failing write was given reaches the disk."""

    def __init__(self, file, log: Log) -> None:
        self.file, self.log = file, log

    def __enter__(self):
        return self

    def __exit__(self, *args) -> None:
        self.file.close()

    def __getattr__(self, name: str):
        return getattr(self.file, name)

    def write(self, content) -> int:
        self.file.write(content[: len(content) // 2])
        self.log.note("write")
        return self.file.write(content[len(content) // 2 :])


ORDER = ["open(file)", "write", "fsync(file)", "replace", "fsync(folder)"]


@posix
def test_the_order_of_an_atomic_write(tmp_path: Path, monkeypatch):
    """The file's bytes are durable before its name is, and the name before anyone goes on."""
    path = tmp_path / "a"
    path.write_bytes(OLD)
    log = Log(monkeypatch)
    digest = disk.write_bytes(path, NEW)
    assert log.calls == ORDER
    assert path.read_bytes() == NEW
    assert digest == hashlib.sha256(NEW).hexdigest() == disk.sha256(path)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@posix
@pytest.mark.parametrize("before", [OLD, None], ids=["replaces", "new"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("point", range(len(ORDER)), ids=ORDER)
def test_a_failure_at_any_point_leaves_a_whole_file(tmp_path, monkeypatch, point, code, before):
    """Old content up to the rename, new content after it; one line, exit status 74."""
    path = tmp_path / "a"
    if before is not None:
        path.write_bytes(before)
    with monkeypatch.context() as patch:
        log = Log(patch, point, code)
        with pytest.raises(DiskError) as caught:
            disk.write_bytes(path, NEW)
    line = str(caught.value)
    assert caught.value.code == 74
    assert "\n" not in line
    assert str(path) in line
    assert ("disk is full" in line) == (code == errno.ENOSPC)
    assert ("no permission" in line) == (code == errno.EACCES)
    assert log.calls == ORDER[: point + 1]
    expected = NEW if ORDER[point] == "fsync(folder)" else before
    assert (path.read_bytes() if path.exists() else None) == expected
    assert list(tmp_path.iterdir()) == ([path] if expected is not None else [])
    assert disk.write_bytes(path, NEW)  # and with the cause gone it works


@posix
@pytest.mark.parametrize("point", range(len(ORDER)), ids=ORDER)
def test_death_at_any_point_leaves_a_whole_file(tmp_path: Path, point: int):
    """os._exit runs no clean-up, as a kill does: what is left over is swept by the next start."""
    path = tmp_path / "a"
    path.write_bytes(OLD)
    pid = os.fork()
    if pid == 0:
        log = Log(pytest.MonkeyPatch())
        real = log.note

        def die(call: str) -> None:
            real(call)
            if len(log.calls) - 1 == point:
                os._exit(9)

        log.note = die  # type: ignore[method-assign]
        disk.write_bytes(path, NEW)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert path.read_bytes() == (NEW if ORDER[point] == "fsync(folder)" else OLD)
    disk.sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_sweeping_takes_nothing_else(tmp_path: Path):
    kept = {"a", ".lock", "b.tmp", ".hidden"}
    for name in (*kept, ".a.123.tmp"):
        (tmp_path / name).touch()
    disk.sweep(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == kept


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB, where we may make one."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        made = sys.platform == "linux" and os.geteuid() == 0
        made = made and subprocess.run(mount, capture_output=True).returncode == 0
    except OSError:
        made = False
    if not made:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_leaves_what_was_there(tiny: Path):
    path = tiny / "a"
    disk.write_bytes(path, OLD)
    free = os.statvfs(tiny).f_bavail * os.statvfs(tiny).f_frsize
    for size in (free + 1, 2 * free, 10 * free):
        with pytest.raises(DiskError, match="the disk is full; make room and resume"):
            disk.write_bytes(path, b"x" * size)
        assert path.read_bytes() == OLD
        assert list(tiny.iterdir()) == [path]
    assert disk.write_bytes(path, b"x" * (free // 2))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_without_permission(tmp_path: Path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(DiskError, match="no permission"):
            disk.write_bytes(tmp_path / "a", NEW)
        with pytest.raises(DiskError, match="no permission"):
            disk.new_folder(tmp_path / "b", "")
    finally:
        tmp_path.chmod(0o700)


def test_json_comes_back_and_what_is_not_finite_is_null(tmp_path: Path):
    given = {"a": [1, 2.5, float("nan")], "b": {"c": float("inf"), 3: ("é", None, True)}}
    disk.write_json(tmp_path / "a.json", given)
    assert disk.read_json(tmp_path / "a.json", "it") == {
        "a": [1, 2.5, None],
        "b": {"c": None, "3": ["é", None, True]},
    }


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"a": 1'])
def test_broken_json_is_one_line(tmp_path: Path, content: bytes):
    path = tmp_path / "a.json"
    with pytest.raises(RunError, match=r"it is incomplete: a\.json is missing"):
        disk.read_json(path, "it")
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"it is damaged: a\.json is no JSON") as caught:
        disk.read_json(path, "it")
    assert "\n" not in str(caught.value)


HOLD = """
import sys
from pathlib import Path
from vaes import disk
with disk.locked(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    input()
"""


def test_a_lock_is_refused_with_its_holder_and_freed_by_kill(tmp_path: Path):
    path = tmp_path / ".lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder, holder.stdin, holder.stdout:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=f"it is in use by process {holder.pid} on "):
            disk.locked(path, "it").__enter__()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with disk.locked(path, "it"):
            assert f"process {os.getpid()} on " in path.read_text()
            # the same process is no exception
            with pytest.raises(RunError, match=f"process {os.getpid()}"):
                disk.locked(path, "it").__enter__()
        with disk.locked(path, "it"):
            pass


MAKE = """
import sys
from vaes import disk
for _ in range(20):
    print(disk.new_folder(None, sys.argv[1]))
"""


def test_new_folders_are_distinct_over_threads(tmp_path: Path):
    with ThreadPool(16) as pool:
        made = pool.map(lambda _: disk.new_folder(None, f"{tmp_path}/runs/a"), range(200))
    assert sorted(made) == sorted(tmp_path / "runs" / f"a-{n}" for n in range(1, 201))


def test_new_folders_are_distinct_over_processes(tmp_path: Path):
    command = [sys.executable, "-c", MAKE, f"{tmp_path}/a"]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    made = [line for w in workers for line in w.communicate()[0].splitlines()]
    assert sorted(made) == sorted(str(tmp_path / f"a-{n}") for n in range(1, 81))


def test_of_many_who_want_one_folder_one_gets_it(tmp_path: Path):
    won, lost, gate = [], [], threading.Barrier(16)

    def want(_) -> None:
        gate.wait()
        try:
            won.append(disk.new_folder(tmp_path / "a", ""))
        except UsageError as error:
            lost.append(str(error))

    with ThreadPool(16) as pool:
        pool.map(want, range(16), chunksize=1)
    assert won == [tmp_path / "a"]
    assert len(lost) == 15
    assert all("never written over" in line for line in lost)


def test_a_file_in_the_way_of_a_folder(tmp_path: Path):
    (tmp_path / "a").write_text("mine")
    with pytest.raises(DiskError) as caught:
        disk.new_folder(tmp_path / "a" / "b", "")
    assert "\n" not in str(caught.value)
    assert (tmp_path / "a").read_text() == "mine"
