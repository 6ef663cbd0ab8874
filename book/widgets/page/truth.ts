// What was found, held against what the scene was drawn from.

import {
  panopticQuality,
  type Quality,
  type Segments,
} from "../engine/quality";
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
