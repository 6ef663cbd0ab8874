// The front page: move things on the beach.

import { AnswerView } from "../parts/answer_view";
import { Chips, mistake, Report } from "../parts/chips";
import { html } from "../parts/dom";
import { clock, figure, nextScene } from "../parts/figure";
import { Live } from "../parts/live";
import { SceneView } from "../parts/scene_view";
import { StageStrip, WANTED } from "./beach_strip";
import { tools } from "./beach_tools";

const FINDS = "What the model finds.";
const STAGES =
  "The chosen segment in the five stages: 1. the positions most like its own; " +
  "2. its query; 3. where each head looks, with all heads together in the " +
  "middle; 4. its mask, drawn from coarse to fine; 5. the pixels that it wins.";

/** Builds the widget. */
export function beach(root: HTMLElement, scene: number): Live {
  const live = new Live(scene, WANTED);
  const view = new SceneView(live);
  const answer = new AnswerView(live);
  const words = html("span", {}, FINDS);
  const say = () => {
    words.textContent = mistake(live) || FINDS;
  };
  live.show({ answer: say, choice: say });
  root.replaceChildren(
    html(
      "div",
      { class: "dl-pair" },
      figure(view.root, "Drag a thing, or the horizon.", nextScene(live)),
      figure(answer.root, words, clock(live)),
    ),
    tools(live, view),
    new Chips(live).root,
    new StageStrip(live).root,
    html("p", { class: "dl-words" }, STAGES),
    new Report(live).root,
  );
  view.pick(live.beach.things[0]);
  return live;
}
