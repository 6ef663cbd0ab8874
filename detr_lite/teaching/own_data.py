"""Data of one's own, for the template of chapter 7."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detr_lite.data.categories import Categories
from detr_lite.data.coco.convert import read_instances
from detr_lite.errors import ConfigError, DataError
from detr_lite.files.records import read_json
from detr_lite.teaching.plots.nuclei import class_colors


def own_classes(
    instances: Path | None,
    regions: Sequence[str] = (),
    stuff: Mapping[int, str] | None = None,
    rest: str | None = None,
) -> list[dict]:
    """Return the classes of a data set, as `convert` reads them.

    Those of the JSON that no annotation has are left out, which is printed.

    instances: COCO's JSON of instances, or None; regions: the names of its
    classes that are stuff; stuff: names by the values in semantic masks;
    rest: the name of what all other pixels are, or None, and the last class.
    """
    regions = [regions] if isinstance(regions, str) else regions
    stuff = stuff or {}
    if not isinstance(stuff, Mapping) or any(
        not isinstance(number, int) for number in stuff
    ):
        raise ConfigError(
            f"STUFF is {stuff}; write {{number: name}}, like {{7: 'sky'}}."
        )
    listed = _listed(instances) if instances is not None else []
    names = [c["name"] for c in listed]
    if unknown := [name for name in regions if name not in names]:
        raise ConfigError(
            f"REGIONS has {unknown}, but the classes of {instances} that "
            f"have annotations are {names}; name some of them."
        )
    if twice := [c["id"] for c in listed if c["id"] in stuff]:
        raise ConfigError(
            f"STUFF has the ids {twice}, and so have classes in {instances}; "
            "let the masks use others."
        )
    others = [*stuff.values(), *([] if rest is None else [rest])]
    if twice := [n for i, n in enumerate(others) if n in names + others[:i]]:
        raise ConfigError(
            f"Two classes are called {twice[0]}; rename one in STUFF or "
            "REST, or, if it is outlined in INSTANCES, name it in REGIONS "
            "alone."
        )
    classes = [c | {"isthing": int(c["name"] not in regions)} for c in listed]
    classes += [{"id": n, "name": k, "isthing": 0} for n, k in stuff.items()]
    if rest is not None:
        number = max([0, *(c["id"] for c in classes)]) + 1
        classes.append({"id": number, "name": rest, "isthing": 0})
    colors = class_colors([c["isthing"] for c in classes])
    return [k | {"color": c} for k, c in zip(classes, colors, strict=True)]


def _listed(path: Path) -> list[dict]:
    """Return id and name of the classes in a JSON that are used there."""
    if path.is_dir():
        raise DataError(
            f"INSTANCES is the folder {path}; name one JSON of all images "
            "(the text shows how to make it of labelme's)."
        )
    lists = ("images", "annotations", "categories")
    content = read_instances(path, lists)
    used = {
        str(a.get("category_id"))
        for a in content["annotations"]
        if isinstance(a, dict)
    }
    if not used:
        raise DataError(
            f"{path} has no annotation; annotate some objects, or set "
            "INSTANCES to None."
        )
    kept: list[Any] = []
    unused: list[str] = []
    for category in content["categories"]:
        if not isinstance(category, dict):
            kept.append(category)  # which is refused below
        elif str(category.get("id")) in used:
            named = {k: category[k] for k in category.keys() & {"id", "name"}}
            kept.append(named | {"isthing": 1})
        else:
            unused.append(f"{category.get('name')} (id {category.get('id')})")
    if unused:
        print("Left out, for no annotation has it:", ", ".join(unused))
    read = Categories.read(kept, str(path))
    return [{"id": c.id, "name": c.name} for c in read]


def keep_aside(run: Path, names: Sequence[str]) -> None:
    """Write which images a run is measured on; it is measured on no others.

    RUN_aside.json lies beside the folder of the run.  ConfigError if the run
    has begun with other images set aside: it may have learned from these.
    """
    file = run.with_name(f"{run.name}_aside.json")
    begun = [run / "checkpoint.pt", run / "model.safetensors"]
    if not any(path.exists() for path in begun):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(list(names)), "utf-8")
    elif file.exists() and (known := read_json(file)) != list(names):
        raise ConfigError(
            f"{run} was trained with other images set aside; put ASIDE = "
            f"{known} into the settings, or choose another NAME."
        )
