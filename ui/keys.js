// What the page does without the server: the key, the keyboard, pictures in full size, labels.

// Gradio's sign that something loads counts tenths of seconds in each frame, seen or not. No event of
// ours has one (ui/page.py), but no option hides the one of the page itself, which Gradio takes down
// and never stops: a tenth of a processor, on a page that does nothing. Its clock is known by its text;
// a test says when another version of Gradio has another one.
((frame) => {
  const isClock = (callback) => /performance\.now\(\)-.*\/1e3/.test(String(callback));
  window.requestAnimationFrame = (callback) => (isClock(callback) ? 0 : frame(callback));
})(window.requestAnimationFrame.bind(window));

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

// How an order stands comes from the server of the page, and does not go through Gradio, which would
// take more of the processor for it than the picture does. "submit" has the page look itself.
window.sdWatch = (element, props, trigger, watch) => {
  let source = null;
  const begin = () => {
    source?.close();
    source = null;
    const ticket = element.querySelector("[data-ticket]")?.dataset.ticket;
    if (!ticket) return;
    const mine = (source = new EventSource(`watch/${ticket}`));
    const [status, pictures] = element.children;
    const isOurs = () => element.isConnected && mine === source;
    mine.onmessage = (event) => {
      if (!isOurs()) return mine.close();
      const told = JSON.parse(event.data);
      if (told.over) {
        mine.close();
        delete status.dataset.ticket;
      }
      show(status, told.status);
      show(pictures, told.pictures);
      if (!told.over) return;
      // The pictures first, then the buttons: the page has one thread, and so may the machine.
      const read = [...pictures.querySelectorAll("img")].map((image) => image.decode());
      Promise.race([Promise.allSettled(read), wait(2000)]).then(() => {
        if (!isOurs()) return;
        props.value = element.innerHTML;
        trigger("submit", { over: true });
      });
    };
    mine.onerror = () => {
      if (mine.readyState === EventSource.CONNECTING || mine !== source) return;
      wait(2000).then(() => isOurs() && trigger("submit", {}));
    };
  };
  // Only what differs is changed: pictures that are drawn anew flicker, and cost more than the rest.
  const show = (place, html) => {
    const wanted = document.createElement("template");
    wanted.innerHTML = html;
    const now = [...place.childNodes];
    const next = [...wanted.content.childNodes];
    if (now.length !== next.length) place.replaceChildren(...next);
    else now.forEach((one, index) => adapt(one, next[index]));
  };
  const adapt = (one, next) => {
    if (one.isEqualNode(next)) return;
    if (one.nodeName !== next.nodeName || one.childNodes.length !== next.childNodes.length)
      return one.replaceWith(next);
    if (one.nodeType === Node.TEXT_NODE) return void (one.data = next.data);
    for (const name of one.getAttributeNames())
      if (!next.hasAttribute(name)) one.removeAttribute(name);
    for (const { name, value } of next.attributes)
      if (one.getAttribute(name) !== value) one.setAttribute(name, value);
    // A list of its own: those that take a place here leave the one there.
    const nexts = [...next.childNodes];
    [...one.childNodes].forEach((child, index) => adapt(child, nexts[index]));
  };
  const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
  watch("value", begin);
  begin();
};

(() => {
  const shown = (element) => element.offsetParent !== null;
  const button = (ending) =>
    [...document.querySelectorAll(`button[id^="sd-"][id$="-${ending}"]`)].find(
      (one) => shown(one) && !one.disabled,
    );

  // Ctrl+Enter makes, Esc cancels; a picture in full size, or a list, is closed first.
  document.addEventListener(
    "keydown",
    (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        const make = button("make");
        if (!make) return;
        event.preventDefault();
        event.stopPropagation();
        make.click();
      } else if (event.key === "Escape") {
        const isFor = document.querySelector('dialog[open], input[aria-expanded="true"]');
        if (!isFor) button("cancel")?.click();
      }
    },
    true,
  );

  // A picture that is pasted, or dropped beside where Gradio waits for one, goes to where the tab
  // takes one. Gradio has a button for pasting alone, which browsers refuse without TLS; and browsers
  // show what is dropped anywhere else instead of the page.
  document.addEventListener("paste", (event) => take(event, event.clipboardData));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (event.defaultPrevented || !event.dataTransfer.files.length) return;
    event.preventDefault();
    take(event, event.dataTransfer);
  });

  function take(event, from) {
    const picture = [...(from?.files ?? [])].find((file) => file.type.startsWith("image/"));
    const input = [...document.querySelectorAll('input[type="file"]')].find((one) =>
      shown(one.parentElement),
    );
    if (!picture || !input) return;
    event.preventDefault();
    const given = new DataTransfer();
    given.items.add(picture);
    input.files = given.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }

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
