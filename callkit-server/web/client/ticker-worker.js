// One message per second, from a thread whose timers are not slowed down with the page.

setInterval(() => postMessage(null), 1000);
