"""The prototypes' published figures, row by row, with ours beside them.

All figures, their source and their set-up are in `data/seeds.json`. A row that names a method of
the registry is measured; the others say "not yet" until their method is built.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from counterpoint._recall import Ids, Vectors
from counterpoint.bench import registry, truth
from counterpoint.bench.ours import Counterpoint
from counterpoint.bench.worker import size

K = 10
SEED = 1
NOT_YET = "not yet"
Figures = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One published row.

    Attributes
    ----------
    published
        Figures by name: rate (distances a second), recall, first (recall 1@1), first_of_8 (1@8),
        qps, build_s, bytes (a vector), mib, times_exact, or a claim in words.
    data
        Arguments of `synthetic`.
    method
        A method of the registry, once it is built.
    knobs
        Its search arguments.
    """

    label: str
    published: Figures
    data: dict[str, Any] = field(default_factory=dict)
    method: str | None = None
    knobs: dict[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Seed:
    """One prototype's table."""

    table: str
    title: str
    source: str
    metric: str
    setup: str
    rows: list[Row]


def load(tables: Sequence[str] | None = None) -> list[Seed]:
    """Return the published tables, all or those named.

    Raises
    ------
    ValueError
        A name is none of theirs.
    """
    text = (resources.files("counterpoint") / "data" / "seeds.json").read_text(encoding="utf-8")
    seeds = [
        Seed(**{**table, "rows": [Row(**row) for row in table["rows"]]})
        for table in json.loads(text)
    ]
    known = [seed.table for seed in seeds]
    for name in tables or ():
        if name not in known:
            raise ValueError(f"unknown table {name!r}: expected {', '.join(known)}")
    return [seed for seed in seeds if not tables or seed.table in tables]


def show(console: Console, seeds: Sequence[Seed], *, fast: bool) -> None:
    """Measure the rows whose method is built, and print every row."""
    queries, rounds = (100, 2) if fast else (1000, 5)
    filled = total = 0
    for seed in seeds:
        table = Table(title=f"{seed.table} {seed.title}: {seed.setup}", title_justify="left")
        table.add_column("row", no_wrap=True)
        table.add_column("published", no_wrap=True)
        table.add_column("ours", no_wrap=True)
        table.add_column("note")
        with console.status(f"measuring {seed.table}"):
            for row, ours in measured(seed, queries, rounds):
                total += 1
                filled += ours is not None
                shown = NOT_YET if ours is None else text(_alike(row.published, ours))
                table.add_row(row.label, text(row.published), shown, row.note)
        table.caption = f"published: {seed.source}"
        table.caption_justify = "left"
        console.print(table)
    console.print(f"{filled} of {total} rows filled; ours: one thread, {queries:,} queries.")


def measured(seed: Seed, queries: int, rounds: int) -> Iterator[tuple[Row, Figures | None]]:
    """Yield each row with our figures, None where its method is not built yet."""
    drawn: dict[str, Any] = {}
    sample: tuple[Vectors, Vectors, Ids] | None = None
    for row in seed.rows:
        if row.method is None:
            yield row, None
            continue
        if sample is None or drawn != row.data:
            sample, drawn = _sample(row.data, queries, seed.metric), row.data
        yield row, _measure(row, seed.metric, *sample, rounds=rounds)


def _sample(data: dict[str, Any], queries: int, metric: str) -> tuple[Vectors, Vectors, Ids]:
    from counterpoint._counterpoint import synthetic

    options = dict(data)
    shape, n, dim = (options.pop(name) for name in ("shape", "n", "dim"))
    vectors, asked = synthetic(shape, n, queries, dim, SEED, **options)
    return vectors, asked, truth.nearest(vectors, asked, K, metric)


def _measure(
    row: Row, metric: str, vectors: Vectors, queries: Vectors, exact: Ids, *, rounds: int
) -> Figures:
    """Measure a row as the prototypes did: one query per call, one thread; the best round."""
    assert row.method is not None
    spec = registry.METHODS[row.method]
    n, dim = vectors.shape
    adapter = Counterpoint(metric, dim, 1, 1, **spec.settings)  # type: ignore[arg-type]
    start = time.perf_counter()
    adapter.build(vectors)
    build_s = time.perf_counter() - start
    adapter.set(**row.knobs)
    found = adapter.search(queries, K)
    seconds = float("inf")
    calls = [queries[number : number + 1] for number in range(len(queries))]
    for _ in range(rounds):
        start = time.perf_counter()
        for call in calls:
            adapter.search(call, K)
        seconds = min(seconds, time.perf_counter() - start)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        adapter.save(path)
        stored = size(path)
    qps = len(queries) / seconds
    return {
        "rate": qps * n,
        "recall": truth.recall(vectors, queries, exact, found, metric),
        "first": float((found[:, :1] == exact[:, :1]).mean()),
        "first_of_8": float((found[:, :8] == exact[:, :1]).any(axis=1).mean()),
        "qps": qps,
        "build_s": build_s,
        "bytes": stored / n,
        "mib": stored / 2**20,
    }


def _alike(published: Figures, ours: Figures) -> Figures:
    """Return those of our figures that were published."""
    return {name: ours[name] for name in published if name in ours}


_FORMATS = {
    "rate": "{:,.0f} dist/s",
    "bytes": "{:,.0f} B",
    "mib": "{:,.2f} MiB",
    "recall": "{:.1%}",
    "first": "{:.1%} 1@1",
    "first_of_8": "{:.1%} 1@8",
    "qps": "{:,.0f} q/s",
    "times_exact": "{:.1f}× exact",
    "build_s": "{:,.3f} s",
    "claim": "{}",
}


def text(figures: Figures) -> str:
    """Return figures as a cell."""
    return "  ".join(_FORMATS[name].format(value) for name, value in figures.items())
