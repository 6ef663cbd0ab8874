// The beach to touch: things are dragged, or moved with the arrow keys.

import { BALL, CANVAS, NAMES, type Thing } from "../../engine/scenes";
import { corners, drawBeach } from "./beach_drawing";
import { button, canvas, capital, html, percent, svg } from "./dom";
import { ARROWS, clip, draggable, place } from "./drag";
import type { Live } from "./live";

const PIXELS = 768; // of the canvas, a side
const STEP = 4; // that an arrow key moves, in pixels of the scene's canvas
const HELP = "Arrow keys move it, Delete takes it away.";
// As high as things and the horizon are in training.  There the horizon ends
// at half the height, but the model does well with lower ones too.
const HIGHEST = Math.floor(CANVAS / 5);
const LOWEST_HORIZON = (5 * CANVAS) / 8;

/** A picture of the beach with handles on all that can be moved. */
export class SceneView {
  readonly root: HTMLElement;
  onSelect = () => {};
  private readonly context: CanvasRenderingContext2D;
  private readonly handles: SVGSVGElement;
  private readonly horizon: SVGGElement;
  private readonly marks = new Map<Thing, SVGGElement>();
  private told: Thing | undefined; // the last one that was selected

  constructor(private readonly live: Live) {
    const [drawing, context] = canvas(PIXELS, { "aria-hidden": "true" });
    this.context = context;
    this.handles = svg("svg", {
      viewBox: `0 0 ${CANVAS} ${CANVAS}`,
      role: "group",
      "aria-label": "The beach",
    });
    this.horizon = this.horizonHandle();
    this.handles.append(this.horizon);
    this.root = html("div", { class: "dl-scene" }, drawing, this.handles);
    // A click and not a touch, which may be the beginning of a swipe.
    this.handles.addEventListener("click", (event) => {
      // Not on a thing: a region.
      if (event.target !== this.handles) return;
      const [x, y] = place(this.handles, CANVAS, event);
      live.choose(live.queryAt(x / CANVAS, y / CANVAS));
    });
    const mark = () => this.mark();
    live.show({ picture: () => this.draw(), answer: mark, choice: mark });
    this.draw();
  }

  /** The thing that buttons change; what is chosen in the answer, if a thing. */
  get selected(): Thing | undefined {
    return this.live.followed;
  }

  /** Draws the scene and puts the handles where things are. */
  draw(): void {
    const { beach, shore } = this.live;
    drawBeach(this.context, beach, shore);
    for (const [thing, mark] of this.marks) {
      if (beach.things.includes(thing)) continue;
      mark.remove();
      this.marks.delete(thing);
    }
    for (const thing of beach.things) {
      let mark = this.marks.get(thing);
      if (mark === undefined) {
        mark = this.handle(thing);
        this.marks.set(thing, mark);
        this.horizon.before(mark);
      }
      const moved = `translate(${thing.cx} ${thing.cy})`;
      if (mark.getAttribute("transform") === moved) continue;
      mark.setAttribute("transform", moved);
      const name = `${capital(NAMES[thing.label])}, ${placeOf(thing)}`;
      mark.setAttribute("aria-label", `${name}. ${HELP}`);
    }
    this.mark();
    const top = beach.horizon;
    this.horizon.setAttribute("transform", `translate(0 ${top})`);
    this.horizon.setAttribute("aria-valuenow", String(CANVAS - top));
    const height = `${percent(top / CANVAS)} of the height is above it`;
    this.horizon.setAttribute("aria-valuetext", height);
  }

  /** Shows which thing is selected, and tells the buttons. */
  private mark(): void {
    for (const [thing, mark] of this.marks) {
      mark.classList.toggle("dl-selected", thing === this.selected);
      mark.setAttribute("aria-pressed", String(thing === this.selected));
    }
    if (this.selected === this.told) return;
    this.told = this.selected;
    this.onSelect();
  }

  /** Lays a picture over the scene, below what can be touched. */
  cover(picture: HTMLElement): void {
    this.handles.before(picture);
  }

  /** Selects a thing, and moves the keyboard's focus to it. */
  focus(thing: Thing): void {
    this.pick(thing);
    this.marks.get(thing)?.focus({ preventScroll: true });
  }

  /** Selects a thing, or none; the answer's choice goes with it. */
  pick(thing: Thing | undefined): void {
    this.live.follow(thing);
  }

  private move(thing: Thing, x: number, y: number): void {
    const half = Math.floor(thing.radius / 2);
    thing.cx = clip(Math.round(x), half, CANVAS - half);
    thing.cy = clip(Math.round(y), HIGHEST, CANVAS - half);
    this.live.change();
  }

  /** A thing's outline, to be dragged, focused and seen when selected. */
  private handle(thing: Thing): SVGGElement {
    const mark = svg(
      "g",
      {
        class: "dl-thing",
        tabindex: 0,
        role: "button",
      },
      shape(thing, "dl-halo"),
      shape(thing, "dl-outline"),
    );
    const start = { x: 0, y: 0 };
    draggable(mark, this.handles, CANVAS, {
      begin: (x, y) => {
        Object.assign(start, { x: thing.cx - x, y: thing.cy - y });
        this.pick(thing);
      },
      move: (x, y) => this.move(thing, x + start.x, y + start.y),
    });
    mark.addEventListener("focus", () => this.pick(thing));
    mark.addEventListener("keydown", (event) => {
      const [x, y] = ARROWS[event.key] ?? [0, 0];
      if (x || y) this.move(thing, thing.cx + STEP * x, thing.cy + STEP * y);
      else if (event.key === "Delete" || event.key === "Backspace") {
        this.remove(thing);
      } else return;
      event.preventDefault();
    });
    return mark;
  }

  /** Takes a thing away; what is left gets the focus that it had. */
  remove(thing: Thing): void {
    const { things } = this.live.beach;
    const index = things.indexOf(thing);
    const focused = this.marks.get(thing) === document.activeElement;
    things.splice(index, 1);
    this.draw();
    const next = things[Math.min(index, things.length - 1)];
    this.pick(next);
    if (next === undefined) this.horizon.focus({ preventScroll: true });
    else if (focused) this.focus(next);
    this.live.change();
  }

  private horizonHandle(): SVGGElement {
    const mark = svg(
      "g",
      {
        class: "dl-horizon",
        tabindex: 0,
        role: "slider",
        "aria-label": "Horizon",
        "aria-orientation": "vertical",
        "aria-valuemin": CANVAS - LOWEST_HORIZON,
        "aria-valuemax": CANVAS - HIGHEST,
      },
      svg("circle", { cx: CANVAS - 11, r: 8 }),
      svg("path", { d: `M${CANVAS - 14} -2l3 -3l3 3m-6 4l3 3l3 -3` }),
    );
    const move = (y: number) =>
      this.live.moveHorizon(clip(Math.round(y), HIGHEST, LOWEST_HORIZON));
    let start = 0;
    draggable(mark, this.handles, CANVAS, {
      begin: (_, y) => {
        start = this.live.beach.horizon - y;
      },
      move: (_, y) => move(y + start),
    });
    mark.addEventListener("keydown", (event) => {
      const [x, y] = ARROWS[event.key] ?? [0, 0];
      if (!x && !y) return;
      move(this.live.beach.horizon + STEP * (y - x));
      event.preventDefault();
    });
    return mark;
  }
}

/** Where a thing is, in words. */
function placeOf({ cx, cy }: Thing): string {
  const [x, y] = [cx, cy].map((at) => percent(at / CANVAS));
  return `${x} from the left, ${y} from the top`;
}

/** A button that takes the selected thing away, and says which that is. */
export function removeButton(view: SceneView): HTMLButtonElement {
  const made = button({}, () => view.remove(view.selected!));
  view.onSelect = () => {
    const thing = view.selected;
    made.disabled = thing === undefined;
    made.textContent = thing ? `Remove ${NAMES[thing.label]}` : "Remove";
  };
  view.onSelect();
  return made;
}

/** The outline of a thing as SVG, around its center. */
function shape(thing: Thing, kind: string): SVGElement {
  if (thing.label === BALL) {
    return svg("circle", { class: kind, r: thing.radius });
  }
  const points = corners(thing, thing.radius);
  return svg("polygon", {
    class: kind,
    points: points.map((p) => p.map((x) => x.toFixed(1)).join()).join(" "),
  });
}
