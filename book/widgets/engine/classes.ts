// From class logits to what each query found.

export interface Found {
  query: number;
  label: number;
  score: number;
}

/**
 * The best class of each query and its probability.
 *
 * logits: (K + 1, N), the last class is "no object".
 */
export function bestClasses(logits: Float32Array, queries: number): Found[] {
  const classes = logits.length / queries;
  return Array.from({ length: queries }, (_, query) => {
    const own = Array.from(
      { length: classes },
      (_, k) => logits[k * queries + query],
    );
    const best = Math.max(...own);
    const sum = own.reduce((total, x) => total + Math.exp(x - best), 0);
    return { query, label: own.indexOf(best), score: 1 / sum };
  });
}

/** The queries that found something, and are surer than the threshold. */
export function found(
  logits: Float32Array,
  queries: number,
  threshold: number,
): Found[] {
  const none = logits.length / queries - 1;
  return bestClasses(logits, queries).filter(
    ({ label, score }) => label !== none && score > threshold,
  );
}
