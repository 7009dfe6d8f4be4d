"""The bench: Counterpoint and its rivals on the same data, in the same run.

- `registry`: the contenders by name; `adapter`: what a contender is; `ours`, `peers_*`: them all.
- `data`: what they are measured on.
- `worker`, `process`: each contender in a process of its own.
- `truth`: the exact neighbours; `measure`: the run; `machine`: where it ran.
- `records`, `report`, `plot`: the record as JSON lines, as tables, as a picture.
- `seeds`: the prototypes' published tables with ours beside them.
- `commands`: `counterpoint bench`.
"""
