// The visitor's key is kept for a reload of this tab, and nowhere else: not in a cookie, which other ports of
// the host would get, and not in what outlives the tab.
window.sdKey = {
  keep: (key) => sessionStorage.setItem("sd-key", key),
  kept: () => sessionStorage.getItem("sd-key") || "",
};
