// The losses of a training, phase beside phase, with a cursor for each step
// that is looked at.

import { html, svg } from "../parts/dom";
import { scrubbable } from "../parts/drag";
import type { Phase } from "./film_data";

const WIDTH = 100; // units of the drawing
const HEIGHT = 18;
const GAP = 3; // between two phases
const EDGE = 1.2; // beside the first and the last dot

/** A place on the curve. */
interface Place {
  x: number;
  y: number;
}

export class LossCurve {
  readonly root: HTMLElement;
  private readonly cursors = svg("g");
  private readonly places: Place[]; // of each frame

  /** seek: shows a frame. */
  constructor(phases: Phase[], seek: (frame: number) => void) {
    // Both phases get as much room as they have frames.
    const frames = phases.reduce((sum, { steps }) => sum + steps.length, 0);
    const room = WIDTH - GAP * (phases.length - 1);
    let left = 0;
    this.places = [];
    const board = svg("svg", {
      class: "dl-curve",
      viewBox: `${-EDGE} 0 ${WIDTH + 2 * EDGE} ${HEIGHT + 5}`,
      "aria-hidden": "true",
    });
    for (const { name, steps, losses } of phases) {
      const width = (room * steps.length) / frames;
      const at = axes(steps, losses, left, width);
      const points = losses.map(([step, loss]) => at(step, loss));
      board.append(
        svg("rect", { x: left, y: 0, width, height: HEIGHT }),
        svg("polyline", {
          points: points.map(({ x, y }) => `${x},${y}`).join(" "),
          "vector-effect": "non-scaling-stroke",
        }),
        svg("text", { x: left + 1, y: HEIGHT + 4 }, `loss in phase “${name}”`),
      );
      this.places.push(...steps.map((step) => at(step, near(losses, step))));
      left += width + GAP;
    }
    const dots = this.places.map(({ x, y }) =>
      svg("circle", { class: "dl-frame", cx: x, cy: y, r: 0.6 }),
    );
    board.append(...dots, this.cursors);
    const track = html("div", {}, board);
    scrubbable(track, ({ clientX }) => {
      const box = board.getBoundingClientRect();
      const part = (clientX - box.left) / box.width;
      const x = part * (WIDTH + 2 * EDGE) - EDGE;
      const far = this.places.map((place) => Math.abs(place.x - x));
      seek(far.indexOf(Math.min(...far)));
    });
    const ranges = phases.map(({ name, losses }) => {
      const all = losses.map(([, loss]) => loss);
      const [high, low] = [Math.max(...all), Math.min(...all)];
      return `${high.toPrecision(2)} to ${low.toPrecision(2)} in “${name}”`;
    });
    const words = html(
      "p",
      { class: "dl-note dl-legend" },
      `Dots are the frames. The loss is on a logarithmic scale, from ` +
        `${ranges.join(" and from ")}; early steps have more room than late ` +
        `ones. Each point is the loss of a single step on its own images, so ` +
        `one can stand out, like that of step 340 of “masks”: PQ doesn’t ` +
        `fall there.`,
    );
    this.root = html("div", {}, track, words);
  }

  /** Puts a cursor on each of these frames. */
  show(frames: number[]): void {
    this.cursors.replaceChildren(
      ...frames.flatMap((frame, i) => {
        const { x, y } = this.places[frame];
        const kind = i === 0 ? "dl-first" : "dl-second";
        return [
          svg("line", {
            class: kind,
            x1: x,
            x2: x,
            y2: HEIGHT,
            "vector-effect": "non-scaling-stroke",
          }),
          svg("circle", { class: kind, cx: x, cy: y, r: 1.1 }),
        ];
      }),
    );
  }
}

/** Where a step and a loss are: frames lie evenly, losses on a log scale. */
function axes(
  steps: number[],
  losses: [number, number][],
  left: number,
  width: number,
): (step: number, loss: number) => Place {
  const logs = losses.map(([, loss]) => Math.log(loss));
  const [low, high] = [Math.min(...logs), Math.max(...logs)];
  const [first, last] = [0, steps[steps.length - 1]].map((x) => x ** 0.4);
  return (step, loss) => ({
    // A power of the step, so that the beginning has room.
    x: left + (width * (step ** 0.4 - first)) / (last - first),
    y: 1 + ((HEIGHT - 2) * (high - Math.log(loss))) / (high - low),
  });
}

/** The loss at a step, or at the last one before it. */
export function near(losses: [number, number][], step: number): number {
  const before = losses.filter(([at]) => at <= step);
  return (before[before.length - 1] ?? losses[0])[1];
}
