//! The API of clients: jobs are added, watched, streamed and cancelled. It responds as the `runpod` package expects.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::{KEY, Reaction, RecordedCall, State};

/// How long `/runsync` waits.
const SYNC_WAIT: Duration = Duration::from_secs(60);

pub(super) async fn react(state: &State, call: &RecordedCall) -> Reaction {
    let authorization = call.header("authorization").unwrap_or_default();
    if authorization.strip_prefix("Bearer ").unwrap_or(authorization) != KEY {
        return Reaction::Json(401, json!({ "error": "unauthorized" }));
    }
    let path = call.target.split('?').next().unwrap_or_default();
    let words: Vec<&str> = path.split('/').skip(3).collect();
    match (call.method.as_str(), words.as_slice()) {
        ("POST", ["run"]) => match add(state, call, "") {
            Some(id) => Reaction::Json(200, json!({ "id": id, "status": "IN_QUEUE" })),
            None => Reaction::Json(400, json!({ "error": "no input" })),
        },
        ("POST", ["runsync"]) => match add(state, call, "sync-") {
            Some(id) => run_sync(state, &id).await,
            None => Reaction::Json(400, json!({ "error": "no input" })),
        },
        ("GET" | "POST", ["status", id]) => Reaction::Json(200, status(state, id)),
        ("GET" | "POST", ["stream", id]) => {
            let parts = state.queue().read_parts(id);
            let parts: Vec<Value> = parts.into_iter().map(|part| json!({ "output": part })).collect();
            Reaction::Json(200, json!({ "id": id, "status": state.queue().status(id), "stream": parts }))
        }
        ("POST", ["cancel", id]) => {
            state.queue().cancel(id);
            state.changed.notify_waiters();
            Reaction::Json(200, json!({ "id": id, "status": "CANCELLED" }))
        }
        ("GET", ["health"]) => {
            let (waiting, running, completed) = state.queue().counts();
            Reaction::Json(
                200,
                json!({
                    "jobs": { "completed": completed, "failed": 0, "inProgress": running, "inQueue": waiting, "retried": 0 },
                    "workers": { "idle": 0, "running": 1 },
                }),
            )
        }
        _ => Reaction::Json(404, json!({ "error": "not found" })),
    }
}

/// Adds the job of a request; returns its id.
fn add(state: &State, call: &RecordedCall, prefix: &str) -> Option<String> {
    let input = call.json().get("input")?.clone();
    let mut queue = state.queue();
    queue.next_id += 1;
    let id = format!("{prefix}{:08}-e1", queue.next_id);
    queue.add(json!({ "id": id, "input": input, "webhook": null }));
    drop(queue);
    state.changed.notify_waiters();
    Some(id)
}

async fn run_sync(state: &State, id: &str) -> Reaction {
    let end = Instant::now() + SYNC_WAIT;
    loop {
        let changed = state.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let has_result = state.queue().result(id).is_some();
        if has_result || timeout_at(end, changed).await.is_err() {
            return Reaction::Json(200, status(state, id));
        }
    }
}

fn status(state: &State, id: &str) -> Value {
    let queue = state.queue();
    let mut document = json!({ "id": id, "status": queue.status(id) });
    let result = queue.result(id);
    let output = result.as_ref().and_then(|result| result.get("output")).cloned().or_else(|| queue.progress(id));
    let members = [("output", output), ("error", result.and_then(|result| result.get("error").cloned()))];
    if let Some(document) = document.as_object_mut() {
        for (name, value) in members.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            document.insert(name.to_owned(), value);
        }
    }
    document
}
