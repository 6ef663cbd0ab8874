"""detr-lite models."""

ABOUT = "list the weights that can be loaded"
EXAMPLE = "detr-lite models"


def add_arguments(parser) -> None:
    """Add the command's arguments: none."""


def run(args) -> None:
    """Print what each model is, how good, from where, and if it is here."""
    from detr_lite.weights.catalog import SOURCES

    for source in SOURCES.values():
        there = source.path.exists()
        place = source.path if there else source.url
        print(f"{source.name:26} {source.about}")
        print(f"{'':26} published: {source.figures}")
        print(f"{'':26} {source.size:g} MB, license {source.license}")
        print(f"{'':26} {'here' if there else 'not here yet'}: {place}")
    print(
        "\nA name is fetched when it is first used.  Files load too: those "
        "of `detr-lite train`,\nand those of the original and of "
        "transformers (.pth, .bin, .safetensors)."
    )
