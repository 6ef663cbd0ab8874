import { attentionMaps } from "../engine/attention_maps";
import { agreement } from "../engine/boxes";
import { found } from "../engine/classes";
import { assign, assignGreedily } from "../engine/matching";
import { panopticSegmentation } from "../engine/panoptic";
import { Beach, ISTHING } from "../engine/scenes";
import { Engine } from "./engine";

// For the tests, and for whoever opens the console.
Object.assign(globalThis, {
  detrLite: {
    Beach,
    Engine,
    ISTHING,
    agreement,
    assign,
    assignGreedily,
    attentionMaps,
    found,
    panopticSegmentation,
  },
});
