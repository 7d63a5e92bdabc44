import { render } from "preact";
import { install } from "./install.ts";
import { Session } from "./session.ts";
import { paint } from "./theme.ts";
import { App } from "./ui/app.tsx";
import { language, speak } from "./words.ts";
import "./style/page.css";

const session = new Session();
speak(session.tongue);
document.documentElement.lang = language;
paint(session.theme);
session.start();
install();
const root = document.getElementById("app");
if (root) {
  root.replaceChildren();
  render(<App session={session} />, root);
}
