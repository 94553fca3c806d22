// Body of an async function with `at`, an origin that allows this page: returns what it could read.
const read = [];
const headers = { "Content-Type": "application/json", "X-A": "b", Authorization: "Bearer theirs" };
const answer = await fetch(at + "/json", { method: "PUT", credentials: "include", body: "{}", headers });
read.push(answer.status, await answer.text(), answer.headers.get("x-of-api"));
read.push((await fetch(at + "/missing")).status);
const heard = made => new Promise((yes, no) => {
  made.onmessage = message => { made.close(); yes(message.data); };
  made.onerror = no;
});
read.push(await heard(new EventSource(at + "/events")));
read.push(await heard(new WebSocket(at.replace("http", "ws") + "/socket")));
return read;
