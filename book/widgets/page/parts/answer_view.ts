// The panoptic answer: each segment in the color of its class, with its name.

import { NAMES } from "../../engine/scenes";
import { drawBeach } from "./beach_drawing";
import { CLASS_COLORS, type Color, css } from "./colors";
import { canvas, html, percent, svg } from "./dom";
import { innermost } from "./innermost";
import { atEdge, FINE, type Live } from "./live";
import { drawImage } from "./maps";

const DRAWN = 2 * FINE; // pixels of the canvas
const OPACITY = 0.88; // a class keeps its color; the beach shines through

/** The colors of segments, by their position in kept. */
export function segmentColors(labels: number[]): Color[] {
  return labels.map((label) => CLASS_COLORS[label]);
}

/** The box of a query, as SVG in units of the picture. */
export class BoxMark {
  readonly root = svg("svg", {
    class: "dl-box",
    viewBox: "0 0 1 1",
    "aria-hidden": "true",
  });
  private readonly lines = ["dl-under", "dl-over"].map((kind) =>
    svg("rect", { class: kind, "vector-effect": "non-scaling-stroke" }),
  );

  constructor() {
    this.root.append(...this.lines);
  }

  /** boxes: (4, N); without a query nothing is shown. */
  show(boxes: Float32Array, query: number): void {
    this.root.toggleAttribute("hidden", query < 0);
    if (query < 0) return;
    const count = boxes.length / 4;
    const [cx, cy, w, h] = [0, 1, 2, 3].map((i) => boxes[i * count + query]);
    for (const line of this.lines) {
      line.setAttribute("x", String(cx - w / 2));
      line.setAttribute("y", String(cy - h / 2));
      line.setAttribute("width", String(w));
      line.setAttribute("height", String(h));
    }
  }
}

/** A picture of the answer; pointing at a segment chooses it. */
export class AnswerView {
  readonly root: HTMLElement;
  private readonly context: CanvasRenderingContext2D;
  private readonly drawing: HTMLCanvasElement;
  private readonly names = html("div", { "aria-hidden": "true" });
  private readonly box = new BoxMark();

  constructor(private readonly live: Live) {
    const label = "The model's answer";
    [this.drawing, this.context] = canvas(DRAWN, {
      role: "img",
      "aria-label": label,
    });
    this.root = html(
      "div",
      { class: "dl-answer dl-pointed" },
      this.drawing,
      this.box.root,
      this.names,
    );
    const point = ({ offsetX, offsetY }: MouseEvent) => {
      const side = this.drawing.clientWidth;
      live.choose(live.queryAt(offsetX / side, offsetY / side));
    };
    this.drawing.addEventListener("pointermove", (event) => {
      if (event.pointerType === "mouse") point(event);
    });
    // A finger chooses by a tap; a swipe scrolls and chooses nothing.
    this.drawing.addEventListener("click", point);
    const draw = () => this.draw();
    live.show({ answer: draw, choice: draw });
  }

  private draw(): void {
    const { live, context } = this;
    if (live.answer === undefined) return;
    const { kept, config, results, fine } = live.answer;
    const colors = segmentColors(kept.map(({ label }) => label));
    drawBeach(context, live.beach, live.shore);
    const strength = kept.map(({ query }) =>
      query === live.chosen ? 1 : OPACITY,
    );
    const white = [255, 255, 255];
    drawImage(
      context,
      FINE,
      (i) => (atEdge(fine, FINE, i) ? white : (colors[fine[i]] ?? white)),
      (i) => (atEdge(fine, FINE, i) ? 0.95 : (strength[fine[i]] ?? 0)),
      true,
    );
    const last = results[`boxes.${config.decoder_layers - 1}`].data;
    this.box.show(last, live.chosen);
    this.write(colors);
  }

  /** Puts each segment's name where it is widest. */
  private write(colors: Color[]): void {
    const { kept } = this.live.answer!;
    const places = innermost(this.live.answer!.panoptic.map, kept.length);
    const tags = kept.flatMap(({ query, label, score }, i) => {
      const place = places[i];
      if (place === undefined) return [];
      const tag = html("span", { class: "dl-tag" }, NAMES[label]);
      if (query === this.live.chosen) {
        tag.classList.add("dl-chosen");
        tag.append(` ${percent(score)}`);
      }
      tag.style.left = `${100 * place[0]}%`;
      tag.style.top = `${100 * place[1]}%`;
      tag.style.setProperty("--dl-color", css(colors[i]));
      return [tag];
    });
    this.names.replaceChildren(...tags);
    const words = this.live.segments.map(
      ({ label, score }) => `${NAMES[label]} ${percent(score)}`,
    );
    const label = `The model's answer: ${words.join(", ")}`;
    this.drawing.setAttribute("aria-label", label);
  }
}
