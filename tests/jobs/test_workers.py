"""Workers of this machine and of Spark: they do the same, and none outlives who began them."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from autotag.errors import JobError
from autotag.jobs.spark import SparkWorkers
from autotag.jobs.workers import LocalWorkers, Workers, open_workers
from autotag.localcluster.processes import processes_with
from autotag.settings import PROJECT
from models.errors import ModelError


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkWorkers]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(PROJECT))  # where Spark's find this file
        with contextlib.closing(SparkWorkers("local[2]")) as workers:
            yield workers


@pytest.fixture(params=["one", "two", "spark"])
def workers(request: pytest.FixtureRequest) -> Iterator[Workers]:
    if request.param == "spark":
        yield request.getfixturevalue("spark")
        return
    with contextlib.closing(LocalWorkers(1 if request.param == "one" else 2)) as workers:
        yield workers


def square(number: int) -> int:
    return number * number


def its_process(number: int) -> int:
    time.sleep(0.1)
    return os.getpid()


def refuse(number: int) -> int:
    raise JobError(f"piece {number} is refused")


def refuse_model(number: int) -> int:
    raise ModelError(f"piece {number} has no model")


def divide(number: int) -> float:
    return 1 / number


def end(number: int) -> int:
    os._exit(3)


def end_or_idle(number: int) -> int:
    if number:
        time.sleep(0.5)  # the other one waits for work by then
        os._exit(3)
    return number


def wait_for(path: str | None) -> str | None:
    """Ends when there is such a file."""
    deadline = time.monotonic() + 60
    while path and not Path(path).exists():
        assert time.monotonic() < deadline, "nobody went on"
        time.sleep(0.01)
    return path


def note(path: str) -> str:
    """Makes a file; the first one's maker fails."""
    Path(path).touch()
    if path.endswith("/0"):
        raise JobError("enough")
    time.sleep(0.3)
    return path


def test_every_piece_is_done_once(workers: Workers) -> None:
    assert sorted(workers.map(square, range(50))) == sorted(number * number for number in range(50))
    assert list(workers.map(square, [])) == []


def test_a_process_does_many_pieces(workers: Workers) -> None:
    assert workers.count in (1, 2)
    assert len(set(workers.map(its_process, range(8)))) <= workers.count


def test_results_come_while_others_are_worked_on(workers: Workers, tmp_path: Path) -> None:
    path = tmp_path / "go-on"
    results = workers.map(wait_for, [None, str(path)])
    assert next(results) is None
    path.touch()
    assert list(results) == [str(path)]


def test_errors_of_ours_come_as_they_are(workers: Workers) -> None:
    with pytest.raises(JobError, match=r"^piece 1 is refused$"):
        list(workers.map(refuse, [1]))
    with pytest.raises(ModelError, match=r"^piece 1 has no model$"):
        list(workers.map(refuse_model, [1]))


def test_other_errors_say_what_was_raised(workers: Workers) -> None:
    with pytest.raises((ZeroDivisionError, JobError), match=r"division by zero") as raised:
        list(workers.map(divide, [0]))
    assert "ZeroDivisionError" in repr(raised.value)


def test_pieces_not_begun_are_left_after_a_failure(workers: Workers, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="enough"):
        list(workers.map(note, [f"{tmp_path}/{number}" for number in range(40)]))
    time.sleep(1)
    assert len(list(tmp_path.iterdir())) < 20
    assert list(workers.map(square, [3])) == [9]


def test_a_cluster_is_used_whole_though_its_executors_come_one_after_another(tmp_path: Path) -> None:
    import pyspark

    for path in Path(pyspark.__file__).parent.iterdir():  # Spark's workers write to their home
        (tmp_path / path.name).symlink_to(path)
    script = """
from autotag.jobs.spark import SparkWorkers
workers = SparkWorkers("local-cluster[3,1,1024]")
print(workers.count)
workers.close()
"""
    environment = {**os.environ, "SPARK_HOME": str(tmp_path)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", env=environment, timeout=100)
    assert done.stdout == "3\n", done.stderr


def test_a_process_that_ends_is_told(spark: SparkWorkers) -> None:
    with contextlib.closing(LocalWorkers(2)) as local, pytest.raises(JobError, match="ended from outside"):
        list(local.map(end, [1, 2]))
    with pytest.raises(JobError, match=r"Spark gave up: Python worker exited unexpectedly"):
        list(spark.map(end, [1, 2]))
    assert list(spark.map(square, [3])) == [9]


def test_a_process_that_ends_while_others_wait_for_work_is_told() -> None:
    with contextlib.closing(LocalWorkers(2)) as local, pytest.raises(JobError, match="ended from outside"):
        list(local.map(end_or_idle, [0, 1]))


def test_processes_that_are_killed_give_their_pieces_up(tmp_path: Path) -> None:
    workers = LocalWorkers(2)
    results = workers.map(wait_for, [None, str(tmp_path / "never")])
    assert next(results) is None
    processes = workers._processes()
    workers.kill()
    assert [process.is_alive() for process in processes] == [False, False]


def test_workers_are_as_many_as_cores_unless_said() -> None:
    with contextlib.closing(open_workers()) as workers:
        assert workers.count == len(os.sched_getaffinity(0))


def test_what_is_no_master_is_refused() -> None:
    with pytest.raises(JobError, match=r"a Spark master is local\[N\].* Given: 'nonsense'"):
        open_workers(spark="nonsense")


DRIVER = """
import pathlib, sys, time
from autotag.jobs.workers import open_workers
def work(path):
    pathlib.Path(path).touch()
    time.sleep(100)
if __name__ == "__main__":
    list(open_workers(2, sys.argv[1] or None).map(work, [f"{sys.argv[2]}/{number}" for number in range(8)]))
"""


def driver(tmp_path: Path, master: str, mark: str, **changes: str) -> subprocess.Popen[str]:
    """A process that has pieces worked on for ever; what it starts carries the mark, a begun piece has a file."""
    script, begun = tmp_path / "driver.py", tmp_path / "begun"
    script.write_text(DRIVER)
    begun.mkdir()
    return subprocess.Popen(
        [sys.executable, str(script), master, str(begun)],
        env={**os.environ, "AUTOTAG_TEST_MARK": mark, **changes},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("master", ["", "local[2]"])
def test_no_process_outlives_a_driver_that_was_killed(master: str, tmp_path: Path) -> None:
    mark = secrets.token_hex(8)
    with driver(tmp_path, master, mark) as process:
        begun = tmp_path / "begun"
        deadline = time.monotonic() + 60
        while len(list(begun.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(list(begun.iterdir())) == 2
        process.send_signal(signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 30
        while processes_with("AUTOTAG_TEST_MARK", mark) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert processes_with("AUTOTAG_TEST_MARK", mark) == []


def test_why_java_does_not_start_is_told(tmp_path: Path) -> None:
    with driver(tmp_path, "local[2]", "x", JAVA_HOME="/nonexistent") as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    last = said.strip().splitlines()[-1]
    assert "JobError: no Spark application could be started on 'local[2]'" in last
    assert "/nonexistent/bin/java: No such file" in last
