//! `native:sample_size`: how many observations a survey or an experiment needs, by the normal approximation.

use greenroom_protocol::Cause;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::computation::{Computation, invalid};
use super::distributions::normal_quantile;

/// The largest sample that is reported; a larger one is no plan.
const SAMPLE_MAX: f64 = 1e12;

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Purpose {
    Proportion,
    Mean,
    TwoProportions,
    TwoMeans,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arguments {
    /// Estimate one share or mean with a margin of error, or find a difference of two shares or means.
    purpose: Purpose,
    /// `proportion`: the expected share in percent; 50, the safest, if absent. `two_proportions`: the present share.
    #[serde(default = "half")]
    share_pct: f64,
    /// `proportion`: percentage points; `mean`: units of the mean. Half the width of the interval.
    #[serde(default)]
    margin: Option<f64>,
    /// `two_proportions`: percentage points; `two_means`: units of the mean. The smallest difference that matters.
    #[serde(default)]
    difference: Option<f64>,
    /// `mean` and `two_means`: the standard deviation.
    #[serde(default)]
    standard_deviation: Option<f64>,
    /// The confidence in percent; 95 if absent.
    #[serde(default = "usual_confidence")]
    confidence_pct: f64,
    /// The power of a test in percent; 80 if absent.
    #[serde(default = "usual_power")]
    power_pct: f64,
    /// The size of the population of a survey, if it is small.
    #[serde(default)]
    population: Option<u64>,
    /// The expected share of invitations that are answered, in percent.
    #[serde(default)]
    response_pct: Option<f64>,
}

const fn half() -> f64 {
    50.0
}

const fn usual_confidence() -> f64 {
    95.0
}

const fn usual_power() -> f64 {
    80.0
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The observations of one group.
    per_group: u64,
    groups: u64,
    total: u64,
    /// The invitations that are needed at the stated response.
    invitations: Option<u64>,
}

/// The tool.
pub(crate) struct SampleSize;

impl Computation for SampleSize {
    type Arguments = Arguments;
    type Output = Output;
    const NAME: &'static str = "sample_size";
    const DESCRIPTION: &'static str = "Computes how many observations are needed to estimate a share or a mean with a \
                                       margin of error, or to find a difference of two groups.";

    fn compute(arguments: Arguments) -> Result<Output, Cause> {
        let percent = |name: &str, value: f64| {
            let is_share = value > 0.0 && value < 100.0;
            is_share.then_some(value / 100.0).ok_or_else(|| invalid(format!("`{name}` is between 0 and 100")))
        };
        let z = normal_quantile(f64::midpoint(1.0, percent("confidence_pct", arguments.confidence_pct)?));
        let power = normal_quantile(percent("power_pct", arguments.power_pct)?);
        let share = percent("share_pct", arguments.share_pct)?;
        let size = match arguments.purpose {
            Purpose::Proportion => {
                let margin = positive("margin", arguments.margin)? / 100.0;
                z * z * share * (1.0 - share) / (margin * margin)
            }
            Purpose::Mean => (z * spread(&arguments)? / positive("margin", arguments.margin)?).powi(2),
            Purpose::TwoProportions => {
                let other = share + signed_difference(&arguments)? / 100.0;
                if !(other > 0.0 && other < 1.0) {
                    return Err(invalid("`share_pct` plus `difference` is between 0 and 100"));
                }
                let pooled = f64::midpoint(share, other);
                let alone = (2.0 * pooled * (1.0 - pooled)).sqrt();
                let apart = (share * (1.0 - share) + other * (1.0 - other)).sqrt();
                ((z * alone + power * apart) / (other - share)).powi(2)
            }
            Purpose::TwoMeans => 2.0 * ((z + power) * spread(&arguments)? / signed_difference(&arguments)?).powi(2),
        };
        let is_comparison = matches!(arguments.purpose, Purpose::TwoProportions | Purpose::TwoMeans);
        let size = match arguments.population {
            Some(population) if !is_comparison => {
                let population = positive("population", Some(population as f64))?;
                size / (1.0 + (size - 1.0) / population)
            }
            Some(_) | None => size,
        };
        let groups = if is_comparison { 2 } else { 1 };
        let per_group = round_up(size)?.max(1);
        let total = per_group * groups;
        let invitations = arguments
            .response_pct
            .map(|response| round_up(total as f64 / percent("response_pct", response)?))
            .transpose()?;
        Ok(Output { per_group, groups, total, invitations })
    }
}

fn positive(name: &str, value: Option<f64>) -> Result<f64, Cause> {
    value
        .filter(|value| value.is_finite() && *value > 0.0)
        .ok_or_else(|| invalid(format!("`{name}` is needed, and above zero")))
}

fn spread(arguments: &Arguments) -> Result<f64, Cause> {
    positive("standard_deviation", arguments.standard_deviation)
}

fn signed_difference(arguments: &Arguments) -> Result<f64, Cause> {
    let difference = arguments.difference.filter(|difference| difference.is_finite() && *difference != 0.0);
    difference.ok_or_else(|| invalid("`difference` is needed, and not zero"))
}

/// The next whole number; a size that is whole but for its last digits is not rounded up.
fn round_up(size: f64) -> Result<u64, Cause> {
    if !size.is_finite() || size > SAMPLE_MAX {
        return Err(invalid("the sample is larger than any population"));
    }
    Ok((size - 1e-9).ceil().max(0.0) as u64)
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;
    use serde_json::json;

    use super::super::computation::compute_json;
    use super::SampleSize;

    #[test]
    fn sizes_are_those_of_the_textbooks() {
        for (arguments, per_group) in [
            (json!({ "purpose": "proportion", "margin": 5 }), 385),
            (json!({ "purpose": "proportion", "margin": 5, "population": 1000 }), 278),
            (json!({ "purpose": "mean", "margin": 2, "standard_deviation": 10 }), 97),
            (json!({ "purpose": "two_proportions", "share_pct": 10, "difference": 2 }), 3841),
            (json!({ "purpose": "two_means", "difference": 5, "standard_deviation": 10 }), 63),
        ] {
            let output = compute_json::<SampleSize>(arguments.clone()).unwrap();
            assert_eq!(output["per_group"], json!(per_group), "{arguments}");
        }
        let output =
            compute_json::<SampleSize>(json!({ "purpose": "proportion", "margin": 5, "response_pct": 20 })).unwrap();
        assert_eq!(output["invitations"], json!(1925));
    }

    #[test]
    fn a_size_without_a_plan_is_rejected() {
        for arguments in [
            json!({ "purpose": "proportion" }),
            json!({ "purpose": "proportion", "margin": 0 }),
            json!({ "purpose": "proportion", "margin": 1e-30 }),
            json!({ "purpose": "mean", "margin": 1 }),
            json!({ "purpose": "two_proportions", "share_pct": 99, "difference": 2 }),
            json!({ "purpose": "two_means", "difference": 0, "standard_deviation": 1 }),
            json!({ "purpose": "proportion", "margin": 5, "confidence_pct": 100 }),
            json!({ "purpose": "proportion", "margin": 5, "population": 0 }),
        ] {
            let cause = compute_json::<SampleSize>(arguments.clone()).unwrap_err();
            assert_eq!(cause.code, ErrorCode::InvalidInput, "{arguments}");
        }
    }
}
