"""Files of numbers for the book's pages.

A page can't read an .npz from a disk, but it can load a script.  So such a
file is a script of one line, which holds base64 of:

    4 bytes    the length of the header, little-endian
    header     JSON: what the file says, and "tensors": for each array its
               name, its shape, its kind and where its numbers begin
    numbers    of each array, from a multiple of 4 bytes on
"""

import base64
import json
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "book/_assets/widgets"

# An array's name, its shape, its kind, and its numbers as bytes.
Block = tuple[str, Iterable[int], str, bytes]


def join(header: dict, blocks: Iterable[Block]) -> bytes:
    """Return header and numbers in one piece."""
    table, numbers = [], b""
    for name, shape, kind, block in blocks:
        table.append([name, list(shape), kind, len(numbers)])
        numbers += block + bytes(-len(block) % 4)
    header = {**header, "tensors": table}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    return len(text).to_bytes(4, "little") + text + numbers


def split(data: bytes) -> tuple[dict, bytes]:
    """Return the header and the numbers of what join has joined."""
    start = 4 + int.from_bytes(data[:4], "little")
    return json.loads(data[4:start]), data[start:]


def save(name: str, variable: str, data: bytes) -> Path:
    """Write data as a script that puts it into a global variable."""
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = base64.b64encode(data).decode()
    path.write_text(f'globalThis.{variable}="{text}";\n', "ascii")
    return path


def load(name: str) -> bytes:
    """Return the data of a script that save has written."""
    text = (FOLDER / name).read_text("ascii")
    return base64.b64decode(text.split('"')[1])
