//! Names of policies, handlers, tools, servers of tools and providers that definitions may use. The composition root
//! fills them from the crates that own them, so that this crate does not depend on those crates.

use std::collections::BTreeSet;
use std::path::PathBuf;

/// The names of policies, handlers, tools, servers of tools and model providers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KnownNames {
    /// Rules that a definition may list under `policies`.
    pub policies: BTreeSet<String>,
    /// Handlers that a `runtime: native` agent may name, such as `native.echo`.
    pub handlers: BTreeSet<String>,
    /// Tools that an agent may use: native ones without `native:`, such as `calculator`, and those of configured sources
    /// with their scheme, such as `http:crm/list_customers`.
    pub tools: BTreeSet<String>,
    /// Servers that speak the Model Context Protocol, by their names in the configuration. What tools they have is known
    /// only while they run.
    pub tool_servers: BTreeSet<String>,
    /// Providers of models, such as `anthropic`: the first part of a model's name.
    pub providers: BTreeSet<String>,
    /// The capabilities that rules of the policy read; none if the policy does not declare them.
    pub policy_capabilities: Option<BTreeSet<String>>,
    /// The folder below which the handlers in Python are; `None` if it is not configured, and then none is looked for.
    pub python_handlers: Option<PathBuf>,
    /// The folder of the WebAssembly components that a `runtime: wasm` agent may name; `None` if there is none. It is read
    /// whenever definitions are checked, because components are added while a pod runs.
    pub components: Option<PathBuf>,
}

impl KnownNames {
    /// Creates the known names from four lists.
    pub fn new<'a>(
        policies: impl IntoIterator<Item = &'a str>,
        handlers: impl IntoIterator<Item = &'a str>,
        tools: impl IntoIterator<Item = &'a str>,
        providers: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let set = |names: &mut dyn Iterator<Item = &'a str>| names.map(str::to_owned).collect();
        Self {
            policies: set(&mut policies.into_iter()),
            handlers: set(&mut handlers.into_iter()),
            tools: set(&mut tools.into_iter()),
            tool_servers: BTreeSet::new(),
            providers: set(&mut providers.into_iter()),
            policy_capabilities: None,
            python_handlers: None,
            components: None,
        }
    }

    /// Adds the folder below which the handlers in Python are.
    #[must_use]
    pub fn with_python_handlers(mut self, folder: Option<PathBuf>) -> Self {
        self.python_handlers = folder;
        self
    }

    /// Adds the folder of the WebAssembly components.
    #[must_use]
    pub fn with_components(self, components: Option<PathBuf>) -> Self {
        Self { components, ..self }
    }

    /// Adds the tools of configured sources, by their names with the scheme.
    #[must_use]
    pub fn with_tools(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.tools.extend(names);
        self
    }

    /// Adds the servers of tools.
    #[must_use]
    pub fn with_tool_servers<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.tool_servers = names.into_iter().map(str::to_owned).collect();
        self
    }

    /// Adds the capabilities that rules of the policy read.
    #[must_use]
    pub fn with_policy_capabilities<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.policy_capabilities = Some(names.into_iter().map(str::to_owned).collect());
        self
    }
}
