// What the page does by itself in the browser: it asks while typing rests, zooms, and listens to keys.
() => {
  const RESTS = 700; // milliseconds without a letter
  const find = (selector) => document.querySelector(selector);
  const press = (selector) => find(selector)?.click();
  const field = () => find("#expressions textarea");

  let typing;
  document.addEventListener("input", (event) => {
    if (event.target !== field()) return;
    clearTimeout(typing);
    typing = setTimeout(() => {
      if (field()?.value.trim() && find("#prediction img")) press("#segment");
    }, RESTS);
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("#segment")) clearTimeout(typing);
  });

  let zoom = 1;
  window.sspZoom = (factor) => {
    zoom = factor ? Math.min(8, Math.max(1, zoom * factor)) : 1;
    find("#prediction")?.style.setProperty("--zoom", zoom);
    find("#prediction")?.classList.toggle("zoomed", zoom > 1);
  };
  // Gradio takes an image for no larger than it is by itself; a click on a larger one is told as it would be there.
  document.addEventListener(
    "click",
    (event) => {
      const image = event.isTrusted && event.target.closest?.("#prediction button")?.querySelector("img");
      if (!image) return;
      const box = image.getBoundingClientRect();
      const scale = box.width / image.naturalWidth;
      if (scale <= 1) return;
      event.stopImmediatePropagation();
      const clientX = box.left + (box.width - image.naturalWidth) / 2 + (event.clientX - box.left) / scale;
      const clientY = box.top + (box.height - image.naturalHeight) / 2 + (event.clientY - box.top) / scale;
      event.target.dispatchEvent(new MouseEvent("click", { bubbles: true, clientX, clientY }));
    },
    true,
  );
  window.sspDark = () => document.body.classList.toggle("dark");

  const KEYS = {
    "/": () => field()?.focus(),
    u: () => press("#undo"),
    c: () => press("#clear"),
    d: () => window.sspDark(),
    "+": () => window.sspZoom(1.5),
    "-": () => window.sspZoom(1 / 1.5),
    0: () => window.sspZoom(0),
  };
  document.addEventListener("keydown", (event) => {
    const inField = event.target.closest?.("textarea, input:not([type=radio]), select, [contenteditable]");
    if (event.key === "Escape" && inField) return event.target.blur();
    if (inField || event.ctrlKey || event.metaKey || event.altKey) return;
    const choice = document.querySelectorAll("#target input[type=radio]")[event.key - 1];
    const action = KEYS[event.key] ?? (choice && (() => choice.click()));
    if (!action) return;
    event.preventDefault();
    action();
  });
}
