"""Record the README's first image: tools/record_widget.py.

A browser drags things over the front page's beach, and each step is a frame
of book/_assets/beach.webp.  Needs the site in _build/html (make book).
"""

import io
import math
import sys
from pathlib import Path

from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "_build" / "html" / "index.html"
OUT = ROOT / "book" / "_assets" / "beach.webp"
WIDTH, FRAME = 720, 110  # pixels; milliseconds that a frame is shown
# Which thing is dragged, by how much of the scene's 192 pixels, in how many
# steps; each path is an arc.
DRAGS = [(1, (-70, 55), 16), (3, (20, -70), 14), (2, (-60, 62), 14)]


def main() -> None:
    """Drag, look, and write the recording."""
    sys.path.insert(0, str(ROOT / "tests"))
    from browsing import chromium  # it finds the browser for the tests too

    with chromium() as browser:
        size = {"width": 1440, "height": 1100}
        view = browser.new_page(viewport=size, color_scheme="light")
        view.goto(PAGE.as_uri())
        # Looking takes time, so that the clock would be wrong.
        view.add_style_tag(content=".dl-time { visibility: hidden }")
        view.locator(".dl-chip").first.wait_for()
        view.wait_for_timeout(2000)
        frames = [look(view)] * 4
        for thing, way, steps in DRAGS:
            frames += drag(view, thing, way, steps)
            frames += [frames[-1]] * 4
    # A row more of segments makes the widget higher: all get the most room.
    most = max(frame.height for frame in frames)
    frames = [
        ImageOps.expand(f, (0, 0, 0, most - f.height), "white") for f in frames
    ]
    frames[0].save(
        OUT,
        save_all=True,
        append_images=frames[1:],
        duration=FRAME,
        loop=0,
        quality=66,
        method=6,
    )
    print(f"{OUT.relative_to(ROOT)}: {OUT.stat().st_size:,} bytes")


def look(view) -> Image.Image:
    """Return the widget as the reader sees it."""
    shot = view.locator(".dl-widget").screenshot()
    image = Image.open(io.BytesIO(shot)).convert("RGB")
    height = round(image.height * WIDTH / image.width)
    return image.resize((WIDTH, height), Image.Resampling.LANCZOS)


def drag(view, thing: int, way: tuple[int, int], steps: int) -> list:
    """Drag a thing along an arc; return a frame for each step."""
    scene = view.locator(".dl-scene").bounding_box()
    unit = scene["width"] / 192
    mark = view.locator(".dl-thing").nth(thing).bounding_box()
    x, y = (
        mark[a] + mark[b] / 2 for a, b in (("x", "width"), ("y", "height"))
    )
    view.mouse.move(x, y)
    view.mouse.down()
    frames = []
    for step in range(1, steps + 1):
        part = (1 - math.cos(math.pi * step / steps)) / 2  # starts, ends slow
        lift = 12 * math.sin(math.pi * part)
        view.mouse.move(
            x + part * way[0] * unit, y + (part * way[1] - lift) * unit
        )
        view.wait_for_timeout(500)  # the answer has followed
        frames.append(look(view))
    view.mouse.up()
    return frames


if __name__ == "__main__":
    main()
