// What a reader chose, kept behind the anchor of the address (#curves&filter=lr&x=step), so that a copied address
// shows the same: filter, sorting, hidden variants, x axis, zoom.
const chosen = (() => {
  "use strict";
  const parts = () => location.hash.slice(1).split("&");
  const values = new URLSearchParams(parts().slice(1).join("&"));

  function keep(anchor = parts()[0]) {
    const rest = values.toString();
    const hash = rest ? `#${anchor}&${rest}` : `#${anchor}`;
    if (hash !== location.hash) history.replaceState(null, "", hash);
  }

  // `anchor` is the section in which the choice was made, by default the one that the address has.
  function set(key, list, anchor) {
    values.delete(key);
    for (const value of list) values.append(key, value);
    keep(anchor);
  }

  function goTo(anchor) {
    const target = document.getElementById(anchor);
    if (target?.tagName === "DETAILS") target.open = true;
    target?.scrollIntoView();
  }

  // A link inside the page names an anchor alone; the choices go with it. An address with other choices was pasted.
  window.addEventListener("hashchange", () => {
    const [anchor, ...rest] = parts();
    if (rest.length) return location.reload();
    keep(anchor);
    goTo(anchor);
  });
  window.addEventListener("load", () => {
    for (const heading of document.querySelectorAll("h2, h3[id], details[id] > summary")) {
      const link = Object.assign(document.createElement("a"), { className: "anchor", textContent: "#" });
      link.href = `#${heading.id || heading.parentElement.id}`;
      link.setAttribute("aria-label", `Link to ${heading.textContent.trim()}`);
      heading.append(link);
    }
    if (location.hash) goTo(parts()[0]);
  });
  return { get: (key) => values.get(key) ?? "", all: (key) => values.getAll(key), set };
})();
