// What is seen, drawn where a fault shows: as segments, as boxes, as heads.

import type { Beach } from "../../engine/scenes";
import { SIZE } from "../../engine/scenes";
import { drawBeach } from "../parts/beach_drawing";
import { BoxesView } from "../parts/boxes_view";
import { canvas, html } from "../parts/dom";
import { FINE } from "../parts/live";
import { drawMap, VEIL } from "../parts/maps";
import { SegmentsView } from "../parts/segments_view";
import type { Exhibit } from "./fault_exhibits";
import { CUT, type Seen } from "./fault_reading";

const PIXELS = 2 * FINE;
const ACROSS = 3; // heads in a row
const MAP = Math.floor(PIXELS / ACROSS) - 4;
const STEP = MAP + 6; // from one map to the next
const HEADS = 8;

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
    if (view === "heads") {
      this.drawHeads(beach, shore, seen.maps);
      frame.append(headNames(seen.looking));
    } else {
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
    const size = maps.length / HEADS;
    context.clearRect(0, 0, PIXELS, PIXELS);
    for (let head = 0; head < HEADS; head++) {
      const own = maps.subarray(head * size, (head + 1) * size);
      drawBeach(this.small, beach, shore);
      drawMap(this.small, own.map(Math.sqrt), Math.sqrt(size), VEIL);
      const [x, y] = placeOf(head);
      context.drawImage(this.small.canvas, x, y);
    }
  }
}

/** Where a tile lies, in pixels of the drawing. */
function placeOf(tile: number): [number, number] {
  return [(tile % ACROSS) * STEP, Math.floor(tile / ACROSS) * STEP];
}

/** The tiles' names; the last place says what they look for. */
function headNames(looking: string): HTMLElement {
  const names = Array.from({ length: HEADS }, (_, i) =>
    html("span", { class: "dl-tag dl-corner-tag" }, `head ${i + 1}`),
  );
  const whose = `where the ${looking}’s query looks`;
  names.push(html("span", { class: "dl-whose" }, whose));
  names.forEach(({ style }, tile) => {
    const [left, top] = placeOf(tile).map((x) => `${(100 * x) / PIXELS}%`);
    Object.assign(style, { left, top });
  });
  return html("div", { "aria-hidden": "true" }, ...names);
}
