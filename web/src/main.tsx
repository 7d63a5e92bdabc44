import { render } from "preact";
import { Session } from "./session.ts";
import { App } from "./ui/app.tsx";
import "./style/page.css";

const session = new Session();
session.start();
const root = document.getElementById("app");
if (root) {
  root.replaceChildren();
  render(<App session={session} />, root);
}
