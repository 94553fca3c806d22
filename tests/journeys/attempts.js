// Body of an async function with `at`, an origin: all that a page can send there by itself, and all that it has to ask
// for first. Returns what it could read, by attempt.
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
    setTimeout(no, 1000);
  });
}

const forms = [["get", "application/x-www-form-urlencoded"], ["post", "application/x-www-form-urlencoded"],
  ["post", "multipart/form-data"], ["post", "text/plain"]];
for (const [method, enctype] of forms) {
  tries[`form ${method} ${enctype}`] = () => new Promise((yes, no) => {
    const frame = document.createElement("iframe");
    const form = document.createElement("form");
    frame.name = `of-form-${Object.keys(tries).indexOf(`form ${method} ${enctype}`)}`;
    Object.assign(form, { action: at + "/form", method, enctype, target: frame.name });
    form.innerHTML = "<input name=a value=b>";
    document.body.append(frame, form);
    frame.onload = () => { if (!frame.contentDocument) yes(""); };
    form.submit();
    setTimeout(no, 1000);
  });
}

const read = {};
await Promise.allSettled(Object.entries(tries).map(async ([name, attempt]) => {
  const seen = await attempt();
  if (seen) read[name] = seen;
}));
return read;
