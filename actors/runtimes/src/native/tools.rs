//! The native tools: each computes or parses what a language model would guess. `docs/tools.md` has their arguments,
//! their results and an example of each.
//!
//! ```text
//! computation   typed arguments and results (money, distributions, xml_tree: what several of them need)
//! ```

use std::sync::Arc;

use greenroom_actors::tool::Tool;

mod business_days;
mod calculator;
mod cash_flow;
mod check_openapi;
mod check_sql;
mod compare_groups;
mod compare_versions;
mod computation;
mod depreciation_schedule;
mod describe_numbers;
mod distributions;
mod draw_chart;
mod find_duplicates;
mod linear_trend;
mod loan_schedule;
mod log_templates;
mod money;
#[cfg(test)]
mod page_tests;
mod parse_calendar;
mod parse_email;
mod parse_invoice;
mod query_table;
mod read_artifact;
mod read_lock_file;
mod sample_size;
mod table_facts;
mod text_diff;
mod unified_diff;
mod xml_tree;

use computation::Computed;

/// All of them, in the order of their names.
pub(crate) fn all() -> Vec<Arc<dyn Tool>> {
    vec![
        Arc::new(Computed::<business_days::BusinessDays>::new()),
        Arc::new(calculator::Calculator),
        Arc::new(Computed::<cash_flow::CashFlow>::new()),
        Arc::new(Computed::<check_openapi::CheckOpenapi>::new()),
        Arc::new(Computed::<check_sql::CheckSql>::new()),
        Arc::new(Computed::<compare_groups::CompareGroups>::new()),
        Arc::new(Computed::<compare_versions::CompareVersions>::new()),
        Arc::new(Computed::<depreciation_schedule::DepreciationSchedule>::new()),
        Arc::new(Computed::<describe_numbers::DescribeNumbers>::new()),
        Arc::new(draw_chart::DrawChart),
        Arc::new(Computed::<find_duplicates::FindDuplicates>::new()),
        Arc::new(Computed::<linear_trend::LinearTrend>::new()),
        Arc::new(Computed::<loan_schedule::LoanSchedule>::new()),
        Arc::new(Computed::<log_templates::LogTemplates>::new()),
        Arc::new(Computed::<parse_calendar::ParseCalendar>::new()),
        Arc::new(Computed::<parse_email::ParseEmail>::new()),
        Arc::new(Computed::<parse_invoice::ParseInvoice>::new()),
        Arc::new(query_table::QueryTable::new()),
        Arc::new(read_artifact::ReadArtifact),
        Arc::new(Computed::<read_lock_file::ReadLockFile>::new()),
        Arc::new(Computed::<sample_size::SampleSize>::new()),
        Arc::new(table_facts::TableFacts),
        Arc::new(Computed::<text_diff::TextDiffTool>::new()),
        Arc::new(Computed::<unified_diff::UnifiedDiff>::new()),
    ]
}
