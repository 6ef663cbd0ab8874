// The outline of the chosen segment, over whatever a picture shows.

import { atEdge, FINE, type Live } from "./live";
import { drawImage } from "./maps";

/** Draws the chosen segment's outline in white. */
export function drawOutline(
  context: CanvasRenderingContext2D,
  live: Live,
): void {
  const { fine, kept } = live.answer!;
  const position = kept.findIndex(({ query }) => query === live.chosen);
  const own = fine.map((p) => Number(p === position));
  drawImage(
    context,
    FINE,
    () => [255, 255, 255],
    (i) => Number(atEdge(own, FINE, i)),
    true,
  );
}
