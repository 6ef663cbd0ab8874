// What is seen, drawn where a fault shows: as segments, as boxes, as heads.

import type { Beach } from "../engine/scenes";
import { SIZE } from "../engine/scenes";
import { drawBeach } from "./beach_drawing";
import { BoxesView } from "./boxes_view";
import { canvas, html } from "./dom";
import { CUT, type Seen } from "./exhibit_reading";
import type { Exhibit } from "./exhibits";
import { FINE } from "./live";
import { drawMap, VEIL } from "./maps";
import { SegmentsView } from "./segments_view";

const PIXELS = 2 * FINE;
const ACROSS = 3; // heads in a row
const MAP = Math.floor(PIXELS / ACROSS) - 4;

/** One side of the wipe. */
export class ExhibitView {
  readonly root = html("div", { class: "dl-side" });
  private readonly drawing = canvas(PIXELS, { "aria-hidden": "true" });
  private readonly small = canvas(MAP)[1];
  private readonly boxes = new BoxesView();
  private readonly segments = new SegmentsView();

  constructor() {
    // The measures beside it say what it shows.
    this.segments.drawing.removeAttribute("role");
    this.segments.drawing.setAttribute("aria-hidden", "true");
  }

  show(
    beach: Beach,
    shore: HTMLCanvasElement,
    seen: Seen,
    { view, situation }: Exhibit,
  ): void {
    if (view === "segments") {
      this.segments.show(beach, shore, seen.segments);
      this.root.replaceChildren(this.segments.root);
      return;
    }
    const [picture, context] = this.drawing;
    const frame = html("div", { class: "dl-answer" }, picture);
    if (view === "heads") this.drawHeads(beach, shore, seen.maps);
    else {
      drawBeach(context, beach, shore);
      if (situation === "padding") {
        context.fillStyle = "rgb(255 255 255 / 0.75)";
        context.fillRect(0, 0, PIXELS, (PIXELS * CUT) / SIZE);
      }
      this.boxes.showBoxes(seen.boxes, seen.found);
      frame.append(this.boxes.root);
    }
    this.root.replaceChildren(frame);
  }

  /** The maps of a thing's heads, all on one scale. */
  private drawHeads(
    beach: Beach,
    shore: HTMLCanvasElement,
    maps: Float32Array,
  ): void {
    const [, context] = this.drawing;
    const heads = 8;
    const size = maps.length / heads;
    context.clearRect(0, 0, PIXELS, PIXELS);
    for (let head = 0; head < heads; head++) {
      const own = maps.subarray(head * size, (head + 1) * size);
      drawBeach(this.small, beach, shore);
      drawMap(this.small, own.map(Math.sqrt), Math.sqrt(size), VEIL);
      const x = (head % ACROSS) * (MAP + 6);
      const y = Math.floor(head / ACROSS) * (MAP + 6);
      context.drawImage(this.small.canvas, x, y);
    }
  }
}
