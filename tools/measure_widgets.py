"""Measure the front page's widget in Chromium: tools/measure_widgets.py.

Prints how long the model takes to start, what a step of dragging takes from
the event to the frame that shows the answer, how many of 2,000 scenes the
page draws bit for bit as the package does, and the sizes of the files.
Needs the site in _build/html (make book), and an idle machine.
"""

import base64
import gzip
import hashlib
import statistics
import sys
from pathlib import Path

from detr_lite.data.scenes import render_scene

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "_build" / "html" / "index.html"
FILES = ROOT / "book" / "_assets" / "widgets"
SCENES, SEED = 2000, 2
STEPS = 60

# From the request for the weights to the first segments that are named.
WATCH = """
new MutationObserver((_, watch) => {
  if (document.querySelector("script[src*='weights.js']")) {
    window.requested ??= performance.now();
  }
  if (document.querySelector(".dl-chip")) {
    watch.disconnect();
    window.firstResult = performance.now() - window.requested;
  }
}).observe(document, { childList: true, subtree: true });
"""
# A pointer's move, and how long until a frame has shown what came of it.
DRAG = """async (steps) => {
  const thing = document.querySelector(".dl-thing");
  const answer = document.querySelector(".dl-answer canvas");
  const { left, top } = answer.getBoundingClientRect();
  const point = (kind, i) => thing.dispatchEvent(new PointerEvent(kind, {
    clientX: left + 250 + 60 * Math.sin(i / 5),
    clientY: top + 200 + 40 * Math.cos(i / 5), bubbles: true }));
  const answered = () => new Promise((done) => {
    const watch = new MutationObserver(() => {
      watch.disconnect();
      requestAnimationFrame(() => {
        const channel = new MessageChannel();
        channel.port1.onmessage = done;
        channel.port2.postMessage(0);
      });
    });
    watch.observe(answer, { attributeFilter: ["aria-label"] });
  });
  thing.setPointerCapture = () => {};
  point("pointerdown", 0);
  const times = [];
  for (let i = 1; i <= steps; i++) {
    const start = performance.now();
    point("pointermove", i);
    await answered();
    times.push(performance.now() - start);
  }
  return times;
}"""
DIGESTS = """async ([seed, count]) => {
  const digests = [];
  for (let i = 0; i < count; i++) {
    const { pixels, ids, labels } = new detrLite.Beach(seed, i).draw();
    const all = new Uint8Array([...pixels, ...ids, ...labels]);
    const digest = await crypto.subtle.digest("SHA-256", all);
    digests.push(btoa(String.fromCharCode(...new Uint8Array(digest))));
  }
  return digests;
}"""


def digest(index: int) -> str:
    """Return the hash of a scene as the package draws it, as base64."""
    image, ids, labels = render_scene(SEED, index)
    content = image.tobytes() + ids.tobytes() + bytes(labels)
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def main() -> None:
    """Measure and print."""
    sys.path.insert(0, str(ROOT / "tests"))
    from browsing import chromium  # it finds the browser for the tests too

    with chromium() as browser:
        view = browser.new_page(viewport={"width": 1440, "height": 1000})
        view.add_init_script(WATCH)
        starts = []
        for _ in range(5):
            view.goto(PAGE.as_uri())
            view.locator(".dl-chip").first.wait_for()
            starts.append(view.evaluate("firstResult"))
        times = sorted(view.evaluate(DRAG, STEPS)[5:])
        drawn = view.evaluate(DIGESTS, [SEED, SCENES])
    same = sum(d == digest(i) for i, d in enumerate(drawn))
    median, late = statistics.median(times), times[int(0.9 * len(times))]
    print(f"first result after {statistics.median(starts):.0f} ms")
    print(f"a step of dragging: {median:.0f} ms; {late:.0f} ms at the 90th")
    print(f"scenes drawn bit for bit: {same} of {SCENES}")
    for name in ("widgets.js", "widgets.css", "weights.js"):
        size = len(gzip.compress((FILES / name).read_bytes(), 9))
        print(f"{name}: {size:,} bytes gzipped")


if __name__ == "__main__":
    main()
