"""Archives from a local server that breaks off, stalls, lies about lengths and serves the wrong bytes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from archive_server import BODY, NAME, QUICK, Server, archive, extra_file, offer, record
from typer.testing import CliRunner

from benchmarks.tasks import download as fetching
from benchmarks.tasks.command import download as command
from benchmarks.tasks.download import Fetch, RemoteFile, download_task, fetch, list_record, plan_downloads
from benchmarks.tasks.folder import TaskFolder
from benchmarks.tasks.registry import find_task
from hear_delores.errors import DeloresError

# --- one file


@pytest.mark.parametrize(
    ("faults", "ranges"),
    [
        ([], [""]),
        (["breaks"], ["", f"bytes={len(BODY) // 2}-"]),
        (["stalls"], ["", f"bytes={len(BODY) // 2}-"]),
        (["short length"], ["", f"bytes={len(BODY) // 2}-"]),
        (["long length"], [""]),
        (["nothing"], ["", ""]),
        (["503"], ["", ""]),
        (["breaks", "breaks", "breaks"], ["", *(f"bytes={len(BODY) - len(BODY) // 2**n}-" for n in (1, 2, 3))]),
        (["breaks", "no ranges"], ["", f"bytes={len(BODY) // 2}-"]),
        (["breaks", "nothing"], ["", f"bytes={len(BODY) // 2}-", f"bytes={len(BODY) // 2}-"]),
    ],
    ids=lambda value: ",".join(value) or "none" if isinstance(value, list) else None,
)
def test_a_faulty_server_still_gives_the_file(
    server: Server, tmp_path: Path, faults: list[str], ranges: list[str]
) -> None:
    file = offer(server)
    server.faults = faults
    seen: list[tuple[int, int]] = []
    path = fetch(file, tmp_path, QUICK, lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == BODY
    assert server.asked == ranges
    assert seen[-1] == (len(BODY), len(BODY))
    assert [entry.name for entry in tmp_path.iterdir()] == [NAME]


def test_an_answer_that_starts_elsewhere_is_not_appended(server: Server, tmp_path: Path) -> None:
    server.faults = ["breaks", "other range"]
    assert fetch(offer(server), tmp_path, QUICK).read_bytes() == BODY
    assert server.asked == ["", "bytes=524288-", "bytes=524288-"]


def test_pieces_that_do_not_fit_are_fetched_anew_once(server: Server, tmp_path: Path) -> None:
    server.faults = ["breaks", "wrong bytes"]
    assert fetch(offer(server), tmp_path, QUICK).read_bytes() == BODY
    assert server.asked == ["", "bytes=524288-", ""]
    (tmp_path / NAME).unlink()
    server.faults = ["breaks", "wrong bytes", "wrong bytes"]
    with pytest.raises(DeloresError, match="the checksum is"):
        fetch(offer(server), tmp_path, QUICK)


def test_a_server_that_brings_nothing_is_given_up_and_gone_on_with_later(server: Server, tmp_path: Path) -> None:
    file = offer(server)
    server.faults = ["breaks", "nothing", "nothing"]
    with pytest.raises(DeloresError, match=r"2 times in a row; 524,288 of 1,048,576 bytes are kept: .*same command"):
        fetch(file, tmp_path, QUICK)
    assert [entry.name for entry in tmp_path.iterdir()] == [f"{NAME}.part"]
    server.asked.clear()
    assert fetch(file, tmp_path, QUICK).read_bytes() == BODY
    assert server.asked == ["bytes=524288-"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("404", "the server answers 404"),
        ("wrong bytes", "the checksum is .*, the record states"),
        ("too much", "sent more than the 1,048,576 bytes"),
    ],
)
def test_what_cannot_be_mended_is_said_in_one_line(server: Server, tmp_path: Path, fault: str, message: str) -> None:
    file = offer(server)
    server.faults = [fault]
    with pytest.raises(DeloresError, match=message) as caught:
        fetch(file, tmp_path, QUICK)
    assert file.url in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []  # nothing wrong is kept


def test_a_record_that_states_a_wrong_checksum(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DeloresError, match=f"the record states {'0' * 32}"):
        fetch(offer(server, md5="0" * 32), tmp_path, QUICK)


def test_a_damaged_rest_of_an_earlier_run_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    file = offer(server)
    (tmp_path / f"{NAME}.part").write_bytes(b"x" * 1000)
    assert fetch(file, tmp_path, QUICK).read_bytes() == BODY
    assert server.asked == ["bytes=1000-", ""]
    (tmp_path / NAME).unlink()
    (tmp_path / f"{NAME}.part").write_bytes(b"x" * (len(BODY) + 1))  # longer than the file
    assert fetch(file, tmp_path, QUICK).read_bytes() == BODY


def test_what_is_whole_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    file = offer(server)
    fetch(file, tmp_path, QUICK)
    server.asked.clear()
    fetch(file, tmp_path, QUICK)
    assert server.asked == []
    (tmp_path / NAME).write_bytes(b"\0" * len(BODY))
    assert fetch(file, tmp_path, QUICK).read_bytes() == BODY


def test_no_server_and_no_http(tmp_path: Path) -> None:
    for url, message in (("http://127.0.0.1:9/x", "no connection"), ("file:///etc/passwd", "begins with https")):
        with pytest.raises(DeloresError, match=message):
            fetch(RemoteFile("x", 1, "0" * 32, url), tmp_path, QUICK)


# --- the record


def test_a_record_lists_its_files(server: Server) -> None:
    file = offer(server)
    url = record(server, file)
    server.faults = ["503"]
    assert list_record(url, QUICK) == [file]


@pytest.mark.parametrize("fault", ["breaks", "reset", "stalls", "chunks end", "no length", "short length", "nothing"])
def test_a_record_that_is_cut_short_is_asked_for_again(server: Server, fault: str) -> None:
    file = offer(server)
    url = record(server, file)
    if fault == "short length":  # whole, as far as the header says: what cannot be told is an error in one line
        server.faults = [fault]
        with pytest.raises(DeloresError, match="expected a record with files"):
            list_record(url, QUICK)
        return
    server.faults = [fault]
    assert list_record(url, QUICK) == [file]
    assert server.asked == ["", ""]
    server.faults = [fault, fault]
    with pytest.raises(DeloresError, match="try again later") as caught:
        list_record(url, QUICK)
    assert "\n" not in str(caught.value)


def test_a_record_without_end_is_not_read_to_its_end(server: Server) -> None:
    server.files["/record"] = b" " * (fetching.MOST_RECORD_BYTES + 1)
    with pytest.raises(DeloresError, match="expected a record of some kilobytes"):
        list_record(f"{server.url}/record", QUICK)


@pytest.mark.parametrize("url", ["http://[::1", "http://a b/", "http://h:port/", "ftp://h/x", "", "https://\u00e9 /x"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(DeloresError, match=r"expected an address|no connection"):
        list_record(url, Fetch(timeout_s=0.3, attempts=1, pause_s=0))


@pytest.mark.parametrize(
    "text",
    [
        "<html>",
        "[" * 100_000,
        *(
            f'{{"files": [{{"key": "a", "size": {size}, "checksum": "md5:{"0" * 32}", "links": {{"self": "u"}}}}]}}'
            for size in ("-1", "1e400", "NaN", "true", '"5"', "9" * 5000, "9" * 40)
        ),
        "[]",
        '{"files": []}',
        '{"files": [{"key": "a", "size": 1, "checksum": "sha1:00", "links": {"self": "http://x"}}]}',
        '{"files": [{"key": "../a", "size": 1, "checksum": "md5:%s", "links": {"self": "http://x"}}]}' % ("0" * 32),
        '{"files": [{"key": "a", "checksum": "md5:%s", "links": {"self": "http://x"}}]}' % ("0" * 32),
    ],
)
def test_a_record_of_another_form_is_refused(server: Server, text: str) -> None:
    server.files["/record"] = text.encode()
    with pytest.raises(DeloresError, match=r"/record: ") as caught:
        list_record(f"{server.url}/record", QUICK)
    assert "\n" not in str(caught.value)


# --- a task


def test_a_task_is_fetched_unpacked_and_then_left_alone(server: Server, tmp_path: Path) -> None:
    spec = find_task("esc50")
    files = [
        offer(server, body=archive(tmp_path / "made", spec)),
        offer(server, "hear2021-tfds_gtzan-1.0.0-full-48000.tar.gz"),
        offer(server, NAME.replace("48000", "16000")),
    ]
    out = tmp_path / "tasks"
    [plan] = plan_downloads([spec], out, files)
    assert (plan.file, plan.present, plan.missing, plan.is_ready) == (files[0], 0, files[0].size, False)
    server.faults = ["breaks"]
    path = download_task(plan, out, QUICK)
    assert path == out / "esc50-v2.0.0-full"
    assert TaskFolder.open(path).sample_rates == [48000]
    assert not list((out / fetching.WORK_FOLDER).iterdir())
    [again] = plan_downloads([spec], out, files)
    assert (again.is_ready, again.missing) == (True, 0)
    server.asked.clear()
    assert download_task(again, out, QUICK) == path
    assert server.asked == []
    (path / "fold00.json").unlink()  # no longer whole
    [damaged] = plan_downloads([spec], out, files)
    with pytest.raises(DeloresError, match="is not the whole task; move it away"):
        download_task(damaged, out, QUICK)


def test_a_plan_counts_what_is_here(server: Server, tmp_path: Path) -> None:
    file = offer(server)
    (tmp_path / fetching.WORK_FOLDER).mkdir()
    (tmp_path / fetching.WORK_FOLDER / f"{NAME}.part").write_bytes(BODY[:1000])
    [plan] = plan_downloads([find_task("esc50")], tmp_path, [file])
    assert (plan.present, plan.missing) == (1000, len(BODY) - 1000)
    with pytest.raises(DeloresError, match=r"expected one archive \*fsd50k-v1.0-full-48000.tar.gz"):
        plan_downloads([find_task("fsd50k")], tmp_path, [file])
    with pytest.raises(DeloresError, match="no official archive"):
        plan_downloads([find_task("bird_song")], tmp_path, [file])


def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = plan_downloads([find_task("esc50")], tmp_path, [offer(server)])
    monkeypatch.setattr(fetching, "free_bytes", lambda _: len(BODY))
    with pytest.raises(DeloresError, match="are free; choose another folder"):
        fetching.check_space(plans, tmp_path)
    monkeypatch.setattr(fetching, "free_bytes", lambda _: 10 * len(BODY))
    assert fetching.check_space(plans, tmp_path) == (len(BODY), 10 * len(BODY))


# --- the command


def test_the_command_says_sizes_first_and_goes_on_after_a_failure(server: Server, tmp_path: Path) -> None:
    good, bad = find_task("esc50"), find_task("libricount")
    url = record(
        server,
        offer(server, body=archive(tmp_path / "made", good)),
        offer(server, f"hear2021-{bad.folder_name}-48000.tar.gz", md5="0" * 32),
    )
    app = typer.Typer()
    app.command()(command)
    words = ["libricount", "esc50", "--out", str(tmp_path / "tasks"), "--record-url", url, "--attempts", "1"]
    dry = CliRunner().invoke(app, [*words, "--dry-run"])
    assert dry.exit_code == 0
    assert "libricount-v1.0.0-hear2021-full: 0.001 GB" in dry.output
    assert "to fetch: 0.00 GB; free in" in dry.output
    assert not (tmp_path / "tasks").exists()
    ran = CliRunner().invoke(app, words)
    assert isinstance(ran.exception, DeloresError)
    assert "1 of 2 tasks could not be fetched: libricount" in str(ran.exception)
    assert str(tmp_path / "tasks" / "esc50-v2.0.0-full") in ran.output
    refused = CliRunner().invoke(app, ["bird_song", "--record-url", url])
    assert "no official archive" in str(refused.exception)


# --- killed, and started again

#: The command; ``stop_after`` files of the archive it says so and waits to be killed.
KILLED_WHILE_UNPACKING = """
import shutil, sys, time
from benchmarks.cli import main
copied, copy = [], shutil.copyfileobj
def slow(*words):
    copy(*words)
    copied.append(words)
    if len(copied) == 3:
        print("unpacking", flush=True)
        time.sleep(120)
shutil.copyfileobj = slow
sys.argv = ["delores", *sys.argv[1:]]
main()
"""


def start(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.02)


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()  # SIGKILL: it cannot tidy up
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL


def test_a_download_that_is_killed_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    spec = find_task("esc50")
    noise = np.random.default_rng(1).bytes(4 * fetching._BLOCK)
    file = offer(server, body=archive(tmp_path / "made", spec, extra_file("hear-2021.0.6/noise", noise)))
    words = [
        "-m",
        "benchmarks",
        "download",
        "esc50",
        "--out",
        tmp_path / "tasks",
        "--record-url",
        record(server, file),
        "-q",
    ]
    server.faults = ["", "waits"]  # the record, half of the archive
    part = tmp_path / "tasks" / fetching.WORK_FOLDER / f"{NAME}.part"
    process = start(*words, "--timeout", "120")
    wait_for(lambda: part.exists() and part.stat().st_size >= file.size // 2 - fetching._BLOCK)
    kill(process)
    kept = part.stat().st_size
    assert 0 < kept <= file.size // 2
    left = {path.name for path in (tmp_path / "tasks").iterdir()}
    assert left == {fetching.WORK_FOLDER, f".{spec.folder_name}.lock"}  # no half task folder
    server.let_go.set()
    server.asked.clear()
    assert finish(start(*words)).split() == [str(tmp_path / "tasks" / spec.folder_name)]
    assert server.asked == ["", f"bytes={kept}-"]
    assert TaskFolder.open(tmp_path / "tasks" / spec.folder_name).n_clips == 5
    assert not list(part.parent.iterdir())


def test_unpacking_that_is_killed_is_done_anew_without_another_download(server: Server, tmp_path: Path) -> None:
    spec = find_task("esc50")
    file = offer(server, body=archive(tmp_path / "made", spec))
    words = ["download", "esc50", "--out", tmp_path / "tasks", "--record-url", record(server, file), "-q"]
    process = start("-c", KILLED_WHILE_UNPACKING, *words)
    assert process.stdout is not None
    assert process.stdout.readline() == "unpacking\n"
    kill(process)
    target = tmp_path / "tasks" / spec.folder_name
    assert not target.exists()
    assert (tmp_path / "tasks" / f".{spec.folder_name}.partial").exists()
    server.asked.clear()
    finish(start("-m", "benchmarks", *words))
    assert server.asked == [""]  # the record alone
    assert TaskFolder.open(target).n_clips == 5
    assert sorted(path.name for path in target.parent.iterdir()) == [fetching.WORK_FOLDER, spec.folder_name]
    assert not list((target.parent / fetching.WORK_FOLDER).iterdir())
