// The entry of the page for operators, /learn.
import { render } from "preact";
import { Learning } from "./learning.ts";
import { paint } from "./theme.ts";
import { Learn } from "./ui/learn.tsx";
import { language, speak } from "./words.ts";
import "./style/learn.css";

function recall(slot: string): string {
  try {
    return localStorage.getItem(slot) ?? "";
  } catch {
    return "";
  }
}

speak(recall("parley.language"));
document.documentElement.lang = language;
paint(recall("parley.theme"));
const root = document.getElementById("app");
if (root) {
  root.replaceChildren();
  render(<Learn learning={new Learning()} />, root);
}
