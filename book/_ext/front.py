"""The front page's own: where to begin, what was measured, the chapters.

    ```{begin}
    ```

    ```{cards}
    01_encoded_image | What the chapter answers.
    ```

The measured numbers are those of tools/measured.json; a card's picture is the
first that its notebook shows, and its title is the notebook's.
"""

import base64
import io
import json
from html import escape
from pathlib import Path

import nbformat
from docutils import nodes
from docutils.parsers.rst import Directive
from PIL import Image

WIDTH = 640  # pixels of a card's picture
FOLDER = "_images/cards"


class Begin(Directive):
    """The way into chapter 1, and three measured numbers."""

    def run(self) -> list:
        """Return the markup for HTML."""
        book = Path(self.state.document.settings.env.srcdir)
        measured = json.loads(
            (book.parent / "tools" / "measured.json").read_text("utf-8")
        )
        options = self.state.document.settings.env.config.html_theme_options
        colab = options["launch_buttons"]["colab_url"]
        owner = options["repository_url"].removeprefix("https://github.com/")
        first = "01_encoded_image"
        branch = options["repository_branch"]
        html = (
            '<div class="begin"><a class="begin-button" '
            f'href="{first}.html">Start with chapter 1</a>'
            f'<a class="begin-button second" href="{colab}/github/{owner}'
            f'/blob/{branch}/book/{first}.ipynb">Open in Colab</a></div>\n'
            '<dl class="measured">'
        )
        for value, meaning in numbers(measured):
            html += (
                f"<div><dt>{escape(value)}</dt>"
                f"<dd>{escape(meaning)}</dd></div>"
            )
        return [nodes.raw("", html + "</dl>", format="html")]


def numbers(measured: dict) -> list[tuple[str, str]]:
    """Return three measured numbers, and what each is."""
    quality = measured["shipped"]["pq"]
    image = measured["inference"]["milliseconds"]
    quick = measured["quick"]
    return [
        (
            f"{quality:.3f}",
            "panoptic quality on 512 unseen scenes (1 is perfect)",
        ),
        (f"{image:.0f} ms", "from image to segments, on two CPU cores"),
        (
            f"{quick['seconds'] / 60:.0f} min",
            f"to train one to {quick['pq']:.2f}, on two CPU cores",
        ),
    ]


class Cards(Directive):
    """A card for each chapter, each a link."""

    has_content = True

    def run(self) -> list:
        """Return the markup for HTML, and write the pictures."""
        env = self.state.document.settings.env
        cards = []
        for line in filter(None, self.content):
            stem, _, answer = (part.strip() for part in line.partition("|"))
            path = Path(env.srcdir) / f"{stem}.ipynb"
            env.note_dependency(str(path))
            notebook = nbformat.read(path, as_version=4)
            picture = first_picture(notebook)
            cards.append(
                f'<a class="chapter-card" href="{stem}.html">'
                + _picture(env.app, stem, picture)
                + f"<strong>{escape(title(notebook))}</strong>"
                + f"<span>{escape(answer)}</span></a>"
            )
        html = '<div class="chapter-cards">' + "\n".join(cards) + "</div>"
        return [nodes.raw("", html, format="html")]


def title(notebook) -> str:
    """Return a notebook's title."""
    return notebook.cells[0].source.splitlines()[0].removeprefix("# ")


def first_picture(notebook) -> Image.Image | None:
    """Return the first picture that a notebook shows."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {}).get("image/png")
            if data is not None:
                return Image.open(io.BytesIO(base64.b64decode(data)))
    return None


def _picture(app, stem: str, picture: Image.Image | None) -> str:
    """Write a card's picture; return its markup.

    It is silent, for words stand beside it.
    """
    if picture is None:
        return ""
    folder = Path(app.outdir) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    if "A" in picture.getbands():  # its sides may be empty
        picture = picture.crop(picture.getchannel("A").getbbox())
    picture.thumbnail((WIDTH, WIDTH))
    picture.save(folder / f"{stem}.webp", quality=85)
    return (
        f'<img alt="" loading="lazy" src="{FOLDER}/{stem}.webp" '
        f'width="{picture.width}" height="{picture.height}"/>'
    )


def setup(app) -> dict:
    """Make the directives known."""
    app.add_directive("begin", Begin)
    app.add_directive("cards", Cards)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
