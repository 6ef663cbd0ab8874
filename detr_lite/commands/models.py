"""detr-lite models."""

ABOUT = "list the weights that can be loaded"
EXAMPLE = "detr-lite models"


def add_arguments(parser) -> None:
    """Add the command's arguments: none."""


def run(args) -> None:
    """Print each model's name, what it is, where it is, and its license."""
    from detr_lite.weights import SOURCES, data_folder

    for source in SOURCES.values():
        print(f"{source.name:10} {source.about}")
        print(f"{'':10} from {data_folder() / source.file}")
        print(f"{'':10} license {source.license}")
    print("\nAny .safetensors file that `detr-lite train` wrote loads too.")
