"""A record: JSON lines, one for the run, one per contender, one per point.

A contender's line is written when its build ends and again if it fails later: the last one holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

SCHEMA = 1


@dataclass
class Run:
    """How a run was made.

    Attributes
    ----------
    simd
        The instruction set forced on those that let it be; None: each its own.
    environment
        The variables that force it.
    """

    date: str
    command: str
    dataset: dict[str, Any]
    k: int
    threads: int
    build_threads: int
    mode: str
    rounds: int
    recall: list[float]
    machine: dict[str, Any]
    versions: dict[str, Any]
    simd: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    schema: int = SCHEMA


@dataclass
class Contender:
    """One contender: what its build cost, or why there is none.

    Attributes
    ----------
    status
        "ok", or "missing", "unsuited", "failed", "died", "timeout" with a `reason`.
    heat
        Contenders of one heat were timed in turns.
    peak_build_bytes
        Most memory held while building, beyond the loaded data.
    resident_bytes
        Memory held once built, the caller's copy of the data dropped unless the index reads it.
    disk_bytes_per_vector
        Of the saved index, everything a search needs included.
    add_s
        Seconds of adding all vectors to an empty index, each time; none where that was not asked or
        the index must be trained.
    unmeasured
        Points of the sweep left out for the time budget.
    """

    name: str
    family: str
    ours: bool
    reference: str | None
    settings: dict[str, Any]
    status: str = "ok"
    reason: str | None = None
    library: str | None = None
    version: str | None = None
    heat: int = 1
    build_s: float | None = None
    peak_build_bytes: int | None = None
    resident_bytes: int | None = None
    disk_bytes_per_vector: float | None = None
    add_s: list[float] = field(default_factory=list)
    unmeasured: int = 0


@dataclass
class Point:
    """One setting of the knobs: recall, and the seconds for all queries of each round."""

    contender: str
    knobs: dict[str, Any]
    recall: float
    queries: int
    seconds: list[float] = field(default_factory=list)

    @property
    def qps(self) -> float:
        """Queries per second of the best round."""
        return self.queries / min(self.seconds)


@dataclass
class Record:
    """All of a run."""

    run: Run
    contenders: dict[str, Contender] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)

    def of(self, name: str) -> list[Point]:
        """Return the points of a contender."""
        return [point for point in self.points if point.contender == name]


_KINDS: dict[type, str] = {Run: "run", Contender: "contender", Point: "point"}


def write(file: TextIO, *lines: Run | Contender | Point) -> None:
    """Append lines and flush, so that a run cut short leaves what it had."""
    for line in lines:
        fields: dict[str, Any] = {"kind": _KINDS[type(line)], **asdict(line)}
        if isinstance(line, Point):
            fields["qps"] = line.qps
        file.write(json.dumps(fields) + "\n")
    file.flush()


def read(path: Path) -> Record:
    """Read a record.

    Raises
    ------
    ValueError
        A line is not of this schema.
    OSError
        The file cannot be read.
    """
    record: Record | None = None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            fields = json.loads(line)
            kind = fields.pop("kind")
            if kind == "run":
                if fields.get("schema") != SCHEMA:
                    raise ValueError(f"schema {fields.get('schema')}, expected {SCHEMA}")
                record = Record(Run(**fields))
                continue
            if record is None:
                raise ValueError("the first line is not a run")
            if kind == "contender":
                record.contenders[fields["name"]] = Contender(**fields)
            elif kind == "point":
                del fields["qps"]
                record.points.append(Point(**fields))
            else:
                raise ValueError(f"unknown kind {kind!r}")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{path}: line {number}: not a bench record: {error}") from None
    if record is None:
        raise ValueError(f"{path}: an empty file is not a bench record")
    return record


def merged(records: Iterable[Record]) -> Record:
    """Join records of one data set, metric, k, mode, thread count and forced SIMD into one.

    Raises
    ------
    ValueError
        They differ in one of these, or hold the same contender twice.
    """
    first, *others = records
    joined = Record(first.run, dict(first.contenders), list(first.points))
    for other in others:
        for name in ("k", "mode", "threads", "simd"):
            a, b = getattr(first.run, name), getattr(other.run, name)
            if a != b:
                raise ValueError(f"the records differ in {name}: {a} and {b}")
        for name in ("digest", "metric"):
            a, b = (record.run.dataset[name] for record in (first, other))
            if a != b:
                raise ValueError("the records are of different data, metrics or queries")
        twice = joined.contenders.keys() & other.contenders.keys()
        if twice:
            raise ValueError(f"several records hold {', '.join(sorted(twice))}")
        joined.contenders.update(other.contenders)
        joined.points.extend(other.points)
    return joined


def frontier(points: Iterable[Point]) -> list[Point]:
    """Return the points that no other beats in both recall and speed, by rising recall."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (-point.recall, -point.qps)):
        if not best or point.qps > best[-1].qps:
            best.append(point)
    return best[::-1]


def best_at(points: Iterable[Point], recall: float) -> Point | None:
    """Return the fastest point that reaches the recall."""
    reaching = [point for point in points if point.recall >= recall]
    return max(reaching, key=lambda point: point.qps, default=None)
