// Finds the widgets of a page and brings them to life.

import { attentionMaps } from "../engine/attention_maps";
import { agreement } from "../engine/boxes";
import { found } from "../engine/classes";
import { assign, assignGreedily } from "../engine/matching";
import { panopticSegmentation } from "../engine/panoptic";
import { panopticQuality } from "../engine/quality";
import { Beach, ISTHING, NAMES } from "../engine/scenes";
import { attention } from "./attention";
import { beach } from "./beach";
import { CLASS_COLORS } from "./colors";
import { html } from "./dom";
import { encoding } from "./encoding";
import { Engine } from "./engine";
import { film } from "./film";
import type { Live } from "./live";
import { stages } from "./mask_stages";
import { matching } from "./matching_game";
import { panoptic } from "./panoptic_steps";
import { quality } from "./quality_sandbox";
import { queries } from "./queries";

// For the tests, and for whoever opens the console.
const detrLite = {
  Beach,
  CLASS_COLORS,
  Engine,
  ISTHING,
  NAMES,
  agreement,
  assign,
  assignGreedily,
  attentionMaps,
  found,
  panopticQuality,
  panopticSegmentation,
};
Object.assign(globalThis, { detrLite });

// What builds each; those with a live model return it.
type Build = (root: HTMLElement, scene: number) => Live | undefined;
const WIDGETS: Record<string, Build> = {
  attention,
  beach,
  encoding,
  film,
  matching,
  panoptic,
  quality,
  queries,
  stages,
};

/** Replaces the picture by the widget, and starts the model in good time. */
function start(root: HTMLElement): void {
  const build = WIDGETS[root.dataset.widget ?? ""];
  if (build === undefined) return;
  const live = build(root, Number(root.dataset.scene));
  root.classList.add("dl-alive");
  if (live === undefined) return;
  const wait = html("p", { class: "dl-loading" }, "The model is on its way.");
  root.append(wait);
  live.show({ answer: () => wait.remove() });
  const wake = () => {
    root.removeEventListener("pointerover", wake);
    root.removeEventListener("focusin", wake);
    live.ask().catch((error: Error) => {
      wait.remove();
      const words = `The model could not be started. ${error.message}`;
      root.append(html("p", { class: "dl-error", role: "alert" }, words));
    });
  };
  // At the first touch, or when the page has nothing else to do.
  root.addEventListener("pointerover", wake);
  root.addEventListener("focusin", wake);
  const idle = window.requestIdleCallback ?? setTimeout;
  if (document.readyState === "complete") idle(wake);
  else addEventListener("load", () => idle(wake), { once: true });
}

/** Builds a widget when it is about to come into sight, not before. */
function watch(): void {
  const sight = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        sight.unobserve(target);
        start(target as HTMLElement);
      }
    },
    { rootMargin: "400px" },
  );
  for (const root of document.querySelectorAll(".dl-widget")) {
    sight.observe(root);
  }
}

if (document.readyState === "loading") {
  document.addEventListener("DOMContentLoaded", watch);
} else {
  watch();
}
