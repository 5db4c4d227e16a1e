//! `native:describe_numbers`: the descriptive statistics of a list of numbers. Quantiles are interpolated between the
//! two nearest values, as spreadsheets do it (type 7).

use greenroom_protocol::Cause;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::computation::{Computation, invalid, require_at_most, round_to};
use super::distributions::t_critical;

/// Maximum numbers of a list.
pub(super) const VALUES_MAX: usize = 50_000;
/// Maximum magnitude of a number, so that no square overflows.
const MAGNITUDE_MAX: f64 = 1e100;
/// Maximum outliers in a result.
const OUTLIERS_MAX: usize = 50;
/// Maximum further percentiles.
const PERCENTILES_MAX: usize = 20;
/// The digits after the point of a result.
const DIGITS: u8 = 6;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arguments {
    /// The numbers, in any order.
    values: Vec<f64>,
    /// Further percentiles, such as 5 or 99.
    #[serde(default)]
    percentiles: Vec<f64>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Output {
    count: usize,
    sum: f64,
    mean: f64,
    median: f64,
    minimum: f64,
    maximum: f64,
    lower_quartile: f64,
    upper_quartile: f64,
    interquartile_range: f64,
    /// The standard deviation of a sample (divided by one less than the count); absent for one number.
    standard_deviation: Option<f64>,
    /// The standard deviation divided by the mean.
    coefficient_of_variation: Option<f64>,
    /// The bounds of the mean with 95 % confidence, by Student's t.
    mean_interval_95: Option<[f64; 2]>,
    /// The median of the distances from the median.
    median_absolute_deviation: f64,
    percentiles: Vec<Percentile>,
    /// Numbers more than one and a half interquartile ranges outside of the quartiles, at most 50.
    outliers: Vec<Outlier>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Percentile {
    percent: f64,
    value: f64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Outlier {
    /// The position in the list, from 1.
    position: usize,
    value: f64,
}

/// The tool.
pub(crate) struct DescribeNumbers;

impl Computation for DescribeNumbers {
    type Arguments = Arguments;
    type Output = Output;
    const NAME: &'static str = "describe_numbers";
    const DESCRIPTION: &'static str = "Computes count, sum, mean, median, quartiles, standard deviation, confidence \
                                       interval, percentiles and outliers of a list of numbers.";

    fn compute(arguments: Arguments) -> Result<Output, Cause> {
        let Arguments { values, percentiles } = arguments;
        check_values("values", &values, 1)?;
        require_at_most("percentiles", percentiles.len(), PERCENTILES_MAX)?;
        if percentiles.iter().any(|percent| !(0.0..=100.0).contains(percent)) {
            return Err(invalid("a percentile is from 0 to 100"));
        }
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let (lower, median, upper) = (quantile(&sorted, 0.25), quantile(&sorted, 0.5), quantile(&sorted, 0.75));
        let range = upper - lower;
        let mut distances: Vec<f64> = sorted.iter().map(|value| (value - median).abs()).collect();
        distances.sort_by(f64::total_cmp);
        let sample = Sample::new(&values);
        let deviation = sample.deviation();
        let is_outlier = |value: f64| value < lower - 1.5 * range || value > upper + 1.5 * range;
        let outliers = (1..).zip(&values).filter(|(_, value)| is_outlier(**value)).take(OUTLIERS_MAX);
        let rounded = |value: f64| round_to(value, DIGITS);
        Ok(Output {
            count: values.len(),
            sum: rounded(sample.sum),
            mean: rounded(sample.mean),
            median: rounded(median),
            minimum: sorted.first().copied().unwrap_or_default(),
            maximum: sorted.last().copied().unwrap_or_default(),
            lower_quartile: rounded(lower),
            upper_quartile: rounded(upper),
            interquartile_range: rounded(range),
            standard_deviation: deviation.map(rounded),
            coefficient_of_variation: deviation
                .filter(|_| sample.mean != 0.0)
                .map(|deviation| rounded(deviation / sample.mean.abs())),
            mean_interval_95: deviation.map(|deviation| {
                let margin = t_critical(0.05, sample.count - 1.0) * deviation / sample.count.sqrt();
                [rounded(sample.mean - margin), rounded(sample.mean + margin)]
            }),
            median_absolute_deviation: rounded(quantile(&distances, 0.5)),
            percentiles: percentiles
                .iter()
                .map(|percent| Percentile { percent: *percent, value: rounded(quantile(&sorted, percent / 100.0)) })
                .collect(),
            outliers: outliers.map(|(position, value)| Outlier { position, value: *value }).collect(),
        })
    }
}

/// Rejects a list that is too short or too long, or whose numbers are too large to be squared.
///
/// # Errors
/// `invalid_input`; `payload_too_large`.
pub(super) fn check_values(name: &str, values: &[f64], count_min: usize) -> Result<(), Cause> {
    require_at_most(name, values.len(), VALUES_MAX)?;
    if values.len() < count_min {
        return Err(invalid(format!("`{name}` has {} numbers, at least {count_min} are needed", values.len())));
    }
    match values.iter().find(|value| !value.is_finite() || value.abs() > MAGNITUDE_MAX) {
        Some(value) => Err(invalid(format!("{value} in `{name}` is beyond ±1e100"))),
        None => Ok(()),
    }
}

/// The moments of a list.
pub(super) struct Sample {
    pub(super) count: f64,
    pub(super) sum: f64,
    pub(super) mean: f64,
    /// The sum of the squared distances from the mean.
    squares: f64,
}

impl Sample {
    pub(super) fn new(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let sum = exact_sum(values.iter().copied());
        let mean = sum / count.max(1.0);
        let squares = exact_sum(values.iter().map(|value| (value - mean) * (value - mean)));
        Self { count, sum, mean, squares }
    }

    /// The variance of a sample; `None` for one number.
    pub(super) fn variance(&self) -> Option<f64> {
        (self.count > 1.0).then(|| self.squares / (self.count - 1.0))
    }

    fn deviation(&self) -> Option<f64> {
        self.variance().map(f64::sqrt)
    }
}

/// Adds numbers with compensation (Neumaier), so that the order of large and small ones does not matter.
pub(super) fn exact_sum(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, compensation) = values.fold((0.0_f64, 0.0_f64), |(sum, compensation), value| {
        let next = sum + value;
        let lost = if sum.abs() >= value.abs() { (sum - next) + value } else { (value - next) + sum };
        (next, compensation + lost)
    });
    sum + compensation
}

/// The quantile of sorted numbers.
fn quantile(sorted: &[f64], fraction: f64) -> f64 {
    let position = fraction * (sorted.len().saturating_sub(1)) as f64;
    let value = |index: f64| sorted.get(index as usize).copied().unwrap_or_default();
    let (low, high) = (value(position.floor()), value(position.ceil()));
    low + (high - low) * position.fract()
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;
    use serde_json::json;

    use super::super::computation::compute_json;
    use super::{DescribeNumbers, exact_sum};

    #[test]
    fn a_list_is_described() {
        let output =
            compute_json::<DescribeNumbers>(json!({ "values": [2, 4, 4, 4, 5, 5, 7, 9, 40], "percentiles": [90] }))
                .unwrap();
        assert_eq!((&output["count"], &output["sum"], &output["median"]), (&json!(9), &json!(80.0), &json!(5.0)));
        assert_eq!((&output["lower_quartile"], &output["upper_quartile"]), (&json!(4.0), &json!(7.0)));
        assert_eq!(output["standard_deviation"], json!(11.836854));
        assert_eq!(output["percentiles"], json!([{ "percent": 90.0, "value": 15.2 }]));
        assert_eq!(output["outliers"], json!([{ "position": 9, "value": 40.0 }]));
        let one = compute_json::<DescribeNumbers>(json!({ "values": [3] })).unwrap();
        assert_eq!((&one["mean"], &one["standard_deviation"]), (&json!(3.0), &json!(null)));
    }

    #[test]
    fn a_sum_does_not_depend_on_its_order() {
        assert!((exact_sum([1e16, 1.0, -1e16].into_iter()) - 1.0).abs() < f64::EPSILON);
        assert!((exact_sum(std::iter::repeat_n(0.1, 10)) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn a_list_without_statistics_is_rejected() {
        for (arguments, code) in [
            (json!({ "values": [] }), ErrorCode::InvalidInput),
            (json!({ "values": [1e200] }), ErrorCode::InvalidInput),
            (json!({ "values": [1, "2"] }), ErrorCode::InvalidInput),
            (json!({ "values": [1], "percentiles": [101] }), ErrorCode::InvalidInput),
            (json!({ "values": vec![1; 50_001] }), ErrorCode::PayloadTooLarge),
        ] {
            assert_eq!(compute_json::<DescribeNumbers>(arguments).unwrap_err().code, code);
        }
    }
}
