"""What `make wheel-pgo` learns from: every method on a synthetic set, in batches and singly."""

from __future__ import annotations

from typing import Any

import counterpoint as cp
from counterpoint.bench.data import load

METHODS: list[tuple[type[Any], dict[str, Any]]] = [
    (cp.Flat, {}),
    *(
        (cp.LVQ, {"primary": primary, "keep": keep})
        for primary in (4, 8)
        for keep in ("none", "f16")
    ),
    (cp.LVQ, {"primary": 4, "residual": 8}),
    (cp.LVQ, {"primary": 8, "residual": 8}),
    *((cp.TurboQuant, {"bits": bits}) for bits in (1, 2, 3, 4)),
    *((cp.TurboQuant, {"bits": bits, "allocation": "fitted"}) for bits in (2, 4)),
    (cp.TurboQuant, {"bits": 4, "keep": "f16"}),
    *((cp.PQ, {"subspaces": 16, "bits": bits}) for bits in (4, 8)),
    *((cp.LoRANN, {"bits": bits}) for bits in (4, 8)),
]


def main() -> None:
    # Most of a large index is passed over: what is common there is rare in a small one.
    data = load("synthetic-d384", 300, rows=100_000)
    for metric in ("cosine", "l2"):
        for method, settings in METHODS:
            index = method(metric, **settings)
            index.fit(data.vectors[:90_000], threads=1)
            index.add(data.vectors[90_000:], threads=1)
            index.search(data.queries, 10, threads=1)
            for query in data.queries[:50]:
                index.search(query[None], 10, threads=1)


if __name__ == "__main__":
    main()
