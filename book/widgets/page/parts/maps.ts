// Maps as pictures: each number a square of one color.

import { heat } from "./colors";
import { canvas } from "./dom";

// One canvas a size, used again and again: making one takes milliseconds.
const pads = new Map<number, [HTMLCanvasElement, CanvasRenderingContext2D]>();

/** Draws side x side colored pixels over a whole canvas. */
export function drawImage(
  context: CanvasRenderingContext2D,
  side: number,
  color: (i: number) => ArrayLike<number>,
  alpha: (i: number) => number = () => 1,
  smooth = false,
): void {
  let pad = pads.get(side);
  if (pad === undefined) {
    pad = canvas(side);
    pads.set(side, pad);
  }
  const [small, inner] = pad;
  const image = inner.createImageData(side, side);
  for (let i = 0; i < side * side; i++) {
    const rgb = color(i);
    image.data[4 * i] = rgb[0];
    image.data[4 * i + 1] = rgb[1];
    image.data[4 * i + 2] = rgb[2];
    image.data[4 * i + 3] = 255 * alpha(i);
  }
  inner.putImageData(image, 0, 0);
  const { width, height } = context.canvas;
  context.imageSmoothingEnabled = smooth;
  context.drawImage(small, 0, 0, width, height);
}

// How much of what is under a map is hidden where the map is 0; where it is 1,
// nearly all is.
export const VEIL = 0.6;

/** Draws side x side numbers over a whole canvas. */
export function drawMap(
  context: CanvasRenderingContext2D,
  data: ArrayLike<number>,
  side: number,
  veil = 1,
): void {
  const color = (i: number) => heat(data[i]);
  drawImage(context, side, color, (i) => veil + 0.8 * (1 - veil) * data[i]);
}

/** Draws side x side x 3 bytes over a whole canvas. */
export function drawPixels(
  context: CanvasRenderingContext2D,
  pixels: Uint8ClampedArray,
  side: number,
): void {
  drawImage(context, side, (i) => pixels.subarray(3 * i, 3 * i + 3));
}

/** The sum of several maps that lie one after the other. */
export function sumOfMaps(
  data: Float32Array,
  first: number,
  count: number,
  size: number,
): Float32Array {
  const sum = new Float32Array(size);
  for (let i = 0; i < count * size; i++) {
    sum[i % size] += data[first * size + i];
  }
  return sum;
}

/** The mean of a tensor's channels. */
export function meanOfChannels(
  data: Float32Array,
  channels: number,
): Float32Array {
  const size = data.length / channels;
  return sumOfMaps(data, 0, channels, size).map((x) => x / channels);
}

/** The numbers, stretched from their smallest and largest to 0 and 1. */
export function stretched(data: Float32Array): Float32Array {
  const low = Math.min(...data);
  const high = Math.max(...data);
  return data.map((x) => (high > low ? (x - low) / (high - low) : 0));
}
