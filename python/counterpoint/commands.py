"""`counterpoint build DATA OUT` and `counterpoint search INDEX QUERIES`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import counterpoint as cp
from counterpoint import readers

# Each method's class and the options of `build` that are its constructor's.
METHODS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "flat": (cp.Flat, ()),
    "lvq": (
        cp.LVQ,
        ("primary", "residual", "keep", "structure", "degree", "ef_construction", "seed"),
    ),
    "lorann": (
        cp.LoRANN,
        ("n_clusters", "rank", "global_dim", "bits", "balanced", "keep", "seed"),
    ),
    "pq": (cp.PQ, ("subspaces", "bits", "keep", "seed")),
    "rvq": (cp.RVQ, ("stages", "bits", "beam", "structure", "n_lists", "keep", "seed")),
    "symphony-qg": (cp.SymphonyQG, ("degree", "ef_construction", "keep", "seed", "edge_codes")),
    "turboquant": (cp.TurboQuant, ("bits", "allocation", "center", "keep", "seed")),
}
# What an index takes as it is; anything else is made float32.
TAKEN = ("float32", "float64", "float16", "int8", "uint8")
SHOWN = 10

Threads = Annotated[int | None, typer.Option(min=1, help="Threads; all cores if not given.")]


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the command with one line and status 1 on what a user can put right."""
    try:
        yield
    except (OSError, ValueError, TypeError, ImportError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError) and error.strerror and error.filename is not None:
            reason = f"{error.filename}: {error.strerror}"
        typer.echo(f"counterpoint: {reason}", err=True)
        raise typer.Exit(1) from None


def build(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A file of vectors.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")],
    method: Annotated[str, typer.Option(help=f"One of: {', '.join(METHODS)}.")] = "lvq",
    metric: Annotated[
        str | None, typer.Option(help="l2, ip or cosine; as the file says if not given.")
    ] = None,
    primary: Annotated[int | None, typer.Option(help="lvq: bits of a value, 4 or 8.")] = None,
    residual: Annotated[
        int | None, typer.Option(help="lvq: bits of a value's residual, 0, 4 or 8.")
    ] = None,
    structure: Annotated[
        str | None, typer.Option(help="How vectors are searched: flat or (lvq) graph, (rvq) ivf.")
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            help="Vectors kept: none, int8, f16 or f32 (lvq, lorann, pq, rvq, turboquant: "
            "to re-rank with; symphony-qg: in its rows, not none)."
        ),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(
            help="turboquant: bits of a value, 1 to 4; lorann: of a coefficient, pq: of a part, "
            "rvq: of a stage, 4 or 8."
        ),
    ] = None,
    allocation: Annotated[
        str | None, typer.Option(help="turboquant: where the bits go: even or fitted.")
    ] = None,
    center: Annotated[
        str | None, typer.Option(help="turboquant: what is taken off first: mean or none.")
    ] = None,
    n_clusters: Annotated[
        int | None, typer.Option(help="lorann: how many clusters; √n if not given.")
    ] = None,
    rank: Annotated[
        int | None, typer.Option(help="lorann: coefficients of a vector, a multiple of 4.")
    ] = None,
    global_dim: Annotated[
        int | None, typer.Option(help="lorann: axes that vectors are projected onto.")
    ] = None,
    n_lists: Annotated[
        int | None, typer.Option(help="rvq of an ivf: how many lists; √n if not given.")
    ] = None,
    balanced: Annotated[
        bool | None, typer.Option("--balanced", help="lorann: clusters of like size.")
    ] = None,
    degree: Annotated[
        int | None,
        typer.Option(help="symphony-qg, lvq of a graph: neighbours of a vector, a multiple of 32."),
    ] = None,
    ef_construction: Annotated[
        int | None,
        typer.Option(
            help="symphony-qg, lvq of a graph: candidates of the searches it is built by."
        ),
    ] = None,
    subspaces: Annotated[
        int | None, typer.Option(help="pq: parts of a vector; one bit a value if not given.")
    ] = None,
    stages: Annotated[int | None, typer.Option(help="rvq: codewords of a vector.")] = None,
    beam: Annotated[
        int | None, typer.Option(help="rvq: sums kept while codes are searched for.")
    ] = None,
    edge_codes: Annotated[
        str | None, typer.Option(help="symphony-qg: codes of edges: rabitq or pq4.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="lorann, pq, rvq, symphony-qg, turboquant, lvq of a graph: of all that is random."
        ),
    ] = None,
    threads: Threads = None,
) -> None:
    """Build an index over a file of vectors and save it."""
    with one_line_errors():
        if method not in METHODS:
            raise ValueError(f"method is {method!r}: expected {' or '.join(METHODS)}")
        make, names = METHODS[method]
        given = {
            "primary": primary,
            "residual": residual,
            "structure": structure,
            "keep": keep,
            "bits": bits,
            "allocation": allocation,
            "center": center,
            "n_clusters": n_clusters,
            "rank": rank,
            "global_dim": global_dim,
            "balanced": balanced,
            "degree": degree,
            "ef_construction": ef_construction,
            "subspaces": subspaces,
            "stages": stages,
            "beam": beam,
            "n_lists": n_lists,
            "edge_codes": edge_codes,
            "seed": seed,
        }
        options = {name: value for name, value in given.items() if value is not None}
        for name in options:
            if name not in names:
                raise ValueError(f"{method} takes no --{name.replace('_', '-')}")
        table = readers.read(data)
        chosen = metric or table.metric
        if chosen is None:
            raise ValueError(f"{data} does not say its metric: give --metric l2, ip or cosine")
        index = make(chosen, **options)
        columns = (TextColumn("building {task.fields[name]}"), BarColumn(), TimeElapsedColumn())
        console = Console(stderr=True)
        quiet = not console.is_terminal
        with Progress(*columns, console=console, transient=True, disable=quiet) as progress:
            task = progress.add_task("", name=method)

            def update(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)

            index.fit(_taken(table.vectors), table.ids, threads=threads, progress=update)
        index.save(out)
        typer.echo(f"{out}: {method}, {len(index):,} × {index.dim}, {out.stat().st_size:,} bytes")


def search(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="A Counterpoint file.")],
    queries: Annotated[
        Path,
        typer.Argument(metavar="QUERIES", help="A file of vectors; its queries if it has any."),
    ],
    k: Annotated[int, typer.Option("-k", min=1, help="Neighbours per query.")] = 10,
    ef: Annotated[int | None, typer.Option(help="Candidates kept in view in a graph.")] = None,
    n_probe: Annotated[int | None, typer.Option(help="Clusters, or lists, to search.")] = None,
    rerank: Annotated[
        int | None, typer.Option(help="Candidates to re-rank with the kept vectors.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write ids and distances to this .npz file."),
    ] = None,
    threads: Threads = None,
) -> None:
    """Search a saved index with a file of queries."""
    with one_line_errors():
        if out is not None and out.suffix != ".npz":
            raise ValueError(f"{out}: expected a name that ends in .npz")
        loaded = _loaded(index)
        table = readers.read(queries)
        rows = _taken(table.vectors if table.queries is None else table.queries)
        given = {"ef": ef, "n_probe": n_probe, "rerank": rerank}
        knobs = {name: value for name, value in given.items() if value is not None}
        for name in knobs:
            if name not in loaded.capabilities["knobs"]:
                option = name.replace("_", "-")
                raise ValueError(f"{index}: its method, {loaded.method}, takes no --{option}")
        found = loaded.search(rows, k, threads=threads, **knobs)
        if out is not None:
            np.savez(out, ids=found.ids, distances=found.distances)
            typer.echo(f"{out}: ids and distances, {found.ids.shape[0]:,} × {found.ids.shape[1]}")
            return
        shown = Table("query", "ids, nearest first", "distances")
        for row in range(min(SHOWN, len(found.ids))):
            shown.add_row(
                str(row),
                " ".join(map(str, found.ids[row])),
                " ".join(f"{distance:.4g}" for distance in found.distances[row]),
            )
        Console().print(shown)
        if len(found.ids) > SHOWN:
            typer.echo(f"and {len(found.ids) - SHOWN:,} more queries: -o FILE.npz keeps all")


def _loaded(path: Path) -> Any:
    try:
        return cp.load(path, mmap=True)
    except cp.FormatError as error:
        raise ValueError(f"{path}: {error}") from error


def _taken(rows: Any) -> Any:
    return rows if rows.dtype.name in TAKEN else rows.astype(np.float32)
