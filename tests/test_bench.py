"""The bench: a tiny run end to end, its record, its tables and plot, the seeds."""

from __future__ import annotations

import importlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import counterpoint as cp
from counterpoint._recall import exact_distances
from counterpoint.bench import adapter, measure, process, records, registry, report, seeds, truth
from counterpoint.bench import data as sets
from counterpoint.bench.records import Point, Record
from counterpoint.cli import app

runner = CliRunner()
BUILT = {"build_s", "peak_build_bytes", "resident_bytes", "disk_bytes_per_vector"}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 rows in 20 clusters, and 40 queries from the same clusters."""
    random = np.random.default_rng(1)
    centres = 3 * random.standard_normal((20, 32))
    rows = centres[random.integers(0, 20, 2040)] + random.standard_normal((2040, 32))
    path = tmp_path_factory.mktemp("data") / "rows.npz"
    np.savez(path, vectors=rows[40:].astype(np.float32), queries=rows[:40].astype(np.float32))
    return path


def bench(*arguments: object) -> Result:
    return runner.invoke(app, ["bench", *map(str, arguments)])


@pytest.fixture(scope="module")
def made(file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, Result, Path]:
    out = tmp_path_factory.mktemp("out") / "run.jsonl"
    result = bench(
        *("--dataset", file, "--metric", "l2", "--methods", "flat", "lvq8"),
        *("--peers", "bench_fakes:Slow", "bench_fakes:Failing", "--recall", "0.2,0.9", "0.99"),
        *("--rounds", 2, "--out", out),
    )
    assert result.exit_code == 0, result.output
    return records.read(out), result, out


def test_the_record_has_its_schema(made: tuple[Record, Result, Path], file: Path) -> None:
    record, _, out = made
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert lines[0]["kind"] == "run" and lines[0]["schema"] == records.SCHEMA
    run = record.run
    assert (run.k, run.threads, run.mode, run.recall) == (10, 1, "batch", [0.2, 0.9, 0.99])
    assert run.dataset["n"] == 2000 and run.dataset["queries"] == 40
    assert run.dataset["metric"] == "l2" and len(run.dataset["digest"]) == 32
    assert run.machine["cores"] >= 1 and run.versions["counterpoint"] == cp.__version__
    assert set(record.contenders) == {*("flat", "lvq8", "bench_fakes:Slow", "bench_fakes:Failing")}
    for name in ("flat", "lvq8", "bench_fakes:Slow"):
        row = record.contenders[name]
        assert row.status == "ok" and row.reason is None
        assert all(getattr(row, field) is not None for field in BUILT)
        assert row.version == (np.__version__ if ":" in name else cp.__version__)
        assert all(len(point.seconds) >= 1 for point in record.of(name))
    assert len(record.of("bench_fakes:Slow")) == 3
    slow = record.contenders["bench_fakes:Slow"]
    assert slow.disk_bytes_per_vector == pytest.approx(32 * 4, abs=1)
    points = [line for line in lines if line["kind"] == "point"]
    assert all(line["qps"] == line["queries"] / min(line["seconds"]) for line in points)


def test_recall_is_judged_by_exact_truth(made: tuple[Record, Result, Path], file: Path) -> None:
    record = made[0]
    with np.load(file) as arrays:
        vectors, queries = arrays["vectors"].astype(np.float64), arrays["queries"]
    distances = ((vectors[None] - queries[:, None]) ** 2).sum(axis=2)
    true = np.argsort(distances, axis=1)[:, :10]
    for point in record.of("bench_fakes:Slow"):
        share = float((true < 20 * point.knobs["share"]).mean())
        assert point.recall == pytest.approx(share, abs=1e-9)
    assert [point.recall for point in record.of("flat")] == [1.0]
    assert 0.9 < record.of("lvq8")[0].recall <= 1.0


def test_the_tables_show_every_contender(made: tuple[Record, Result, Path]) -> None:
    output = made[1].output
    assert "bench_fakes:Failing" in output and "RuntimeError: no luck" in output
    for words in ("flat", "lvq8", "peak build", "q/s at", "0.99", "ours against the fastest peer"):
        assert words in output


def test_a_report_redraws_from_records(made: tuple[Record, Result, Path], tmp_path: Path) -> None:
    _, result, out = made
    plot = tmp_path / "plot.svg"
    again = bench("report", out, "--plot", plot)
    assert again.exit_code == 0, again.output
    table = result.output[result.output.index("contenders") : result.output.index("record:")]
    assert table.strip() in again.output
    drawn = plot.read_text()
    assert drawn.lstrip().startswith("<?xml") and "recall" in drawn


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("Absent", "missing", "not installed: no module 'no_such_library'"),
        ("Unsuited", "unsuited", "only for other data"),
        ("Failing", "failed", "RuntimeError: no luck"),
        ("Exiting", "died", "ended its process with status 3: this library ends its process"),
        ("Killed", "died", "killed by SIGKILL"),
        ("Lying", "failed", "answered with ids"),
        ("Sleeping", "timeout", "timed out: building for 2 s"),
    ],
)
def test_a_contender_that_cannot_go_on_is_a_row(
    file: Path, tmp_path: Path, name: str, status: str, reason: str
) -> None:
    out = tmp_path / "run.jsonl"
    result = bench(
        *("--dataset", file, "--metric", "l2", "--methods", "none", "--rounds", 1),
        *("--peers", f"bench_fakes:{name}", "--out", out),
        *(("--timeout", 2) if status == "timeout" else ()),
    )
    assert result.exit_code == 0, result.output
    row = records.read(out).contenders[f"bench_fakes:{name}"]
    assert row.status == status
    assert row.reason is not None and row.reason.startswith(reason)
    assert f"bench_fakes:{name}" in result.output and status in result.output


def test_what_a_library_prints_does_no_harm(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    result = bench(
        *("--dataset", file, "--metric", "l2", "--methods", "none", "--rounds", 1, "--single"),
        *("--peers", "bench_fakes:Printing", "bench_fakes:Holes", "--queries", 20, "--out", out),
    )
    assert result.exit_code == 0, result.output
    record = records.read(out)
    assert record.run.mode == "single"
    assert max(point.recall for point in record.of("bench_fakes:Printing")) == 1.0
    assert max(point.recall for point in record.of("bench_fakes:Holes")) == pytest.approx(0.1)


def test_a_cosine_run_gives_peers_unit_vectors(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    result = bench(
        *("--dataset", file, "--metric", "cosine", "--methods", "flat", "--rounds", 1),
        *("--peers", "bench_fakes:Slow", "--out", out),
    )
    assert result.exit_code == 0, result.output
    record = records.read(out)
    assert record.of("bench_fakes:Slow")[-1].recall == 1.0
    assert record.of("flat")[0].recall == 1.0


def test_what_memory_does_not_hold_runs_in_heats(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "_room", lambda entrants: False)
    out = tmp_path / "run.jsonl"
    arguments = ("--dataset", file, "--metric", "l2", "--peers", "none", "--out", out)
    assert bench(*arguments, "--methods", "flat", "lvq8").exit_code == 0
    record = records.read(out)
    assert [row.heat for row in record.contenders.values()] == [1, 2]
    assert all(len(point.seconds) == 5 for point in record.points)


def test_what_the_budget_leaves_out_is_said(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    result = bench(
        *("--dataset", file, "--metric", "l2", "--methods", "none", "--rounds", 9),
        *("--peers", "bench_fakes:Slow", "--budget", 0.001, "--out", out),
    )
    assert "left out for the time budget: bench_fakes:Slow (2)" in result.output
    (point,) = records.read(out).points
    assert len(point.seconds) == 2


def test_rows_are_held_out_where_a_file_has_no_queries(tmp_path: Path) -> None:
    rows = np.random.default_rng(2).standard_normal((300, 8)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    out = tmp_path / "run.jsonl"
    arguments = ("--dataset", tmp_path / "rows.npy", "--metric", "ip", "--queries", 50)
    result = bench(*arguments, "--methods", "flat", "--peers", "none", "--out", out)
    assert result.exit_code == 0, result.output
    run = records.read(out).run
    assert (run.dataset["n"], run.dataset["queries"]) == (250, 50)


def test_a_named_set_by_another_metric_and_in_part(tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    arguments = ("--dataset", "words", "--metric", "l2", "--rows", 500, "--queries", 20)
    result = bench(*arguments, "--methods", "flat", "--peers", "none", "--out", out)
    assert result.exit_code == 0, result.output
    record = records.read(out)
    data = record.run.dataset
    assert (data["name"], data["metric"], data["n"], data["queries"]) == ("words", "l2", 500, 20)
    assert record.of("flat")[0].recall == 1.0


def test_a_synthetic_set_looks_as_it_says(tmp_path: Path) -> None:
    made = sets.load("synthetic-d48", 500, rows=8000)
    assert made.metric == "cosine"
    assert made.vectors.shape == (8000, 48) and made.queries.shape == (500, 48)
    assert made.vectors.dtype == made.queries.dtype == np.float32
    for rows in (made.vectors, made.queries):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
        assert 0.15 < np.linalg.norm(rows.mean(axis=0)) < 0.35
    variances = np.linalg.eigvalsh(np.cov(made.vectors.T))[::-1]
    ranks = np.log(np.arange(1, 49))
    assert -0.9 < np.polyfit(ranks[1:36], np.log(variances[1:36]), 1)[0] < -0.5
    # The axes are turned: no coordinate holds much of the variance.
    assert made.vectors.var(axis=0).max() < 0.5 * variances[0]
    # Queries are no rows, but have neighbours in their clusters.
    nearest = (made.queries @ made.vectors.T).max(axis=1)
    assert 0.5 < nearest.mean() < 0.95
    fewer = sets.load("synthetic-d48", 20, rows=100)
    np.testing.assert_allclose(fewer.vectors, made.vectors[:100], atol=1e-6)
    np.testing.assert_allclose(fewer.queries, made.queries[:20], atol=1e-6)
    assert len(sets.load("synthetic-d8", 5).vectors) == 50_000


@pytest.mark.skipif(cp.simd_level() not in ("avx2", "avx512"), reason="the processor has no AVX2")
def test_avx2_is_forced_on_every_worker_and_recorded(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    result = bench(
        *("--dataset", file, "--metric", "l2", "--methods", "none", "--rounds", 1),
        *("--peers", "bench_fakes:Forced", "--simd", "avx2", "--out", out),
    )
    assert result.exit_code == 0, result.output
    assert "avx2 forced" in result.output
    record = records.read(out)
    (point,) = record.points
    forced = process.FORCED["avx2"]
    assert point.knobs == {"share": 100, "given": len(forced)}
    assert record.run.simd == record.run.versions["simd"] == "avx2"
    assert record.run.environment == forced


def test_a_level_that_the_processor_lacks_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = "avx2" if cp.simd_level() == "neon" else "neon"
    monkeypatch.setitem(process.FORCED, "other", {"COUNTERPOINT_SIMD": lacking})
    result = bench("--dataset", "words", "--simd", "other")
    assert result.exit_code == 1 and f"COUNTERPOINT_SIMD={lacking}" in result.stderr
    assert result.stderr.count("\n") == 1


def test_adding_is_timed_where_no_training_is_needed(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    result = bench(
        *("--dataset", file, "--metric", "ip", "--add", "--rounds", 3, "--out", out),
        *("--methods", "flat", "turboquant4", "turboquant4-fitted"),
        *("--peers", "bench_fakes:Slow", "bench_fakes:Adding", "bench_fakes:AddingBadly"),
    )
    assert result.exit_code == 0, result.output
    assert "MB/s" in result.output
    rows = records.read(out).contenders
    for name, times in (("flat", 3), ("turboquant4", 3), ("bench_fakes:Adding", 3)):
        assert len(rows[name].add_s) == times and min(rows[name].add_s) > 0
    for name in ("turboquant4-fitted", "bench_fakes:Slow"):
        assert rows[name].status == "ok" and not rows[name].add_s
    badly = rows["bench_fakes:AddingBadly"]
    assert (badly.status, badly.reason) == ("failed", "RuntimeError: no room")


def test_no_throughput_unless_asked(made: tuple[Record, Result, Path]) -> None:
    assert "MB/s" not in made[1].output
    assert not any(row.add_s for row in made[0].contenders.values())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "give --dataset NAME or FILE"),
        (["--dataset", "nothing"], "unknown data set 'nothing'"),
        (["--dataset", "nothing.npy"], "nothing.npy: No such file or directory"),
        (["--dataset", "words", "--metric", "l3"], "metric is 'l3': expected l2, ip or cosine"),
        (["--dataset", "words", "--rows", "10001"], "rows is 10001: expected at most the 10000"),
        (["--dataset", "words", "--simd", "mmx"], "simd is 'mmx': expected avx2"),
        (["--dataset", "synthetic-d0"], "unknown data set 'synthetic-d0'"),
        (["--dataset", "synthetic-d99999"], "unknown data set 'synthetic-d99999'"),
        (["--dataset", "words", "--peers", "nobody"], "unknown contender 'nobody'"),
        (["--dataset", "words", "--methods", "none", "--peers", "none"], "no contenders"),
        (["--dataset", "words", "--k", "10001", "--peers", "none"], "k is 10001"),
        (["report", "nothing.jsonl"], "nothing.jsonl: No such file or directory"),
        (["seeds", "--table", "S9"], "unknown table 'S9'"),
    ],
)
def test_mistakes_end_in_one_line(arguments: list[str], reason: str) -> None:
    result = bench(*arguments)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith(f"counterpoint: {reason}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("damage", ["", "{}\n", "no json\n", '{"kind": "point"}\n'])
def test_a_report_of_no_record_says_so(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(damage)
    result = bench("report", path)
    assert result.exit_code == 1
    assert "not a bench record" in result.stderr and result.stderr.count("\n") == 1


def test_records_are_joined_only_where_they_compare(
    made: tuple[Record, Result, Path], file: Path, tmp_path: Path
) -> None:
    record, _, out = made
    other = tmp_path / "other.jsonl"
    arguments = ("--dataset", file, "--metric", "l2", "--methods", "lvq4", "--peers", "none")
    assert bench(*arguments, "--out", other).exit_code == 0
    joined = records.merged([record, records.read(other)])
    assert set(joined.contenders) == {*record.contenders, "lvq4"}
    assert bench("report", out, other).exit_code == 0
    assert "several records hold" in bench("report", out, out).stderr
    for change, reason in (
        ({"threads": 2}, "differ in threads"),
        ({"simd": "avx2"}, "differ in simd"),
        ({"dataset": {**record.run.dataset, "metric": "ip"}}, "of different data, metrics"),
    ):
        changed = Record(replace(record.run, **change))
        with pytest.raises(ValueError, match=reason):
            records.merged([record, changed])


def points(*pairs: tuple[float, float]) -> list[Point]:
    return [Point("one", {}, recall, 1000, [1000 / qps]) for recall, qps in pairs]


def test_frontier_and_best() -> None:
    some = points((0.5, 100), (0.9, 50), (0.8, 30), (0.99, 10), (0.9, 45))
    assert [point.recall for point in records.frontier(some)] == [0.5, 0.9, 0.99]
    best = records.best_at(some, 0.8)
    assert best is not None and best.qps == pytest.approx(50)
    assert records.best_at(some, 0.999) is None
    assert len(measure.near_frontier(some)) == 4  # 45 is within the slack of 50


def test_ratios_are_taken_at_equal_recall(made: tuple[Record, Result, Path]) -> None:
    record = Record(made[0].run)
    for name, ours, reference in (("lvq8", True, "sq8"), ("sq8", False, None), ("q", False, None)):
        record.contenders[name] = records.Contender(name, name, ours, reference, {})
    record.points = [
        Point("lvq8", {}, 0.995, 100, [1.0]),
        Point("sq8", {}, 0.985, 100, [4.0]),
        Point("q", {"ef": 1}, 0.5, 100, [0.1]),
        Point("q", {"ef": 9}, 0.999, 100, [2.0]),
    ]
    found: list[Any] = [
        (recall, mine.qps / rival.qps if rival else None, reference)
        for _, recall, mine, rival, reference in report.comparisons(record)
    ]
    assert found == [
        (0.2, pytest.approx(0.1), False),
        (0.9, pytest.approx(2), False),
        (0.99, pytest.approx(2), False),
        (0.985, pytest.approx(4), True),
    ]


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_truth_is_exact_and_kept(cache: Path, metric: str) -> None:
    random = np.random.default_rng(3)
    vectors = random.standard_normal((500, 16)).astype(np.float32) + 100
    queries = random.standard_normal((7, 16)).astype(np.float32) + 100
    every = np.tile(np.arange(500), (7, 1))
    wanted = np.argsort(exact_distances(vectors, queries, every, metric), axis=1)[:, :5]
    found = truth.cached(vectors, queries, 5, metric)
    np.testing.assert_array_equal(found, wanted)
    kept = cache / "counterpoint" / "truth" / f"{truth.digest(vectors, queries)}-{metric}-5.npy"
    np.save(kept, np.zeros((7, 5), np.int64))
    assert not truth.cached(vectors, queries, 5, metric).any()
    kept.write_bytes(b"cut short")
    np.testing.assert_array_equal(truth.cached(vectors, queries, 5, metric), wanted)


def test_recall_counts_ties_and_no_hole() -> None:
    vectors = np.array([[0], [1], [1], [1], [5]], np.float32)
    queries = np.zeros((2, 1), np.float32)
    exact = np.array([[0, 1], [0, 1]])
    for found, wanted in (
        ([[0, 3], [2, 0]], 1.0),
        ([[0, 0], [0, 4]], 0.5),
        ([[-1, -1], [0, 1]], 0.5),
        ([[0, -1], [-1, 3]], 0.5),
        ([[-1], [-1]], 0.0),
    ):
        assert truth.recall(vectors, queries, exact, np.array(found), "l2") == wanted
    for wrong in ([[0, 5], [0, 1]], [[-2, 0], [0, 1]], [[0, 1]]):
        with pytest.raises(ValueError, match="answered with"):
            truth.recall(vectors, queries, exact, np.array(wrong), "l2")


def test_every_name_resolves_and_every_reference_is_a_peer() -> None:
    assert len(registry.methods(["all"])) == len(registry.METHODS)
    assert len(registry.peers(["all"])) == len(registry.PEERS)
    assert not registry.METHODS.keys() & registry.PEERS.keys()
    for spec in registry.METHODS.values():
        assert spec.reference in registry.PEERS
    libraries = {"faiss", "hnswlib", "usearch", "rabitqlib", "svs", "lorann", "scann", "turbovec"}
    assert set(registry.groups()) == libraries
    assert [spec.name for spec in registry.peers(["turbovec"])] == [
        f"turbovec{bits}" for bits in (2, 3, 4)
    ]


@pytest.mark.parametrize("name", list(registry.PEERS))
def test_every_peers_file_imports_without_its_library_and_sweeps_upwards(name: str) -> None:
    spec = registry.PEERS[name]
    module, _, kind = spec.adapter.partition(":")
    made = getattr(importlib.import_module(module), kind)("l2", 128, 1, 1, **spec.settings)
    for n in (50, 100_000):
        sweep = made.sweep(n, 10)
        assert sweep and all(set(knobs) == set(sweep[0]) for knobs in sweep)
        assert len({tuple(knobs.items()) for knobs in sweep}) == len(sweep)
        costs = [np.prod(list(knobs.values())) for knobs in sweep]
        assert costs == sorted(costs)


def test_lorann_is_swept_as_its_peer_is(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    result = bench(
        *("--dataset", file, "--metric", "l2", "--methods", "lorann", "lorann-twice"),
        *("--peers", "none", "--rounds", 1, "--add", "--out", out),
    )
    assert result.exit_code == 0, result.output
    record = records.read(out)
    peer = importlib.import_module("counterpoint.bench.peers_cluster").Lorann
    for name, clusters in (("lorann", 45), ("lorann-twice", 89)):
        row = record.contenders[name]
        assert row.status == "ok" and row.family == "LoRANN" and row.add_s == []
        points = record.of(name)
        assert max(point.recall for point in points) >= 0.99
        probes = {point.knobs["n_probe"] for point in points}
        assert {1, 2, 3, 4, 6, 8} <= probes and max(probes) <= clusters
        assert {point.knobs["rerank"] for point in points} >= {15, 20, 30, 50}
    swept = peer("l2", 32, 1, 1, clusters=1).sweep(2000, 10)
    assert {knobs["clusters_to_search"] for knobs in swept} == {*adapter.rising(45)}
    assert adapter.rising(1) == [1] and adapter.rising(13) == [1, 2, 3, 4, 6, 8, 12, 13]


def test_seeds_hold_every_row_of_the_prototypes() -> None:
    held = {seed.table: seed for seed in seeds.load()}
    assert list(held) == ["S0", "S1", "S2", "S3", "S4"]
    published = {
        (seed.table, row.label): row.published for seed in held.values() for row in seed.rows
    }
    assert published["S0", "exact f32, n=2,000 d=128"] == {"rate": 6516307}
    assert published["S1", "rank 32, n_probe 8, n=50,000"]["recall"] == 0.561
    assert published["S3", "LVQ-8"] == {"mib": 26.70, "recall": 0.942, "qps": 120}
    assert len(published) == sum(len(seed.rows) for seed in held.values())
    for seed in held.values():
        assert seed.source
        for row in seed.rows:
            assert seeds.text(row.published)
            assert row.method is None or (row.method in registry.METHODS and row.data)
            assert row.rival is None or (row.rival in registry.PEERS and row.method)


def test_seeds_prints_ours_beside_the_published() -> None:
    result = bench("seeds", "--fast", "--table", "S0")
    assert result.exit_code == 0, result.output
    assert "6,516,307 dist/s" in result.output and "not yet" not in result.output
    rows = len(seeds.load(["S0"])[0].rows)
    assert f"{rows} of {rows} rows filled" in result.output


def test_a_seeds_row_is_measured() -> None:
    seed = seeds.load(["S3"])[0]
    small = [replace(row, data={**row.data, "n": 3000}) for row in seed.rows]
    found = dict(
        (row.label, ours) for row, ours in seeds.measured(replace(seed, rows=small), 20, 1)
    )
    exact, lvq8 = found["fp32"], found["LVQ-8"]
    assert exact is not None and exact["recall"] == 1.0
    assert exact["bytes"] == pytest.approx(4 * 128, rel=0.01)
    assert lvq8 is not None and lvq8["recall"] > 0.9 and lvq8["mib"] < 0.3 * exact["mib"]
    both = found["LVQ-8x8, re-rank 10×"]
    assert both is not None and both["recall"] == 1.0 and both["mib"] < 0.56 * exact["mib"]


def test_the_seeds_rows_of_lorann() -> None:
    seed = seeds.load(["S1"])[0]
    assert all(row.method for row in seed.rows)
    small = [row for row in seed.rows if row.data["n"] == 2000]
    large = [row for row in seed.rows if row.settings and row not in small]
    small += [replace(row, data={**row.data, "n": 3000}) for row in large]
    first = replace(seed.rows[0], data=small[1].data)
    rows = replace(seed, rows=[small[0], first, *small[1:]])
    found = [ours for _, ours in seeds.measured(rows, 50, 1)]
    assert all(ours is not None for ours in found)
    figures = [ours for ours in found if ours is not None]
    assert figures[0]["recall"] >= 0.95 and "times_exact" not in figures[0]
    assert figures[1]["times_exact"] == 1
    assert all(ours["times_exact"] > 0 and ours["recall"] > 0.5 for ours in figures[2:])
    # 128 × 128, √3,000 × 128, 8 clusters, 100 candidates.
    products = 128 * 128 + 55 * 128 + 8 * (128 * 32 + 3000 / 55 * 32) + 100 * 128
    assert figures[-1]["products"] == pytest.approx(products)


def test_the_seeds_rows_that_compare_and_weigh_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = replace(registry.PEERS["faiss-pqfs"], adapter="bench_fakes:Slow", settings={})
    absent = replace(fake, adapter="bench_fakes:Absent")
    monkeypatch.setattr(registry, "PEERS", {"faiss-pqfs": fake, "faiss-pqfs4": absent})
    seed = seeds.load(["S4"])[0]
    small = [
        replace(row, data={**row.data, "n": 400, "dim": 128}) for row in seed.rows if row.method
    ]
    found = {
        row.label: ours for row, ours in seeds.measured(replace(seed, rows=small), 20, 2) if ours
    }
    assert found["x86, 4 bits, against FAISS FastScan"]["claim"] == "no numpy to hold it against"
    claim = found["x86, 2 bits, many threads, against FAISS FastScan"]["claim"]
    # A quarter of the rows are searched first.
    assert re.fullmatch(r"[+-]\d+%, recall \d+\.\d% against 2\d\.\d%", claim)
    assert 1.9 < found["distortion against Shannon's bound"]["shannon"] < 2.7
