// Text of models and people onto the screen: as text nodes only, with what would be invisible shown as a tag.

// Controls, format characters, fillers without a glyph, halves of surrogate pairs. Tab, line break and CR before a line
// break are what they look like; Arabic and Kaithi number signs are format characters that are drawn.
const HIDDEN =
  /(?![\t\n\u0600-\u0605\u06DD\u070F\u0890\u0891\u08E2\u{110BD}\u{110CD}]|\r\n)[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\u034F\u115F\u1160\u17B4\u17B5\u180B-\u180F\u2800\u3164\uFFA0\u{E0100}-\u{E01EF}]/gu;
const PICTURE_BEFORE = /[\p{Extended_Pictographic}\p{Emoji_Modifier}]\uFE0F?$/u;
const PICTURE_AFTER = /^\p{Extended_Pictographic}/u;
const JOINING = "[\\p{Script=Arabic}\\p{Script=Syriac}\\p{Script=Mongolian}\\p{Script=Devanagari}\\p{Script=Bengali}" +
  "\\p{Script=Gurmukhi}\\p{Script=Gujarati}\\p{Script=Oriya}\\p{Script=Tamil}\\p{Script=Telugu}\\p{Script=Kannada}" +
  "\\p{Script=Malayalam}\\p{Script=Sinhala}\\p{Script=Khmer}\\p{Script=Myanmar}]";
const JOINS_BEFORE = new RegExp(JOINING + "$", "u");
const JOINS_AFTER = new RegExp("^" + JOINING, "u");

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== false && value !== null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

// Appends `text` unaltered, but for a tag in the place of each hidden character; equal ones in a row share a tag.
function write(parent, text) {
  let from = 0;
  const marks = [...text.matchAll(HIDDEN)].filter((mark) => !isOrdinaryJoiner(text, mark));
  for (let i = 0; i < marks.length; i++) {
    const [character] = marks[i];
    const start = marks[i].index;
    let count = 1;
    while (marks[i + 1]?.[0] === character && marks[i + 1].index === start + count * character.length) {
      count += 1;
      i += 1;
    }
    parent.append(text.slice(from, start), tagOf(character, count));
    from = start + count * character.length;
  }
  parent.append(text.slice(from));
  return parent;
}

// Joiners that belong to writing: inside a picture of several emoji, and between letters of scripts that join.
function isOrdinaryJoiner(text, mark) {
  if (mark[0] !== "\u200D" && mark[0] !== "\u200C") return false;
  const before = text.slice(Math.max(0, mark.index - 4), mark.index);
  const after = text.slice(mark.index + 1, mark.index + 3);
  const joinsPictures = mark[0] === "\u200D" && PICTURE_BEFORE.test(before) && PICTURE_AFTER.test(after);
  return joinsPictures || (JOINS_BEFORE.test(before) && JOINS_AFTER.test(after));
}

function tagOf(character, count) {
  const code = "U+" + character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
  const text = count > 1 ? `[${code} \u00D7${count}]` : `[${code}]`;
  return make("span", { class: "tag", title: "a character that would not be seen" }, text);
}

function plainText(text) {
  return write(make("div", { class: "text", dir: "auto" }), text);
}

// Fenced code, inline code, bold, lists and headings; all else stays as it is written. No links, no images, no HTML.
function formattedText(text) {
  const root = make("div", { class: "text formatted", dir: "auto" });
  let paragraph = [];
  const close = () => {
    if (paragraph.join("").trim()) root.append(inline(make("p"), paragraph.join("\n")));
    paragraph = [];
  };
  const lines = text.split("\n");
  for (let i = 0; i < lines.length; i++) {
    const fence = lines[i].match(/^ {0,3}(`{3,}|~{3,})/);
    const heading = lines[i].match(/^ {0,3}(#{1,6})\s+(\S.*)$/);
    if (fence) {
      close();
      const end = lines.findIndex((line, at) => at > i && line.trimStart().startsWith(fence[1]));
      const last = end < 0 ? lines.length : end;
      root.append(write(make("pre", { tabindex: "0" }), lines.slice(i + 1, last).join("\n")));
      i = last;
    } else if (heading) {
      close();
      root.append(inline(make("p", { class: `heading h${heading[1].length}` }), heading[2]));
    } else if (itemOf(lines[i])) {
      close();
      i = appendList(root, lines, i);
    } else if (!lines[i].trim()) close();
    else paragraph.push(lines[i]);
  }
  close();
  return root;
}

function itemOf(line) {
  return line.match(/^(\s*)([-*+]|\d{1,9}[.)])\s+(\S.*)$/);
}

// The written markers stay: "3." is what the model said, whatever a list would count.
function appendList(root, lines, at) {
  const list = make("ul");
  let i = at;
  for (let item; i < lines.length && (item = itemOf(lines[i])); i++) {
    const entry = make("li", {}, make("span", { class: "marker" }, /\d/.test(item[2]) ? item[2] : "\u2022"));
    entry.style.setProperty("--depth", Math.min(4, Math.floor(item[1].replace(/\t/g, "  ").length / 2)));
    entry.append(inline(make("span"), item[3]));
    list.append(entry);
  }
  root.append(list);
  return i - 1;
}

function inline(parent, text) {
  let from = 0;
  for (const mark of text.matchAll(/`([^`\n]+)`|\*\*(\S(?:[^*\n]*\S)?)\*\*/g)) {
    write(parent, text.slice(from, mark.index));
    parent.append(write(make(mark[1] === undefined ? "strong" : "code"), mark[1] ?? mark[2]));
    from = mark.index + mark[0].length;
  }
  return write(parent, text.slice(from));
}
