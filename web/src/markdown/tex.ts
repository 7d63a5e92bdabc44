// From TeX to elements, by way of Temml's tree. It is loaded when the first
// formula is met. As everywhere in markdown, there is no HTML text on the way:
// only MathML elements named here, with attributes named here.
import { h, type ComponentChild } from "preact";
import temml from "temml";

type Node = {
  type?: string;
  text?: string;
  attributes?: Record<string, unknown>;
  children?: Node[];
  classes?: string[];
  style?: Record<string, unknown>;
};

const set = (names: string): ReadonlySet<string> => new Set(names.split(" "));

const elements = set(
  "math mrow mi mn mo ms mtext mspace mfrac msqrt mroot msub msup msubsup munder mover munderover mmultiscripts mprescripts none mtable mtr mtd mpadded mphantom mstyle menclose",
);
const attributes = set(
  "accent accentunder align close columnalign columnlines columnspacing columnspan depth dir display displaystyle fence form height largeop linebreak linethickness lspace mathcolor mathsize mathvariant maxsize minsize movablelimits notation open rowalign rowlines rowspacing rowspan rspace scriptlevel separator side stretchy symmetric voffset width",
);
const styles = set("color backgroundColor display fontSize fontWeight fontStyle mathDepth mathStyle margin marginLeft marginRight padding paddingLeft paddingRight paddingTop paddingBottom textAlign verticalAlign width height border borderTop borderBottom borderLeft borderRight");
const most = 3000; // elements of one formula
const deepest = 60; // elements within each other

// What Temml builds twice or more: nested twenty times it takes all memory. A
// definition could give it another name.
const doubled = /\\(?:[lrc]lap|cancelto|equilibrium(?:Left|Right))(?![a-zA-Z])/g;
const renamed = /\\(?:let|futurelet|[gex]?def|(?:new|renew|provide)command)(?![a-zA-Z])/;

// formula returns the elements, or null for what is not TeX.
export function formula(tex: string, display: boolean): ComponentChild | null {
  const risky = tex.match(doubled)?.length ?? 0;
  if (risky > 4 || (risky > 0 && renamed.test(tex))) return null;
  let tree: Node;
  try {
    tree = temml.__renderToMathMLTree(tex, { displayMode: display, throwOnError: true, trust: false, strict: false, maxSize: [20, 500], maxExpand: 200, wrap: "none" });
  } catch {
    return null;
  }
  let left = most;
  const make = (n: Node, depth: number): ComponentChild => {
    if (n.text !== undefined) return n.text;
    if (depth > deepest) left = 0;
    if (left <= 0) return null;
    const children = (n.children ?? []).map((c) => make(c, depth + 1));
    if (--left < 0 || n.type === undefined || !elements.has(n.type)) return children;
    const props: Record<string, unknown> = {};
    for (const [k, v] of Object.entries(n.attributes ?? {})) if (attributes.has(k)) props[k] = String(v);
    const style: Record<string, string> = {};
    for (const [k, v] of Object.entries(n.style ?? {})) if (styles.has(k) && /^[\w#.,%() -]*$/.test(String(v)) && !/\(.*\(|url/i.test(String(v))) style[k] = String(v);
    if (Object.keys(style).length > 0) props.style = style;
    const classes = (n.classes ?? []).filter((c) => /^[a-z][\w-]*$/i.test(c));
    if (classes.length > 0) props.class = classes.join(" ");
    return h(n.type, props, ...children);
  };
  const made = make(tree, 0);
  return left <= 0 ? null : made;
}
