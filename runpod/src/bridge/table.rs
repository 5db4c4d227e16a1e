//! Every route of the bridge, with its handler. The router, the document of the API and the tests are made from this table.

use std::sync::Arc;

use axum::routing::{MethodRouter, get, post};

use super::route::{Access, BodyKind, ResponseKind, Route, Verb};
use super::state::Bridge;
use super::{artifacts, call, catalogue, events, mcp, page, probes, runs};

/// The responses of a route without others.
const REPLIES: &[(u16, ResponseKind, &str)] = &[(200, REPLY, OK)];
const REPLY: ResponseKind = ResponseKind::Json("Reply");
const REPLY_OR_EVENTS: ResponseKind = ResponseKind::JsonOrEvents("Reply");
const OK: &str = "The reply, which is a success.";
const ACCEPTED: &str = "The run was accepted; `Location` has its path.";
/// Problems of requests that do the work of agents.
const WORK: &[u16] = &[402, 404, 408, 409, 413, 415, 422, 500, 501, 502];
/// Problems of signals.
const SIGNAL: &[u16] = &[404, 408, 409, 413, 415, 422];
const LIST_QUERY: &[(&str, &str)] = &[
    ("status", "Only runs with this status."),
    ("workflow", "Only runs of this workflow."),
    ("after", "The cursor `next` of the previous page."),
    ("limit", "Rows at most."),
];
const WATCH_QUERY: &[(&str, &str)] = &[
    ("token", "A token for the events of this run, instead of the header `Authorization`."),
    ("after", "The number of the last event that the reader has; the header `Last-Event-ID` has priority."),
];
const MCP_QUERY: &[(&str, &str)] = &[
    ("category", "Only the agents of this category are listed as tools."),
    ("tools", "Only the tools with these names, separated by commas."),
];
const UPLOAD_QUERY: &[(&str, &str)] = &[("name", "The name of the file; required, and never a path.")];

/// The routes.
pub const ROUTES: &[Route] = &[
    Route {
        body: BodyKind::Required("InvokeBody"),
        responses: &[(200, REPLY_OR_EVENTS, OK)],
        problems: WORK,
        ..caller(Verb::Post, "/v1/agents/{agent_id}/execute", "execute_agent", "work", "Executes an agent.", || {
            post(call::execute_agent)
        })
    },
    Route {
        body: BodyKind::Optional("StartRunBody"),
        responses: &[(200, REPLY_OR_EVENTS, OK), (202, REPLY, ACCEPTED)],
        problems: WORK,
        ..caller(Verb::Post, "/v1/workflows/{workflow_id}/run", "run_workflow", "work", "Runs a workflow.", || {
            post(call::run_workflow)
        })
    },
    Route {
        body: BodyKind::Required("StartTeamBody"),
        responses: &[(200, REPLY_OR_EVENTS, OK), (202, REPLY, ACCEPTED)],
        problems: WORK,
        ..caller(
            Verb::Post,
            "/v1/teams/execute",
            "execute_team",
            "work",
            "Forms a team, which runs a workflow.",
            || post(call::execute_team),
        )
    },
    Route {
        body: BodyKind::Required("Envelope"),
        responses: &[(200, REPLY_OR_EVENTS, OK), (202, REPLY, ACCEPTED)],
        problems: WORK,
        ..caller(
            Verb::Post,
            "/v1/requests",
            "send_request",
            "work",
            "Sends any request of the protocol, as a whole envelope.",
            || post(call::request),
        )
    },
    Route {
        query: MCP_QUERY,
        body: BodyKind::Required("McpMessage"),
        responses: &[
            (200, ResponseKind::Json("McpMessage"), "The reply to a request."),
            (202, ResponseKind::Empty, "The message was a notification or a response."),
            (400, ResponseKind::JsonOrProblem("McpMessage"), "The message cannot be read, or contradicts a header."),
            (404, ResponseKind::JsonOrProblem("McpMessage"), "There is no such method."),
        ],
        problems: &[408, 413, 415],
        ..caller(
            Verb::Post,
            mcp::PATH,
            "call_mcp",
            "work",
            "Takes a message of the Model Context Protocol: agents and workflows are its tools.",
            || post(mcp::serve),
        )
    },
    Route {
        responses: &[(200, REPLY, "The list, and what is quarantined.")],
        ..caller(Verb::Get, "/v1/agents", "list_agents", "catalogue", "Lists the agents of the catalogue.", || {
            get(catalogue::agents)
        })
    },
    Route {
        responses: &[(200, REPLY, "The definition.")],
        problems: &[404, 422],
        ..caller(Verb::Get, "/v1/agents/{agent_id}", "get_agent", "catalogue", "Describes an agent.", || {
            get(catalogue::agent)
        })
    },
    Route {
        responses: &[(200, REPLY, "The list, and what is quarantined.")],
        ..caller(
            Verb::Get,
            "/v1/workflows",
            "list_workflows",
            "catalogue",
            "Lists the workflows of the catalogue.",
            || get(catalogue::workflows),
        )
    },
    Route {
        responses: &[(200, REPLY, "The definition.")],
        problems: &[404, 422],
        ..caller(Verb::Get, "/v1/workflows/{workflow_id}", "get_workflow", "catalogue", "Describes a workflow.", || {
            get(catalogue::workflow)
        })
    },
    Route {
        responses: &[(200, REPLY, "The list, and what is quarantined.")],
        ..caller(Verb::Get, "/v1/teams", "list_teams", "catalogue", "Lists the teams of the catalogue.", || {
            get(catalogue::teams)
        })
    },
    Route {
        responses: &[(200, REPLY, "The definition.")],
        problems: &[404, 422],
        ..caller(Verb::Get, "/v1/teams/{team_id}", "get_team", "catalogue", "Describes a team.", || {
            get(catalogue::team)
        })
    },
    Route {
        query: LIST_QUERY,
        responses: &[(200, REPLY, "The runs, and the cursor of the next page.")],
        problems: &[422],
        ..caller(
            Verb::Get,
            "/v1/runs",
            "list_runs",
            "runs",
            "Lists the runs of the caller's tenant, the newest first.",
            || get(runs::list),
        )
    },
    Route {
        responses: &[(200, REPLY, "The run with its steps; its reply once it has ended.")],
        problems: &[404],
        ..caller(Verb::Get, "/v1/runs/{run_id}", "get_run", "runs", "Describes a run.", || get(runs::get))
    },
    Route {
        body: BodyKind::Optional("EmptyBody"),
        problems: SIGNAL,
        ..caller(
            Verb::Post,
            "/v1/runs/{run_id}/cancel",
            "cancel_run",
            "runs",
            "Cancels a run and compensates its finished steps.",
            || post(runs::cancel),
        )
    },
    Route {
        body: BodyKind::Optional("EmptyBody"),
        problems: SIGNAL,
        ..caller(Verb::Post, "/v1/runs/{run_id}/resume", "resume_run", "runs", "Resumes an interrupted run.", || {
            post(runs::resume)
        })
    },
    Route {
        body: BodyKind::Required("ApprovalBody"),
        problems: SIGNAL,
        ..caller(
            Verb::Post,
            "/v1/runs/{run_id}/approve",
            "approve_step",
            "runs",
            "Approves a step that awaits approval, or a call of a tool for which it waits.",
            || post(runs::approve),
        )
    },
    Route {
        body: BodyKind::Required("RejectionBody"),
        problems: SIGNAL,
        ..caller(
            Verb::Post,
            "/v1/runs/{run_id}/reject",
            "reject_step",
            "runs",
            "Rejects a step that awaits approval, which fails it, or a call of a tool for which it waits.",
            || post(runs::reject),
        )
    },
    Route {
        body: BodyKind::Required("Signal"),
        problems: SIGNAL,
        ..caller(Verb::Post, "/v1/runs/{run_id}/signal", "signal_run", "runs", "Sends a signal to a run.", || {
            post(runs::signal)
        })
    },
    Route {
        access: Access::CallerOrToken,
        query: WATCH_QUERY,
        responses: &[
            (200, ResponseKind::Events, "The events, each with its number as `id`."),
            (204, ResponseKind::Empty, "The reader has the last event."),
        ],
        problems: &[404],
        ..caller(
            Verb::Get,
            "/v1/runs/{run_id}/events",
            "watch_run",
            "runs",
            "Streams the events of a run; the header `Last-Event-ID` continues a stream.",
            || get(events::watch),
        )
    },
    Route {
        body: BodyKind::Optional("EmptyBody"),
        responses: &[(201, ResponseKind::Json("EventsToken"), "The token, and the URL with it.")],
        problems: &[404, 408, 413, 415],
        ..caller(
            Verb::Post,
            "/v1/runs/{run_id}/events-token",
            "issue_events_token",
            "runs",
            "Issues a token for the events of a run, for a minute.",
            || post(events::issue_token),
        )
    },
    Route {
        query: UPLOAD_QUERY,
        body: BodyKind::Content,
        responses: &[(201, ResponseKind::Json("ArtifactRef"), "The reference, which a call has as an input.")],
        problems: &[413, 422],
        ..caller(
            Verb::Post,
            "/v1/artifacts",
            "upload_artifact",
            "artifacts",
            "Stores the body as an artifact of the caller's tenant.",
            || post(artifacts::upload),
        )
    },
    Route {
        responses: &[
            (200, ResponseKind::Octets, "The content."),
            (206, ResponseKind::Octets, "The range of the content."),
            (304, ResponseKind::Empty, "The caller has the content."),
        ],
        problems: &[404, 416],
        ..caller(
            Verb::Get,
            "/v1/artifacts/{hash}",
            "download_artifact",
            "artifacts",
            "Returns an artifact, or the range of the header `Range`.",
            || get(artifacts::download),
        )
    },
    Route {
        responses: &[(200, ResponseKind::Empty, "It does."), (204, ResponseKind::Empty, "It starts.")],
        problems: &[503],
        ..public(
            "/ping",
            "ping",
            "Replies by its status whether the process takes requests, as RunPod reads it.",
            || get(probes::ping),
        )
    },
    Route {
        responses: &[(200, ResponseKind::Json("Health"), "It lives.")],
        ..public("/health", "health", "Replies that the process lives.", || get(probes::health))
    },
    Route {
        responses: &[(200, ResponseKind::Json("Health"), "It lives.")],
        ..public("/healthz", "healthz", "Replies that the process lives.", || get(probes::health))
    },
    Route {
        responses: &[(200, ResponseKind::Json("Ready"), "It does.")],
        problems: &[503],
        ..public("/readyz", "readyz", "Replies whether the process takes requests.", || get(probes::ready))
    },
    Route {
        responses: &[(200, ResponseKind::Text("text/plain"), "The counters.")],
        ..public("/metrics", "metrics", "Returns counters in the text format of Prometheus.", || get(probes::metrics))
    },
    Route {
        responses: &[(200, ResponseKind::Json("OpenApi"), "The document.")],
        ..public("/openapi.json", "openapi", "Returns this document.", || get(page::openapi))
    },
    Route {
        responses: &[(200, ResponseKind::Text("text/html"), "The page.")],
        ..public("/", "page", "Shows the routes to people.", || get(page::page))
    },
    Route {
        responses: &[(200, ResponseKind::Text("text/css"), "The style.")],
        ..public("/assets/page.css", "page_style", "Returns the style of the page.", || get(page::style))
    },
    Route {
        responses: &[(200, ResponseKind::Text("text/javascript"), "The script.")],
        ..public("/assets/page.js", "page_script", "Returns the script of the page.", || get(page::script))
    },
];

/// A route of an authenticated caller, without a query and without a body, whose response is the reply of a pod.
const fn caller(
    method: Verb,
    path: &'static str,
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
    handler: fn() -> MethodRouter<Arc<Bridge>>,
) -> Route {
    let (access, body, responses) = (Access::Caller, BodyKind::None, REPLIES);
    Route { method, path, id, tag, summary, access, query: &[], body, responses, problems: &[], handler }
}

/// A route of the process itself, which needs no credential.
const fn public(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    handler: fn() -> MethodRouter<Arc<Bridge>>,
) -> Route {
    Route { access: Access::Public, ..caller(Verb::Get, path, id, "process", summary, handler) }
}
