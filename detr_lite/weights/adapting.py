"""Loaded weights for another task: other classes, other numbers of queries.

What is kept is kept bit for bit; what is new is said in a LoadReport.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from detr_lite.data.categories import Categories

State = dict[str, Tensor]
CLASS_HEAD = "detr.class_embed"
QUERIES = "detr.query_embed.weight"


@dataclass(frozen=True)
class LoadReport:
    """How a loaded model differs from its file; empty if in nothing.

    Attributes:
        missing: tensors that the file lacks, which start at random.
        unexpected: tensors of the file that the model has no place for.
        changed: a sentence for each thing that was made anew.
        source: the name or file that was loaded.
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    source: str = ""

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.changed)

    def __str__(self) -> str:
        lines = list(self.changed)
        if self.missing:
            lines.append(
                f"{_several(self.missing)} not in the file and start at "
                "random."
            )
        if self.unexpected:
            lines.append(f"{_several(self.unexpected)} not used.")
        return "\n".join(lines)


def _several(names: tuple[str, ...]) -> str:
    """Name the parts of the model that the tensors belong to, and count."""
    parts = sorted({name.split(".")[0] for name in names})
    count = len(names)
    tensors = f"{count} tensor{'s are' if count > 1 else ' is'}"
    return f"{', '.join(parts)}: {tensors}"


def with_classes(
    state: State, fresh: State, old: Categories | None, new: Categories | None
) -> tuple[State, str]:
    """Return the tensors with another class head, and what was done.

    Rows of classes that both lists have, by id and name, are kept, and the
    one of "no object"; the others are those of `fresh`, of a new model.
    old, new: what the labels mean, or None where nobody knows.
    """
    state = dict(state)
    pairs = []
    if old is not None and new is not None:
        labels = {(c.id, c.name): label for label, c in enumerate(old)}
        pairs = [
            (labels[c.id, c.name], label)
            for label, c in enumerate(new)
            if (c.id, c.name) in labels
        ]
    for end in ("weight", "bias"):
        name = f"{CLASS_HEAD}.{end}"
        rows = fresh[name].clone()
        for source, goal in [*pairs, (-1, -1)]:
            rows[goal] = state[name][source]
        state[name] = rows
    count = len(fresh[f"{CLASS_HEAD}.bias"]) - 1
    if len(pairs) == count:
        return state, (
            f"The class head is new: all {count} classes keep their weights "
            'by id and name, and so does "no object".'
        )
    if pairs:
        keep = "1 keeps its" if len(pairs) == 1 else f"{len(pairs)} keep their"
        kept = f'{keep} weights by id and name, and so does "no object"'
    else:
        kept = 'none keeps its weights by id and name, but "no object" does'
    return state, (
        f"The class head is new: of {count} classes, {kept}; the others "
        "start at random, so train phase boxes before masks."
    )


def with_queries(state: State, count: int) -> tuple[State, str]:
    """Return the tensors with another number of queries, and what was done.

    Fewer: the first ones.  More: all again and again, with noise of a tenth
    of their own standard deviation, so that two copies can part.
    """
    queries = state[QUERIES]
    had = len(queries)
    if count <= had:
        how = f"the first {count} of {had} are kept"
        return state | {QUERIES: queries[:count].clone()}, (
            f"The queries are fewer: {how}."
        )
    times = -(-count // had)
    tiled = queries.repeat(times, 1)[:count]
    noise = 0.1 * queries.std() * torch.randn_like(tiled)
    noise[:had] = 0
    return state | {QUERIES: tiled + noise}, (
        f"The queries are more: to the {had} of the file come "
        f"{count - had} copies of them with a little noise."
    )
