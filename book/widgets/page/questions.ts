// A question whose choices are buttons, each answered with an explanation.

import { button, html } from "./parts/dom";

/** The markup of book/_ext/questions.py, brought to life. */
export class Question {
  constructor(root: HTMLElement) {
    const right = Number(root.dataset.right);
    const [choices, explanations] = root.querySelectorAll("ol");
    const answers = [...explanations.children].map((item, i) => {
      if (i !== right && !/^\s*No[.,:]/.test(item.textContent!)) {
        const words = item.querySelector("p") ?? item;
        words.prepend(html("strong", {}, "No."), " ");
      }
      return html("div", { class: "dl-why" }, ...item.childNodes);
    });
    let last: HTMLElement | undefined; // that was pressed
    [...choices.children].forEach((item, i) => {
      // A button holds words alone, no paragraphs and no links.
      for (const one of item.querySelectorAll("a, p")) {
        one.replaceWith(...one.childNodes);
      }
      const live = html("div", { "aria-live": "polite" });
      const choice = button(
        { class: "dl-answer-button", "aria-pressed": "false" },
        () => {
          const state = i === right ? "dl-right" : "dl-wrong";
          choice.classList.add(state);
          last?.setAttribute("aria-pressed", "false");
          choice.setAttribute("aria-pressed", "true");
          last = choice;
          live.replaceChildren(answers[i]);
        },
        ...item.childNodes,
      );
      item.replaceChildren(choice, live);
    });
    choices.classList.add("dl-choices");
    root.querySelector("details")!.remove();
  }
}
