// Matching: which query answers for which segment.

import { type Agreement, agreement, type Box } from "./boxes";

// The weights of the three parts of the cost, as in the paper.
export const COST = { class: 1, l1: 5, giou: 2 };

export interface Pair extends Agreement {
  probability: number;
  cost: number;
}

/** What it costs to let a prediction answer for a segment. */
export function pairCost(
  probabilities: number[],
  predicted: Box,
  label: number,
  wanted: Box,
): Pair {
  const probability = probabilities[label];
  const agree = agreement(predicted, wanted);
  const cost =
    COST.l1 * agree.l1 - COST.class * probability - COST.giou * agree.giou;
  return { ...agree, probability, cost };
}

/**
 * The assignment of least total cost, by the Hungarian algorithm.
 *
 * costs: one row for each segment, one column for each query, and at least as
 * many queries as segments.  Returns for each segment its query.
 *
 * Segments join one at a time.  Each has a price it pays and each query one
 * that it asks, such that cost - paid - asked is never negative and 0 for a
 * pair; the newcomer follows the cheapest way over such differences, which
 * may move others to new queries, until it reaches a query that is free.
 */
export function assign(costs: number[][]): number[] {
  const queries = costs.length > 0 ? costs[0].length : 0;
  const paid = costs.map(() => 0);
  const asked = new Array<number>(queries).fill(0);
  const owner = new Array<number>(queries).fill(-1); // the query's segment
  costs.forEach((_, newcomer) => {
    const distance = new Array<number>(queries).fill(Number.POSITIVE_INFINITY);
    const before = new Array<number>(queries).fill(-1); // on the way there
    const seen: number[] = [];
    let segment = newcomer;
    let query = -1;
    let length = 0;
    while (segment >= 0) {
      let next = -1;
      for (let j = 0; j < queries; j++) {
        if (seen.includes(j)) continue;
        const step = length + costs[segment][j] - paid[segment] - asked[j];
        if (step < distance[j]) {
          distance[j] = step;
          before[j] = query;
        }
        if (next < 0 || distance[j] < distance[next]) next = j;
      }
      query = next;
      length = distance[query];
      seen.push(query);
      segment = owner[query];
    }
    paid[newcomer] += length;
    for (const j of seen.slice(0, -1)) {
      paid[owner[j]] += length - distance[j];
      asked[j] -= length - distance[j];
    }
    // Everyone on the way moves on by one query.
    while (before[query] >= 0) {
      owner[query] = owner[before[query]];
      query = before[query];
    }
    owner[query] = newcomer;
  });
  return costs.map((_, segment) => owner.indexOf(segment));
}

/** The assignment that always takes the cheapest pair that is left. */
export function assignGreedily(costs: number[][]): number[] {
  const pairs = costs
    .flatMap((row, segment) =>
      row.map((cost, query) => ({ cost, segment, query })),
    )
    .sort((a, b) => a.cost - b.cost);
  const result = costs.map(() => -1);
  for (const { segment, query } of pairs) {
    if (result[segment] < 0 && !result.includes(query)) result[segment] = query;
  }
  return result;
}
