// The beach, drawn at the screen's resolution: the scene that the model sees
// as 96 x 96 noisy pixels, with smooth edges.

import {
  BALL,
  type Beach,
  CANVAS,
  coreRadius,
  type Edge,
  type Region,
  SEA,
  SIDES,
  SIZE,
  type Thing,
  TURN,
} from "../../engine/scenes";
import { css } from "./colors";
import { canvas } from "./dom";

const SHORE = 384; // pixels a side of the picture of the stuff

function wave(angle: number): number {
  return Math.sin((2 * Math.PI * angle) / TURN);
}

/** The outline of a thing around its center, for a radius. */
export function outline(thing: Thing, radius: number): Path2D {
  const path = new Path2D();
  if (thing.label === BALL) {
    path.arc(0, 0, radius, 0, 2 * Math.PI);
    return path;
  }
  for (const [x, y] of corners(thing, radius)) path.lineTo(x, y);
  path.closePath();
  return path;
}

/** The corners of a crate, tent or starfish around its center. */
export function corners(thing: Thing, radius: number): [number, number][] {
  const { directions, distance, needed } = SIDES[thing.label];
  const half = Math.PI / directions.length; // between a side and a corner
  const turn = (2 * Math.PI * thing.angle) / TURN;
  const star = needed < directions.length;
  return directions.flatMap((direction) => {
    const angle = 2 * Math.PI * direction + turn;
    const at = (beyond: number, length: number): [number, number] => [
      length * radius * Math.cos(angle + beyond),
      length * radius * Math.sin(angle + beyond),
    ];
    const corner = at(half, distance / Math.cos(half));
    // A star's tips: where the sides before and after a side meet.
    return star ? [at(0, distance / Math.cos(2 * half)), corner] : [corner];
  });
}

/** Draws the whole scene on a canvas of so many pixels a side. */
export function drawBeach(
  context: CanvasRenderingContext2D,
  beach: Beach,
  shore: HTMLCanvasElement,
): void {
  const scale = context.canvas.width / CANVAS;
  context.imageSmoothingEnabled = true;
  context.drawImage(shore, 0, 0, context.canvas.width, context.canvas.height);
  for (const thing of beach.things) {
    context.save();
    context.scale(scale, scale);
    context.translate(thing.cx, thing.cy);
    context.fillStyle = css(thing.color.map((x) => (x * 3) / 8));
    context.fill(outline(thing, thing.radius));
    const light = context.createLinearGradient(
      0,
      -thing.radius,
      0,
      thing.radius,
    );
    light.addColorStop(0, css(thing.color.map((x) => x - thing.slope)));
    light.addColorStop(1, css(thing.color.map((x) => x + thing.slope)));
    context.fillStyle = light;
    context.fill(outline(thing, coreRadius(thing.radius)));
    context.restore();
  }
}

/** The stuff alone, as a canvas to draw things on. */
export function drawShore(regions: Region[]): HTMLCanvasElement {
  const [shore, context] = canvas(SHORE);
  const image = context.createImageData(SHORE, SHORE);
  const unit = CANVAS / SHORE;
  const column = (i: number) => (i + 0.5) * unit;
  const depths = regions.map(({ edge }) =>
    Array.from({ length: SHORE }, (_, i) =>
      edge ? depth(edge, column(i)) : Number.NEGATIVE_INFINITY,
    ),
  );
  for (let j = 0, at = 0; j < SHORE; j++) {
    const y = column(j);
    for (let i = 0; i < SHORE; i++, at += 4) {
      // From the top region down; an edge blends over one pixel.
      for (let r = 0; r < regions.length; r++) {
        const cover = Math.min((y - depths[r][i]) / unit + 0.5, 1);
        if (cover <= 0) continue;
        const shade = light(regions[r], column(i), y);
        for (let c = 0; c < 3; c++) {
          const color = regions[r].color[c] + shade;
          const below = image.data[at + c];
          image.data[at + c] = below + (color - below) * cover;
        }
      }
      image.data[at + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
  return shore;
}

function depth({ top, waves, phase, height, tilt }: Edge, x: number): number {
  return top + wave(x * waves + phase) * height + ((x - SIZE) * tilt) / 128;
}

/** As `light` of the engine's scenes, without its rounding. */
function light(region: Region, x: number, y: number): number {
  const shade = ((y - SIZE) * region.slope) / SIZE;
  if (region.ripples === 0) return shade;
  const [along, across] = region.label === SEA ? [y, x] : [x, y];
  const bend = 96 * wave(9 * across);
  return shade + 14 * wave(along * region.ripples + bend);
}
