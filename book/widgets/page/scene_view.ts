// The beach to touch: things are dragged, or moved with the arrow keys.

import { BALL, CANVAS, NAMES, type Thing } from "../engine/scenes";
import { corners, drawBeach } from "./beach_drawing";
import { canvas, capital, html, svg } from "./dom";
import type { Live } from "./live";

const PIXELS = 768; // of the canvas, a side
const STEP = 4; // that an arrow key moves, in pixels of the scene's canvas
const HELP = "Arrow keys move it, Delete takes it away.";
// The places that things and the horizon have in training.
const HIGHEST = Math.floor(CANVAS / 5);
const LOWEST_HORIZON = CANVAS / 2;

const DIRECTIONS: Record<string, [number, number]> = {
  ArrowLeft: [-STEP, 0],
  ArrowRight: [STEP, 0],
  ArrowUp: [0, -STEP],
  ArrowDown: [0, STEP],
};

function clip(x: number, low: number, high: number): number {
  return Math.min(Math.max(Math.round(x), low), high);
}

/** A picture of the beach with handles on all that can be moved. */
export class SceneView {
  readonly root: HTMLElement;
  selected: Thing | undefined;
  onSelect = () => {};
  private readonly context: CanvasRenderingContext2D;
  private readonly handles: SVGSVGElement;
  private readonly horizon: SVGGElement;
  private readonly marks = new Map<Thing, SVGGElement>();

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
    live.show({ picture: () => this.draw() });
    this.draw();
  }

  /** Draws the scene and puts the handles where things are. */
  draw(): void {
    const { beach, shore } = this.live;
    drawBeach(this.context, beach, shore);
    for (const [thing, mark] of this.marks) {
      if (beach.things.includes(thing)) continue;
      mark.remove();
      this.marks.delete(thing);
      if (thing === this.selected) this.pick(undefined);
    }
    for (const thing of beach.things) {
      let mark = this.marks.get(thing);
      if (mark === undefined) {
        mark = this.handle(thing);
        this.marks.set(thing, mark);
        this.horizon.before(mark);
      }
      mark.setAttribute("transform", `translate(${thing.cx} ${thing.cy})`);
      mark.classList.toggle("dl-selected", thing === this.selected);
      mark.setAttribute("aria-pressed", String(thing === this.selected));
    }
    const top = beach.horizon;
    this.horizon.setAttribute("transform", `translate(0 ${top})`);
    this.horizon.setAttribute("aria-valuenow", String(CANVAS - top));
  }

  /** Selects a thing, and moves the keyboard's focus to it. */
  focus(thing: Thing): void {
    this.pick(thing);
    this.marks.get(thing)?.focus();
  }

  /** Selects a thing, or none; the answer's choice goes with it. */
  pick(thing: Thing | undefined): void {
    if (thing === this.selected) return;
    this.selected = thing;
    this.onSelect();
    this.draw();
    this.live.follow(thing);
  }

  private move(thing: Thing, x: number, y: number): void {
    const half = Math.floor(thing.radius / 2);
    thing.cx = clip(x, half, CANVAS - half);
    thing.cy = clip(y, HIGHEST, CANVAS - half);
    this.live.change();
  }

  /** A thing's outline, to be dragged, focused and seen when selected. */
  private handle(thing: Thing): SVGGElement {
    const name = capital(NAMES[thing.label]);
    const mark = svg(
      "g",
      {
        class: "dl-thing",
        tabindex: 0,
        role: "button",
        "aria-label": `${name}. ${HELP}`,
      },
      shape(thing, "dl-halo"),
      shape(thing, "dl-outline"),
    );
    const start = { x: 0, y: 0 };
    this.drag(mark, {
      begin: (x, y) => {
        Object.assign(start, { x: thing.cx - x, y: thing.cy - y });
        this.pick(thing);
      },
      move: (x, y) => this.move(thing, x + start.x, y + start.y),
    });
    mark.addEventListener("focus", () => this.pick(thing));
    mark.addEventListener("keydown", (event) => {
      const step = DIRECTIONS[event.key];
      if (step) this.move(thing, thing.cx + step[0], thing.cy + step[1]);
      else if (event.key === "Delete" || event.key === "Backspace") {
        this.remove(thing);
      } else return;
      event.preventDefault();
    });
    return mark;
  }

  /** Takes a thing away; its neighbor gets the focus that it had. */
  remove(thing: Thing): void {
    const { things } = this.live.beach;
    const index = things.indexOf(thing);
    const focused = this.marks.get(thing) === document.activeElement;
    things.splice(index, 1);
    this.draw();
    const next = things[Math.min(index, things.length - 1)];
    if (next !== undefined && focused) this.focus(next);
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
      this.live.moveHorizon(clip(y, HIGHEST, LOWEST_HORIZON));
    let start = 0;
    this.drag(mark, {
      begin: (_, y) => {
        start = this.live.beach.horizon - y;
      },
      move: (_, y) => move(y + start),
    });
    mark.addEventListener("keydown", (event) => {
      const step = DIRECTIONS[event.key];
      if (!step) return;
      move(this.live.beach.horizon + step[1] - step[0]);
      event.preventDefault();
    });
    return mark;
  }

  /** Follows a mouse, a pen or a finger, in pixels of the scene's canvas. */
  private drag(
    mark: SVGGElement,
    act: Record<"begin" | "move", (x: number, y: number) => void>,
  ): void {
    const at = ({ clientX, clientY }: PointerEvent): [number, number] => {
      const box = this.handles.getBoundingClientRect();
      const scale = CANVAS / box.width;
      return [(clientX - box.left) * scale, (clientY - box.top) * scale];
    };
    let down = false;
    mark.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      down = true;
      mark.setPointerCapture(event.pointerId);
      act.begin(...at(event));
    });
    mark.addEventListener("pointermove", (event) => {
      if (down) act.move(...at(event));
    });
    for (const end of ["pointerup", "pointercancel"] as const) {
      mark.addEventListener(end, () => {
        down = false;
      });
    }
  }
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
