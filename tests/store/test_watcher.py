"""The watcher on real folders: what it tells, and every known way in which it stops telling."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jan_server.errors import DataFolderMissing
from jan_server.store import watch_child, watch_news, watch_process, watcher
from jan_server.store.replacing import TEMPORARY
from jan_server.store.watch_news import Inbox, News
from jan_server.store.watch_process import WatchProcess
from jan_server.store.watcher import Watcher

PATIENCE = 60.0
BEGUN = "the watch has begun"


class Told:
    """What a watcher calls, in the order in which it does. May be told to raise."""

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[frozenset[Path] | str] = queue.SimpleQueue()
        self.raises: Exception | None = None

    def look(self, paths: frozenset[Path] | str) -> None:
        self.calls.put(paths)
        if self.raises is not None:
            raise self.raises

    def until(self, wanted: Callable[[Any], bool]) -> list[frozenset[Path] | str]:
        """What was told up to the first call that is wanted."""
        calls: list[frozenset[Path] | str] = []
        end = time.monotonic() + PATIENCE
        while not calls or not wanted(calls[-1]):
            calls.append(self.calls.get(timeout=max(end - time.monotonic(), 0)))
        return calls

    def until_path(self, path: Path) -> list[frozenset[Path] | str]:
        return self.until(lambda call: not isinstance(call, str) and path in call)

    def until_all(self, reason: str) -> list[frozenset[Path] | str]:
        return self.until(lambda call: call == reason)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "jan" / "threads"
    folder.mkdir(parents=True)
    return folder


@contextlib.contextmanager
def running(told: Told, *roots: Path, **options: Any) -> Iterator[Watcher]:
    """A watcher without the periodic looks, unless they are asked for."""
    given = {"reconcile": 3600, "poll": 3600, "check": 0.05} | options
    watching = Watcher(roots, look=told.look, look_everywhere=told.look, **given)
    watching.start()
    try:
        yield watching
    finally:
        watching.close()


def child_of_this_process() -> int:
    """The pid of the watching child, found as anybody finds it."""
    listed = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(os.getpid())],
        capture_output=True,
        text=True,
    )
    [pid] = [int(line.split()[0]) for line in listed.stdout.splitlines() if "watch_child" in line]
    return pid


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_everything_is_looked_at_once_when_the_watch_is_on(told: Told, root: Path) -> None:
    with running(told, root) as watching:
        assert told.calls.get(timeout=PATIENCE) == BEGUN
        assert repr(watching) == f"<Watcher watching {root}>"
        (root / "x").mkdir()
        assert told.until_path(root / "x") == [frozenset({root / "x"})]


def append(path: Path) -> None:
    with path.open("a") as file:
        file.write("{}\n")


EDITS: dict[str, Callable[[Path], object]] = {
    "append": append,
    "write": lambda path: path.write_text("other"),
    "rename over": lambda path: path.with_name("new").rename(path),
    "delete": lambda path: path.unlink(),
    "touch": lambda path: path.touch(),
    "mode": lambda path: path.chmod(0o640),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edit_is_told(told: Told, root: Path, edit: Callable[[Path], object]) -> None:
    path = root / "x" / "messages.jsonl"
    path.parent.mkdir()
    path.write_text("{}\n")
    path.with_name("new").write_text("new")
    with running(told, root):
        told.until_all(BEGUN)
        edit(path)
        told.until_path(path)


@pytest.mark.parametrize("name", ["a\nb", "Übersicht 🙂", 'quo"te\\', " ", "x.git"])
def test_any_name_in_utf_8_is_told(told: Told, root: Path, name: str) -> None:
    with running(told, root):
        told.until_all(BEGUN)
        (root / name).mkdir()
        told.until_path(root / name)
        (root / name / "thread.json").write_text("{}")
        told.until_path(root / name / "thread.json")


def test_our_own_files_and_gits_are_not_told(told: Told, root: Path) -> None:
    (root / "x" / ".git").mkdir(parents=True)
    (root / ".jan_server").mkdir()
    with running(told, root):
        told.until_all(BEGUN)
        (root / "x" / ".git" / "index").touch()
        (root / ".jan_server" / "settings.toml").touch()
        (root / "x" / f"{TEMPORARY}0123").write_text("{}")
        (root / "x" / f"{TEMPORARY}0123").rename(root / "x" / "thread.json")
        assert told.until_path(root / "x" / "thread.json") == [
            frozenset({root / "x" / "thread.json"})
        ]


def test_a_folder_named_like_a_skipped_one_may_hold_the_roots(told: Told, tmp_path: Path) -> None:
    root = tmp_path / ".git" / "threads"
    root.mkdir(parents=True)
    with running(told, root):
        told.until_all(BEGUN)
        (root / "x").mkdir()
        told.until_path(root / "x")


def test_several_roots_are_watched_those_within_another_once(told: Told, root: Path) -> None:
    models = root.parent.parent / "elsewhere"
    models.mkdir()
    with running(told, root.parent, root, models, root.parent / "missing"):
        told.until_all(BEGUN)
        (root / "x").mkdir()
        assert told.until_path(root / "x") == [frozenset({root / "x"})]
        (models / "m").mkdir()
        assert told.until_path(models / "m") == [frozenset({models / "m"})]


def test_a_root_that_comes_later_is_watched_from_then_on(told: Told, root: Path) -> None:
    root.rmdir()
    with running(told, root):
        assert told.calls.get(timeout=PATIENCE) == "the folders are not there"
        root.mkdir()
        told.until_all(BEGUN)
        (root / "x").mkdir()
        told.until_path(root / "x")


def test_a_folder_moved_away_and_back_is_watched_again(told: Told, root: Path) -> None:
    data = root.parent
    away = data.with_name("away")
    with running(told, root):
        told.until_all(BEGUN)
        data.rename(away)
        told.until_all("the folders are not there")
        (away / "threads" / "meanwhile").mkdir()
        away.rename(data)
        told.until_all(BEGUN)
        (root / "x").mkdir()
        told.until_path(root / "x")


def test_another_folder_of_that_name_is_watched_instead(told: Told, root: Path) -> None:
    data = root.parent
    copy = data.with_name("copy")
    shutil.copytree(data, copy)
    with running(told, root):
        told.until_all(BEGUN)
        data.rename(data.with_name("old"))
        copy.rename(data)
        told.until_all(BEGUN)
        (root / "x").mkdir()
        told.until_path(root / "x")


def test_folders_whose_inodes_change_all_the_time_are_looked_at_often(
    told: Told, root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    numbers = itertools.count()
    monkeypatch.setattr(watcher, "_inode", lambda _root: (0, next(numbers)))
    with running(told, root, poll=0.05):
        told.until_all("there is no watch")
    assert "a folder was moved or replaced" in caplog.text


def test_a_root_deleted_and_made_again_is_watched_though_its_inode_may_be_the_same(
    told: Told, root: Path
) -> None:
    with running(told, root, check=3600):  # The inode is not looked at.
        told.until_all(BEGUN)
        root.rmdir()
        root.mkdir()
        told.until_all(BEGUN)
        (root / "x").mkdir()
        told.until_path(root / "x")


def test_a_name_that_is_not_utf_8_only_interrupts_the_watch(
    told: Told, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(told, root):
        told.until_all(BEGUN)
        Path(os.fsdecode(os.fsencode(root) + b"/\xff")).touch()
        told.until_all(BEGUN)
        (root / "x").mkdir()
        told.until_path(root / "x")
    assert "Unable to decode path" in caplog.text
    assert "give that file a name in UTF-8" in caplog.text


def test_a_killed_child_is_started_again(
    told: Told, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(told, root):
        told.until_all(BEGUN)
        os.kill(child_of_this_process(), signal.SIGKILL)
        told.until_all(BEGUN)
        (root / "x").mkdir()
        told.until_path(root / "x")
    assert "its process ended with -9" in caplog.text


def test_what_an_overflowing_queue_drops_is_found_by_looking_at_everything(
    told: Told, root: Path
) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    with running(told, root, reconcile=1.0):
        told.until_all(BEGUN)
        child = child_of_this_process()
        os.kill(child, signal.SIGSTOP)
        for number in range(limit // 3 + 100):  # Three events each: made, opened, closed.
            (root / str(number)).touch()
        os.kill(child, signal.SIGCONT)
        calls = told.until(lambda call: isinstance(call, frozenset))
        calls += told.until_all("some time has passed")
    lost = root / str(limit // 3 + 99)
    assert not any(lost in call for call in calls if isinstance(call, frozenset))


def test_when_the_system_allows_no_more_watches_everything_is_looked_at_often(
    told: Told,
    root: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    program = tmp_path / "child.py"
    program.write_text(
        f"{WITHOUT_FILES}\nrunpy.run_path({str(watch_process.PROGRAM)!r}, run_name='__main__')"
    )
    monkeypatch.setattr(watch_process, "PROGRAM", program)
    with running(told, root, poll=0.05):
        assert [told.calls.get(timeout=PATIENCE) for _ in range(3)]
        told.until_all("there is no watch")
        told.until_all("there is no watch")
    assert "Too many open files" in caplog.text
    assert "raise fs.inotify.max_user_instances (sysctl)" in caplog.text
    assert "it is looked at every 0.05 s" in caplog.text


WITHOUT_FILES = """
import resource, runpy, watchfiles
resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4))
"""


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        (
            "OSError: OS file watch limit reached.",
            " To mend it: raise fs.inotify.max_user_watches (sysctl).",
        ),
        ("its process ended with 1", ""),
    ],
)
def test_the_log_says_what_to_do_once(
    told: Told, root: Path, caplog: pytest.LogCaptureFixture, reason: str, advice: str
) -> None:
    watching = Watcher([root], look=told.look, look_everywhere=told.look)
    for lasted in (1.0, 1.0, 100.0):
        watching._report(reason, lasted=lasted)
    line = f"the data folder is not watched: {reason.removesuffix('.')}.{advice} "
    assert caplog.messages == [line + "Until it is, it is looked at every 2 s."] * 2


def test_a_data_folder_whose_name_is_not_utf_8_is_looked_at_often(
    told: Told, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    root.mkdir()
    with running(told, root, poll=0.05):
        told.until_all("there is no watch")
    assert "To mend it: give the data folder a name in UTF-8." in caplog.text


def test_where_no_process_can_be_started_everything_is_looked_at_often(
    told: Told, root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(root / "no-python"))
    with running(told, root, poll=0.05) as watching:
        told.until_all("there is no watch")
        assert repr(watching) == f"<Watcher polling {root}>"
    assert "no process can be started" in caplog.text


def test_what_looking_raises_is_logged_and_ends_nothing(
    told: Told, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told.raises = ValueError("a prompt")
    with running(told, root):
        told.until_all(BEGUN)
        (root / "x").mkdir()
        told.until_path(root / "x")
        told.until_all("some time has passed")  # So what was missed is seen soon.
    assert "in look\n" in caplog.text
    assert "builtins.ValueError" in caplog.text
    assert "a prompt" not in caplog.text


def test_what_is_known_to_go_wrong_is_one_line_in_the_log(
    told: Told, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told.raises = DataFolderMissing(tmp_path / "missing")
    with running(told, tmp_path / "missing", poll=0.01):
        told.until_all("the folders are not there")
    assert caplog.messages == [str(told.raises)]


def test_with_polling_changes_are_told_too(told: Told, root: Path) -> None:
    with running(told, root, polling=True):
        told.until_all(BEGUN)
        (root / "x").mkdir()
        told.until_path(root / "x")


def test_closing_ends_the_process(told: Told, root: Path) -> None:
    with running(told, root):
        told.until_all(BEGUN)
        child = child_of_this_process()
    assert not Path(f"/proc/{child}").exists()


def test_closing_ends_a_process_that_does_not_listen(
    told: Told, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_process, "END_SECONDS", 0.01)
    with running(told, root):
        told.until_all(BEGUN)
        child = child_of_this_process()
        os.kill(child, signal.SIGSTOP)
    assert not Path(f"/proc/{child}").exists()


def test_a_watcher_that_never_started_can_be_closed(root: Path, told: Told) -> None:
    Watcher([root], look=told.look, look_everywhere=told.look).close()
    assert told.calls.empty()


def test_closing_ends_a_watcher_that_waits_for_its_folder(tmp_path: Path, told: Told) -> None:
    with running(told, tmp_path / "missing"):
        told.until_all("the folders are not there")


SERVER = """
import sys, time
from pathlib import Path
from jan_server.store.watcher import Watcher

def ready(reason):
    print(reason, flush=True)

Watcher([Path(sys.argv[1])], look=print, look_everywhere=ready).start()
time.sleep(600)
"""


def test_the_child_does_not_outlive_a_killed_server(root: Path) -> None:
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(root)], stdout=subprocess.PIPE, text=True
    )
    with server:
        assert server.stdout is not None
        assert server.stdout.readline() == f"{BEGUN}\n"
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(server.pid)], capture_output=True, text=True
        )
        child = int(listed.stdout)
        server.kill()
    end = time.monotonic() + PATIENCE
    while is_running(child):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_comes_faster_than_it_is_looked_at_is_put_together_and_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch_news, "MAX_PATHS", 3)
    inbox = Inbox()
    inbox.put("paths", ["/a", "/b"])
    inbox.put("paths", ["/b", "/c"])
    assert inbox.take(0) == News(paths=frozenset(map(Path, ("/a", "/b", "/c"))))
    inbox.put("paths", ["/a", "/b", "/c", "/d"])
    inbox.put("paths", ["/e"])
    assert inbox.take(0) == News(is_too_much=True)
    inbox.put("failed", ["first"])
    inbox.put("ended", [0])
    assert inbox.take(0) == News(ended="first")
    assert inbox.take(0) == News()


def test_when_many_files_change_everything_is_looked_at(
    told: Told, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_news, "MAX_PATHS", 1)
    with running(told, root):
        told.until_all(BEGUN)
        for name in "abc":
            (root / name).mkdir()
        told.until_all("many files have changed")


def test_after_many_changes_at_once_everything_is_looked_at_soon(
    told: Told, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "MANY_PATHS", 1)
    with running(told, root):
        told.until_all(BEGUN)
        for name in "abc":
            (root / name).mkdir()
        told.until_all("some time has passed")


@pytest.mark.parametrize(
    ("reason", "lasted", "delays"),
    [
        ("its process ended with 1", 0.5, [0.2, 0.4, 0.8]),
        ("its process ended with 1", 1000.0, [0.1, 0.1]),
        ("OSError: OS file watch limit reached.", 1000.0, [30.0, 30.0]),
    ],
)
def test_a_watch_that_keeps_ending_is_begun_more_and_more_seldom(
    root: Path, told: Told, reason: str, lasted: float, delays: list[float]
) -> None:
    watching = Watcher([root], look=told.look, look_everywhere=told.look)
    for delay in delays:
        watching._delay = watching._next_delay(reason, lasted=lasted)
        assert watching._delay == delay


def test_looking_at_everything_takes_a_tenth_of_the_time_at_most(root: Path) -> None:
    watching = Watcher([root], look=print, look_everywhere=lambda _: time.sleep(0.05), poll=0.01)
    watching._everywhere("now")
    assert watching._due - time.monotonic() > 0.4


def test_what_is_told_of_a_path_below_its_root() -> None:
    roots, skip = ["/r", "/.git/s"], [".git", ".jan_server"]
    assert watch_child.is_told("/r/a/b", roots, skip)
    assert watch_child.is_told("/.git/s/a", roots, skip)
    assert not watch_child.is_told("/r/.git/a", roots, skip)
    assert not watch_child.is_told("/r/a/.jan_server-0123", roots, skip)


@pytest.mark.parametrize(
    ("raised", "passes"),
    [
        (None, True),
        (FileNotFoundError("No path was found."), True),
        (PermissionError("Permission denied (os error 13)"), True),
        (RuntimeError("Error creating recommended watcher: Too many open files"), True),
        (OSError("OS file watch limit reached."), False),
    ],
)
def test_a_folder_that_is_added_is_tried_since_watchfiles_hides_the_limit(
    root: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception | None, passes: bool
) -> None:
    def watch(*paths: str, **_options: Any) -> Iterator[set[Any]]:
        assert paths == (str(root),)
        if raised is not None:
            raise raised
        yield set()

    monkeypatch.setattr(watch_child, "watch", watch)
    (root / "file").touch()
    with contextlib.nullcontext() if passes else pytest.raises(OSError, match="limit reached"):
        watch_child.check_limit(map(str, [root / "file", root]))


def limited(**limits: int) -> list[str]:
    """A command that runs another one with the system's limits lowered, for it alone."""
    sets = "".join(f"echo {n} > /proc/sys/user/max_inotify_{name}; " for name, n in limits.items())
    return ["unshare", "--user", "--map-root-user", "sh", "-ec", sets + 'exec "$@"', "sh"]


def can_be_limited() -> bool:
    try:
        return subprocess.run([*limited(watches=10), "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_be_limited(), reason="this system lets nobody lower the limits")
@pytest.mark.parametrize(
    ("limits", "last"),
    [
        ({"watches": 3}, "OSError: OS file watch limit reached"),
        ({"watches": 8}, "OSError: OS file watch limit reached"),
        ({"instances": 0}, "Too many open files"),
        ({"instances": 1}, ""),
    ],
    ids=["too low from the start", "reached later", "no watcher", "no second watcher"],
)
def test_the_systems_real_limits_are_told(root: Path, limits: dict[str, int], last: str) -> None:
    for number in range(5):
        (root / str(number)).mkdir()
    config = {"roots": [str(root)], "skip": [], "polling": False, "step": 5, "debounce": 50}
    program = [sys.executable, "-P", str(watch_process.PROGRAM), json.dumps(config)]
    with subprocess.Popen(
        [*limited(**limits), *program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        messages = map(json.loads, child.stdout)
        first = next(messages)
        if first == ["ready"]:
            for number in range(5, 10):
                (root / str(number)).mkdir()
            first = next(message for message in messages if last or len(message) > 1)
            while last and first[0] == "paths":
                first = next(messages)
        assert last in first[1]
        assert child.stdin is not None
        child.stdin.close()


def test_what_a_dying_child_said_by_half_is_not_heard(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "child.py"
    program.write_text("""print('["ready"]\\n["paths", "/a', end="", flush=True); exit(3)""")
    monkeypatch.setattr(watch_process, "PROGRAM", program)
    told: queue.SimpleQueue[tuple[str, list[Any]]] = queue.SimpleQueue()
    process = WatchProcess([], skip=(), polling=False, told=lambda *message: told.put(message))
    assert [told.get(timeout=PATIENCE) for _ in "ab"] == [("ready", []), ("ended", [3])]
    assert repr(process) == f"<WatchProcess {process.pid}>"
    process.close()
    assert told.empty()
