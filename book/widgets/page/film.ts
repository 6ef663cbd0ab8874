// Chapter 6: how the shipped model learned, filmed while it did.

import type { Found } from "../engine/classes";
import { panopticSegmentation } from "../engine/panoptic";
import { panopticQuality, type Segments } from "../engine/quality";
import { Beach, ISTHING, NAMES, SIZE } from "../engine/scenes";
import { drawBeach, drawShore } from "./beach_drawing";
import { BoxesView } from "./boxes_view";
import { CLASS_COLORS, css } from "./colors";
import { button, canvas, capital, html, percent, slider, toggle } from "./dom";
import { Film, type Frame } from "./film_data";
import { FINE, SEED } from "./live";
import { LossCurve, near } from "./loss_curve";
import { drawMap, VEIL } from "./maps";
import { figure } from "./parts";
import { SegmentsView } from "./segments_view";

const PACE = 900; // milliseconds of a frame
const THRESHOLD = 0.7; // of what counts as found, as in the scenes' model
const SIDE = 12; // positions of a map
const MASK = 48; // and of a mask

/** Builds the widget: first a picture, the film at the first touch. */
export function film(root: HTMLElement): undefined {
  const start = button({ class: "dl-next" }, () => {}, "Show the film");
  root.append(html("p", { class: "dl-tools" }, start));
  let loading = false;
  const wake = async () => {
    if (loading) return;
    loading = true;
    try {
      const focused = root.contains(document.activeElement);
      new FilmView(root, await Film.load()).play.focus({
        preventScroll: true,
      });
      if (!focused) (document.activeElement as HTMLElement | null)?.blur();
    } catch (error) {
      const words = `The film could not be loaded. ${(error as Error).message}`;
      root.append(html("p", { class: "dl-error", role: "alert" }, words));
    }
  };
  root.addEventListener("pointerover", wake);
  root.addEventListener("click", wake);
  root.addEventListener("focusin", wake);
}

class FilmView {
  readonly play: HTMLButtonElement;
  private scene = 0; // of the film's
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
  ) {
    this.at = [0, film.count - 1];
    this.rows = [new FrameRow(), new FrameRow()];
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
      this.curve.root,
      html("div", { class: "dl-tools" }, this.play, ...this.sliders),
      html("div", { class: "dl-tools" }, compare, other),
      this.words,
    );
    this.open(0);
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
    this.segment = labels.findIndex((label) => ISTHING[label]);
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
    this.sliders[which].querySelector("output")!.textContent = this.name(frame);
    this.draw();
  }

  private toggle(): void {
    if (this.timer) {
      this.pause();
      return;
    }
    this.play.textContent = "Pause";
    const last = this.film.count - 1;
    if (this.at[0] === last) this.go(0, 0);
    this.timer = window.setInterval(() => {
      this.go(this.at[0] + 1, 0);
      if (this.at[0] === last) this.pause();
    }, PACE);
  }

  private pause(): void {
    clearInterval(this.timer);
    this.timer = 0;
    this.play.textContent = "Play";
  }

  private draw(): void {
    this.rows[1].root.hidden = !this.compare;
    this.sliders[1].hidden = !this.compare;
    const shown = this.compare ? this.at : this.at.slice(0, 1);
    const frames = shown.map((index) => this.film.frame(index, this.scene));
    frames.forEach((frame, i) => {
      this.rows[i].show(frame, this.segment);
    });
    this.curve.show(shown);
    this.drawChips(frames[0]);
    this.tell(frames[0]);
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
    chips[focused]?.focus();
  }

  /** What happens between the frame before and this one, as a sentence. */
  private tell(frame: Frame): void {
    const { phase, step, queries, said } = frame;
    const picture = this.beach.draw();
    const { labels } = picture;
    const right = queries.filter((q, i) => said[q].label === labels[i]).length;
    const loss = near(phase.losses, step).toPrecision(3);
    const before =
      this.at[0] > 0
        ? this.film.frame(this.at[0] - 1, this.scene).queries
        : undefined;
    const moved = before?.filter((q, i) => q !== queries[i]).length;
    const changes =
      moved === undefined
        ? ""
        : ` Since the frame before, ${moved || "no"} ` +
          `${moved === 1 ? "segment has" : "segments have"} changed the query.`;
    const found = segmentsOf(frame);
    const quality = found ? panopticQuality(found, picture).pq.toFixed(2) : "0";
    this.words.textContent =
      `Phase “${phase.name}”, step ${step}, loss ${loss}: ${right} of ` +
      `${labels.length} matched queries name the right class, and the PQ of ` +
      `this scene is ${quality}${found ? "" : ", for there are no masks yet"}.` +
      changes;
  }
}

/** What a frame shows: boxes, a map and masks. */
class FrameRow {
  readonly root: HTMLElement;
  private beach!: Beach;
  private shore!: HTMLCanvasElement;
  private readonly scene = canvas(2 * FINE, { role: "img" });
  private readonly boxes = new BoxesView();
  private readonly map = canvas(FINE, { role: "img" });
  private readonly segments = new SegmentsView();
  private readonly captions = [html("span"), html("span"), html("span")];

  constructor() {
    const pictures = [
      html("div", { class: "dl-answer" }, this.scene[0], this.boxes.root),
      html("div", { class: "dl-answer" }, this.map[0]),
      this.segments.root,
    ];
    const names = ["matching", "attention", "masks"];
    this.root = html(
      "div",
      { class: "dl-layers dl-film" },
      ...pictures.map((picture, i) =>
        figure(picture, html("strong", {}, names[i]), this.captions[i]),
      ),
    );
  }

  open(beach: Beach): void {
    this.beach = beach;
    this.shore = drawShore(beach.regions);
  }

  show(frame: Frame, segment: number): void {
    const { ids, labels } = this.beach.draw();
    const query = frame.queries[segment];
    drawBeach(this.scene[1], this.beach, this.shore);
    // A matched box has the color of the segment that it answers for.
    const pairs = frame.queries.map((q, i) => ({
      ...frame.said[q],
      label: labels[i],
      text: wordsOf(frame, q),
      strong: i === segment,
      wanted: center(ids, i + 1),
    }));
    this.boxes.show(frame.boxes, pairs);
    this.describe(0, `query ${query}: ${wordsOf(frame, query)}`);
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
      this.describe(2, "not trained yet");
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

/** The center of a segment's box, from 0 to 1. */
function center(ids: Uint8Array, id: number): [number, number] {
  const own = [...ids.keys()].filter((i) => ids[i] === id);
  const middle = (places: number[]) =>
    (Math.min(...places) + Math.max(...places) + 1) / 2 / SIZE;
  const columns = own.map((i) => i % SIZE);
  const rows = own.map((i) => Math.floor(i / SIZE));
  return [middle(columns), middle(rows)];
}

function wordsOf({ said }: Frame, query: number): string {
  const { label, score } = said[query];
  return `${NAMES[label] ?? "no object"} ${percent(score)}`;
}
