// Positional encodings: where in the picture a feature comes from.

import type { Size } from "./changes";
import type { Heap, Tensor } from "./tensor";

// PyTorch computes the angles with 32-bit floats, and the model was trained
// with what they round to.
const f32 = Math.fround;

/**
 * Sines and cosines of the row and of the column, at many wavelengths:
 * (width, side, side), of which the first half encodes the row.
 *
 * inside: the rows and columns that are no padding; the last of them has the
 * largest angle.
 */
export function positionalEncoding(
  heap: Heap,
  width: number,
  side: number,
  temperature: number,
  cycles: number,
  inside: Size,
): Tensor {
  const encoding = heap.take(width, side, side);
  const { data } = encoding;
  const half = width / 2;
  const turn = f32(2 * Math.PI * cycles);
  for (let channel = 0; channel < width; channel++) {
    const pair = Math.floor((channel % half) / 2);
    const wavelength = f32(temperature ** f32((2 * pair) / half));
    const wave = channel % 2 === 0 ? Math.sin : Math.cos;
    for (let y = 0; y < side; y++) {
      for (let x = 0; x < side; x++) {
        const last = inside[channel < half ? 0 : 1];
        const place = Math.min((channel < half ? y : x) + 1, last);
        const angle = f32(f32(place / f32(last + 1e-6)) * turn);
        data[(channel * side + y) * side + x] = wave(f32(angle / wavelength));
      }
    }
  }
  return encoding;
}
