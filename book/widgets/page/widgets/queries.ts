// Chapter 2: what each query finds, decoder layer by decoder layer.

import { agreement, type Box } from "../../engine/boxes";
import { bestClasses, type Found } from "../../engine/classes";
import { NAMES } from "../../engine/scenes";
import { BoxMark } from "../parts/answer_view";
import { drawBeach } from "../parts/beach_drawing";
import { Report } from "../parts/chips";
import { CLASS_COLORS, css } from "../parts/colors";
import { button, Choice, canvas, html, oneStop, percent } from "../parts/dom";
import { figure, nextScene } from "../parts/figure";
import { Live } from "../parts/live";
import { drawMap, VEIL } from "../parts/maps";
import { removeButton, SceneView } from "../parts/scene_view";

const PIXELS = 288; // of a layer's picture
const ALL = -1; // instead of a head
const LAYERS = [0, 1, 2];
const LEGEND =
  "A filled dot is the class that a query says, as large as it is sure; an " +
  "open one is “no object”. The pictures of the layers show where the chosen " +
  "query looks, and its box.";

/** Builds the widget. */
export function queries(root: HTMLElement, scene: number): Live {
  return new Queries(root, scene).live;
}

class Queries {
  readonly live: Live;
  private head = ALL;
  private readonly layers: LayerView[];
  private readonly table: Table;
  private readonly words = html("p", { class: "dl-words" });

  constructor(root: HTMLElement, scene: number) {
    this.live = new Live(scene, ["decoder_cross_attention"], true);
    const view = new SceneView(this.live);
    this.layers = LAYERS.map((layer) => new LayerView(layer));
    this.table = new Table(this.live);
    const draw = () => this.draw();
    this.live.show({ answer: draw, choice: draw });
    const heads = new Choice<number>(
      "Heads",
      [[ALL, "all"], ...[0, 1, 2, 3, 4, 5, 6, 7].map(numbered)],
      this.head,
      (head) => {
        this.head = head;
        this.draw();
      },
    );
    root.replaceChildren(
      html(
        "div",
        { class: "dl-pair" },
        html(
          "div",
          {},
          figure(
            view.root,
            "Drag a thing, or the horizon.",
            nextScene(this.live),
          ),
          removeButton(view),
        ),
        this.table.root,
      ),
      this.words,
      html(
        "div",
        { class: "dl-layers" },
        ...this.layers.map(({ root }) => root),
      ),
      html("div", { class: "dl-tools" }, heads.root),
      html("p", { class: "dl-note" }, LEGEND, classes()),
      new Report(this.live, () => this.words.textContent!).root,
    );
  }

  private draw(): void {
    const { answer, chosen } = this.live;
    if (answer === undefined || chosen < 0) return;
    const { num_queries } = answer.config;
    const found = LAYERS.map((layer) =>
      bestClasses(answer.results[`class_logits.${layer}`].data, num_queries),
    );
    this.table.show(found);
    for (const view of this.layers) {
      view.show(this.live, found[view.layer][chosen], this.head);
    }
    this.tell(found.map((all) => all[chosen]));
  }

  /** The story of the chosen query, as a sentence. */
  private tell(found: Found[]): void {
    const { chosen } = this.live;
    const says = found.map((one, i) => `layer ${i + 1} says ${words(one)}`);
    const [first, , last] = LAYERS.map((layer) => this.box(layer, chosen));
    const { iou } = agreement(first, last);
    this.words.textContent =
      `Query ${chosen}: ${says.join(", ")}. The IoU of its first box with ` +
      `its last is ${iou.toFixed(2)}.${this.duplicate()}`;
  }

  /** Another query that was kept for the same object, in words. */
  private duplicate(): string {
    const { chosen, answer } = this.live;
    const { kept } = answer!;
    const own = kept.find(({ query }) => query === chosen);
    const last = LAYERS.length - 1;
    const others = kept.filter(({ query, label }) => {
      if (query === chosen || label !== own?.label) return false;
      const boxes = [this.box(last, query), this.box(last, chosen)] as const;
      return agreement(...boxes).iou > 0.5;
    });
    if (own === undefined || others.length === 0) return "";
    const [{ query }] = others;
    return ` Query ${query} found the same ${NAMES[own.label]}: a duplicate.`;
  }

  private box(layer: number, query: number): Box {
    const { data } = this.live.answer!.results[`boxes.${layer}`];
    const count = data.length / 4;
    return [0, 1, 2, 3].map((i) => data[i * count + query]) as Box;
  }
}

/** The classes' colors. */
function classes(): HTMLElement {
  const names = NAMES.map((name, label) => {
    const dot = html("span", { class: "dl-dot" });
    dot.style.setProperty("--dl-color", css(CLASS_COLORS[label]));
    return html("span", { class: "dl-class" }, dot, name);
  });
  return html("span", { class: "dl-classes" }, ...names);
}

function numbered(head: number): [number, string] {
  return [head, String(head)];
}

function words({ label, score }: Found): string {
  return `${NAMES[label] ?? "no object"} (${percent(score)})`;
}

/** What one layer makes of the chosen query: where it looks, and its box. */
class LayerView {
  readonly root: HTMLElement;
  private readonly context: CanvasRenderingContext2D;
  private readonly drawing: HTMLCanvasElement;
  private readonly box = new BoxMark();
  private readonly words = html("span");

  constructor(readonly layer: number) {
    [this.drawing, this.context] = canvas(PIXELS, { role: "img" });
    const picture = html("div", { class: "dl-answer" }, this.drawing);
    picture.append(this.box.root);
    const name = html("strong", {}, `Layer ${layer + 1}`);
    this.root = figure(picture, name, this.words);
  }

  show(live: Live, found: Found, head: number): void {
    const { results } = live.answer!;
    const { data, shape } = results[`decoder_cross_attention.${this.layer}`];
    const [heads, positions, count] = shape; // of (M, positions, N)
    const map = new Float32Array(positions);
    for (let m = 0; m < heads; m++) {
      if (head !== ALL && head !== m) continue;
      for (let i = 0; i < positions; i++) {
        map[i] += data[(m * positions + i) * count + found.query];
      }
    }
    const top = Math.max(...map);
    drawBeach(this.context, live.beach, live.shore);
    const bright = map.map((x) => Math.sqrt(x / top));
    drawMap(this.context, bright, Math.sqrt(positions), VEIL);
    this.box.show(results[`boxes.${this.layer}`].data, found.query);
    this.words.textContent = words(found);
    const label = `Layer ${this.layer + 1}: ${words(found)}`;
    this.drawing.setAttribute("aria-label", label);
  }
}

/** All queries beside each other: a row for each layer, a dot for each. */
class Table {
  readonly root: HTMLElement;
  private readonly buttons: HTMLButtonElement[] = [];

  constructor(private readonly live: Live) {
    this.root = html("div", {
      class: "dl-queries",
      role: "toolbar",
      "aria-label": "Queries",
      "aria-orientation": "vertical",
    });
  }

  show(found: Found[][]): void {
    if (this.buttons.length === 0) this.build(found);
    for (const [query, made] of this.buttons.entries()) {
      const last = found[found.length - 1][query];
      made.setAttribute("aria-pressed", String(query === this.live.chosen));
      const says = found.map((all) => words(all[query])).join(", then ");
      made.setAttribute("aria-label", `Query ${query}: ${says}`);
      const dots = made.querySelectorAll<HTMLElement>(".dl-found");
      for (const [layer, dot] of dots.entries()) {
        const { label, score } = found[layer][query];
        const none = NAMES[label] === undefined;
        dot.classList.toggle("dl-none", none);
        const color = none ? "transparent" : css(CLASS_COLORS[label]);
        dot.style.setProperty("--dl-color", color);
        dot.style.setProperty("--dl-size", String(none ? 0.3 : score));
      }
      const kept = this.live.answer!.kept.some((one) => one.query === query);
      const name = NAMES[last.label] ?? "–";
      const unsure = !kept && name !== "–";
      made.querySelector(".dl-name")!.textContent = unsure ? `${name}?` : name;
    }
  }

  private build(found: Found[][]): void {
    found[0].forEach((_, query) => {
      const dots = found.map(() => html("span", { class: "dl-found" }));
      const made = button(
        { class: "dl-query" },
        () => this.live.choose(query),
        html("span", { class: "dl-title" }, String(query)),
        ...dots,
        html("span", { class: "dl-name" }),
      );
      this.buttons.push(made);
    });
    const names = found.map((_, i) => html("span", {}, `layer ${i + 1}`));
    const heading = html("span", { class: "dl-title" }, "query");
    const last = html("span", {}, "finds");
    const label = { class: "dl-query dl-names", "aria-hidden": "true" };
    this.root.append(
      html("div", label, heading, ...names, last),
      ...this.buttons,
    );
    oneStop(this.root);
  }
}
