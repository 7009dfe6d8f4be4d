"""The run: build every contender in its own process, sweep it, time it in turns."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from counterpoint._recall import Ids, Vectors
from counterpoint.bench import machine, records, truth
from counterpoint.bench.adapter import Knobs, Spec, UnsuitedError
from counterpoint.bench.process import ContenderError, Process
from counterpoint.bench.records import Contender, Point, Record, Run

# A point this good ends its sweep: dearer knobs cannot be on the frontier.
ENOUGH = 0.9995
# A point this much slower than another of at least its recall is not timed again.
SLACK = 1.25
# Memory to leave free, beside twice the largest contender so far, before one more is built.
SPARE_BYTES = 2 << 30


@dataclass(frozen=True)
class Task:
    """What is measured.

    Attributes
    ----------
    add
        Whether adding to an empty index is timed too.
    environment
        Variables of every worker, beside those for its threads.
    budget_s
        Seconds of searching for each contender, after which its sweep and its rounds stop.
    timeout_s
        Seconds for a build, or for one timing, after which the contender is given up.
    """

    vectors: Vectors
    queries: Vectors
    metric: str
    k: int
    threads: int
    build_threads: int
    single: bool
    add: bool
    environment: Mapping[str, str]
    rounds: int
    budget_s: float
    timeout_s: float


@dataclass
class Entrant:
    """A contender that was built, and what was measured of it."""

    row: Contender
    process: Process
    sweep: list[Knobs]
    points: list[Point] = field(default_factory=list)
    spent_s: float = 0.0


Say = Callable[[str], None]


def measure(task: Task, specs: Sequence[Spec], run: Run, file: TextIO, say: Say) -> Record:
    """Measure all contenders, write the record as it grows, and return it.

    Contenders run in heats: as many as fit in memory are built, then timed in turns, so that a
    busy moment of the machine hits all alike.
    """
    record = Record(run)
    records.write(file, run)
    say("exact neighbours")
    exact = truth.cached(task.vectors, task.queries, task.k, task.metric)
    with tempfile.TemporaryDirectory(prefix="counterpoint-bench-") as name:
        folder = Path(name)
        np.save(folder / "vectors.npy", task.vectors)
        np.save(folder / "queries.npy", task.queries)
        waiting = list(specs)
        heat = 1
        while waiting:
            entrants: list[Entrant] = []
            try:
                while waiting and (not entrants or _room(entrants)):
                    spec = waiting.pop(0)
                    entrant = _build(task, spec, heat, folder, record, file, say)
                    if entrant is not None:
                        entrants.append(entrant)
                for entrant in entrants:
                    _guarded(entrant, file, lambda one: _scout(task, one, exact, folder, say))
                _rounds(task, entrants, file, say)
                if task.add:
                    _adds(task, entrants, folder, file, say)
                for entrant in entrants:
                    if entrant.row.status == "ok":
                        record.points.extend(entrant.points)
                        records.write(file, entrant.row, *entrant.points)
            finally:
                for entrant in entrants:
                    entrant.process.close()
            heat += 1
    return record


def _room(entrants: list[Entrant]) -> bool:
    """Whether memory allows one more contender beside those built."""
    free = machine.available()
    largest = max(entrant.process.resident for entrant in entrants)
    return free is None or free > SPARE_BYTES + 2 * largest


def _build(
    task: Task, spec: Spec, heat: int, folder: Path, record: Record, file: TextIO, say: Say
) -> Entrant | None:
    say(f"building {spec.name}")
    row = Contender(spec.name, spec.family, spec.ours, spec.reference, spec.settings, heat=heat)
    record.contenders[spec.name] = row
    process = Process(task.threads, task.environment)
    request = {
        "do": "build",
        "adapter": spec.adapter,
        "settings": spec.settings,
        "metric": task.metric,
        "vectors": str(folder / "vectors.npy"),
        "queries": str(folder / "queries.npy"),
        "scratch": str(process.scratch),
        "k": task.k,
        "threads": task.threads,
        "build_threads": task.build_threads,
    }
    try:
        answer = process.ask(request, task.timeout_s)
    except ContenderError as error:
        row.status, row.reason = error.status, str(error)
        records.write(file, row)
        process.close()
        return None
    except BaseException:
        process.close()
        raise
    row.disk_bytes_per_vector = answer.pop("disk_bytes") / len(task.vectors)
    sweep = answer.pop("sweep")
    for name, value in answer.items():
        setattr(row, name, value)
    records.write(file, row)
    return Entrant(row, process, sweep)


def _guarded(entrant: Entrant, file: TextIO, step: Callable[[Entrant], None]) -> None:
    """Take a step; a contender that cannot go on becomes a row with the reason."""
    if entrant.row.status != "ok":
        return
    try:
        step(entrant)
    except ContenderError as error:
        entrant.row.status, entrant.row.reason = error.status, str(error)
        records.write(file, entrant.row)
        entrant.process.close()


def _search(task: Task, entrant: Entrant, knobs: Knobs, ids: Path | None) -> float:
    request: dict[str, Any] = {
        "do": "search",
        "knobs": knobs,
        "k": task.k,
        "single": task.single,
        "ids": None if ids is None else str(ids),
    }
    seconds: float = entrant.process.ask(request, task.timeout_s)["seconds"]
    entrant.spent_s += seconds
    return seconds


def _scout(task: Task, entrant: Entrant, exact: Ids, folder: Path, say: Say) -> None:
    """Go once through the sweep, cheap knobs first, and judge what is found."""
    say(f"sweeping {entrant.row.name}")
    path = folder / "ids.npy"
    enough: list[Knobs] = []
    for knobs in entrant.sweep:
        if any(all(knobs[name] >= value for name, value in done.items()) for done in enough):
            continue
        if entrant.points and entrant.spent_s > task.budget_s / 2:
            entrant.row.unmeasured += 1
            continue
        seconds = _search(task, entrant, knobs, path)
        try:
            recall = truth.recall(task.vectors, task.queries, exact, np.load(path), task.metric)
        except ValueError as error:
            raise ContenderError("failed", str(error)) from None
        entrant.points.append(Point(entrant.row.name, knobs, recall, len(task.queries), [seconds]))
        if recall >= ENOUGH:
            enough.append(knobs)


def _rounds(task: Task, entrants: list[Entrant], file: TextIO, say: Say) -> None:
    """Time the points near each contender's frontier again, contenders in turn."""
    for number in range(2, task.rounds + 1):
        say(f"round {number} of {task.rounds}")
        for entrant in entrants:
            if number > 2 and entrant.spent_s > task.budget_s:
                continue
            _guarded(entrant, file, lambda one: _again(task, one))


def _again(task: Task, entrant: Entrant) -> None:
    for point in near_frontier(entrant.points):
        point.seconds.append(_search(task, entrant, point.knobs, None))


def _adds(task: Task, entrants: list[Entrant], folder: Path, file: TextIO, say: Say) -> None:
    """Time adding all vectors to an empty index, contenders in turn; not all can."""
    request = {"do": "add", "vectors": str(folder / "vectors.npy"), "metric": task.metric}
    able = [entrant for entrant in entrants if entrant.row.status == "ok"]
    for number in range(1, task.rounds + 1):
        say(f"adding, round {number} of {task.rounds}")
        for entrant in list(able):
            try:
                _guarded(entrant, file, lambda one: _add(task, one, request))
            except UnsuitedError:
                able.remove(entrant)


def _add(task: Task, entrant: Entrant, request: dict[str, Any]) -> None:
    try:
        answer = entrant.process.ask(request, task.timeout_s)
    except ContenderError as error:
        if error.status == "unsuited":
            raise UnsuitedError(str(error)) from None
        raise
    entrant.row.add_s.append(answer["seconds"])


def near_frontier(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other of at least their recall beats by more than `SLACK`."""
    return [
        point
        for point in points
        if not any(
            other.recall >= point.recall and other.qps > SLACK * point.qps for other in points
        )
    ]


def now() -> str:
    """Return the time for a record."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
