// The front page: move things on the beach.

import { AnswerView } from "./answer_view";
import { Chips, Report } from "./chips";
import { html } from "./dom";
import { Live } from "./live";
import { clock, figure, nextScene } from "./parts";
import { SceneView } from "./scene_view";
import { Stages, WANTED } from "./stages";
import { tools } from "./tools";

/** Builds the widget. */
export function beach(root: HTMLElement, scene: number): Live {
  const live = new Live(scene, WANTED);
  const view = new SceneView(live);
  const answer = new AnswerView(live);
  root.replaceChildren(
    html(
      "div",
      { class: "dl-pair" },
      figure(view.root, "Drag a thing, or the horizon.", nextScene(live)),
      figure(answer.root, "What the model finds.", clock(live)),
    ),
    tools(live, view),
    new Chips(live).root,
    new Stages(live).root,
    new Report(live).root,
  );
  view.pick(live.beach.things[0]);
  return live;
}
