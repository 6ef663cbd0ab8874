// The museum: faults of real programs, switched on in the live model.

import type { Change, Size } from "../../engine/changes";
import { SIZE } from "../../engine/scenes";
import { Report } from "../parts/chips";
import { button, calm, html } from "../parts/dom";
import type { Engine } from "../parts/engine";
import { figure, nextScene } from "../parts/figure";
import { ALWAYS, Live } from "../parts/live";
import { SceneView } from "../parts/scene_view";
import {
  EXHIBITS,
  type Exhibit,
  HEADS,
  type Label,
  NO_FAULT,
  type Pair,
  SITUATIONS,
  type Situation,
} from "./fault_exhibits";
import { Quiz } from "./fault_quiz";
import { CUT, onCanvas, type Seen, seen } from "./fault_reading";
import { ExhibitView } from "./fault_view";
import { Wipe } from "./fault_wipe";

const ADDRESS = "#fault-"; // before an exhibit's name
const NONE = "none"; // the name of no fault there
const NOTICED = 0.01; // of a measure
const FIT =
  "The fit of the boxes is the IoU of each segment’s box with the best box " +
  "found of its class, on average. Here a measure notices when it loses more " +
  `than ${NOTICED}; figure M.2, of 32 scenes, takes 0.001.`;

/** Builds the widget. */
export function fault(root: HTMLElement, scene: number): Live {
  return new Museum(root, scene).live;
}

type Measure = "quality" | "fit";

/** What an exhibit shows: without the fault and with it. */
interface Shown {
  name: string;
  exhibit: Exhibit;
  pair: [Seen, Seen];
  usual: [Seen, Seen]; // in no situation
}

/** A live scene that is seen without a fault and with it. */
class FaultyLive extends Live {
  fault = ""; // by name; none
  shown: Shown | undefined;

  protected override async compute(model: Engine): Promise<void> {
    const name = this.fault;
    const exhibit = EXHIBITS[name] ?? NO_FAULT;
    const { situation } = exhibit;
    const usual = await this.both(model, exhibit);
    // Here every image is alone.
    const pair =
      situation === undefined || situation === "alone"
        ? usual
        : await this.both(model, exhibit, situation);
    this.shown = { name, exhibit, pair, usual };
    await super.compute(model);
  }

  private async both(
    model: Engine,
    { changes, misreading }: Exhibit,
    situation?: Situation,
  ): Promise<[Seen, Seen]> {
    const { picture } = this;
    const padded = situation === "padding";
    const pixels = padded ? onCanvas(picture.pixels) : picture.pixels;
    const size: Size | undefined = padded ? [SIZE - CUT, SIZE] : undefined;
    const wanted = [...ALWAYS, "attention_maps"];
    const run = (changes: Change[]) =>
      model.run({ pixels, masks: "found", wanted, changes, size });
    const right = await run([]);
    const wrong = changes.length > 0 ? await run(changes) : right;
    const { config } = model;
    return [
      seen(config, right, picture, situation),
      seen(config, wrong, picture, situation, misreading),
    ];
  }
}

class Museum {
  readonly live: FaultyLive;
  private readonly labels: Label[];
  private readonly sides = [new ExhibitView(), new ExhibitView()];
  private readonly wipe: Wipe;
  private readonly buttons = new Map<string, HTMLButtonElement>();
  private readonly title = html("h3", { class: "dl-exhibit" });
  private readonly words = html("p", { class: "dl-words" });
  private readonly situation = html("p", { class: "dl-words" });
  private readonly rows = html("tbody");
  private readonly verdict = html("p", { class: "dl-words", role: "status" });
  private readonly about: HTMLElement[]; // what names the fault
  private readonly quiz: Quiz;
  private readonly guess: HTMLElement; // the pictures over the quiz

  constructor(
    private readonly root: HTMLElement,
    scene: number,
  ) {
    this.labels = JSON.parse(root.dataset.more!) as Label[];
    this.live = new FaultyLive(scene, []);
    this.wipe = new Wipe(
      this.sides[0].root,
      this.sides[1].root,
      "From without the fault to with it",
    );
    this.quiz = new Quiz(this.labels, {
      ask: (name) => this.hide(name),
      told: (name) => this.open(name),
      shown: () => this.live.fault,
    });
    const name = html("div", {}, this.title, this.words);
    const measures = html(
      "div",
      {},
      this.verdict,
      this.table(),
      html("p", { class: "dl-note" }, FIT),
    );
    this.about = [name, measures];
    this.live.show({ answer: () => this.draw() });
    const scene_ = new SceneView(this.live);
    this.guess = html("div", {}, this.wipe.root, this.quiz.root);
    root.replaceChildren(
      this.chips(),
      html("div", { class: "dl-told" }, name, this.situation),
      html(
        "div",
        { class: "dl-pair" },
        this.guess,
        figure(scene_.root, "Drag things here too.", nextScene(this.live)),
      ),
      measures,
      new Report(this.live).root,
    );
    addEventListener("hashchange", () => this.arrive());
    // Without an address the first fault, which the address doesn't take up.
    this.read(addressed() ?? this.labels[0].name);
    this.arrive();
  }

  /** Shows what the address names, and takes the keyboard there. */
  private arrive(): void {
    const name = addressed();
    if (name === undefined) return;
    this.quiz.stop();
    this.read(name);
    const { activeElement } = document;
    const free = activeElement?.matches(`body, a[href^="${ADDRESS}"]`) ?? true;
    if (free) this.buttons.get(name)!.focus({ preventScroll: true });
  }

  /** A button for no fault, and one for each. */
  private chips(): HTMLElement {
    const none = { name: "", title: "No fault" };
    const chips = [none, ...this.labels].map(({ name, title }) => {
      const open = () => {
        this.quiz.stop();
        this.open(name);
      };
      const made = button({ class: "dl-chip" }, open, title);
      this.buttons.set(name, made);
      return made;
    });
    return html(
      "div",
      { class: "dl-chips", role: "group", "aria-label": "Faults" },
      ...chips,
    );
  }

  /** Shows an exhibit, and puts it into the address. */
  private open(name: string): void {
    this.read(name);
    history.replaceState(null, "", `${ADDRESS}${name || NONE}`);
  }

  /** Shows an exhibit. */
  private read(name: string): void {
    this.choose(name);
    for (const part of this.about) part.hidden = false;
    const label = this.labels.find((one) => one.name === name);
    this.title.textContent = label?.title ?? "No fault";
    this.words.textContent =
      label?.description ??
      "Both sides are alike: choose a fault and drag the line across.";
  }

  /** Shows a fault without its name, which the address doesn't say either. */
  private hide(name: string): void {
    this.choose(name);
    history.replaceState(null, "", location.pathname + location.search);
    for (const part of this.about) part.hidden = true;
    for (const one of this.buttons.values()) {
      one.setAttribute("aria-pressed", "false");
    }
    this.wipe.place = 50;
    const behavior = calm() ? "auto" : "smooth";
    this.guess.scrollIntoView({ block: "nearest", behavior });
  }

  private choose(name: string): void {
    const changed = name !== this.live.fault;
    this.live.fault = name;
    // A guess needs to know this, too.
    const { situation, view } = EXHIBITS[name] ?? NO_FAULT;
    const parts = [situation ? SITUATIONS[situation] : ""];
    if (view === "heads") parts.push(HEADS);
    this.situation.textContent = parts.join(" ").trim();
    for (const [other, one] of this.buttons) {
      one.setAttribute("aria-pressed", String(other === name));
    }
    if (!changed) return;
    this.root.setAttribute("aria-busy", "true");
    this.live.change();
  }

  private table(): HTMLElement {
    const names = ["measure", "without", "with", "does it notice?"];
    const heads = names.map((name) => html("th", { scope: "col" }, name));
    return html(
      "table",
      { class: "dl-fates" },
      html("caption", { class: "dl-hidden" }, "Measures with the fault"),
      html("thead", {}, html("tr", {}, ...heads)),
      this.rows,
    );
  }

  private draw(): void {
    const { beach, shore, shown } = this.live;
    if (shown?.name !== this.live.fault) return; // one that was left again
    const { name, exhibit, pair } = shown;
    this.root.dataset.shown = name; // what is drawn by now
    this.root.removeAttribute("aria-busy");
    pair.forEach((one, i) => {
      this.sides[i].show(beach, shore, one, exhibit);
    });
    this.rows.replaceChildren(...rowsOf(shown));
    this.verdict.textContent = exhibit === NO_FAULT ? "" : judged(shown);
  }
}

/** What the page's address names: a fault, "" for none, or nothing. */
function addressed(): string | undefined {
  const { hash } = location;
  const name = hash.startsWith(ADDRESS) ? hash.slice(ADDRESS.length) : "";
  if (name === NONE) return "";
  return name in EXHIBITS ? name : undefined;
}

/** The rows of the table: as usual, and in the exhibit's situation. */
function rowsOf({ exhibit, pair, usual }: Shown): HTMLElement[] {
  if (exhibit.usual) {
    return [
      row("PQ of 32 scenes, 32 a batch", exhibit.usual),
      row("PQ here, one image a batch", values(pair, "quality")),
      row("fit of the boxes here", values(pair, "fit")),
    ];
  }
  const rows = [
    row("PQ of this scene", values(usual, "quality")),
    row("fit of its boxes", values(usual, "fit")),
  ];
  if (exhibit.situation) {
    rows.push(
      row("PQ in this situation", values(pair, "quality")),
      row("fit of the boxes in it", values(pair, "fit")),
    );
  }
  return rows;
}

/** Which measure notices, in words. */
function judged({ exhibit, pair, usual }: Shown): string {
  if (exhibit.usual) {
    return "PQ notices, and how much it loses depends on the batch.";
  }
  const sees = (which: [Seen, Seen], name: Measure) =>
    noticed(values(which, name));
  const [pq, fit] = [sees(usual, "quality"), sees(usual, "fit")];
  if (pq && fit) return "In this scene, both measures notice.";
  if (pq) return "In this scene PQ notices, and the boxes look fine.";
  if (fit) return "In this scene the boxes give it away, and PQ looks fine.";
  return sees(pair, "quality") || sees(pair, "fit")
    ? "The usual measurement says that all is well: it never puts this line " +
        "to the test."
    : "In this scene no measure notices. Try another one.";
}

function values([right, wrong]: [Seen, Seen], name: Measure): Pair {
  return [right[name], wrong[name]];
}

function noticed([right, wrong]: Pair): boolean {
  return right - wrong > NOTICED;
}

function row(name: string, pair: Pair): HTMLElement {
  const cells = pair.map((x) => html("td", {}, x.toFixed(2)));
  const yes = noticed(pair);
  const kind = yes ? "dl-yes" : "dl-no";
  const verdict = html("td", { class: kind }, yes ? "yes" : "no");
  return html("tr", {}, html("th", { scope: "row" }, name), ...cells, verdict);
}
