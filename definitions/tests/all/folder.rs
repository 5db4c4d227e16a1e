//! A folder of definitions that a test writes, and the names that it may use.

use std::path::Path;

use greenroom_definitions::{KnownNames, LoadOutcome, Source, load};

/// Every policy of the platform.
pub(crate) const POLICIES: &[&str] = &[
    "require_authentication",
    "audit_all_actions",
    "max_document_size",
    "max_document_size_10mb",
    "max_document_size_1mb",
    "require_pii_permission",
    "require_approval_role",
    "deny_external_models",
    "team_members_only",
    "no_agent_delegation",
    "require_budget",
    "tenant_isolation",
    "internal_users_only",
    "read_only_context",
    "no_tools",
    "allow_network",
    "no_external_tools",
];

/// The native tools that the shipped definitions use.
const TOOLS: &[&str] = &[
    "business_days",
    "calculator",
    "cash_flow",
    "check_openapi",
    "check_sql",
    "compare_groups",
    "compare_versions",
    "depreciation_schedule",
    "describe_numbers",
    "find_duplicates",
    "linear_trend",
    "loan_schedule",
    "log_templates",
    "parse_calendar",
    "parse_email",
    "parse_invoice",
    "read_lock_file",
    "sample_size",
    "text_diff",
    "unified_diff",
];

pub(crate) fn known_names() -> KnownNames {
    KnownNames::new(
        POLICIES.iter().copied(),
        ["native.echo", "native.data_collection", "native.data_visualization"],
        TOOLS.iter().copied(),
        ["anthropic", "openai", "offline"],
    )
    .with_tool_servers(["files", "tickets"])
    .with_policy_capabilities(["pii_access"])
}

/// A folder that is removed when the test ends.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn with(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        self
    }

    /// Overwrites one file.
    pub(crate) fn with_file(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Self {
        std::fs::write(self.0.path().join(name), bytes).unwrap();
        self
    }

    pub(crate) fn without(self, name: &str) -> Self {
        std::fs::remove_file(self.0.path().join(name)).unwrap();
        self
    }

    pub(crate) fn source(&self) -> Source {
        Source::Directory(self.path().to_owned())
    }

    pub(crate) fn load(&self) -> LoadOutcome {
        load(&self.source(), &known_names())
    }

    /// Every problem, one per line.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.load().report.problems().iter().map(ToString::to_string).collect()
    }
}

/// A minimal agent with that id.
pub(crate) fn agent(id: &str) -> String {
    format!(
        "agent_id: {id}\nname: An agent\ncategory: business_ops\ndescription: It does something\nversion: \"1.0.0\"\n\
         inputs:\n  - {{ name: topic, type: text, required: true }}\noutputs:\n  - {{ name: result, type: text }}\n\
         implementation: {{ runtime: native, handler: native.echo }}\n"
    )
}
