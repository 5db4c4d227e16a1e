//! Writes a folder of definitions for a test or a benchmark: the shipped categories and models, and
//! as many agents and workflows as are asked for.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The categories, over which generated agents are spread.
const CATEGORIES: [&str; 14] = [
    "business_ops",
    "sales_marketing",
    "customer_support",
    "finance_accounting",
    "human_resources",
    "legal_compliance",
    "product_management",
    "software_engineering",
    "it_operations",
    "security_risk",
    "data_analytics",
    "supply_chain",
    "research_strategy",
    "content_communications",
];

/// A folder of definitions under construction.
#[derive(Debug)]
pub struct DefinitionsDir {
    dir: PathBuf,
}

impl DefinitionsDir {
    /// Lays the folder, with the shipped categories and models in it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new(dir: &Path) -> anyhow::Result<Self> {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../definitions");
        for folder in ["agents", "workflows", "teams"] {
            fs::create_dir_all(dir.join(folder))?;
        }
        for file in ["categories.yaml", "models.yaml"] {
            fs::copy(shipped.join(file), dir.join(file)).with_context(|| format!("cannot copy {file}"))?;
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes one agent that gives its input back, under `id`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn echo_agent(&self, id: &str) -> anyhow::Result<()> {
        self.agent(id, CATEGORIES[0], "runtime: native\n  handler: native.echo\n  timeout: 60")
    }

    /// Writes one agent that a model answers, under `id`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn model_agent(&self, id: &str, model: &str) -> anyhow::Result<()> {
        let implementation = format!(
            "runtime: llm\n  model: {model}\n  timeout: 120\n  prompt:\n    system: You answer.\n    user: \"{{{{ inputs.text }}}}\""
        );
        self.agent(id, CATEGORIES[0], &implementation)
    }

    /// Writes `count` agents, spread over the categories: `generated_agent_000` and on.
    ///
    /// # Errors
    /// What the file system says.
    pub fn many_agents(&self, count: usize) -> anyhow::Result<()> {
        for (number, category) in (0..count).zip(CATEGORIES.iter().cycle()) {
            let id = format!("generated_{number:03}_agent");
            self.agent(&id, category, "runtime: native\n  handler: native.echo\n  timeout: 60")?;
        }
        Ok(())
    }

    /// Writes a workflow of `steps` steps in a row, each done by `agent`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn row_workflow(&self, id: &str, agent: &str, steps: usize) -> anyhow::Result<()> {
        let mut text = format!(
            "workflow_id: {id}\nname: {id}\ndescription: Steps in a row\nversion: \"1.0.0\"\n\
             inputs:\n  - name: text\n    type: text\n    required: true\nsteps:\n"
        );
        for number in 0..steps {
            let input = match number {
                0 => "${inputs.text}".to_owned(),
                _ => format!("${{steps.step_{}.outputs.text}}", number - 1),
            };
            write!(
                text,
                "  - id: step_{number}\n    agent: {agent}\n    inputs:\n      text: \"{input}\"\n    outputs: [text]\n"
            )?;
        }
        writeln!(text, "final_output: \"${{steps.step_{}.outputs.text}}\"", steps.saturating_sub(1))?;
        self.workflow(id, &text)
    }

    /// Writes a workflow as given.
    ///
    /// # Errors
    /// What the file system says.
    pub fn workflow(&self, id: &str, yaml: &str) -> anyhow::Result<()> {
        Ok(fs::write(self.dir.join("workflows").join(format!("{id}.yaml")), yaml)?)
    }

    /// Writes a team as given.
    ///
    /// # Errors
    /// What the file system says.
    pub fn team(&self, id: &str, yaml: &str) -> anyhow::Result<()> {
        Ok(fs::write(self.dir.join("teams").join(format!("{id}.yaml")), yaml)?)
    }

    /// Writes an agent of one text input and one text output, with this implementation.
    ///
    /// # Errors
    /// What the file system says.
    pub fn agent(&self, id: &str, category: &str, implementation: &str) -> anyhow::Result<()> {
        let folder = self.dir.join("agents").join(category);
        fs::create_dir_all(&folder)?;
        let text = format!(
            "agent_id: {id}\nname: {id}\ncategory: {category}\ndescription: Gives back what it was given\n\
             version: \"1.0.0\"\ncapabilities: [echo]\ninputs:\n  - name: text\n    type: text\n    required: true\n\
             outputs:\n  - name: text\n    type: text\npolicies: [require_authentication, audit_all_actions]\n\
             limits:\n  max_concurrency: 200000\nimplementation:\n  {implementation}\n"
        );
        Ok(fs::write(folder.join(format!("{id}.yaml")), text)?)
    }
}
