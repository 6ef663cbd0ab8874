"""Pictures: read from anything a user may hold, and refused with a reason."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from detr_lite.errors import ImageError

# Suffix: what Pillow calls the format.  It knows many more, some of which
# start other programs (EPS), and it goes by the content, not by the suffix.
FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
MIN_SIDE, MAX_SIDE, MAX_PIXELS = 8, 16384, 80_000_000


def read_image(source) -> Tensor:
    """Return a picture as a (3, H, W) uint8 RGB tensor.

    source: a path, a PIL image, an array (H, W), (H, W, 1), (H, W, 3) or
    (H, W, 4), or a tensor (3, H, W) or (1, H, W).  Integers are taken as 8
    or 16 bits, floats as 0 to 1.  Turned photographs (EXIF) are set upright,
    and transparency is laid over white.  ImageError says what is wrong.
    """
    if isinstance(source, str | Path):
        return _read_file(Path(source))
    if isinstance(source, Image.Image):
        return _from_pil(source, "The picture")
    if isinstance(source, Tensor):
        if source.dim() == 3:
            source = source.permute(1, 2, 0)
        source = source.detach().cpu().numpy()
    if isinstance(source, np.ndarray):
        return _from_array(source)
    raise ImageError(
        f"A picture can be a path, a PIL image, an array or a tensor, "
        f"not {type(source).__name__}."
    )


def _read_file(path: Path) -> Tensor:
    with open_image(path) as image:
        return _from_pil(image, str(path))


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """Give a file's PIL image; what fails inside is an ImageError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=[*FORMATS.values()]) as image:
                yield image
    except IsADirectoryError:
        raise ImageError(
            f"{path} is a folder; name a picture in it."
        ) from None
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError(f"There is no file {path}; check the name.") from None
    except UnidentifiedImageError:
        raise ImageError(
            f"{path} is not a picture that can be read; "
            "convert it to PNG or JPEG."
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(
            f"{path} has more than {MAX_PIXELS // 10**6} million pixels; "
            "shrink it first."
        ) from None
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(
            f"{path} cannot be read to its end ({error}); "
            "it may be cut off: copy it again."
        ) from None


def read_size(path: Path) -> tuple[int, int]:
    """Return (H, W) of a picture set upright; reads the head of its file."""
    with open_image(path) as image:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) > 4
        return image.size if turned else image.size[::-1]


def _check_size(width: int, height: int, name: str) -> None:
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            f"{name} has {width} x {height} pixels; "
            f"at least {MIN_SIDE} x {MIN_SIDE} are needed to see anything."
        )
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise ImageError(
            f"{name} has {width} x {height} pixels; the limits are "
            f"{MAX_SIDE} a side and {MAX_PIXELS // 10**6} million in all: "
            "shrink it first."
        )


def _from_pil(image: Image.Image, name: str) -> Tensor:
    _check_size(*image.size, name)
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return _from_array(np.asarray(image), name)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    if image.mode != "RGB":
        image = image.convert("RGB")
    # The channels of a pixel stay side by side: to move them costs as much
    # as a tenth of decoding a JPEG.
    pixels = np.frombuffer(bytearray(image.tobytes()), np.uint8)
    pixels = pixels.reshape(image.height, image.width, 3)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _from_array(array: np.ndarray, name: str = "The picture") -> Tensor:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise ImageError(
            f"{name} has the shape {array.shape}; an array must be (H, W), "
            "(H, W, 1), (H, W, 3) or (H, W, 4), a tensor channels first."
        )
    _check_size(array.shape[1], array.shape[0], name)
    array = _to_uint8(array, name)
    if array.shape[2] == 4:
        return _from_pil(Image.fromarray(array, "RGBA"), name)
    if array.shape[2] == 1:
        array = array.repeat(3, 2)
    return torch.from_numpy(array.transpose(2, 0, 1).copy())


def _to_uint8(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if array.size and not np.isfinite(array).all():
        raise ImageError(f"{name} has values that are not finite numbers.")
    low, high = array.min(), array.max()
    if np.issubdtype(array.dtype, np.floating):
        top = 1.0 if high <= 1 else 255.0
    else:
        top = 255 if high <= 255 and array.dtype != np.uint16 else 65535
    if low < 0 or high > top:
        raise ImageError(
            f"{name} has values from {low} to {high}; use 0 to 1 for floats, "
            "0 to 255 for bytes or 0 to 65535 for 16 bits."
        )
    return (array.astype(np.float64) * (255 / top)).round().astype(np.uint8)


def pictures_in(path: Path) -> list[Path]:
    """Return the picture itself, or the pictures of a folder, by name."""
    if not path.is_dir():
        return [path]
    found = sorted(p for p in path.iterdir() if p.suffix.lower() in FORMATS)
    if not found:
        raise ImageError(
            f"{path} holds no picture ({', '.join(sorted(FORMATS))})."
        )
    return found
