// Exchanges the token behind the address's # for a session; a click is wanted, so that nothing that only looks uses it up.
"use strict";

const byId = (id) => document.getElementById(id);
const token = location.hash.slice(1);

function fail(why) {
  byId("error").textContent = why;
  byId("error").hidden = false;
}

async function join() {
  byId("start").disabled = true;
  try {
    const response = await fetch("/join", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token }),
    });
    if (response.ok) {
      location.replace("/");
      return;
    }
    byId("start").hidden = byId("text").hidden = true;
    fail((await response.json()).error);
  } catch {
    byId("start").disabled = false;
    fail("The server cannot be reached just now. Try again in a moment.");
  }
}

if (token) {
  history.replaceState(null, "", "/join");
  byId("start").hidden = false;
  byId("start").addEventListener("click", join);
  byId("start").focus();
} else {
  byId("text").textContent = "To compare answers here, open the link that you were sent. It works once; if you have used it in another browser, ask for a new one.";
}
