"""A flash keeps what it was given, whole or not at all, whoever else works on it and whenever a writer dies."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sipsua.errors import BadConfiguration, Misuse
from sipsua.phone import flash as module
from sipsua.phone.flash import LARGEST, Flash, home


@pytest.fixture
def flash(tmp_path: Path) -> Flash:
    return Flash(tmp_path / "phone")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def leftovers(flash: Flash) -> list[str]:
    return [path.name for path in flash.directory.rglob(".*") if path.name != ".lock"]


def test_what_is_written_is_read_and_replaced_and_deleted(flash: Flash) -> None:
    flash.write("trusted/01-ca.pem", b"one")
    flash.write("trusted/01-ca.pem", b"two")
    assert flash.read("trusted/01-ca.pem") == b"two"
    assert flash.names("trusted") == ["trusted/01-ca.pem"]
    assert flash.delete("trusted/01-ca.pem")
    assert not flash.delete("trusted/01-ca.pem")
    assert flash.read("trusted/01-ca.pem") is None
    assert flash.names("trusted") == []
    assert leftovers(flash) == []


def test_looking_makes_no_directory(flash: Flash) -> None:
    assert flash.read("settings.cfg") is None
    assert flash.names("trusted") == flash.names() == []
    assert not flash.delete("settings.cfg")
    assert not flash.directory.exists()


def test_directories_are_0700_and_files_0600_whatever_the_umask(flash: Flash) -> None:
    before = os.umask(0)
    try:
        flash.write("device/custom.pem", b"key")
    finally:
        os.umask(before)
    assert mode(flash.directory) == mode(flash.directory / "device") == 0o700
    assert mode(flash.directory / "device" / "custom.pem") == mode(flash.directory / ".lock") == 0o600


def test_names_are_sorted_and_hide_what_is_not_the_phones(flash: Flash) -> None:
    for name in ("b.pem", "a.pem", "ä b.pem"):
        flash.write(f"trusted/{name}", b"x")
    (flash.directory / "trusted" / ".hidden").touch()
    (flash.directory / "trusted" / "folder").mkdir()
    assert flash.names("trusted") == ["trusted/a.pem", "trusted/b.pem", "trusted/ä b.pem"]
    assert flash.names() == []


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "../x", "a/../b", "a//b", ".lock", "a/.new-b", "a\nb", "a\0b", "a/", "\ud800", "x" * 201],
)
def test_a_name_that_leads_elsewhere_is_misuse(flash: Flash, name: str) -> None:
    with pytest.raises(Misuse, match="cannot be a name"):
        flash.write(name, b"x")
    assert not flash.directory.exists()


@pytest.mark.parametrize(
    ("content", "says"), [(b"", "is torn: it is empty"), (b"\0" * 4096, "is torn: it holds nothing but NUL")]
)
def test_a_file_that_a_power_failure_emptied_is_torn_and_named(flash: Flash, content: bytes, says: str) -> None:
    flash.write("settings.cfg", b"x")
    (flash.directory / "settings.cfg").write_bytes(content)
    with pytest.raises(BadConfiguration, match=says) as caught:
        flash.read("settings.cfg")
    assert str(flash.directory / "settings.cfg") in caught.value.what
    assert "rm " in caught.value.fix


def test_an_empty_file_is_not_written(flash: Flash) -> None:
    with pytest.raises(Misuse, match="empty"):
        flash.write("settings.cfg", b"")


def test_a_file_of_absurd_size_is_not_read(flash: Flash) -> None:
    flash.write("settings.cfg", b"x" * LARGEST)
    assert flash.read("settings.cfg") == b"x" * LARGEST
    flash.write("settings.cfg", b"x" * (LARGEST + 1))
    with pytest.raises(BadConfiguration, match="larger than 10 MB"):
        flash.read("settings.cfg")


# Writers that die

WRITER = """
import os, signal, sys
from sipsua.phone import flash as module
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
setattr(*{"fsync": (os, "fsync", die), "replace": (module.Path, "replace", die)}[sys.argv[2]])
if sys.argv[2] == "fsync":
    module._sync = lambda directory: None
module.Flash(sys.argv[1]).write("trusted/01-ca.pem", b"new")
"""


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_writer_that_is_killed_leaves_the_old_file_and_no_lock(flash: Flash, where: str) -> None:
    flash.write("trusted/01-ca.pem", b"old")
    done = subprocess.run([sys.executable, "-c", WRITER, flash.directory, where], check=False)
    assert done.returncode == -signal.SIGKILL
    assert leftovers(flash) == [".sipsua-new-01-ca.pem"]
    assert flash.read("trusted/01-ca.pem") == b"old"
    assert flash.names("trusted") == ["trusted/01-ca.pem"]
    Flash(flash.directory).write("settings.cfg", b"x")
    assert leftovers(flash) == []
    assert flash.read("trusted/01-ca.pem") == b"old"


KILLED_EVERYWHERE = """
import itertools, os, signal, sys, tempfile
from sipsua.phone import flash as module
from sipsua.phone.flash import Flash

def kill_before_line(count):
    def trace(frame, event, argument):
        nonlocal count
        if frame.f_code.co_filename != module.__file__:
            return None
        if event == "line":
            if not count:
                os.kill(os.getpid(), signal.SIGKILL)
            count -= 1
        return trace
    sys.settrace(trace)

deed = sys.argv[2]
seen = []
for count in itertools.count():
    flash = Flash(tempfile.mkdtemp(dir=sys.argv[1]) + "/data/phone")
    if deed != "first":
        flash.write("trusted/01-ca.pem", b"old")
    child = os.fork()
    if not child:
        kill_before_line(count)
        Flash(flash.directory).delete("trusted/01-ca.pem") if deed == "delete" else Flash(flash.directory).write(
            "trusted/01-ca.pem", b"new")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    heir = Flash(flash.directory)
    seen.append(heir.read("trusted/01-ca.pem"))
    assert heir.names("trusted") == (["trusted/01-ca.pem"] if seen[-1] else [])
    heir.write("settings.cfg", b"x")
    assert [path.name for path in flash.directory.rglob(".*")] == [".lock"]
    assert heir.read("trusted/01-ca.pem") == seen[-1]
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0
        break
    assert os.WTERMSIG(status) == signal.SIGKILL
print(count, *dict.fromkeys(seen))
assert seen == sorted(seen, key=seen.index)
"""


@pytest.mark.parametrize(
    ("deed", "states"), [("first", "None b'new'"), ("replace", "b'old' b'new'"), ("delete", "b'old' None")]
)
def test_a_process_that_is_killed_at_any_line_leaves_the_old_state_or_the_new(
    tmp_path: Path, deed: str, states: str
) -> None:
    command = [sys.executable, "-c", KILLED_EVERYWHERE, str(tmp_path), deed]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    count, _, told = done.stdout.strip().partition(" ")
    assert int(count) > 25
    assert told == states


@pytest.fixture
def steps(flash: Flash, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is made durable and renamed and removed, as it happens; the deeds themselves are done."""
    seen: list[str] = []
    fsync, replace, unlink, mkdir = os.fsync, Path.replace, Path.unlink, Path.mkdir

    def name(path: Path) -> str:
        return str(path.relative_to(flash.directory.parents[1]))

    def watched_fsync(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        seen.append(f"sync {name(path)}" + (f" of {path.stat().st_size} octets" if path.is_file() else ""))
        fsync(descriptor)

    def watched_replace(path: Path, target: Path) -> Path:
        seen.append(f"rename {name(path)}")
        return replace(path, target)

    def watched_unlink(path: Path, missing_ok: bool = False) -> None:
        if path.exists():
            seen.append(f"remove {name(path)}")
        unlink(path, missing_ok)

    def watched_mkdir(path: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        assert not parents  # which would leave those above to chance
        seen.append(f"make {name(path)}")
        mkdir(path, mode, parents, exist_ok)

    for owner, deed in ((os, watched_fsync), (Path, watched_replace), (Path, watched_unlink), (Path, watched_mkdir)):
        monkeypatch.setattr(owner, deed.__name__.removeprefix("watched_"), deed)
    return seen


def test_each_step_is_durable_before_the_next_builds_on_it(tmp_path: Path, steps: list[str], flash: Flash) -> None:
    top = tmp_path.name
    flash.write("device/custom.pem", b"key")
    assert steps == [
        f"make {top}/phone",
        f"sync {top}",
        f"make {top}/phone/device",
        f"sync {top}/phone",
        f"sync {top}/phone/device/.sipsua-new-custom.pem of 3 octets",
        f"rename {top}/phone/device/.sipsua-new-custom.pem",
        f"sync {top}/phone/device",
    ]
    steps.clear()
    flash.delete("device/custom.pem")
    assert steps == [f"remove {top}/phone/device/custom.pem", f"sync {top}/phone/device"]


def test_directories_above_the_flash_are_made_durable_too(tmp_path: Path, steps: list[str]) -> None:
    top = tmp_path.name
    Flash(tmp_path / "data" / "sipsua" / "phone").write("settings.cfg", b"x")
    assert steps[:6] == [
        f"make {top}/data",
        f"sync {top}",
        f"make {top}/data/sipsua",
        f"sync {top}/data",
        f"make {top}/data/sipsua/phone",
        f"sync {top}/data/sipsua",
    ]


def test_what_a_killed_writer_left_does_not_hinder_who_has_swept_before(flash: Flash) -> None:
    flash.write("trusted/01-ca.pem", b"old")
    (flash.directory / "trusted" / ".sipsua-new-01-ca.pem").write_bytes(b"half")
    flash.write("trusted/01-ca.pem", b"new")
    assert flash.read("trusted/01-ca.pem") == b"new"
    assert leftovers(flash) == []


def test_a_flash_within_this_one_is_not_swept(flash: Flash) -> None:
    inner = Flash(flash.directory / "manufacturer")
    inner.write("ca.pem", b"x")
    (inner.directory / ".sipsua-new-other.pem").write_bytes(b"half")
    flash.write("settings.cfg", b"x")
    assert leftovers(flash) == [".sipsua-new-other.pem"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_is_full_leaves_the_old_file(flash: Flash, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    flash.write("settings.cfg", b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace")}[call], full)
        with pytest.raises(BadConfiguration, match=r"cannot write .*settings\.cfg: No space left on device"):
            flash.write("settings.cfg", b"new")
    assert flash.read("settings.cfg") == b"old"
    assert leftovers(flash) == []


# Others at work

ADDER = """
import sys
from sipsua.phone.flash import Flash
flash = Flash(sys.argv[1])
for _ in range(50):
    with flash.lock():
        flash.write("count", str(int(flash.read("count") or b"0") + 1).encode())
"""


def test_two_processes_at_once_do_no_harm(flash: Flash) -> None:
    adders = [subprocess.Popen([sys.executable, "-c", ADDER, flash.directory]) for _ in range(3)]
    assert [adder.wait(50) for adder in adders] == [0, 0, 0]
    assert flash.read("count") == b"150"
    assert leftovers(flash) == []


def test_two_threads_with_one_flash_do_no_harm(flash: Flash) -> None:
    def add() -> None:
        for _ in range(50):
            with flash.lock():
                flash.write("count", str(int(flash.read("count") or b"0") + 1).encode())

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert flash.read("count") == b"150"


def test_who_waits_too_long_for_the_lock_is_told_where_it_is(flash: Flash, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_PATIENCE", 0.05)
    with flash.lock(), pytest.raises(BadConfiguration, match="another process has been changing") as caught:
        Flash(flash.directory).write("settings.cfg", b"x")
    assert str(flash.directory / ".lock") in caught.value.fix
    Flash(flash.directory).write("settings.cfg", b"x")


def test_a_lock_within_the_lock_holds_until_the_outer_one_ends(flash: Flash, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_PATIENCE", 0.05)
    other = Flash(flash.directory)
    with flash.lock():
        with flash.lock():
            flash.write("settings.cfg", b"x")
        with pytest.raises(BadConfiguration, match="another process"):
            other.delete("settings.cfg")
    assert other.delete("settings.cfg")


def test_an_error_under_the_lock_lets_go_of_it(flash: Flash, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_PATIENCE", 0.05)
    with pytest.raises(ZeroDivisionError), flash.lock():
        raise ZeroDivisionError
    Flash(flash.directory).write("settings.cfg", b"x")


# Directories that are none


def test_a_file_in_place_of_the_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "phone").write_bytes(b"x")
    flash = Flash(tmp_path / "phone")
    for what, act in (
        ("read", lambda: flash.read("settings.cfg")),
        ("read", flash.names),
        ("write", lambda: flash.write("settings.cfg", b"x")),
    ):
        with pytest.raises(BadConfiguration, match=rf"cannot {what} .*phone.*: Not a directory"):
            act()


def test_a_pipe_in_place_of_a_file_is_told_and_not_waited_for(flash: Flash) -> None:
    flash.directory.mkdir()
    os.mkfifo(flash.directory / "settings.cfg")
    with pytest.raises(BadConfiguration, match=r"cannot read .*settings\.cfg: it is no regular file"):
        flash.read("settings.cfg")


def test_only_a_directory_with_other_files_and_none_of_a_phone_is_foreign(flash: Flash) -> None:
    seen = [flash.foreign]
    flash.directory.mkdir()
    seen.append(flash.foreign)
    (flash.directory / "thesis.txt").write_text("x")
    seen.append(flash.foreign)
    flash.write("settings.cfg", b"x")
    seen.append(flash.foreign)
    assert seen == [False, False, True, False]


def test_a_directory_in_place_of_a_file_is_told(flash: Flash) -> None:
    (flash.directory / "settings.cfg").mkdir(parents=True)
    with pytest.raises(BadConfiguration, match=r"cannot read .*settings\.cfg: Is a directory"):
        flash.read("settings.cfg")
    with pytest.raises(BadConfiguration, match=r"cannot write .*settings\.cfg: Is a directory"):
        flash.write("settings.cfg", b"x")
    with pytest.raises(BadConfiguration, match="cannot delete"):
        flash.delete("settings.cfg")
    assert leftovers(flash) == []


def test_a_lock_file_that_leads_elsewhere_is_not_followed(flash: Flash, tmp_path: Path) -> None:
    flash.directory.mkdir()
    (flash.directory / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadConfiguration, match=r"cannot write .*\.lock"):
        flash.write("settings.cfg", b"x")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SIPSUA_HOME": "/s", "XDG_DATA_HOME": "/x", "HOME": "/h"}, "/s/phone"),
        ({"XDG_DATA_HOME": "/x", "HOME": "/h"}, "/x/sipsua/phone"),
        ({"XDG_DATA_HOME": "relative", "HOME": "/h"}, "/h/.local/share/sipsua/phone"),
        ({"SIPSUA_HOME": "", "HOME": "/h"}, "/h/.local/share/sipsua/phone"),
    ],
)
def test_home_is_where_the_environment_says(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SIPSUA_HOME", "XDG_DATA_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert home() == Flash().directory == Path(expected)
