
"use strict";
(() => {
  const LONG = 1200;

  function make(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  // Theme: the system's, until the button is used; forgotten with the page.
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  function nameTheme() {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", isDark() ? "Show in light colours" : "Show in dark colours");
  }
  button.hidden = false;
  button.removeAttribute("aria-pressed");
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    nameTheme();
  });
  system.addEventListener("change", nameTheme);
  nameTheme();

  function said(text) {
    const node = make("div", "said");
    node.dir = "auto";
    if (text.length <= LONG) {
      node.textContent = text === "" ? "(nothing)" : text;
      return node;
    }
    const words = make("span", "", text.slice(0, LONG) + " …");
    const more = make("button", "", `Show all ${text.length} characters`);
    more.type = "button";
    more.addEventListener("click", () => { words.textContent = text; more.remove(); });
    node.append(words, more);
    return node;
  }

  function turn(who, content) {
    const row = make("div", "turn");
    row.append(make("span", "who", who), content);
    return row;
  }

  function dialogueNode(item) {
    const node = make("article", "dialogue");
    const tags = make("p", "tags");
    for (const [key, value] of [...Object.entries(item.labels), ...Object.entries(item.values)]) {
      const tag = make("span", "", `${key} `);
      tag.append(make("b", "", value));
      tags.append(tag);
    }
    node.append(tags);
    for (const [who, words] of item.turns) node.append(turn(who, said(words)));
    if (item.collapsed) {
      const details = make("details", "said");
      details.append(make("summary", "", "Show the answer"), said(item.response));
      node.append(turn("answer", details));
    } else {
      node.append(turn("answer", said(item.response)));
    }
    return node;
  }

  function labelled(words, field) {
    const label = make("label", "", words);
    label.append(field);
    return label;
  }

  function choice(options) {
    const select = make("select");
    for (const [value, words] of options) {
      const option = make("option", "", words);
      option.value = value;
      select.append(option);
    }
    return select;
  }

  function counted(shown, matching, total) {
    if (matching === 0) return total === 0 ? "There are no dialogues." : `None of ${total} dialogues matches.`;
    const found = matching === total ? `${total} dialogues` : `${matching} of ${total} dialogues match`;
    return shown === matching ? `${found}.` : `${found}; the first ${shown} are shown.`;
  }

  function setUp(section) {
    const data = JSON.parse(document.getElementById(section.dataset.source).textContent);
    const [bar, count, list] = [".filters", ".count", ".list"].map((name) => section.querySelector(name));
    const texts = data.dialogues.map((item) =>
      [...item.turns.map((one) => one[1]), item.response].join("\n").toLowerCase());
    const selects = new Map();
    for (const key of data.filters) {
      const tally = new Map();
      for (const item of data.dialogues) {
        const value = item.labels[key] ?? "–";
        tally.set(value, (tally.get(value) || 0) + 1);
      }
      const options = [...tally.keys()].sort().map((value) => ["=" + value, `${value} (${tally.get(value)})`]);
      const select = choice([["", "all"], ...options]);
      select.dataset.filter = key;
      selects.set(key, select);
      bar.append(labelled(key, select));
    }
    const order = choice([["", "as given"], ...data.orders.flatMap((key, index) =>
      [[`-${index}`, `${key}, highest first`], [`+${index}`, `${key}, lowest first`]])]);
    order.className = "order";
    if (data.orders.length) bar.append(labelled("order", order));
    const search = make("input");
    search.type = "search";
    search.placeholder = "words in prompt or answer";
    bar.append(labelled("search", search));
    const clear = make("button", "plain", "Clear filters");
    clear.type = "button";
    bar.append(clear);
    const more = make("button", "more", "Show more");
    more.type = "button";

    let matching = [];
    let shown = 0;
    function extend() {
      const part = document.createDocumentFragment();
      for (const index of matching.slice(shown, shown + data.first)) part.append(dialogueNode(data.dialogues[index]));
      shown = Math.min(shown + data.first, matching.length);
      list.append(part);
      more.remove();
      if (shown < matching.length) section.append(more);
      count.textContent = counted(shown, matching.length, data.dialogues.length);
      clear.hidden = ![...selects.values(), search].some((field) => field.value !== "");
    }
    function apply() {
      const words = search.value.trim().toLowerCase();
      matching = data.dialogues.map((_, index) => index).filter((index) =>
        (!words || texts[index].includes(words)) &&
        [...selects].every(([key, select]) =>
          select.value === "" || select.value === "=" + (data.dialogues[index].labels[key] ?? "–")));
      if (order.value) {
        const key = data.orders[Number(order.value.slice(1))];
        const sign = order.value[0] === "-" ? -1 : 1;
        const number = (index) => data.dialogues[index].numbers[key] ?? null;
        matching.sort((a, b) => {
          const [x, y] = [number(a), number(b)];
          if (x === null || y === null) return (x === null) - (y === null) || a - b;
          return sign * (x - y) || a - b;
        });
      }
      list.replaceChildren();
      shown = 0;
      extend();
    }
    for (const field of [...selects.values(), order]) field.addEventListener("change", apply);
    search.addEventListener("input", apply);
    clear.addEventListener("click", () => {
      for (const field of [...selects.values(), search]) field.value = "";
      apply();
      search.focus();
    });
    more.addEventListener("click", () => {
      const before = list.children.length;
      extend();
      const first = list.children[before];
      if (first) { first.tabIndex = -1; first.focus({ preventScroll: true }); }
    });
    apply();
  }

  document.querySelectorAll(".dialogues").forEach(setUp);
})();
