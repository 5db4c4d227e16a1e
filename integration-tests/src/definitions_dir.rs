//! Writes a folder of definitions for a test or a benchmark: the shipped categories and models, and the
//! agents and workflows that the caller adds.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The shipped categories; generated agents are distributed over them.
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

/// A workflow whose second step runs once its first one is approved.
const SIGNED_WORKFLOW: &str = "\
workflow_id: signed
name: Signed
description: Awaits an approval
version: \"1.0.0\"
inputs:
  - { name: text, type: text, required: true }
steps:
  - { id: sign, approval: { prompt: \"Sign?\" } }
  - { id: send, agent: echo_agent, depends_on: [sign], inputs: { text: \"${inputs.text}\" }, outputs: [text] }
";
/// A team whose one member executes the workflow `row`.
const LETTERS_TEAM: &str = "\
team_id: letters
name: Letters
description: Writes letters
agents: [echo_agent]
workflows: [row]
";

/// A folder of definitions that a test adds to.
#[derive(Debug)]
pub struct DefinitionsDir {
    dir: PathBuf,
}

impl DefinitionsDir {
    /// Creates the folder with the shipped capabilities, categories and models. The defaults of the categories are left
    /// out, so that an agent of a test has what the test writes and nothing else.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn new(dir: &Path) -> anyhow::Result<Self> {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../catalogue");
        for folder in ["agents", "workflows", "teams"] {
            fs::create_dir_all(dir.join(folder))?;
        }
        for file in ["capabilities.yaml", "models.yaml"] {
            fs::copy(shipped.join(file), dir.join(file)).with_context(|| format!("cannot copy {file}"))?;
        }
        let categories = fs::read_to_string(shipped.join("categories.yaml")).context("cannot read categories.yaml")?;
        fs::write(dir.join("categories.yaml"), without_defaults(&categories))?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes the agent `id`, which returns its input.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_echo_agent(&self, id: &str) -> anyhow::Result<()> {
        self.write_agent(id, CATEGORIES[0], "runtime: native\n  handler: native.echo\n  timeout: 60")
    }

    /// Writes the agent `id`, which calls a model.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_model_agent(&self, id: &str, model: &str) -> anyhow::Result<()> {
        let implementation = format!(
            "runtime: llm\n  model: {model}\n  timeout: 120\n  prompt:\n    system: You answer.\n    user: \"{{{{ inputs.text }}}}\""
        );
        self.write_agent(id, CATEGORIES[0], &implementation)
    }

    /// Writes the agent `id`, which sends its `text` to the standard tier, with a timeout in seconds, a limit of the tokens
    /// of one answer, and these further members.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_llm_agent(&self, id: &str, timeout_s: u32, tokens_max: u32, members: &str) -> anyhow::Result<()> {
        let folder = self.dir.join("agents/business_ops");
        fs::create_dir_all(&folder)?;
        let field = "  - name: text\n    type: text\n    required: true\n";
        let text = format!(
            "agent_id: {id}\nname: {id}\ncategory: business_ops\ndescription: Calls a model\nversion: \"1.0.0\"\n\
             capabilities: [text_generation]\ninputs:\n{field}outputs:\n  - name: text\n    type: text\n\
             policies: [require_authentication, audit_all_actions]\n\
             {members}limits:\n  max_concurrency: 10000\n  max_tokens: {tokens_max}\n\
             implementation:\n  runtime: llm\n  model: tier.standard\n  timeout: {timeout_s}\n\
             \x20 prompt:\n    system: You answer.\n    user: \"{{{{ inputs.text }}}}\"\n"
        );
        Ok(fs::write(folder.join(format!("{id}.yaml")), text)?)
    }

    /// Writes `count` agents over all categories: `generated_000_agent`, `generated_001_agent`, …
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_many_agents(&self, count: usize) -> anyhow::Result<()> {
        for (index, category) in (0..count).zip(CATEGORIES.iter().cycle()) {
            let id = format!("generated_{index:03}_agent");
            self.write_agent(&id, category, "runtime: native\n  handler: native.echo\n  timeout: 60")?;
        }
        Ok(())
    }

    /// Writes a workflow of `steps` consecutive steps, each executed by `agent`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_row_workflow(&self, id: &str, agent: &str, steps: usize) -> anyhow::Result<()> {
        let mut text = format!(
            "workflow_id: {id}\nname: {id}\ndescription: Steps in a row\nversion: \"1.0.0\"\n\
             inputs:\n  - name: text\n    type: text\n    required: true\nsteps:\n"
        );
        for index in 0..steps {
            let input = match index {
                0 => "${inputs.text}".to_owned(),
                _ => format!("${{steps.step_{}.outputs.text}}", index - 1),
            };
            write!(
                text,
                "  - id: step_{index}\n    agent: {agent}\n    inputs:\n      text: \"{input}\"\n    outputs: [text]\n"
            )?;
        }
        writeln!(text, "final_output: \"${{steps.step_{}.outputs.text}}\"", steps.saturating_sub(1))?;
        self.write_workflow(id, &text)
    }

    /// Writes the workflow `signed`: its step `sign` awaits an approval, and its step `send` calls `echo_agent`, which the
    /// caller writes.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_signed_workflow(&self) -> anyhow::Result<()> {
        self.write_workflow("signed", SIGNED_WORKFLOW)
    }

    /// Writes the team `letters` of `echo_agent` with the workflow `row`, both of which the caller writes.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_letters_team(&self) -> anyhow::Result<()> {
        self.write_team("letters", LETTERS_TEAM)
    }

    /// Writes the workflow `id` from its YAML text.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_workflow(&self, id: &str, yaml: &str) -> anyhow::Result<()> {
        Ok(fs::write(self.dir.join("workflows").join(format!("{id}.yaml")), yaml)?)
    }

    /// Writes the team `id` from its YAML text.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_team(&self, id: &str, yaml: &str) -> anyhow::Result<()> {
        Ok(fs::write(self.dir.join("teams").join(format!("{id}.yaml")), yaml)?)
    }

    /// Writes an agent with one text input, one text output and this implementation.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_agent(&self, id: &str, category: &str, implementation: &str) -> anyhow::Result<()> {
        let folder = self.dir.join("agents").join(category);
        fs::create_dir_all(&folder)?;
        let text = format!(
            "agent_id: {id}\nname: {id}\ncategory: {category}\ndescription: Returns its input\n\
             version: \"1.0.0\"\ncapabilities: [text_generation]\ninputs:\n  - name: text\n    type: text\n    required: true\n\
             outputs:\n  - name: text\n    type: text\npolicies: [require_authentication, audit_all_actions]\n\
             limits:\n  max_concurrency: 200000\nimplementation:\n  {implementation}\n"
        );
        Ok(fs::write(folder.join(format!("{id}.yaml")), text)?)
    }
}

/// The categories without their `defaults`: the member itself, and the lines that are indented more.
fn without_defaults(categories: &str) -> String {
    let remains = |line: &&str| !line.starts_with("    defaults:") && !line.starts_with("      ");
    categories.lines().filter(remains).map(|line| format!("{line}\n")).collect()
}
