// Boxes: two ways to write one down, and how well two of them agree.

/** cx, cy, w, h: relative to the picture. */
export type Box = [number, number, number, number];

/** A center-size box as corners: x0, y0, x1, y1. */
export function corners([cx, cy, w, h]: Box): Box {
  return [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2];
}

export interface Agreement {
  iou: number;
  giou: number;
  l1: number;
}

/** How well two boxes agree; all three measures of the matching cost. */
export function agreement(a: Box, b: Box): Agreement {
  const [p, q] = [corners(a), corners(b)];
  const width = Math.min(p[2], q[2]) - Math.max(p[0], q[0]);
  const height = Math.min(p[3], q[3]) - Math.max(p[1], q[1]);
  const intersection = Math.max(0, width) * Math.max(0, height);
  const union = a[2] * a[3] + b[2] * b[3] - intersection;
  const hull =
    (Math.max(p[2], q[2]) - Math.min(p[0], q[0])) *
    (Math.max(p[3], q[3]) - Math.min(p[1], q[1]));
  const iou = union > 0 ? intersection / union : 0;
  return {
    iou,
    giou: hull > 0 ? iou - (hull - union) / hull : iou,
    l1: a.reduce((sum, x, i) => sum + Math.abs(x - b[i]), 0),
  };
}
