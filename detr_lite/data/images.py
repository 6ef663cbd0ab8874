"""Images: read from anything a user may hold, and refused with a reason."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from detr_lite.errors import ImageError
from detr_lite.files.output import expanded

# Suffix: what Pillow calls the format.  It knows many more, some of which
# start other programs (EPS), and it goes by the content, not by the suffix.
FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jfif": "JPEG",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
MIN_SIDE, MAX_SIDE, MAX_PIXELS = 8, 16384, 80_000_000
# What sets an image upright, by its orientation tag.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BACK = TURNS | {6: TURNS[8], 8: TURNS[6]}


def read_image(source, upright: bool = True) -> Tensor:
    """Return an image as a (3, H, W) uint8 RGB tensor.

    source: a path, a PIL image, an array (H, W), (H, W, 1), (H, W, 3) or
    (H, W, 4), or a tensor (3, H, W) or (1, H, W).  Floats are 0 to 1, or 0
    to 255 where they reach 2; uint16 are 16 bits; other integers 8 bits, or
    16 where they exceed those.  Transparency is laid over white.
    upright: turn photographs as their orientation tag (EXIF) says; False
    reads the pixels as they are stored.  ImageError says what is wrong.
    """
    if isinstance(source, str | Path):
        with open_image(expanded(source)) as image:
            return _from_pil(image, str(source), upright)
    if isinstance(source, Image.Image):
        return _from_pil(source, "The image", upright)
    if isinstance(source, Tensor):
        source = _from_tensor(source)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    raise ImageError(
        f"An image can be a path, a PIL image, an array or a tensor, "
        f"not {type(source).__name__}."
    )


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """Give a file's PIL image; what fails inside is an ImageError.

    Inside there should be nothing but what reads it: what broken bytes make
    Pillow raise is not documented, so that it may be anything.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd tags
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if path.exists() and not (path.is_file() or path.is_dir()):
                raise ImageError(
                    f"{path} is a pipe or a device, in which nothing can be "
                    "looked up; save the image as a file."
                )
            with Image.open(path, formats=[*FORMATS.values()]) as image:
                yield image
    except ImageError:
        raise
    except IsADirectoryError as error:
        raise ImageError(
            f"{path} is a folder; name an image in it."
        ) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageError(
            f"There is no file {path}; check the name."
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{path} is not an image that can be read; "
            "convert it to PNG or JPEG."
        ) from error
    except (
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise ImageError(
            f"{path} has more than {MAX_PIXELS // 10**6} million pixels; "
            "shrink it first."
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(
            f"{path} cannot be read to its end ({reason}); "
            "it may be cut off: copy it again."
        ) from error


def read_size(path: Path, upright: bool = True) -> tuple[int, int]:
    """Return (H, W) of an image; reads the head of its file.

    upright: as its orientation tag turns it.
    """
    with open_image(path) as image:
        if image.format == "TIFF":  # which Pillow turns when it is read
            height, width = _from_pil(image, str(path), upright).shape[1:]
            return height, width
        turned = upright and _orientation(image) > 4
        return image.size if turned else image.size[::-1]


def read_orientation(path: Path) -> int:
    """Return a file's orientation tag: 1 is upright, from 5 on side."""
    with open_image(path) as image:
        return _orientation(image)


def _orientation(image: Image.Image) -> int:
    try:
        with warnings.catch_warnings(action="ignore"):
            exif = image.getexif()
            number = exif.get(ExifTags.Base.Orientation, 1)
            if number not in TURNS:
                return 1
            exif.tobytes()  # a turn is believed where all tags are whole
            return number
    except Exception as error:  # as of open_image
        reason = " ".join(str(error).split()) or type(error).__name__
        name = getattr(image, "filename", "") or "The image"
        raise ImageError(
            f"{name} has damaged EXIF tags ({reason}), so that nobody knows "
            "how it is turned; save it again without them."
        ) from error


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


def _from_pil(image: Image.Image, name: str, upright: bool) -> Tensor:
    _check_size(*image.size, name)
    tiff = image.format == "TIFF"
    tag = _orientation(image) if tiff else 1
    bits16 = image.format == "PNG"  # older Pillow makes them mode "I", too
    image.load()  # what is wrong with the pixels is said as such
    left = _orientation(image) if upright or tiff else 1
    if upright and left != 1:
        image = image.transpose(TURNS[left])
    elif not upright and left != tag != 1:  # Pillow itself turns TIFFs
        image = image.transpose(BACK[tag])
    if image.mode[0] in "IF":
        array = np.asarray(image)
        if bits16:
            array = array.astype(np.uint16)
        return _from_array(array, name)
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


def _from_tensor(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach()
    if tensor.is_floating_point():
        tensor = tensor.float()  # numpy has no bfloat16
    if tensor.dim() == 3:
        tensor = tensor.permute(1, 2, 0)
    try:
        return tensor.cpu().numpy()
    except (TypeError, RuntimeError) as error:
        raise ImageError(
            f"A tensor of {tensor.dtype}, {tensor.layout}, on "
            f"{tensor.device} is no image ({error})."
        ) from error


def _from_array(array: np.ndarray, name: str = "The image") -> Tensor:
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
        return _from_pil(Image.fromarray(array, "RGBA"), name, upright=False)
    if array.shape[2] == 1:
        array = array.repeat(3, 2)
    return torch.from_numpy(array.transpose(2, 0, 1).copy())


def _to_uint8(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if array.dtype.kind not in "iuf":
        raise ImageError(
            f"{name} holds {array.dtype}; an image holds whole numbers or "
            "floats."
        )
    if not np.isfinite(array).all():
        raise ImageError(f"{name} has values that are not finite numbers.")
    low, high = array.min(), array.max()
    slack = 0.0
    if array.dtype.kind == "f":
        # Where an image was resized, floats leave 0 to 1 by a little.
        top = 255.0 if high >= 2 else 1.0
        slack = 0.05 * top
    elif array.dtype.str[1:] == "u2":  # whichever byte comes first
        top = 65535
    else:
        top = 255 if high <= 255 else 65535
    if low < -slack or high > top + slack:
        raise ImageError(
            f"{name} has values from {low} to {high}; use 0 to 1 for floats, "
            "0 to 255 for bytes or 0 to 65535 for 16 bits."
        )
    scaled = array.astype(np.float64) * (255 / top)
    return scaled.round().clip(0, 255).astype(np.uint8)


def images_in(path: Path) -> list[Path]:
    """Return the image itself, or the images of a folder, by name.

    Hidden files do not count: some systems keep an image's extras in
    "._photo.jpg".
    """
    try:
        if not path.is_dir():
            return [path]
        found = sorted(
            p
            for p in path.iterdir()
            if p.suffix.lower() in FORMATS and not p.name.startswith(".")
        )
    except OSError as error:
        raise ImageError(
            f"{path} cannot be listed ({error.strerror}); fix that or name "
            "another folder."
        ) from error
    if not found:
        raise ImageError(
            f"{path} holds no image ({', '.join(sorted(FORMATS))}); name "
            "the folder in which they lie, for subfolders don't count."
        )
    return found
