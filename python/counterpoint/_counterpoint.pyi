from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from typing import Any, Literal, SupportsFloat, SupportsIndex, TypeAlias, TypedDict, final

import numpy as np
import numpy.typing as npt
from typing_extensions import Self, disjoint_base

from counterpoint._result import OperatingPoint, Result

__all__ = [
    "LVQ",
    "PQ",
    "RVQ",
    "Flat",
    "FormatError",
    "Index",
    "InternalError",
    "LoRANN",
    "SymphonyQG",
    "TurboQuant",
    "UnsupportedError",
    "__version__",
    "from_bytes",
    "info",
    "load",
    "merge",
    "simd_level",
    "synthetic",
    "verify",
]

_Metric: TypeAlias = Literal["l2", "ip", "cosine"]
_Vectors: TypeAlias = npt.ArrayLike
_Ids: TypeAlias = npt.ArrayLike
_Filter: TypeAlias = npt.ArrayLike | Sequence[npt.ArrayLike | None]
_Path: TypeAlias = str | PathLike[str]
_Data: TypeAlias = bytes | bytearray | memoryview
_Progress: TypeAlias = Callable[[int, int], object]
_Results: TypeAlias = Iterable[
    tuple[npt.NDArray[np.signedinteger[Any]], npt.NDArray[np.floating[Any]]]
]

class _Capabilities(TypedDict):
    exact: bool
    reconstruct: bool
    knobs: tuple[str, ...]

__version__: str

class FormatError(ValueError): ...
class InternalError(RuntimeError): ...
class UnsupportedError(ValueError): ...

@disjoint_base
class Index:
    @property
    def capabilities(self) -> _Capabilities: ...
    @property
    def dim(self) -> int | None: ...
    @property
    def ids(self) -> npt.NDArray[np.int64]: ...
    @property
    def method(self) -> str: ...
    @property
    def metric(self) -> _Metric: ...
    def fit(
        self,
        X: _Vectors,
        ids: _Ids | None = None,
        *,
        threads: SupportsIndex | None = None,
        progress: _Progress | None = None,
    ) -> Self: ...
    def add(
        self,
        X: _Vectors,
        ids: _Ids | None = None,
        *,
        threads: SupportsIndex | None = None,
        progress: _Progress | None = None,
    ) -> npt.NDArray[np.int64]: ...
    def upsert(
        self,
        X: _Vectors,
        ids: _Ids,
        *,
        threads: SupportsIndex | None = None,
        progress: _Progress | None = None,
    ) -> None: ...
    def remove(self, ids: _Ids) -> None: ...
    def search(
        self,
        Q: _Vectors,
        k: SupportsIndex = 10,
        *,
        filter: _Filter | None = None,
        threads: SupportsIndex | None = None,
        recall: SupportsFloat | None = None,
    ) -> Result: ...
    def tune(
        self,
        Q: _Vectors | None = None,
        X: _Vectors | None = None,
        recall: SupportsFloat = 0.95,
        k: SupportsIndex = 10,
        *,
        threads: SupportsIndex | None = None,
        progress: _Progress | None = None,
    ) -> list[OperatingPoint]: ...
    def reconstruct(self, ids: _Ids) -> npt.NDArray[np.float32]: ...
    def compact(self) -> None: ...
    def save(self, path: _Path, *, durable: bool = True) -> None: ...
    def to_bytes(self) -> bytes: ...
    @staticmethod
    def load(path: _Path, *, mmap: bool = False, verify: bool = True) -> Index: ...
    @staticmethod
    def from_bytes(data: _Data) -> Index: ...
    def verify(self) -> None: ...
    def stats(self) -> dict[str, Any]: ...
    def __len__(self) -> int: ...
    def __contains__(self, key: SupportsIndex, /) -> bool: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, _memo: object) -> Self: ...
    def __reduce__(self) -> tuple[Callable[[_Data], Index], tuple[bytes]]: ...

@final
class Flat(Index):
    def __new__(cls, metric: _Metric) -> Self: ...
    @staticmethod
    def load(path: _Path, *, mmap: bool = False, verify: bool = True) -> Flat: ...
    @staticmethod
    def from_bytes(data: _Data) -> Flat: ...

@final
class LVQ(Index):
    def __new__(
        cls,
        metric: _Metric,
        primary: Literal[4, 8] = 8,
        residual: Literal[0, 4, 8] = 0,
        keep: Literal["none", "int8", "f16", "f32"] = "none",
        structure: Literal["flat", "graph"] = "flat",
        degree: SupportsIndex = 32,
        ef_construction: SupportsIndex = 64,
        seed: SupportsIndex = 0,
    ) -> Self: ...
    @property
    def structure(self) -> Literal["flat", "graph"]: ...
    @property
    def degree(self) -> int | None: ...
    @property
    def ef_construction(self) -> int | None: ...
    @property
    def seed(self) -> int | None: ...
    @property
    def primary(self) -> Literal[4, 8]: ...
    @property
    def residual(self) -> Literal[0, 4, 8]: ...
    @property
    def keep(self) -> Literal["none", "int8", "f16", "f32"]: ...
    def search(
        self,
        Q: _Vectors,
        k: SupportsIndex = 10,
        *,
        filter: _Filter | None = None,
        threads: SupportsIndex | None = None,
        recall: SupportsFloat | None = None,
        ef: SupportsIndex | None = None,
        rerank: SupportsIndex | None = None,
    ) -> Result: ...
    def without_residual(self) -> LVQ: ...
    @staticmethod
    def load(path: _Path, *, mmap: bool = False, verify: bool = True) -> LVQ: ...
    @staticmethod
    def from_bytes(data: _Data) -> LVQ: ...

@final
class LoRANN(Index):
    def __new__(
        cls,
        metric: _Metric,
        n_clusters: SupportsIndex | None = None,
        rank: SupportsIndex = 64,
        global_dim: SupportsIndex | None = None,
        bits: Literal[4, 8] = 4,
        balanced: bool = False,
        keep: Literal["none", "int8", "f16", "f32"] = "f32",
        seed: SupportsIndex = 0,
    ) -> Self: ...
    @property
    def n_clusters(self) -> int | None: ...
    @property
    def rank(self) -> int: ...
    @property
    def global_dim(self) -> int | None: ...
    @property
    def bits(self) -> Literal[4, 8]: ...
    @property
    def balanced(self) -> bool: ...
    @property
    def keep(self) -> Literal["none", "int8", "f16", "f32"]: ...
    @property
    def seed(self) -> int: ...
    def search(
        self,
        Q: _Vectors,
        k: SupportsIndex = 10,
        *,
        filter: _Filter | None = None,
        threads: SupportsIndex | None = None,
        recall: SupportsFloat | None = None,
        n_probe: SupportsIndex | None = None,
        rerank: SupportsIndex | None = None,
    ) -> Result: ...
    @staticmethod
    def load(path: _Path, *, mmap: bool = False, verify: bool = True) -> LoRANN: ...
    @staticmethod
    def from_bytes(data: _Data) -> LoRANN: ...

@final
class PQ(Index):
    def __new__(
        cls,
        metric: _Metric,
        subspaces: SupportsIndex | None = None,
        bits: Literal[4, 8] = 8,
        keep: Literal["none", "int8", "f16", "f32"] = "none",
        seed: SupportsIndex = 0,
    ) -> Self: ...
    @property
    def subspaces(self) -> int | None: ...
    @property
    def bits(self) -> Literal[4, 8]: ...
    @property
    def keep(self) -> Literal["none", "int8", "f16", "f32"]: ...
    @property
    def seed(self) -> int: ...
    def search(
        self,
        Q: _Vectors,
        k: SupportsIndex = 10,
        *,
        filter: _Filter | None = None,
        threads: SupportsIndex | None = None,
        recall: SupportsFloat | None = None,
        rerank: SupportsIndex | None = None,
    ) -> Result: ...
    @staticmethod
    def load(path: _Path, *, mmap: bool = False, verify: bool = True) -> PQ: ...
    @staticmethod
    def from_bytes(data: _Data) -> PQ: ...

@final
class RVQ(Index):
    def __new__(
        cls,
        metric: _Metric,
        stages: SupportsIndex = 8,
        bits: Literal[4, 8] = 8,
        beam: SupportsIndex = 16,
        structure: Literal["flat", "ivf"] = "flat",
        n_lists: SupportsIndex | None = None,
        keep: Literal["none", "int8", "f16", "f32"] = "none",
        seed: SupportsIndex = 0,
    ) -> Self: ...
    @property
    def stages(self) -> int: ...
    @property
    def bits(self) -> Literal[4, 8]: ...
    @property
    def beam(self) -> int: ...
    @property
    def structure(self) -> Literal["flat", "ivf"]: ...
    @property
    def n_lists(self) -> int | None: ...
    @property
    def keep(self) -> Literal["none", "int8", "f16", "f32"]: ...
    @property
    def seed(self) -> int: ...
    def search(
        self,
        Q: _Vectors,
        k: SupportsIndex = 10,
        *,
        filter: _Filter | None = None,
        threads: SupportsIndex | None = None,
        recall: SupportsFloat | None = None,
        n_probe: SupportsIndex | None = None,
        stages: SupportsIndex | None = None,
        rerank: SupportsIndex | None = None,
    ) -> Result: ...
    @staticmethod
    def load(path: _Path, *, mmap: bool = False, verify: bool = True) -> RVQ: ...
    @staticmethod
    def from_bytes(data: _Data) -> RVQ: ...

@final
class SymphonyQG(Index):
    def __new__(
        cls,
        metric: _Metric,
        degree: SupportsIndex = 32,
        ef_construction: SupportsIndex = 64,
        keep: Literal["int8", "f16", "f32"] = "f32",
        seed: SupportsIndex = 0,
        edge_codes: Literal["rabitq", "pq4"] = "rabitq",
    ) -> Self: ...
    @property
    def degree(self) -> int: ...
    @property
    def ef_construction(self) -> int: ...
    @property
    def keep(self) -> Literal["int8", "f16", "f32"]: ...
    @property
    def edge_codes(self) -> Literal["rabitq", "pq4"]: ...
    @property
    def seed(self) -> int: ...
    def search(
        self,
        Q: _Vectors,
        k: SupportsIndex = 10,
        *,
        filter: _Filter | None = None,
        threads: SupportsIndex | None = None,
        recall: SupportsFloat | None = None,
        ef: SupportsIndex | None = None,
        rerank: SupportsIndex | None = None,
    ) -> Result: ...
    @staticmethod
    def load(path: _Path, *, mmap: bool = False, verify: bool = True) -> SymphonyQG: ...
    @staticmethod
    def from_bytes(data: _Data) -> SymphonyQG: ...

@final
class TurboQuant(Index):
    def __new__(
        cls,
        metric: _Metric,
        bits: Literal[1, 2, 3, 4] = 4,
        allocation: Literal["even", "fitted"] = "even",
        center: Literal["mean", "none"] = "mean",
        keep: Literal["none", "int8", "f16", "f32"] = "none",
        seed: SupportsIndex = 0,
    ) -> Self: ...
    @property
    def bits(self) -> Literal[1, 2, 3, 4]: ...
    @property
    def allocation(self) -> Literal["even", "fitted"]: ...
    @property
    def center(self) -> Literal["mean", "none"]: ...
    @property
    def keep(self) -> Literal["none", "int8", "f16", "f32"]: ...
    @property
    def seed(self) -> int: ...
    def search(
        self,
        Q: _Vectors,
        k: SupportsIndex = 10,
        *,
        filter: _Filter | None = None,
        threads: SupportsIndex | None = None,
        recall: SupportsFloat | None = None,
        rerank: SupportsIndex | None = None,
        exact_scan: bool = False,
    ) -> Result: ...
    @staticmethod
    def load(path: _Path, *, mmap: bool = False, verify: bool = True) -> TurboQuant: ...
    @staticmethod
    def from_bytes(data: _Data) -> TurboQuant: ...

def load(path: _Path, *, mmap: bool = False, verify: bool = True) -> Index: ...
def from_bytes(data: _Data) -> Index: ...
def info(path: _Path) -> dict[str, Any]: ...
def verify(path: _Path) -> dict[str, Any]: ...
def merge(results: _Results, k: SupportsIndex | None = None) -> Result: ...
def synthetic(
    shape: Literal["gaussian", "clusters", "power-law"],
    n: int,
    queries: int,
    dim: int,
    seed: int,
    *,
    clusters: int = 100,
    spread: float = 1.0,
    decay: float = 0.5,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]: ...
def simd_level() -> Literal["scalar", "avx2", "avx512", "neon"]: ...
