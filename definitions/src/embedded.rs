//! The embedded catalogue: every YAML file of this crate's folders, and every snippet, by name.
//!
//! The list is written by `UPDATE=1 cargo test -p greenroom-definitions`, and a test compares it with
//! the folders, so that no new definition is omitted.

/// Each file's name, relative to the crate, and its text.
pub const FILES: &[(&str, &str)] = &[
    ("agents/business_ops/action_tracker_agent.yaml", include_str!("../agents/business_ops/action_tracker_agent.yaml")),
    (
        "agents/business_ops/executive_summary_agent_001.yaml",
        include_str!("../agents/business_ops/executive_summary_agent_001.yaml"),
    ),
    ("agents/business_ops/meeting_notes_agent.yaml", include_str!("../agents/business_ops/meeting_notes_agent.yaml")),
    (
        "agents/data_analytics/data_collection_agent.yaml",
        include_str!("../agents/data_analytics/data_collection_agent.yaml"),
    ),
    (
        "agents/data_analytics/data_visualization_agent.yaml",
        include_str!("../agents/data_analytics/data_visualization_agent.yaml"),
    ),
    (
        "agents/data_analytics/kpi_dashboard_narrator_agent.yaml",
        include_str!("../agents/data_analytics/kpi_dashboard_narrator_agent.yaml"),
    ),
    (
        "agents/finance_accounting/financial_narrative_agent.yaml",
        include_str!("../agents/finance_accounting/financial_narrative_agent.yaml"),
    ),
    (
        "agents/sales_marketing/lead_qualification_agent.yaml",
        include_str!("../agents/sales_marketing/lead_qualification_agent.yaml"),
    ),
    (
        "agents/sales_marketing/outreach_email_agent.yaml",
        include_str!("../agents/sales_marketing/outreach_email_agent.yaml"),
    ),
    ("capabilities.yaml", include_str!("../capabilities.yaml")),
    ("categories.yaml", include_str!("../categories.yaml")),
    ("models.yaml", include_str!("../models.yaml")),
    ("snippets/draft_for_a_person.md", include_str!("../snippets/draft_for_a_person.md")),
    ("snippets/figures_are_copied.md", include_str!("../snippets/figures_are_copied.md")),
    ("snippets/house_style.md", include_str!("../snippets/house_style.md")),
    ("snippets/missing_information.md", include_str!("../snippets/missing_information.md")),
    ("snippets/no_advice.md", include_str!("../snippets/no_advice.md")),
    ("snippets/personal_data.md", include_str!("../snippets/personal_data.md")),
    ("snippets/quoted_evidence.md", include_str!("../snippets/quoted_evidence.md")),
    ("snippets/table_facts.md", include_str!("../snippets/table_facts.md")),
    ("teams/report_team.yaml", include_str!("../teams/report_team.yaml")),
    ("teams/reporting_team.yaml", include_str!("../teams/reporting_team.yaml")),
    ("workflows/generate_quarterly_report.yaml", include_str!("../workflows/generate_quarterly_report.yaml")),
];
