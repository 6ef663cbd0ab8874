// Panoptic quality: how well found and true segments overlap.

/** Segments as a map of ids, from 1 on and 0 for void, and their classes. */
export interface Segments {
  ids: ArrayLike<number>;
  labels: number[]; // of id i at i - 1; an id without a pixel doesn't count
}

/** A found and a true segment of one class that share pixels. */
export interface Overlap {
  mine: number;
  theirs: number;
  iou: number;
  match: boolean;
}

/** What is counted for a class. */
export interface Count {
  tp: number;
  fp: number;
  fn: number;
  iou: number; // summed over the matches
}

export interface Rates {
  pq: number;
  sq: number;
  rq: number;
}

export interface Quality extends Rates {
  overlaps: Overlap[];
  missed: number[]; // true ids without a match
  wrong: number[]; // found ids without one
  classes: Map<number, Count>; // those that occur, by label
}

/** SQ, RQ and their product of one class. */
export function rates({ tp, fp, fn, iou }: Count): Rates {
  const all = tp + fp / 2 + fn / 2;
  return { pq: iou / all, sq: iou / Math.max(tp, 1), rq: tp / all };
}

/**
 * Compares what was found with the truth.
 *
 * Two segments of one class match if they share more than half of the pixels
 * that either has.  What is void in the truth is left out.
 */
export function panopticQuality(mine: Segments, theirs: Segments): Quality {
  const width = theirs.labels.length + 1;
  const shared = new Int32Array((mine.labels.length + 1) * width);
  const areaMine = new Int32Array(mine.labels.length + 1);
  const areaTheirs = new Int32Array(width);
  for (let i = 0; i < mine.ids.length; i++) {
    const [m, t] = [mine.ids[i], theirs.ids[i]];
    shared[m * width + t]++;
    areaMine[m]++;
    areaTheirs[t]++;
  }
  const overlaps: Overlap[] = [];
  mine.labels.forEach((label, i) => {
    theirs.labels.forEach((other, j) => {
      const [m, t] = [i + 1, j + 1];
      const common = shared[m * width + t];
      if (label !== other || common === 0) return;
      const void_ = shared[m * width];
      const iou = common / (areaMine[m] + areaTheirs[t] - common - void_);
      overlaps.push({ mine: m, theirs: t, iou, match: iou > 0.5 });
    });
  });
  const matches = overlaps.filter(({ match }) => match);
  const missed = idsOf(areaTheirs).filter(
    (t) => !matches.some(({ theirs }) => theirs === t),
  );
  const wrong = idsOf(areaMine).filter(
    (m) =>
      !matches.some(({ mine }) => mine === m) &&
      2 * shared[m * width] <= areaMine[m],
  );
  const classes = new Map<number, Count>();
  const count = (label: number): Count => {
    const one = classes.get(label) ?? { tp: 0, fp: 0, fn: 0, iou: 0 };
    classes.set(label, one);
    return one;
  };
  for (const { mine: m, iou } of matches) {
    const one = count(mine.labels[m - 1]);
    one.tp++;
    one.iou += iou;
  }
  for (const t of missed) count(theirs.labels[t - 1]).fn++;
  for (const m of wrong) count(mine.labels[m - 1]).fp++;
  const all = [...classes.values()].map(rates);
  const mean = (name: keyof Rates) =>
    all.reduce((sum, one) => sum + one[name], 0) / Math.max(all.length, 1);
  const means = { pq: mean("pq"), sq: mean("sq"), rq: mean("rq") };
  return { ...means, overlaps, missed, wrong, classes };
}

/** The ids that have a pixel. */
function idsOf(areas: Int32Array): number[] {
  return [...areas.keys()].filter((id) => id > 0 && areas[id] > 0);
}
