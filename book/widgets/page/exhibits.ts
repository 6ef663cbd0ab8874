// The museum's faults: what each does, and in which situation it shows.

import type { Change } from "../engine/changes";

/** What sets a hidden fault free. */
export type Situation = "padding" | "halves" | "file";

/** A mistake in what is made of the model's results. */
export type Misreading = "corners" | "squeezed" | "unmerged" | "bytes";

export interface Exhibit {
  view: "segments" | "boxes" | "heads"; // where it shows
  changes: Change[]; // in the model
  misreading?: Misreading;
  situation?: Situation;
}

export const NO_FAULT: Exhibit = { view: "segments", changes: [] };

// By the names of detr_lite.teaching.faults.
export const EXHIBITS: Record<string, Exhibit> = {
  batch_first: { view: "segments", changes: ["batch_first"] },
  positions_lost: { view: "boxes", changes: ["positions_lost"] },
  padding_mask_lost: {
    view: "boxes",
    changes: ["padding_mask_lost"],
    situation: "padding",
  },
  padding_not_cropped: {
    view: "segments",
    changes: [],
    misreading: "squeezed",
    situation: "padding",
  },
  no_object_ignored: { view: "segments", changes: ["no_object_ignored"] },
  boxes_as_corners: { view: "boxes", changes: [], misreading: "corners" },
  memory_swapped: { view: "segments", changes: ["memory_swapped"] },
  per_head_softmax: { view: "heads", changes: ["per_head_softmax"] },
  stuff_not_merged: {
    view: "segments",
    changes: [],
    misreading: "unmerged",
    situation: "halves",
  },
  bytes_reversed: {
    view: "segments",
    changes: [],
    misreading: "bytes",
    situation: "file",
  },
};

export const SITUATIONS: Record<Situation, string> = {
  padding:
    "Here the image lost its top quarter and shares a batch with a whole " +
    "one, so its canvas is padded.",
  halves: "Here two queries share each stuff, each with one half.",
  file: "Here the segments were written into a PNG and read again.",
};
