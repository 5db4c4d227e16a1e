"use strict";
// Lists the routes of /openapi.json. Texts are set as text, never as markup.

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function row(table, first, second) {
  const line = table.insertRow();
  line.insertCell().append(element("code", "", first));
  line.insertCell().textContent = second;
}

function route(path, method, operation) {
  const details = element("details");
  const summary = element("summary");
  summary.append(
    element("span", "method", method.toUpperCase()),
    element("code", "path", path),
    element("span", "meaning", operation.summary || ""),
  );
  const table = element("table");
  for (const parameter of operation.parameters || []) {
    row(table, parameter.name, `${parameter.in}: ${parameter.description || ""}`);
  }
  const media = Object.entries((operation.requestBody || {}).content || {});
  for (const [type, content] of media) {
    const reference = ((content.schema || {}).$ref || "").split("/").pop();
    row(table, "body", `${type}, ${reference}`);
  }
  for (const [status, response] of Object.entries(operation.responses || {})) {
    row(table, status, response.description || "");
  }
  details.append(summary, table);
  return details;
}

async function show() {
  document.getElementById("example").firstChild.textContent = `curl -s ${location.origin}/v1/agents`;
  const [api, health] = await Promise.all([
    fetch("/openapi.json").then((response) => response.json()),
    fetch("/health").then((response) => response.json()),
  ]);
  document.getElementById("state").textContent = `Version ${health.version}, ${health.state}.`;
  const groups = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of ["get", "post"].filter((name) => item[name])) {
      const tag = (item[method].tags || ["other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(route(path, method, item[method]));
    }
  }
  const routes = document.getElementById("routes");
  routes.replaceChildren();
  for (const [tag, entries] of groups) {
    routes.append(element("h3", "", tag), ...entries);
  }
}

show().catch((error) => {
  document.getElementById("state").textContent = `The document of the API cannot be read: ${error}`;
});
