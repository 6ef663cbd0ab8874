// The museum's faults: what each does, and in which situation it shows.

import type { Change } from "../../engine/changes";

/** What sets a hidden fault free. */
export type Situation = "alone" | "padding" | "halves" | "file";

/** What the page's markup says of a fault; see detr_lite.teaching.faults. */
export interface Label {
  name: string;
  title: string;
  description: string;
  source: string;
}

/** A mistake in what is made of the model's results. */
export type Misreading = "corners" | "squeezed" | "unmerged" | "bytes";

export interface Exhibit {
  view: "segments" | "boxes" | "heads"; // where it shows
  changes: Change[]; // in the model
  misreading?: Misreading;
  situation?: Situation;
  usual?: Pair; // PQ as usual, where the page can't measure it
  clue: string; // what is to be seen of it
}

/** A measure's values, without the fault and with it. */
export type Pair = [without: number, with_: number];

export const NO_FAULT: Exhibit = { view: "segments", changes: [], clue: "" };

// By the names of detr_lite.teaching.faults.
export const EXHIBITS: Record<string, Exhibit> = {
  batch_first: {
    view: "segments",
    changes: ["batch_first"],
    situation: "alone",
    // As tests/test_widget_fault.py finds them in the page.
    usual: [0.93, 0.78],
    clue: "regions are in shreds or have the wrong name.",
  },
  positions_lost: {
    view: "boxes",
    changes: ["positions_lost"],
    clue: "the names are right, but some boxes are shifted, doubled or lost.",
  },
  padding_mask_lost: {
    view: "boxes",
    changes: ["padding_mask_lost"],
    situation: "padding",
    clue: "the boxes are too high up and too flat.",
  },
  padding_not_cropped: {
    view: "segments",
    changes: [],
    misreading: "squeezed",
    situation: "padding",
    clue: "the names are right, and all outlines are squeezed upward.",
  },
  no_object_ignored: {
    view: "segments",
    changes: ["no_object_ignored"],
    clue: "things are found twice, or where there are none.",
  },
  boxes_as_corners: {
    view: "boxes",
    changes: [],
    misreading: "corners",
    clue: "each box has one corner at the center of its segment.",
  },
  memory_swapped: {
    view: "segments",
    changes: ["memory_swapped"],
    clue: "the names are right, but the outlines have left their places.",
  },
  per_head_softmax: {
    view: "heads",
    changes: ["per_head_softmax"],
    clue: "heads that were dark have clouds and spots.",
  },
  stuff_not_merged: {
    view: "segments",
    changes: [],
    misreading: "unmerged",
    situation: "halves",
    clue: "the right half of each region is in shreds.",
  },
  bytes_reversed: {
    view: "segments",
    changes: [],
    misreading: "bytes",
    situation: "file",
    clue: "only outlines are left, for no list has these ids.",
  },
};

export const SITUATIONS: Record<Situation, string> = {
  alone:
    "Here the image is alone in its batch: nothing mixes, each position " +
    "attends to itself, and the encoder’s work is gone. The usual " +
    "measurement has 32 images a batch.",
  padding:
    "Here the image lost its top quarter and shares a batch with a whole " +
    "one, so its canvas is padded.",
  halves: "Here two queries share each stuff, each with one half.",
  file:
    "Here the segments were written into a PNG and read again. Where only " +
    "white lines are left, no list has the id of the pixels.",
};

export const HEADS =
  "Each tile shows where one head looks, all on one scale. The edge runs " +
  "across all of them: draw it over a tile to see both sides.";
