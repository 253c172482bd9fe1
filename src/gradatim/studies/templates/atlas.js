// Search and filters of the atlas. Without this script the whole list is there to read.
// What is chosen stands in the address behind the #, as in #q=noise&kind=objectives,targets.
(() => {
  "use strict";
  const at = (id) => document.getElementById(id);
  const groups = ["kind", "verdict", "implemented"];
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const cards = [...document.querySelectorAll("#papers > li")].map((item) => ({
    item,
    text: plain(item.dataset.text),
    has: Object.fromEntries(groups.map((group) => [group, item.dataset[group].split(" ")])),
  }));
  const chips = [...document.querySelectorAll(".chip")].map((button) => ({
    button,
    group: button.dataset.group,
    value: button.dataset.value,
    about: button.dataset.about,
    count: button.querySelector(".count"),
  }));
  const search = at("search");
  const chosen = Object.fromEntries(groups.map((group) => [group, new Set()]));

  // A group lets a card pass if nothing, or one of the card's values, is chosen in it.
  const passes = (card, group) =>
    !chosen[group].size || card.has[group].some((value) => chosen[group].has(value));

  function show() {
    const words = plain(search.value).split(/\s+/).filter(Boolean);
    const found = cards.filter((card) => words.every((word) => card.text.includes(word)));
    const shown = new Set(found.filter((card) => groups.every((group) => passes(card, group))));
    for (const card of cards) card.item.hidden = !shown.has(card);
    for (const chip of chips) {
      const others = groups.filter((group) => group !== chip.group);
      const count = found.filter(
        (card) => card.has[chip.group].includes(chip.value) && others.every((group) => passes(card, group)),
      ).length;
      chip.count.textContent = count;
      chip.button.classList.toggle("none", !count);
      chip.button.setAttribute("aria-pressed", String(chosen[chip.group].has(chip.value)));
    }
    const kinds = chips.filter((chip) => chip.about && chosen[chip.group].has(chip.value));
    const about = kinds.length === 1 ? ` · ${kinds[0].value}: ${kinds[0].about}` : "";
    const total = `${cards.length} studies`;
    at("state").textContent = (shown.size === cards.length ? total : `${shown.size} of ${total}`) + about;
    at("nothing").hidden = shown.size > 0;
    at("clear").hidden = !words.length && groups.every((group) => !chosen[group].size);
  }

  function read() {
    const fields = new URLSearchParams(location.hash.slice(1));
    search.value = fields.get("q") || "";
    for (const group of groups) {
      const known = new Set(chips.filter((chip) => chip.group === group).map((chip) => chip.value));
      const wanted = (fields.get(group) || "").split(",");
      chosen[group] = new Set(wanted.filter((value) => known.has(value)));
    }
    show();
  }

  function write() {
    const fields = [["q", search.value.trim()], ...groups.map((group) => [group, [...chosen[group]].join(",")])];
    const told = fields.filter(([, value]) => value).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
    const address = location.pathname + location.search + (told.length ? `#${told.join("&").replaceAll("%2C", ",")}` : "");
    show();
    history.replaceState(null, "", address);
  }

  function clear() {
    search.value = "";
    for (const group of groups) chosen[group].clear();
    write();
    search.focus();
  }

  search.addEventListener("input", write);
  at("clear").addEventListener("click", clear);
  for (const chip of chips) {
    chip.button.addEventListener("click", () => {
      if (!chosen[chip.group].delete(chip.value)) chosen[chip.group].add(chip.value);
      write();
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/" && document.activeElement !== search) {
      event.preventDefault();
      search.focus();
      search.select();
    } else if (event.key === "Escape" && document.activeElement === search && search.value) {
      event.preventDefault();
      search.value = "";
      write();
    }
  });
  // Other fragments, as that of the link which skips to the content, choose nothing.
  addEventListener("hashchange", () => {
    if (!location.hash || location.hash.includes("=")) read();
  });
  at("tools").hidden = false;
  read();
})();
