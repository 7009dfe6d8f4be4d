"""The command line: the demo and its gate, info and verify."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import counterpoint as cp
from counterpoint import datasets, demo
from counterpoint._recall import recall_at_k
from counterpoint.cli import app

runner = CliRunner()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    rows = np.random.default_rng(1).standard_normal((200, 24)).astype(np.float32)
    path = tmp_path / "rows.cp"
    cp.LVQ("l2", primary=8).fit(rows).save(path)
    return path


def test_demo_passes_and_shows_every_method() -> None:
    result = runner.invoke(app, ["demo", "--fast"])
    assert result.exit_code == 0, result.output
    for method in demo.METHODS:
        assert f" {method.name} " in result.output
    assert "BELOW" not in result.output
    assert "LoRANN's gate" in result.output
    words = datasets.load("words")
    assert words.query_texts is not None
    assert all(words.query_texts[query] in result.output for query in demo.SHOWN)
    assert "locust" in result.output  # for "a plague of grasshoppers"


def test_demo_below_a_floor_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    flat, lvq = demo.METHODS[:2]
    monkeypatch.setattr(demo, "METHODS", [flat, replace(lvq, floor=1.01)])
    result = runner.invoke(app, ["demo", "--fast"])
    assert result.exit_code == 1
    assert result.output.count("BELOW ITS FLOOR") == 1
    assert f"{lvq.name}: recall@10" in result.output


def test_demo_below_the_gate_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "METHODS", demo.METHODS[:2])
    monkeypatch.setattr(demo, "GATE", 1.01)
    result = runner.invoke(app, ["demo", "--fast"])
    assert result.exit_code == 1
    assert result.output.count("BELOW ITS GATE: LoRANN") == 1


def test_the_demos_truth_is_exact() -> None:
    words = datasets.load("words")
    cosines = words.queries.astype(np.float64) @ words.vectors.astype(np.float64).T
    cosines /= np.linalg.norm(words.vectors.astype(np.float64), axis=1)
    truth = np.argsort(-cosines, axis=1)[:, : demo.K]
    found, _ = demo.METHODS[0].make().fit(words.vectors).search(words.queries, demo.K)
    assert recall_at_k(words.vectors, words.queries, truth, found, "cosine") == 1.0


def test_info_shows_the_header(saved: Path) -> None:
    result = runner.invoke(app, ["info", str(saved)])
    assert result.exit_code == 0, result.output
    header = cp.info(saved)
    for word in (header["method"], header["version"], *header["params"]):
        assert str(word) in result.output
    for tensor in header["tensors"]:
        assert tensor["name"] in result.output
    assert f"{saved.stat().st_size:,}" in result.output


def test_verify_a_good_file(saved: Path) -> None:
    result = runner.invoke(app, ["verify", str(saved)])
    assert result.exit_code == 0
    assert ": ok (" in result.stdout and result.stdout.count("\n") == 1


@pytest.mark.parametrize("damage", ["flip", "cut", "append", "empty", "missing", "folder"])
def test_verify_a_bad_file_says_so_in_one_line(saved: Path, damage: str) -> None:
    data = saved.read_bytes()
    flipped = data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]
    damaged = {"flip": flipped, "cut": data[:-64], "append": data + b"\0", "empty": b""}
    if damage in damaged:
        saved.write_bytes(damaged[damage])
    else:
        saved.unlink()
    if damage == "folder":
        saved.mkdir()
    result = runner.invoke(app, ["verify", str(saved)])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"counterpoint: {saved}: ")
    assert result.stderr.count("\n") == 1


def test_info_on_a_bad_file_says_so_in_one_line(saved: Path) -> None:
    saved.write_bytes(b"not a Counterpoint file")
    result = runner.invoke(app, ["info", str(saved)])
    assert result.exit_code == 1 and result.stderr.count("\n") == 1


def test_version() -> None:
    result = runner.invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.output == f"counterpoint {cp.__version__}\n"


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


def test_run_as_a_module() -> None:
    result = python("-m", "counterpoint", "--version")
    assert (result.returncode, result.stdout) == (0, f"counterpoint {cp.__version__}\n")


def test_the_demo_prints_to_an_ascii_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    result = python("-m", "counterpoint", "demo", "--fast")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_it_says_what_to_install(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from counterpoint.cli import app"
    result = python("-c", code)
    assert result.returncode == 1
    assert "pip install 'counterpoint[cli]'" in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_library_needs_neither_typer_nor_rich() -> None:
    code = (
        "import sys, counterpoint, counterpoint.datasets;"
        "sys.exit(len({'typer', 'rich', 'urllib.request'} & set(sys.modules)))"
    )
    assert python("-c", code).returncode == 0
