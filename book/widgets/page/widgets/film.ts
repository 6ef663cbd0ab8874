// Chapter 6: how the shipped model learned, filmed while it did.

import { agreement, type Box } from "../../engine/boxes";
import type { Found } from "../../engine/classes";
import { panopticSegmentation } from "../../engine/panoptic";
import { panopticQuality, type Segments } from "../../engine/quality";
import { Beach, ISTHING, NAMES, SIZE } from "../../engine/scenes";
import { drawBeach, drawShore } from "../parts/beach_drawing";
import { BoxesView } from "../parts/boxes_view";
import { CLASS_COLORS, css } from "../parts/colors";
import {
  button,
  canvas,
  capital,
  html,
  percent,
  slider,
  toggle,
} from "../parts/dom";
import { figure } from "../parts/figure";
import { FINE, SEED } from "../parts/live";
import { drawMap, VEIL } from "../parts/maps";
import { SegmentsView } from "../parts/segments_view";
import { boxOf } from "../parts/truth";
import { LossCurve, near } from "./film_curve";
import { Film, type Frame } from "./film_data";

const PACE = 900; // milliseconds of a frame
const THRESHOLD = 0.7; // of what counts as found, as in the scenes' model
const SIDE = 12; // positions of a map
const MASK = 48; // and of a mask
const COLORS = ["var(--dl-accent)", "#d55e00"]; // of the two steps

const PICTURES =
  "A box has the color of the segment that it is matched with, and a dashed " +
  "line leads from its center to the segment’s. IoU: of the box with the " +
  "segment’s own box.";
const RANDOM =
  "Before phase “masks” the CNN is random; its masks seldom reach an IoU of " +
  "1/2, and none were recorded.";

/** Builds the widget: first a picture, the film when it is asked for. */
export function film(root: HTMLElement, scene: number): undefined {
  const start = button({ class: "dl-next" }, () => {}, "Show the film");
  root.append(html("p", { class: "dl-tools" }, start));
  // Not when a pointer passes: the widget grows.
  const load = async () => {
    try {
      const film = await Film.load();
      const focused = document.activeElement === start;
      const { play } = new FilmView(root, film, scene);
      if (focused) play.focus({ preventScroll: true });
    } catch (error) {
      const words = `The film could not be loaded. ${(error as Error).message}`;
      root.append(html("p", { class: "dl-error", role: "alert" }, words));
    }
  };
  root.addEventListener("click", load, { once: true });
}

class FilmView {
  readonly play: HTMLButtonElement;
  private scene!: number; // of the film's
  private beach!: Beach;
  private segment = 0; // of the true ones, that is looked at
  private readonly at: number[]; // the frames that are shown, one or two
  private compare = false;
  private timer = 0;
  private readonly rows: [FrameRow, FrameRow];
  private readonly sliders: HTMLElement[];
  private readonly chips = html("div", {
    class: "dl-chips",
    role: "group",
    "aria-label": "True segments",
  });
  private readonly curve: LossCurve;
  private readonly words = html("p", { class: "dl-words", role: "status" });

  constructor(
    root: HTMLElement,
    private readonly film: Film,
    scene: number,
  ) {
    this.at = [0, film.count - 1];
    this.rows = [new FrameRow(COLORS[0]), new FrameRow(COLORS[1])];
    this.play = button({ class: "dl-next" }, () => this.toggle(), "Play");
    const bounds = { min: 0, max: film.count - 1, step: 1 };
    this.sliders = ["Step", "Compared with"].map((label, i) =>
      slider(
        label,
        { ...bounds, value: this.at[i] },
        (frame) => this.seek(frame, i),
        (frame) => this.name(frame),
      ),
    );
    const compare = toggle("Compare two steps", false, (on) => {
      this.compare = on;
      this.draw();
    });
    const other = button({}, () => this.open(1 - this.scene), "Another scene");
    this.curve = new LossCurve(film.phases, (frame) => this.seek(frame, 0));
    root.replaceChildren(
      this.chips,
      ...this.rows.map(({ root }) => root),
      html("div", { class: "dl-tools" }, this.play, ...this.sliders),
      this.words,
      this.curve.root,
      html("div", { class: "dl-tools" }, compare, other),
      html("p", { class: "dl-note dl-legend" }, PICTURES),
    );
    this.open(Math.max(0, film.scenes.indexOf(scene)));
  }

  /** A frame's phase and step, in words. */
  private name(frame: number): string {
    const { phase, step } = this.film.frame(frame, 0);
    return `${phase.name}, step ${step}`;
  }

  private open(scene: number): void {
    this.scene = scene;
    this.beach = new Beach(SEED, this.film.scenes[scene]);
    const { labels } = this.beach.draw();
    this.segment = labels.map((label) => ISTHING[label]).lastIndexOf(true);
    for (const row of this.rows) row.open(this.beach);
    this.draw();
  }

  private seek(frame: number, which: number): void {
    this.pause();
    this.go(frame, which);
  }

  private go(frame: number, which: number): void {
    this.at[which] = frame;
    const input = this.sliders[which].querySelector("input")!;
    input.valueAsNumber = frame;
    input.setAttribute("aria-valuetext", this.name(frame));
    this.sliders[which].querySelector("output")!.textContent = this.name(frame);
    this.draw();
  }

  private toggle(): void {
    if (this.timer) {
      this.pause();
      return;
    }
    this.play.textContent = "Pause";
    // A screen reader hears where it stops, not each frame.
    this.words.setAttribute("aria-live", "off");
    const last = this.film.count - 1;
    if (this.at[0] === last) this.go(0, 0);
    this.timer = window.setInterval(() => {
      this.go(this.at[0] + 1, 0);
      if (this.at[0] === last) this.pause();
    }, PACE);
  }

  private pause(): void {
    if (!this.timer) return;
    clearInterval(this.timer);
    this.timer = 0;
    this.play.textContent = "Play";
    this.words.setAttribute("aria-live", "polite");
    this.draw();
  }

  private draw(): void {
    this.rows[1].root.hidden = !this.compare;
    this.sliders[1].hidden = !this.compare;
    const shown = this.compare ? this.at : this.at.slice(0, 1);
    const frames = shown.map((index) => this.film.frame(index, this.scene));
    frames.forEach((frame, i) => {
      this.rows[i].show(frame, this.segment, this.name(shown[i]));
    });
    this.curve.show(shown);
    this.drawChips(frames[0]);
    this.tell(frames);
  }

  private drawChips({ queries }: Frame): void {
    const focused = [...this.chips.children].indexOf(document.activeElement!);
    const { labels } = this.beach.draw();
    const chips = labels.map((label, i) => {
      const chip = button(
        { class: "dl-chip", "aria-pressed": String(i === this.segment) },
        () => {
          this.segment = i;
          this.draw();
        },
        html("span", { class: "dl-dot" }),
        capital(NAMES[label]),
        html("span", { class: "dl-score" }, `query ${queries[i]}`),
      );
      chip.style.setProperty("--dl-color", css(CLASS_COLORS[label]));
      return chip;
    });
    this.chips.replaceChildren(...chips);
    chips[focused]?.focus({ preventScroll: true });
  }

  /** What the frames show, in words. */
  private tell(frames: Frame[]): void {
    const words = frames.map((frame) => this.sentence(frame));
    if (!this.compare) words.push(this.changes(frames[0]));
    if (frames.some(({ masks }) => masks === undefined)) words.push(RANDOM);
    this.words.textContent = words.join(" ");
  }

  private sentence(frame: Frame): string {
    const { phase, step, queries, said } = frame;
    const picture = this.beach.draw();
    const { labels } = picture;
    const right = queries.filter((q, i) => said[q].label === labels[i]).length;
    const loss = near(phase.losses, step).toPrecision(3);
    const found = segmentsOf(frame);
    const quality =
      found === undefined
        ? ""
        : `, and the PQ of this scene is ` +
          panopticQuality(found, picture).pq.toFixed(2);
    return (
      `Phase “${phase.name}”, step ${step}, loss ${loss}: ${right} of ` +
      `${labels.length} matched queries name the right class${quality}.`
    );
  }

  /** What happens between the frame before and this one. */
  private changes({ queries }: Frame): string {
    if (this.at[0] === 0) return "";
    const before = this.film.frame(this.at[0] - 1, this.scene).queries;
    const moved = before.filter((q, i) => q !== queries[i]).length;
    if (moved === 0) {
      return "Since the frame before, every segment has kept its query.";
    }
    return (
      `Since the frame before, ${moved} ` +
      (moved === 1
        ? "segment has gone to another query."
        : "segments have gone to other queries.")
    );
  }
}

/** What a frame shows: its step, boxes, a map and masks. */
class FrameRow {
  readonly root: HTMLElement;
  private beach!: Beach;
  private shore!: HTMLCanvasElement;
  private readonly scene = canvas(2 * FINE, { role: "img" });
  private readonly boxes = new BoxesView();
  private readonly map = canvas(FINE, { role: "img" });
  private readonly segments = new SegmentsView();
  private readonly captions = [html("span"), html("span"), html("span")];
  private readonly name = html("span");

  /** color: of this row's cursor on the curve. */
  constructor(color: string) {
    const pictures = [
      html("div", { class: "dl-answer" }, this.scene[0], this.boxes.root),
      html("div", { class: "dl-answer" }, this.map[0]),
      this.segments.root,
    ];
    const names = ["matching", "attention", "masks"];
    const dot = html("span", { class: "dl-dot" });
    dot.style.setProperty("--dl-color", color);
    this.root = html(
      "div",
      { class: "dl-film" },
      html("p", { class: "dl-film-step" }, dot, this.name),
      html(
        "div",
        { class: "dl-layers" },
        ...pictures.map((picture, i) =>
          figure(picture, html("strong", {}, names[i]), this.captions[i]),
        ),
      ),
    );
  }

  open(beach: Beach): void {
    this.beach = beach;
    this.shore = drawShore(beach.regions);
  }

  show(frame: Frame, segment: number, name: string): void {
    this.name.textContent = `Phase ${name}`;
    const { ids, labels } = this.beach.draw();
    const query = frame.queries[segment];
    const wanted = labels.map((_, i) => boxOf(ids, i + 1)!);
    drawBeach(this.scene[1], this.beach, this.shore);
    // A matched box has the color of the segment that it answers for.
    const pairs = frame.queries.map((q, i) => ({
      ...frame.said[q],
      label: labels[i],
      text: wordsOf(frame, q),
      strong: i === segment,
      wanted: [wanted[i][0], wanted[i][1]] as [number, number],
    }));
    this.boxes.show(frame.boxes, pairs);
    const { iou } = agreement(boxIn(frame, query), wanted[segment]);
    this.describe(
      0,
      `query ${query}: ${wordsOf(frame, query)}, IoU ${iou.toFixed(2)}`,
    );
    drawBeach(this.map[1], this.beach, this.shore);
    drawMap(this.map[1], frame.maps[query].map(Math.sqrt), SIDE, VEIL);
    this.describe(1, `where query ${query} looks`);
    this.drawMasks(frame, query);
  }

  private drawMasks(frame: Frame, query: number): void {
    const segments = segmentsOf(frame);
    if (segments === undefined) {
      const nothing = { ids: new Uint8Array(SIZE * SIZE), labels: [] };
      this.segments.show(this.beach, this.shore, nothing);
      this.describe(2, "none recorded, the CNN is random");
      return;
    }
    const found = keptOf(frame);
    const chosen = found.findIndex((one) => one.query === query) + 1;
    this.segments.show(this.beach, this.shore, segments, chosen || -1);
    this.describe(2, `of ${found.length} queries`);
  }

  private describe(panel: number, words: string): void {
    this.captions[panel].textContent = words;
    const pictures = [this.scene[0], this.map[0], this.segments.drawing];
    pictures[panel].setAttribute("aria-label", words);
  }
}

/** What a frame's queries found. */
function keptOf({ said }: Frame): Found[] {
  return said.filter(
    ({ label, score }) => NAMES[label] !== undefined && score > THRESHOLD,
  );
}

/** A frame's panoptic segmentation, once there are masks. */
function segmentsOf(frame: Frame): Segments | undefined {
  const { masks } = frame;
  if (masks === undefined) return undefined;
  const found = keptOf(frame);
  const own = found.map((one) => masks[one.query]);
  const { map } = panopticSegmentation(own, MASK, found, ISTHING, SIZE);
  const labels = found.map(({ label }) => label);
  return { ids: Uint8Array.from(map, (position) => position + 1), labels };
}

/** The box of a query. */
function boxIn({ boxes }: Frame, query: number): Box {
  const count = boxes.length / 4;
  return [0, 1, 2, 3].map((i) => boxes[i * count + query]) as Box;
}

function wordsOf({ said }: Frame, query: number): string {
  const { label, score } = said[query];
  return `${NAMES[label] ?? "no object"} ${percent(score)}`;
}
