"""All contenders by name, and the groups of them."""

from __future__ import annotations

from collections.abc import Iterable

from counterpoint.bench import ours, peers_cluster, peers_faiss, peers_graph
from counterpoint.bench.adapter import Spec

METHODS: dict[str, Spec] = {spec.name: spec for spec in ours.METHODS}
PEERS: dict[str, Spec] = {
    spec.name: spec for spec in (*peers_faiss.PEERS, *peers_graph.PEERS, *peers_cluster.PEERS)
}


def groups() -> dict[str, list[str]]:
    """Return the peers by library: what the first word of their names says."""
    found: dict[str, list[str]] = {}
    for name in PEERS:
        library = name.split("-")[0].rstrip("0123456789")
        found.setdefault(library, []).append(name)
    return found


def methods(names: Iterable[str]) -> list[Spec]:
    """Return the methods of ours that the names stand for ("all", "none", a name).

    Raises
    ------
    ValueError
        A name is unknown; the message lists those known.
    """
    return _resolve(names, METHODS, {}, ours=True)


def peers(names: Iterable[str]) -> list[Spec]:
    """Return the peers that the names stand for ("all", "none", a library, a name).

    A name "module:Class" is an adapter of the user's own.

    Raises
    ------
    ValueError
        A name is unknown; the message lists those known.
    """
    return _resolve(names, PEERS, groups(), ours=False)


def _resolve(
    names: Iterable[str], known: dict[str, Spec], grouped: dict[str, list[str]], *, ours: bool
) -> list[Spec]:
    chosen: dict[str, Spec] = {}
    for name in names:
        if name == "none":
            continue
        if name == "all":
            chosen.update(known)
        elif name in known:
            chosen[name] = known[name]
        elif name in grouped:
            chosen.update((member, known[member]) for member in grouped[name])
        elif ":" in name:
            chosen[name] = Spec(name, name.rpartition(":")[2], name, ours=ours)
        else:
            choices = ", ".join(["all", "none", *grouped, *known])
            raise ValueError(f"unknown contender {name!r}: expected module:Class or {choices}")
    return list(chosen.values())
