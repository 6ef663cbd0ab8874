// Colors: one for each class, and a scale for maps.

export type Color = [number, number, number];

// As in detr_lite.data.scenes: told apart by color-blind readers too.
export const CLASS_COLORS: Color[] = [
  [213, 94, 0],
  [204, 121, 167],
  [230, 159, 0],
  [120, 60, 160],
  [86, 180, 233],
  [0, 114, 178],
  [240, 228, 66],
  [0, 158, 115],
];

export function css([r, g, b]: readonly number[], alpha = 1): string {
  return `rgb(${r} ${g} ${b} / ${alpha})`;
}

// Matplotlib's magma at nine steps: from black over violet to light yellow.
const MAGMA: Color[] = [
  [0, 0, 4],
  [28, 16, 68],
  [79, 18, 123],
  [129, 37, 129],
  [181, 54, 122],
  [229, 80, 100],
  [251, 135, 97],
  [254, 194, 135],
  [252, 253, 191],
];

/** The color of a value from 0 to 1. */
export function heat(value: number): Color {
  const place = Math.min(Math.max(value, 0), 1) * (MAGMA.length - 1);
  const low = Math.min(Math.floor(place), MAGMA.length - 2);
  const part = place - low;
  return MAGMA[low].map((x, i) =>
    Math.round(x + (MAGMA[low + 1][i] - x) * part),
  ) as Color;
}
