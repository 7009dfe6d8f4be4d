"""The prototypes' published figures, row by row, with ours beside them.

All figures, their source and their set-up are in `data/seeds.json`. A row that names a method of
the registry is measured; the others say "not yet" until their method is built.
"""

from __future__ import annotations

import importlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from counterpoint._recall import Ids, Vectors
from counterpoint.bench import data as sets
from counterpoint.bench import registry, truth
from counterpoint.bench.adapter import Adapter
from counterpoint.bench.ours import Counterpoint
from counterpoint.bench.worker import size, unit

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
        qps, build_s, bytes (a vector), mib, times_exact (qps over those of the flat row before),
        products (of two numbers, for a query, by the mean size of a cluster), shannon (squared
        error of the codes, over the least that so many bits allow), mse (mean squared error of
        the codes' first stages), or a claim in words.
    data
        Arguments of `synthetic`; of the bench's own set where the shape is synthetic-d.
    method
        A method of the registry, once it is built.
    settings
        Arguments of its constructor besides.
    knobs
        Its search arguments.
    rival
        A peer of the registry to hold it against: batches, both in turns.
    k, threads
        Neighbours and threads of that comparison; 0 threads for every core.
    """

    label: str
    published: Figures
    data: dict[str, Any] = field(default_factory=dict)
    method: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    knobs: dict[str, Any] = field(default_factory=dict)
    rival: str | None = None
    k: int = K
    threads: int = 1
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
    exact_qps: float | None = None
    sample: tuple[Vectors, Vectors, Ids] | None = None
    for row in seed.rows:
        if row.method is None:
            yield row, None
            continue
        if sample is None or drawn != row.data:
            sample, drawn = _sample(row.data, queries, seed.metric), row.data
            exact_qps = None
        if row.rival is not None:
            yield row, _compare(row, seed.metric, *sample[:2], rounds=rounds)
        else:
            figures = _measure(row, seed.metric, *sample, rounds=rounds)
            if row.method == "flat":
                exact_qps = figures["qps"]
            if exact_qps is not None:
                figures["times_exact"] = figures["qps"] / exact_qps
            yield row, figures


def _sample(data: dict[str, Any], queries: int, metric: str) -> tuple[Vectors, Vectors, Ids]:
    from counterpoint._counterpoint import synthetic

    options = dict(data)
    shape, n, dim = (options.pop(name) for name in ("shape", "n", "dim"))
    if shape == "synthetic-d":
        # Its axes are turned: sub-quantisers of axes whose variance falls would be starved.
        vectors, asked = sets.synthetic(n, queries, dim)
    else:
        vectors, asked = synthetic(shape, n, queries, dim, SEED, **options)
    return vectors, asked, truth.nearest(vectors, asked, K, metric)


def _measure(
    row: Row, metric: str, vectors: Vectors, queries: Vectors, exact: Ids, *, rounds: int
) -> Figures:
    """Measure a row as the prototypes did: one query per call, one thread; the best round."""
    assert row.method is not None
    spec = registry.METHODS[row.method]
    n, dim = vectors.shape
    settings = spec.settings | row.settings
    adapter = Counterpoint(metric, dim, 1, 1, **settings)  # type: ignore[arg-type]
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
    shannon = _distortion(adapter, vectors) if "shannon" in row.published else None
    mse = _squared_error(adapter, vectors, row.knobs) if "mse" in row.published else None
    products = _products(adapter, row.knobs) if "products" in row.published else None
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
        "products": products,
        "shannon": shannon,
        "mse": mse,
    }


def _products(adapter: Counterpoint, knobs: dict[str, int]) -> float:
    """Return LoRANN's products for a query: projection, routing, clusters and re-rank."""
    stats: dict[str, int] = adapter.index.stats()
    n, dim, axes = stats["n"], stats["dim"], stats["global_dim"]
    rank, clusters = stats["rank"], stats["n_clusters"]
    scored = knobs["n_probe"] * (axes * rank + n / clusters * rank)
    return dim * axes + clusters * axes + scored + knobs["rerank"] * dim


def _squared_error(adapter: Counterpoint, vectors: Vectors, knobs: dict[str, int]) -> float:
    """Return RVQ's mean squared error after the stages that a search looks at."""
    left: list[float] = adapter.index.stats()["distortion"]
    variance = float(vectors.var(axis=0, dtype=np.float64).sum())
    return left[knobs["stages"]] * variance


def _distortion(adapter: Counterpoint, vectors: Vectors) -> float:
    """Return the squared error per squared length of 1,000 unit rows, over Shannon's 4^-bits."""
    rows = np.arange(min(1000, len(vectors)))
    kept = unit(adapter.index.reconstruct(rows))
    cosines = np.einsum("ij,ij->i", kept, unit(vectors[rows]))
    # The best multiple of the code leaves sin² of the angle.
    error = float((1 - cosines.astype(np.float64) ** 2).mean())
    return error * 4.0 ** int(adapter.settings["bits"])


def _compare(row: Row, metric: str, vectors: Vectors, queries: Vectors, *, rounds: int) -> Figures:
    """Hold ours against a rival, in batches and in turns; the best round of each."""
    assert row.method is not None and row.rival is not None
    spec = registry.PEERS[row.rival]
    module, _, name = spec.adapter.partition(":")
    made: type[Adapter] = getattr(importlib.import_module(module), name)
    try:
        importlib.import_module(made.module)
    except ModuleNotFoundError:
        return {"claim": f"no {made.library} to hold it against"}
    threads = row.threads or os.cpu_count() or 1
    exact = truth.nearest(vectors, queries, row.k, metric)
    settings = registry.METHODS[row.method].settings
    ours = Counterpoint(metric, vectors.shape[1], threads, threads, **settings)  # type: ignore[arg-type]
    theirs = made(metric, vectors.shape[1], threads, threads, **spec.settings)  # type: ignore[arg-type]
    scaled = metric == "cosine" and not made.native_cosine
    asked = {ours: queries, theirs: unit(queries.copy()) if scaled else queries}
    ours.build(vectors)
    theirs.build(unit(vectors.copy()) if scaled else vectors)
    theirs.set(**theirs.sweep(len(vectors), row.k)[0])
    ours.set(**row.knobs)
    recalls = [
        truth.recall(vectors, queries, exact, one.search(asked[one], row.k), metric)
        for one in (ours, theirs)
    ]
    seconds = dict.fromkeys(asked, float("inf"))
    for _ in range(rounds):
        for one in seconds:
            start = time.perf_counter()
            one.search(asked[one], row.k)
            seconds[one] = min(seconds[one], time.perf_counter() - start)
    ahead = seconds[theirs] / seconds[ours] - 1
    return {"claim": f"{ahead:+.0%}, recall {recalls[0]:.1%} against {recalls[1]:.1%}"}


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
    "products": "{:,.0f} products",
    "shannon": "{:.2f}× Shannon's",
    "mse": "{:.2f} squared error",
    "build_s": "{:,.3f} s",
    "claim": "{}",
}


def text(figures: Figures) -> str:
    """Return figures as a cell."""
    return "  ".join(_FORMATS[name].format(value) for name, value in figures.items())
