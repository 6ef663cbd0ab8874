// A map of segments as a picture: class colors, outlines and names.

import type { Segments } from "../../engine/quality";
import { type Beach, NAMES, SIZE } from "../../engine/scenes";
import { drawBeach } from "./beach_drawing";
import { CLASS_COLORS } from "./colors";
import { canvas, html } from "./dom";
import { innermost } from "./innermost";
import { atEdge, FINE } from "./live";
import { drawImage } from "./maps";

const SCALE = FINE / SIZE;
const NONE = -1;

/** A picture of segments over the beach that they belong to. */
export class SegmentsView {
  readonly root: HTMLElement;
  readonly drawing: HTMLCanvasElement;
  private readonly context: CanvasRenderingContext2D;
  private readonly names = html("div", { "aria-hidden": "true" });

  constructor() {
    [this.drawing, this.context] = canvas(2 * FINE, { role: "img" });
    this.root = html("div", { class: "dl-answer" }, this.drawing, this.names);
  }

  /**
   * Shows segments over a beach, of which shore is the stuff; chosen: the id of one that stands out; truth: a second
   * map, whose outlines are drawn in black.
   */
  show(
    beach: Beach,
    shore: HTMLCanvasElement,
    { ids, labels }: Segments,
    chosen = NONE,
    truth?: Segments,
  ): void {
    drawBeach(this.context, beach, shore);
    const fine = enlarged(ids);
    drawImage(
      this.context,
      FINE,
      (i) => CLASS_COLORS[labels[fine[i] - 1]] ?? [255, 255, 255],
      (i) => {
        if (fine[i] === 0) return 0.75;
        if (NAMES[labels[fine[i] - 1]] === undefined) return 0; // of no class
        return fine[i] === chosen ? 1 : 0.85;
      },
    );
    this.outline(fine, [255, 255, 255]);
    if (truth !== undefined) this.outline(enlarged(truth.ids), [0, 0, 0]);
    this.write(ids, labels, chosen);
  }

  private outline(map: ArrayLike<number>, color: number[]): void {
    const alpha = (i: number) => Number(atEdge(map, FINE, i));
    drawImage(this.context, FINE, () => color, alpha);
  }

  /** Puts each segment's name where it is widest. */
  private write(
    ids: ArrayLike<number>,
    labels: number[],
    chosen: number,
  ): void {
    const map = Array.from(ids, (id) => id - 1);
    const places = innermost(map, labels.length);
    const tags = labels.flatMap((label, i) => {
      if (places[i] === undefined || NAMES[label] === undefined) return [];
      const tag = html("span", { class: "dl-tag" }, NAMES[label]);
      tag.classList.toggle("dl-chosen", i + 1 === chosen);
      tag.style.left = `${100 * places[i][0]}%`;
      tag.style.top = `${100 * places[i][1]}%`;
      return [tag];
    });
    this.names.replaceChildren(...tags);
  }
}

/** The same map with SCALE x SCALE places for each. */
function enlarged(map: ArrayLike<number>): Uint8Array {
  return Uint8Array.from({ length: FINE * FINE }, (_, i) => {
    const y = Math.floor(Math.floor(i / FINE) / SCALE);
    return map[y * SIZE + Math.floor((i % FINE) / SCALE)];
  });
}
