// What every chapter has: terms explained where they stand, and questions.

import { Question } from "./questions";
import { Tips } from "./tips";

const data = document.getElementById("dl-terms");
if (data !== null) new Tips(JSON.parse(data.textContent!));
for (const root of document.querySelectorAll<HTMLElement>(".dl-question")) {
  new Question(root);
}
