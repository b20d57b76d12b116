// What the page does without the server: keys, a sign of life, and words for when the server or the scene is gone.
(() => {
  const tab = new URLSearchParams(location.search).get("tab") || "";
  const KEYS = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "PageUp", "PageDown", "Delete", "Backspace", "Escape"];
  let boot = null, touched = 0;

  const trigger = (name, args) => window.trame && window.trame.trigger(name, args || []);

  document.addEventListener("keydown", (event) => {
    const where = event.target;
    const typing = where.matches && where.matches("input:not([type=checkbox]), select, textarea, [role=slider]");
    if (!typing && KEYS.includes(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      trigger("key", [event.key]);
    }
  });
  // A view takes the keys once it is clicked, also where a control had them before.
  document.addEventListener("pointerdown", (event) => {
    const view = event.target.closest && event.target.closest(".view");
    if (view && document.activeElement && !event.target.closest("button, input")) document.activeElement.blur();
  }, true);
  for (const kind of ["pointerdown", "keydown", "wheel"]) {
    document.addEventListener(kind, () => {
      if (Date.now() - touched > 30000) { touched = Date.now(); trigger("touch"); }
    }, { capture: true, passive: true });
  }

  function veil(text, action, address) {
    let over = document.getElementById("lefusion-veil");
    if (!text) { if (over) over.remove(); return; }
    if (!over) { over = document.createElement("div"); over.id = "lefusion-veil"; document.body.append(over); }
    over.innerHTML = "<div role='alert'><p></p></div>";
    over.querySelector("p").textContent = text;
    if (action) {
      const form = document.createElement("form");
      form.method = address === "take-over" ? "post" : "get";
      form.action = address;
      const button = document.createElement("button");
      button.textContent = action;
      form.append(button);
      over.firstChild.append(form);
    }
  }

  async function look() {
    try {
      const answer = await fetch("alive?tab=" + encodeURIComponent(tab), { cache: "no-store" });
      if (answer.status === 403) return veil("This page needs its token again: open the whole address that lefusion app printed.");
      const facts = await answer.json();
      if (boot === null) boot = facts.boot;
      if (facts.boot !== boot) return veil("The app was started anew; the scene of before is gone.", "Begin again", "./");
      if (facts.ended) return veil("The session ended because nobody used it. The scene is still there.", "Go on", "./");
      if (!facts.mine) return veil("This scene is open in another window now.", "Use it here", "take-over");
      veil("");
    } catch (error) {
      veil("The connection to the app is lost. If it was stopped, start it again; this page waits for it.");
    }
  }
  setInterval(look, 2000);
  look();
})();
