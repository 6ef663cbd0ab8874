// A term's definition, or a symbol's shape, beside the link that leads to it.
//
// A mouse sees it while it hovers, the keyboard while the link has the focus.
// A finger's first tap shows it, and the second follows the link.

import { html } from "./parts/dom";

const LINKS = 'a[href*="glossary.html#"], a[href*="notation.html#"]';
const SOON = 120; // milliseconds that a mouse rests before it is shown
const LATE = 200; // milliseconds to get from the link into the definition
const GAP = 6; // pixels between both

export class Tips {
  private readonly root = html("div", {
    id: "dl-tip",
    class: "dl-tip",
    role: "tooltip",
    hidden: true,
  });
  private link: HTMLAnchorElement | undefined; // that is explained now
  private openBefore: HTMLAnchorElement | undefined; // when a finger came down
  private timer = 0;

  /** definitions: HTML by anchor of the glossary, or by symbol. */
  constructor(private readonly definitions: Record<string, string>) {
    document.body.append(this.root);
    const on = <K extends keyof DocumentEventMap>(
      kind: K,
      act: (event: DocumentEventMap[K]) => void,
    ) => document.addEventListener(kind, act, { capture: true });
    on("pointerover", (event) => {
      if (event.pointerType === "touch") return;
      const link = linkAt(event);
      if (link !== undefined) this.later(SOON, () => this.show(link));
      else if (this.root.contains(event.target as Node)) this.later(0);
      else this.later(LATE, () => this.hide());
    });
    on("focusin", (event) => {
      const link = linkAt(event);
      if (link !== undefined) this.show(link);
    });
    on("focusout", () => this.hide());
    on("keydown", ({ key }) => {
      if (key === "Escape") this.hide();
    });
    on("pointerdown", (event) => {
      const touch = event.pointerType === "touch";
      this.openBefore = touch ? this.link : linkAt(event);
      if (touch && linkAt(event) === undefined) this.hide();
    });
    on("click", (event) => {
      const link = linkAt(event);
      // A key that presses the link comes without a pointer: detail is 0.
      if (link === undefined || event.detail === 0) return;
      if (this.openBefore === link || this.meaning(link) === undefined) return;
      event.preventDefault();
      this.show(link);
    });
  }

  /** Does something later, instead of what was to be done. */
  private later(milliseconds: number, act = () => {}): void {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(act, milliseconds);
  }

  private meaning(link: HTMLAnchorElement): string | undefined {
    const key = link.pathname.endsWith("glossary.html")
      ? link.hash.slice(1)
      : link.textContent!;
    return this.definitions[key];
  }

  private show(link: HTMLAnchorElement): void {
    const meaning = this.meaning(link);
    if (meaning === undefined) return;
    this.hide();
    this.link = link;
    link.setAttribute("aria-describedby", this.root.id);
    this.root.innerHTML = meaning;
    this.root.hidden = false;
    this.place(link.getClientRects()[0]);
  }

  private hide(): void {
    clearTimeout(this.timer);
    this.link?.removeAttribute("aria-describedby");
    this.link = undefined;
    this.root.hidden = true;
  }

  /** Below the link, or above where there is more room. */
  private place(link: DOMRect): void {
    const { style } = this.root;
    const { offsetWidth, offsetHeight } = this.root;
    const width = document.documentElement.clientWidth;
    const most = width - offsetWidth - GAP;
    const below = link.bottom + GAP + offsetHeight <= window.innerHeight;
    const top = below ? link.bottom + GAP : link.top - GAP - offsetHeight;
    style.left = `${Math.max(GAP, Math.min(link.left, most)) + scrollX}px`;
    style.top = `${top + scrollY}px`;
  }
}

function linkAt({ target }: Event): HTMLAnchorElement | undefined {
  const link = (target as Element).closest?.<HTMLAnchorElement>(LINKS);
  return link ?? undefined;
}
