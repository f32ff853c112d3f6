// What the page does without the server: the key, the keyboard, pictures in full size, labels.

// The visitor's key is kept for a reload of this tab, and nowhere else: not in a cookie, which other
// ports of the host would get, and not in what outlives the tab.
window.sdKey = {
  keep: (key) => sessionStorage.setItem("sd-key", key || ""),
  kept: () => sessionStorage.getItem("sd-key") || "",
};

// What was sent to a tab to be made is made as if its button were pressed, once that is there.
window.sdMake = (tab, tries = 40) => {
  if (!tab) return;
  const make = document.getElementById(`sd-${tab}-make`);
  if (make && make.offsetParent !== null) make.click();
  else if (tries) setTimeout(() => window.sdMake(tab, tries - 1), 50);
};

(() => {
  const shown = (element) => element.offsetParent !== null;
  const button = (ending) =>
    [...document.querySelectorAll(`button[id^="sd-"][id$="-${ending}"]`)].find(
      (one) => shown(one) && !one.disabled,
    );

  // Ctrl+Enter makes, Esc cancels; a picture in full size is closed first.
  document.addEventListener(
    "keydown",
    (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        const make = button("make");
        if (!make) return;
        event.preventDefault();
        event.stopPropagation();
        make.click();
      } else if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
        button("cancel")?.click();
      }
    },
    true,
  );

  document.addEventListener("click", (event) => {
    const picture = event.target.closest?.("a.sd-picture");
    if (picture && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      enlarge(picture.querySelector("img"));
    }
    // Where the pictures are below the form, they come into sight.
    const make = event.target.closest?.('button[id$="-make"]');
    if (make && window.innerWidth < 800) {
      const stage = document.getElementById(make.id.replace(/make$/, "status"));
      stage?.scrollIntoView({ behavior: "smooth", block: "start" });
    }
  });

  function enlarge(image) {
    const dialog = document.createElement("dialog");
    dialog.className = "sd-large";
    dialog.setAttribute("aria-label", "The picture in full size");
    const large = document.createElement("img");
    large.src = image.src;
    large.alt = image.alt;
    const close = document.createElement("button");
    close.type = "button";
    close.textContent = "Close";
    dialog.append(large, close);
    dialog.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }

  // Gradio says nothing to the visitor where a file is too large for it.
  window.addEventListener("unhandledrejection", (event) => {
    const limit = /File size exceeded maximum allowed size of (\d+)/.exec(String(event.reason));
    if (limit) say(`This picture is too large: at most ${Math.floor(limit[1] / 2 ** 20)} MB.`);
  });
  window.addEventListener("error", (event) => {
    if (/File size exceeded/.test(event.message)) say("This picture is too large.");
  });

  function say(sentence) {
    const said = document.createElement("p");
    said.className = "sd-wrong sd-said";
    said.setAttribute("role", "alert");
    said.textContent = sentence;
    document.body.append(said);
    setTimeout(() => said.remove(), 8000);
  }
})();
