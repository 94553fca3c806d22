// Body of an async function with `at`, an origin, and `patience` in milliseconds: all that a page can send there by
// itself, and all that it has to ask for first. Returns what it could read, by attempt.
const text = (path, options) => () => fetch(at + path, options).then(answer => answer.text());
const opened = made => new Promise((yes, no) => {
  made.onopen = () => yes("open");
  made.onerror = () => { made.close(); no(); };
});
const tries = {
  fetch: text("/fetch"),
  opaque: text("/opaque", { mode: "no-cors", credentials: "include" }),
  opaquePost: text("/opaque-post", { mode: "no-cors", method: "POST", body: "x=1" }),
  sameOrigin: text("/same-origin", { mode: "same-origin" }),
  plain: text("/plain", { method: "POST", body: "x=1" }),
  json: text("/json", { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" }),
  put: text("/put", { method: "PUT", body: "1" }),
  remove: text("/remove", { method: "DELETE" }),
  header: text("/header", { headers: { "X-A": "b", Authorization: "Bearer x" } }),
  hidden: text("/hidden", { referrerPolicy: "no-referrer", credentials: "omit" }),
  beacon: async () => { navigator.sendBeacon(at + "/beacon", "x=1"); },
  events: () => opened(new EventSource(at + "/events")),
  socket: () => opened(new WebSocket(at.replace("http", "ws") + "/socket")),
  module: () => import(at + "/module"),
  xhr: () => new Promise((yes, no) => {
    const request = new XMLHttpRequest();
    request.onload = () => yes(request.responseText);
    request.onerror = no;
    request.open("GET", at + "/xhr");
    request.send();
  }),
  ping: async () => {
    const link = Object.assign(document.createElement("a"), { href: "#", ping: at + "/ping" });
    document.body.append(link);
    link.click();
  },
  prefetch: async () => {
    document.head.append(Object.assign(document.createElement("link"), { rel: "prefetch", href: at + "/prefetch" }));
  },
  background: async () => { document.body.style.background = `url(${at}/background)`; },
  worker: () => new Promise((yes, no) => {
    const worker = new Worker(at + "/worker.js");
    worker.onmessage = () => yes("message");
    worker.onerror = no;
  }),
};

const content = made => {
  try {
    return made.contentDocument.body.innerHTML;
  } catch {
    return "";
  }
};
const sources = { img: "src", script: "src", iframe: "src", video: "src", embed: "src", object: "data", link: "href" };
for (const [tag, key] of Object.entries(sources)) {
  tries[tag] = () => new Promise((yes, no) => {
    const made = document.createElement(tag);
    if (tag === "link") made.rel = "stylesheet";
    made.onload = () => yes(content(made));
    made.onerror = no;
    made[key] = `${at}/${tag}`;
    document.body.append(made);
    setTimeout(no, patience);
  });
}

const forms = [["get", "application/x-www-form-urlencoded"], ["post", "application/x-www-form-urlencoded"],
  ["post", "multipart/form-data"], ["post", "text/plain"]];
for (const [method, enctype] of forms) {
  tries[`form ${method} ${enctype}`] = () => new Promise((yes, no) => {
    const frame = document.createElement("iframe");
    const form = document.createElement("form");
    frame.name = `of ${method} ${enctype}`;
    Object.assign(form, { action: at + "/form", method, enctype, target: frame.name });
    form.innerHTML = "<input name=a value=b>";
    document.body.append(frame, form);
    frame.onload = () => { if (!frame.contentDocument) yes(""); };
    form.submit();
    setTimeout(no, patience);
  });
}

const read = {};
const all = () => Promise.allSettled(Object.entries(tries).map(async ([name, attempt]) => {
  delete tries[name];
  const seen = await attempt();
  if (seen) read[name] = seen;
}));
await all();
// At last, since nothing is played any more behind it.
tries.window = () => new Promise((yes, no) => {
  const made = open(at + "/window");
  const end = performance.now() + patience;
  const look = () => {
    try {
      if (made.location.href !== "about:blank") yes(made.document.body.innerText);
      else if (performance.now() < end) return setTimeout(look, 10);
    } catch { /* it has loaded, and is not ours to read */ }
    made.close();
    no();
  };
  look();
});
await all();
return read;
