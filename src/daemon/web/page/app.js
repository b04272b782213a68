"use strict";
const status = document.getElementById("status");
const screen = document.getElementById("screen");
const login = document.getElementById("login");

async function start() {
  const answer = await fetch("/api/state");
  login.hidden = answer.status !== 401;
  if (!answer.ok) {
    status.textContent = (await answer.json()).error;
    return;
  }
  const events = new EventSource("/api/events");
  let shown = null;
  events.addEventListener("state", (event) => {
    const state = JSON.parse(event.data);
    status.textContent = state.trouble ?? state.status;
    if (shown !== state.shown) {
      shown = state.shown;
      screen.src = `/api/screen.png?${state.version}`;
      screen.hidden = false;
    }
  });
}

login.addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = new FormData(login).get("token");
  await fetch("/api/login", { method: "POST", body: JSON.stringify({ token }) });
  start();
});
start();
