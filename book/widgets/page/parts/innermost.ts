// Where a segment's name fits best.

import { SIZE } from "../../engine/scenes";

/** For each segment the pixel that is farthest from all others, 0 to 1. */
export function innermost(
  map: ArrayLike<number>,
  segments: number,
): number[][] {
  const depth = new Uint16Array(map.length);
  const places: number[][] = [];
  const best = new Array<number>(segments).fill(0);
  // How far the next segment is: from above and left, then from the rest.
  const near = (i: number, j: number, inside: boolean) =>
    inside && map[j] === map[i] ? depth[j] + 1 : 1;
  for (let i = 0; i < map.length; i++) {
    const above = near(i, i - SIZE, i >= SIZE);
    depth[i] = Math.min(above, near(i, i - 1, i % SIZE > 0));
  }
  for (let i = map.length - 1; i >= 0; i--) {
    const below = near(i, i + SIZE, i + SIZE < map.length);
    const right = near(i, i + 1, (i + 1) % SIZE > 0);
    depth[i] = Math.min(depth[i], below, right);
    if (map[i] >= 0 && depth[i] > best[map[i]]) {
      best[map[i]] = depth[i];
      places[map[i]] = [i % SIZE, Math.floor(i / SIZE)];
    }
  }
  return places.map((place) => place.map((x) => (x + 0.5) / SIZE));
}
