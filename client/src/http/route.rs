//! The routes of the bridge, by the subjects that NATS has for the same requests.

use greenroom_protocol::IngressSubject;
use greenroom_protocol::subject::{CatalogueEntry, CatalogueKind, RunVerb};
use reqwest::{Method, Url};

/// A route: its method, and the segments of its path.
pub(super) struct Route {
    pub(super) method: Method,
    segments: Vec<String>,
}

impl Route {
    /// The route of a request.
    pub(super) fn of(subject: &IngressSubject) -> Self {
        let kind = |kind: CatalogueKind| kind.as_str();
        match subject {
            IngressSubject::Agent(agent) => Self::post(&["agents", agent.as_str(), "execute"]),
            IngressSubject::Workflow(workflow) => Self::post(&["workflows", workflow.as_str(), "run"]),
            IngressSubject::Teams => Self::post(&["teams", "execute"]),
            IngressSubject::Run { run, verb: RunVerb::Get } => Self::get(&["runs", run.as_str()]),
            IngressSubject::Run { run, verb: RunVerb::Events } => Self::get(&["runs", run.as_str(), "events"]),
            IngressSubject::Run { run, verb: verb @ (RunVerb::Cancel | RunVerb::Resume | RunVerb::Signal) } => {
                Self::post(&["runs", run.as_str(), verb.as_str()])
            }
            IngressSubject::CatalogueList(list) => Self::get(&[kind(*list)]),
            IngressSubject::CatalogueEntry(entry) => match entry {
                CatalogueEntry::Agent(id) => Self::get(&[kind(CatalogueKind::Agents), id.as_str()]),
                CatalogueEntry::Workflow(id) => Self::get(&[kind(CatalogueKind::Workflows), id.as_str()]),
                CatalogueEntry::Team(id) => Self::get(&[kind(CatalogueKind::Teams), id.as_str()]),
            },
            IngressSubject::Requests => Self::post(&["requests"]),
            IngressSubject::ArtifactUpload => Self::post(&["artifacts"]),
        }
    }

    fn get(segments: &[&str]) -> Self {
        Self::new(Method::GET, segments)
    }

    fn post(segments: &[&str]) -> Self {
        Self::new(Method::POST, segments)
    }

    fn new(method: Method, segments: &[&str]) -> Self {
        let segments = ["v1"].iter().chain(segments).map(|segment| (*segment).to_owned()).collect();
        Self { method, segments }
    }

    /// The URL of the route at a bridge.
    pub(super) fn url(&self, base: &Url) -> Url {
        let mut url = base.clone();
        // The base of a bridge has segments: that was checked.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(&self.segments);
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::subject::DEFAULT_PREFIX;
    use greenroom_protocol::{AgentId, RunId, Subjects};

    use super::*;

    #[test]
    fn each_subject_has_a_route_below_the_address_of_the_bridge() {
        let subjects = Subjects::new(DEFAULT_PREFIX).unwrap();
        let base = Url::parse("https://h.example/below/").unwrap();
        let agent = subjects.parse(&subjects.agent(&AgentId::new("echo.v1").unwrap())).unwrap();
        let route = Route::of(&agent);
        assert_eq!(route.method, Method::POST);
        assert_eq!(route.url(&base).as_str(), "https://h.example/below/v1/agents/echo.v1/execute");
        let root = Url::parse("http://127.0.0.1:8000").unwrap();
        for verb in RunVerb::ALL {
            let subject = subjects.parse(&subjects.run(&RunId::new("run_1").unwrap(), verb)).unwrap();
            let url = Route::of(&subject).url(&root);
            assert!(url.path().starts_with("/v1/runs/run_1"), "{url}");
        }
    }
}
