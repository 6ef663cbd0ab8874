// Finds the widgets of a page and brings them to life.

import { attentionMaps } from "../engine/attention_maps";
import { agreement } from "../engine/boxes";
import { found } from "../engine/classes";
import { assign, assignGreedily } from "../engine/matching";
import { panopticSegmentation } from "../engine/panoptic";
import { panopticQuality } from "../engine/quality";
import { Beach, ISTHING, NAMES } from "../engine/scenes";
import { CLASS_COLORS } from "./parts/colors";
import { html } from "./parts/dom";
import { Engine } from "./parts/engine";
import type { Live } from "./parts/live";
import { attention } from "./widgets/attention";
import { beach } from "./widgets/beach";
import { encoding } from "./widgets/encoding";
import { fault } from "./widgets/fault";
import { film } from "./widgets/film";
import { matching } from "./widgets/matching";
import { panoptic } from "./widgets/panoptic";
import { quality } from "./widgets/quality";
import { queries } from "./widgets/queries";
import { stages } from "./widgets/stages";

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

// A widget is taller than its picture: it grows before it is in sight, so that
// nothing moves under the eyes of who scrolls, a screen at a time as well.
const AHEAD = 1800; // pixels below the window

// What builds each; those with a live model return it.
type Build = (root: HTMLElement, scene: number) => Live | undefined;
const WIDGETS: Record<string, Build> = {
  attention,
  beach,
  encoding,
  fault,
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
    { rootMargin: `${AHEAD}px` },
  );
  for (const root of document.querySelectorAll(".dl-widget")) {
    sight.observe(root);
  }
  addEventListener("hashchange", follow);
  holdPlace();
  // A link to the address that the page has already changes nothing by itself.
  document.addEventListener("click", ({ target }) => {
    const link = (target as Element).closest<HTMLAnchorElement>("a[href^='#']");
    if (link?.hash && link.hash === location.hash) {
      dispatchEvent(new HashChangeEvent("hashchange"));
    }
  });
  follow();
}

/** Scrolls to the widget that an address like #fault-memory_swapped means. */
function follow(): void {
  meantWidget()?.scrollIntoView();
}

function meantWidget(): Element | null {
  const [, wanted = ""] = /^#(\w+)-/.exec(location.hash) ?? [];
  return document.querySelector(`[data-widget="${wanted}"]`);
}

/** Keeps the place that an address means in sight while widgets grow. */
function holdPlace(): void {
  const [visit] = performance.getEntriesByType("navigation");
  // Whoever comes back is where they were, not where the address says.
  let held = (visit as PerformanceNavigationTiming)?.type === "navigate";
  const stay = () => {
    if (!held || location.hash === "") return;
    const id = decodeURIComponent(location.hash.slice(1));
    const place = document.getElementById(id) ?? meantWidget();
    place?.scrollIntoView({ behavior: "instant" });
  };
  const size = new ResizeObserver(stay);
  for (const root of document.querySelectorAll(".dl-widget")) {
    size.observe(root);
  }
  // What the reader does ends it, and a link to a place begins it anew.
  for (const kind of ["wheel", "touchmove", "keydown", "pointerdown"]) {
    addEventListener(kind, () => (held = false), { passive: true });
  }
  addEventListener("click", ({ target }) => {
    if ((target as Element).closest("a[href*='#']") === null) return;
    held = true;
    // On the smooth way there a widget may grow, too.
    addEventListener("scrollend", stay, { once: true });
  });
}

if (document.readyState === "loading") {
  document.addEventListener("DOMContentLoaded", watch);
} else {
  watch();
}
