"""PQ as panopticapi computes it, in words of its own: from colors to counts.

The tests compare the package's PanopticQuality with it, and
tools/bench_pq.py its speed.  It follows the steps of panopticapi's
pq_compute: ids from the colors of two PNG files, np.unique over the
predicted ids and over pairs of ids, then dictionaries.
"""

import numpy as np

VOID = 0
OFFSET = 256**3


def to_colors(id_map):
    """(H, W) ids -> (H, W, 3) uint8."""
    ids = np.asarray(id_map)
    return np.stack([ids >> 8 * i & 255 for i in range(3)], -1).astype("uint8")


def to_ids(colors):
    """(H, W, 3) uint8 -> (H, W) uint32."""
    colors = colors.astype(np.uint32)
    return colors[..., 0] + 256 * colors[..., 1] + 256**2 * colors[..., 2]


def segments_info(id_map, labels, crowd=()):
    """Return the list that a panoptic JSON file has for an image."""
    return [
        {
            "id": number,
            "category_id": label,
            "iscrowd": int(number in crowd),
            "area": int((np.asarray(id_map) == number).sum()),
        }
        for number, label in labels.items()
    ]


def count(table, found_ids, found_info, true_ids, true_info):
    """Add one image to table: (K, 4), sum of IoU, TP, FP, FN.

    The maps: (H, W) uint32 ids.
    """
    true = {s["id"]: s for s in true_info}
    found = {s["id"]: s["category_id"] for s in found_info}
    areas = {}
    ids, pixels = np.unique(found_ids, return_counts=True)
    for number, n in zip(ids.tolist(), pixels.tolist(), strict=True):
        if number in found:
            areas[number] = n
        elif number != VOID:
            raise KeyError(f"{number} is in the PNG, not in the JSON")
    if found.keys() - areas.keys():
        raise KeyError("a segment is in the JSON, not in the PNG")

    pairs = true_ids.astype(np.uint64) * OFFSET + found_ids.astype(np.uint64)
    keys, pixels = np.unique(pairs, return_counts=True)
    shared = {
        divmod(key, OFFSET): n
        for key, n in zip(keys.tolist(), pixels.tolist(), strict=True)
    }

    true_matched, found_matched = set(), set()
    for (t, f), n in shared.items():
        if t not in true or f not in found:
            continue
        segment = true[t]
        if segment["iscrowd"] or segment["category_id"] != found[f]:
            continue
        union = areas[f] + segment["area"] - n - shared.get((VOID, f), 0)
        iou = n / union
        if iou > 0.5:
            table[found[f]] += iou, 1, 0, 0
            true_matched.add(t)
            found_matched.add(f)

    crowds = {}
    for t, segment in true.items():
        if t in true_matched:
            continue
        if segment["iscrowd"]:
            crowds[segment["category_id"]] = t
            continue
        table[segment["category_id"], 3] += 1

    for f, label in found.items():
        if f in found_matched:
            continue
        ignored = shared.get((VOID, f), 0)
        if label in crowds:
            ignored += shared.get((crowds[label], f), 0)
        if ignored / areas[f] <= 0.5:
            table[label, 2] += 1


def averages(table):
    """Return PQ, SQ and RQ: means over the classes that occur."""
    iou, tp, fp, fn = table[table[:, 1:].sum(1) > 0].T
    pq = iou / (tp + fp / 2 + fn / 2)
    sq = np.divide(iou, tp, out=np.zeros_like(iou), where=tp > 0)
    rq = tp / (tp + fp / 2 + fn / 2)
    return pq.mean(), sq.mean(), rq.mean()
