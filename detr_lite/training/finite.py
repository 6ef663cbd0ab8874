"""Numbers that are not finite: said with the step, the images, the layer."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass

from torch import Tensor, nn

from detr_lite.errors import DataError


def not_finite(what: str, where: str, images: Sequence) -> DataError:
    """Return the error that says where a run's numbers stopped being such.

    what: of which; where: the step; images: the ids of its images.
    """
    shown = ", ".join(map(str, images[:16]))
    shown += ", ..." if len(images) > 16 else ""
    of = f", of the images {shown}; look at these and their annotations, or"
    return DataError(
        f"{what} are not finite in {where}{of if images else ';'} lower the "
        "learning rate. The last checkpoint, if there is one, is from before."
    )


def first_layer(module: nn.Module, forward: Callable) -> str | None:
    """Return the first layer of a module that gives what is not finite.

    forward: runs the module, on what has made it do so.
    """
    found: list[str] = []

    def watcher(name: str) -> Callable:
        def watch(layer, inputs, output) -> None:
            if not all(t.isfinite().all() for t in _tensors(output)):
                found.append(name)

        return watch

    handles = [
        layer.register_forward_hook(watcher(name))
        for name, layer in module.named_modules()
        if not any(layer.children())
    ]
    try:
        forward()
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def _tensors(output) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, tuple | list):
        for part in output:
            yield from _tensors(part)
    elif is_dataclass(output):
        for field in fields(output):
            yield from _tensors(getattr(output, field.name))
