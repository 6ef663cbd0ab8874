// What changes the beach: buttons that add, paint and remove things.

import {
  BALL,
  CANVAS,
  CRATE,
  NAMES,
  STARFISH,
  TENT,
  type Thing,
} from "../../engine/scenes";
import { corners } from "../parts/beach_drawing";
import { css } from "../parts/colors";
import { button, html, svg } from "../parts/dom";
import type { Live } from "../parts/live";
import { removeButton, type SceneView } from "../parts/scene_view";

const MOST = 5; // things that a scene has in training
// One channel high, another low, as in training.
const PAINTS: [name: string, color: number[]][] = [
  ["red", [235, 60, 50]],
  ["orange", [245, 150, 40]],
  ["green", [90, 215, 60]],
  ["turquoise", [30, 210, 190]],
  ["blue", [50, 95, 240]],
  ["pink", [240, 60, 170]],
];

/** The buttons, for the beach that a view shows. */
export function tools(live: Live, view: SceneView): HTMLElement {
  const limit = html(
    "span",
    { class: "dl-note", id: "dl-most-things" },
    "five things at most",
  );
  const add = [BALL, CRATE, TENT, STARFISH].map((label) =>
    button(
      {
        class: "dl-icon",
        "aria-label": `Add a ${NAMES[label]}`,
        "aria-describedby": limit.id,
      },
      () => {
        const thing = newThing(live.beach.things, label);
        live.beach.things.push(thing);
        view.draw();
        view.focus(thing);
        live.change();
      },
      icon(label),
    ),
  );
  const paint = PAINTS.map(([name, color]) => {
    const made = button(
      { class: "dl-paint", "aria-label": `Paint it ${name}` },
      () => {
        view.selected!.color = color;
        live.change();
      },
    );
    made.style.setProperty("--dl-color", css(color));
    return made;
  });
  const update = () => {
    const full = live.beach.things.length >= MOST;
    for (const one of add) one.disabled = full;
    for (const one of paint) one.disabled = view.selected === undefined;
  };
  live.show({ picture: update, answer: update, choice: update });
  update();
  return html(
    "div",
    { class: "dl-tools", role: "group", "aria-label": "Change the beach" },
    group("Add", [...add, limit]),
    group("Paint", paint),
    removeButton(view),
  );
}

function group(label: string, buttons: HTMLElement[]): HTMLElement {
  const name = html("span", { class: "dl-label" }, label);
  return html("span", { class: "dl-group" }, name, ...buttons);
}

/** The shape of a thing, as a small picture. */
function icon(label: number): SVGSVGElement {
  const thing = { label, angle: 0 } as Thing;
  const radius = label === BALL ? 8 : label === CRATE ? 9 : 8;
  const down = label === TENT ? 2 : 0;
  const shape =
    label === BALL
      ? svg("circle", { r: radius })
      : svg("polygon", {
          points: corners(thing, radius).flat().join(" "),
          transform: `translate(0 ${down})`,
        });
  return svg("svg", { viewBox: "-12 -12 24 24", "aria-hidden": "true" }, shape);
}

/** A new thing where the beach is emptiest. */
function newThing(things: Thing[], label: number): Thing {
  const places = [0.2, 0.4, 0.6, 0.8].flatMap((x) =>
    [0.45, 0.62, 0.8].map((y) => [CANVAS * x, CANVAS * y]),
  );
  const room = ([x, y]: number[]) =>
    Math.min(CANVAS, ...things.map(({ cx, cy }) => Math.hypot(cx - x, cy - y)));
  const [x, y] = places.reduce((a, b) => (room(b) > room(a) ? b : a));
  const [, color] = PAINTS[(things.length + label) % PAINTS.length];
  return {
    label,
    radius: 30,
    cx: Math.round(x),
    cy: Math.round(y),
    angle: 0,
    color,
    slope: 10,
  };
}
