// Segments that lie on each other like paper: moved, painted, cut, thrown away.

import type { Segments } from "../../engine/quality";
import { type Beach, SIZE } from "../../engine/scenes";

/** A segment: where it would be seen if nothing lay on it. */
export interface Layer {
  label: number;
  mask: Uint8Array; // SIZE x SIZE
  dx: number; // how far it was moved
  dy: number;
}

/** The segments of a beach, each whole, the things on the stuff. */
export function layersOf(beach: Beach): Layer[] {
  const { things, regions } = beach;
  const part = (label: number, shown: typeof things, id: number): Layer => {
    beach.things = shown;
    const { ids } = beach.draw();
    const mask = Uint8Array.from(ids, (other) => Number(other === id));
    return { label, mask, dx: 0, dy: 0 };
  };
  const layers = [
    ...regions.map(({ label }, i) => part(label, [], i + 1)),
    ...things.map((one) => part(one.label, [one], regions.length + 1)),
  ];
  beach.things = things;
  return layers;
}

/** What is seen from above: the last layer that has a pixel gets it. */
export function flattened(layers: Layer[]): Segments & { ids: Uint8Array } {
  const ids = new Uint8Array(SIZE * SIZE);
  layers.forEach((layer, i) => {
    for (let y = 0; y < SIZE; y++) {
      for (let x = 0; x < SIZE; x++) {
        if (layer.mask[place(layer, x, y)]) ids[y * SIZE + x] = i + 1;
      }
    }
  });
  return { ids, labels: layers.map(({ label }) => label) };
}

/** Where in a layer's mask a pixel of the picture is; -1 outside. */
function place({ dx, dy }: Layer, x: number, y: number): number {
  const [i, j] = [y - dy, x - dx];
  const inside = i >= 0 && i < SIZE && j >= 0 && j < SIZE;
  return inside ? i * SIZE + j : -1;
}

/** Gives a disc of pixels to one layer, or with -1 to none. */
export function paint(
  layers: Layer[],
  chosen: number,
  [cx, cy]: [number, number],
  radius: number,
): void {
  for (let y = 0; y < SIZE; y++) {
    for (let x = 0; x < SIZE; x++) {
      if ((x - cx) ** 2 + (y - cy) ** 2 > radius ** 2) continue;
      layers.forEach((layer, i) => {
        const at = place(layer, x, y);
        if (at >= 0) layer.mask[at] = Number(i === chosen);
      });
    }
  }
}

/** The columns of a layer's pixels, from left to right. */
function columnsOf({ mask }: Layer): number[] {
  const pixels = [...mask.keys()].filter((i) => mask[i]);
  return pixels.map((i) => i % SIZE).sort((a, b) => a - b);
}

/** Whether a layer has more than one column. */
export function canBeCut(layer: Layer): boolean {
  const columns = columnsOf(layer);
  return columns[0] !== columns[columns.length - 1];
}

/** Cuts a layer in two; returns its right half. */
export function cut(layer: Layer): Layer {
  const columns = columnsOf(layer);
  const middle = Math.max(columns[0] + 1, columns[columns.length >> 1]);
  const half = (right: boolean) =>
    layer.mask.map((x, i) => x && Number(i % SIZE >= middle === right));
  const other = { ...layer, mask: half(true) };
  layer.mask = half(false);
  return other;
}
