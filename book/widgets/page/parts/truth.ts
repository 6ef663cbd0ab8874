// What was found, held against what the scene was drawn from.

import type { Box } from "../../engine/boxes";
import {
  panopticQuality,
  type Quality,
  type Segments,
} from "../../engine/quality";
import { SIZE } from "../../engine/scenes";
import type { Live } from "./live";

/** What was found as segments: ids are positions in kept, from 1 on. */
export function foundSegments(live: Live): Segments {
  const { panoptic, kept } = live.answer!;
  return {
    ids: Uint8Array.from(panoptic.map, (position) => position + 1),
    labels: kept.map(({ label }) => label),
  };
}

/** The quality of an answer, and the IoU of the chosen segment. */
export function score(live: Live): { quality: Quality; iou: number } {
  const quality = panopticQuality(foundSegments(live), live.picture);
  const { kept } = live.answer!;
  const own = kept.findIndex(({ query }) => query === live.chosen) + 1;
  const ious = quality.overlaps
    .filter(({ mine }) => mine === own)
    .map(({ iou }) => iou);
  return { quality, iou: Math.max(0, ...ious) };
}

/** The box around a segment, relative to the scene. */
export function boxOf(ids: ArrayLike<number>, id: number): Box | undefined {
  let [x0, y0, x1, y1] = [SIZE, SIZE, 0, 0];
  for (let i = 0; i < ids.length; i++) {
    if (ids[i] !== id) continue;
    const [y, x] = [Math.floor(i / SIZE), i % SIZE];
    [x0, y0] = [Math.min(x0, x), Math.min(y0, y)];
    [x1, y1] = [Math.max(x1, x + 1), Math.max(y1, y + 1)];
  }
  if (x1 === 0) return undefined;
  const numbers = [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0];
  return numbers.map((x) => x / SIZE) as Box;
}
