"""Counterpoint: vector search.

>>> import numpy as np
>>> import counterpoint as cp
>>> X = np.random.default_rng(1).standard_normal((1000, 64), dtype=np.float32)
>>> index = cp.LVQ("cosine", primary=8).fit(X)
>>> ids, distances = index.search(X[:5], k=3)
>>> ids.shape
(5, 3)
"""

from counterpoint import datasets
from counterpoint._counterpoint import (
    LVQ,
    PQ,
    Flat,
    FormatError,
    Index,
    InternalError,
    LoRANN,
    SymphonyQG,
    TurboQuant,
    UnsupportedError,
    __version__,
    from_bytes,
    info,
    load,
    merge,
    simd_level,
    verify,
)
from counterpoint._result import OperatingPoint, Result

__all__ = [
    "LVQ",
    "PQ",
    "Flat",
    "FormatError",
    "Index",
    "InternalError",
    "LoRANN",
    "OperatingPoint",
    "Result",
    "SymphonyQG",
    "TurboQuant",
    "UnsupportedError",
    "__version__",
    "datasets",
    "from_bytes",
    "info",
    "load",
    "merge",
    "simd_level",
    "verify",
]
