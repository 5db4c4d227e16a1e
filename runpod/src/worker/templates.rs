//! The addresses of a worker. Their templates are opaque: the rules of the Python SDK are followed byte for byte, including
//! an `&` after an address without a `?`, because the test harness of RunPod's Hub depends on it.

/// The part of the address of jobs that becomes that of a batch and of the cancellations.
const TAKE: &str = "/job-take/";
/// The bytes of the list of jobs in a heartbeat.
const PING_JOBS_BYTES_MAX: usize = 65_535;

/// The templates of the environment.
#[derive(Debug, Clone)]
pub struct UrlTemplates {
    get_job: String,
    post_output: String,
    post_stream: Option<String>,
    ping: Option<String>,
}

impl UrlTemplates {
    /// Creates them from the values of the environment.
    #[must_use]
    pub const fn new(get_job: String, post_output: String, post_stream: Option<String>, ping: Option<String>) -> Self {
        Self { get_job, post_output, post_stream, ping }
    }

    /// True if a stream has an address.
    #[must_use]
    pub const fn has_stream(&self) -> bool {
        self.post_stream.is_some()
    }

    /// True if heartbeats have an address.
    #[must_use]
    pub const fn has_ping(&self) -> bool {
        self.ping.is_some()
    }

    /// The address that is polled for at most this many jobs.
    #[must_use]
    pub fn take(&self, worker: &str, jobs_max: usize, has_jobs: bool) -> String {
        let base = self.take_base(worker);
        let in_progress = u8::from(has_jobs);
        if jobs_max > 1 {
            let base = base.replace(TAKE, "/job-take-batch/");
            format!("{base}&batch_size={jobs_max}&job_in_progress={in_progress}")
        } else {
            format!("{base}&job_in_progress={in_progress}")
        }
    }

    /// The address that is polled for cancellations; `None` if it cannot be derived.
    #[must_use]
    pub fn stop(&self, worker: &str) -> Option<String> {
        let base = self.take_base(worker);
        base.contains(TAKE).then(|| base.replace(TAKE, "/job-stop/"))
    }

    /// The address of a result or of progress.
    #[must_use]
    pub fn done(&self, worker: &str, job: &str, is_stream: bool) -> String {
        format!("{}&isStream={is_stream}", replace_ids(&self.post_output, worker, job))
    }

    /// The address of a part of a stream. Its `isStream` is always `false`.
    #[must_use]
    pub fn stream(&self, worker: &str, job: &str) -> Option<String> {
        let template = self.post_stream.as_deref()?;
        Some(format!("{}&isStream=false", replace_ids(template, worker, job)))
    }

    /// The address of a heartbeat with the jobs of the worker.
    #[must_use]
    pub fn ping(&self, worker: &str, jobs: &[String], version: &str) -> Option<String> {
        let base = self.ping.as_deref()?.replace("$RUNPOD_POD_ID", worker);
        let jobs = join_jobs(jobs);
        let mut query = Vec::new();
        if !jobs.is_empty() {
            query.push(("job_id", jobs));
        }
        query.push(("runpod_version", version.to_owned()));
        Some(with_query(base, &query))
    }

    /// The address of the report that the worker cannot work.
    #[must_use]
    pub fn unhealthy(&self, worker: &str, check: &str, reason: &str, version: &str) -> Option<String> {
        let base = self.ping.as_deref()?.replace("$RUNPOD_POD_ID", worker);
        let reason: String = reason.chars().take(256).collect();
        let query = [
            ("status", "unhealthy".to_owned()),
            ("check", check.to_owned()),
            ("reason", reason),
            ("runpod_version", version.to_owned()),
        ];
        Some(with_query(base, &query))
    }

    /// Only `$ID` is replaced here, as the SDK does.
    fn take_base(&self, worker: &str) -> String {
        self.get_job.replace("$ID", worker)
    }
}

fn replace_ids(template: &str, worker: &str, job: &str) -> String {
    template.replace("$RUNPOD_POD_ID", worker).replace("$ID", job)
}

/// The ids with commas between them, as many as fit.
fn join_jobs(jobs: &[String]) -> String {
    let mut joined = String::new();
    for job in jobs {
        if joined.len() + job.len() + 1 > PING_JOBS_BYTES_MAX {
            break;
        }
        if !joined.is_empty() {
            joined.push(',');
        }
        joined.push_str(job);
    }
    joined
}

fn with_query(mut base: String, query: &[(&str, String)]) -> String {
    for (name, value) in query {
        base.push(if base.contains('?') { '&' } else { '?' });
        base.push_str(name);
        base.push('=');
        push_encoded(&mut base, value);
    }
    base
}

/// Encodes a value of a query as HTML forms do.
fn push_encoded(text: &mut String, value: &str) {
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => text.push(char::from(byte)),
            b' ' => text.push('+'),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::UrlTemplates;

    fn templates(base: &str, query: &str) -> UrlTemplates {
        UrlTemplates::new(
            format!("{base}/job-take/$ID{query}"),
            format!("{base}/job-done/$RUNPOD_POD_ID/$ID{query}"),
            Some(format!("{base}/job-stream/$RUNPOD_POD_ID/$ID{query}")),
            Some(format!("{base}/ping/$RUNPOD_POD_ID{query}")),
        )
    }

    #[test]
    fn addresses_have_the_bytes_of_the_sdk() {
        let urls = templates("https://h/v2/ep", "?gpu=NVIDIA+A40");
        assert_eq!(urls.take("w", 1, false), "https://h/v2/ep/job-take/w?gpu=NVIDIA+A40&job_in_progress=0");
        let batch = "https://h/v2/ep/job-take-batch/w?gpu=NVIDIA+A40&batch_size=3&job_in_progress=1";
        assert_eq!(urls.take("w", 3, true), batch);
        assert_eq!(urls.stop("w").unwrap(), "https://h/v2/ep/job-stop/w?gpu=NVIDIA+A40");
        assert_eq!(urls.done("w", "j", true), "https://h/v2/ep/job-done/w/j?gpu=NVIDIA+A40&isStream=true");
        assert_eq!(urls.stream("w", "j").unwrap(), "https://h/v2/ep/job-stream/w/j?gpu=NVIDIA+A40&isStream=false");
        let jobs = ["c2".to_owned(), "c1".to_owned()];
        let ping = "https://h/v2/ep/ping/w?gpu=NVIDIA+A40&job_id=c2%2Cc1&runpod_version=rust-greenroom%2F0.1.0";
        assert_eq!(urls.ping("w", &jobs, "rust-greenroom/0.1.0").unwrap(), ping);
    }

    #[test]
    fn an_address_without_a_query_is_not_repaired() {
        let urls = UrlTemplates::new(
            "http://0.0.0.0:80/v2/IDE/job-take/$RUNPOD_POD_ID".to_owned(),
            "http://0.0.0.0:80/v2/IDE/job-done/$RUNPOD_POD_ID/$ID?gpu=$RUNPOD_GPU_TYPE_ID".to_owned(),
            None,
            None,
        );
        let take = "http://0.0.0.0:80/v2/IDE/job-take/$RUNPOD_POD_ID&job_in_progress=0";
        assert_eq!(urls.take("w", 1, false), take);
        let done = "http://0.0.0.0:80/v2/IDE/job-done/w/j?gpu=$RUNPOD_GPU_TYPE_ID&isStream=false";
        assert_eq!(urls.done("w", "j", false), done);
        assert_eq!((urls.stream("w", "j"), urls.ping("w", &[], "v")), (None, None));
        let opaque = UrlTemplates::new("http://h/jobs".to_owned(), String::new(), None, None);
        assert_eq!(opaque.stop("w"), None);
    }

    #[test]
    fn the_list_of_jobs_is_cut_at_a_comma() {
        let jobs: Vec<String> = (0..2_000).map(|number| format!("{number:036}")).collect();
        let ping = templates("http://h", "").ping("w", &jobs, "v").unwrap();
        assert!(ping.starts_with("http://h/ping/w?job_id=000"), "{}", &ping[..40]);
        let ids = ping.split("job_id=").nth(1).unwrap().split('&').next().unwrap();
        assert!(ids.split("%2C").all(|id| id.len() == 36) && ids.split("%2C").count() < 2_000);
    }
}
