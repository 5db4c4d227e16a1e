//! `native:linear_trend`: the least-squares line through pairs of numbers, with its tests, and values on the line.

use greenroom_protocol::Cause;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::computation::{Computation, invalid, require_at_most, round_to};
use super::describe_numbers::{Sample, check_values, exact_sum};
use super::distributions::{t_critical, t_two_sided};

/// Maximum values of x at which the line is evaluated.
const PREDICTIONS_MAX: usize = 200;
/// The digits after the point of a result.
const DIGITS: u8 = 6;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arguments {
    /// The values that are explained.
    y: Vec<f64>,
    /// The values that explain them, as many as `y`; 1, 2, 3 and so on if absent.
    #[serde(default)]
    x: Vec<f64>,
    /// Values of x at which the line is evaluated.
    #[serde(default)]
    predict_at: Vec<f64>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Output {
    count: usize,
    slope: f64,
    intercept: f64,
    /// Pearson's correlation; absent if all of y are equal.
    correlation: Option<f64>,
    /// The share of the variance of y that the line explains.
    r_squared: Option<f64>,
    /// The standard error of the slope; absent for two pairs.
    slope_error: Option<f64>,
    /// The probability of a slope at least this far from zero without a trend.
    p_value: Option<f64>,
    predictions: Vec<Prediction>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Prediction {
    x: f64,
    y: f64,
    /// The bounds between which a single new value lies with 95 % probability, if the line goes on.
    interval_95: Option<[f64; 2]>,
}

/// The tool.
pub(crate) struct LinearTrend;

impl Computation for LinearTrend {
    type Arguments = Arguments;
    type Output = Output;
    const NAME: &'static str = "linear_trend";
    const DESCRIPTION: &'static str = "Fits a straight line to pairs of numbers: slope, intercept, correlation, \
                                       p-value, and predictions with their intervals.";

    fn compute(arguments: Arguments) -> Result<Output, Cause> {
        let Arguments { y, x, predict_at } = arguments;
        check_values("y", &y, 2)?;
        require_at_most("values of `predict_at`", predict_at.len(), PREDICTIONS_MAX)?;
        let x: Vec<f64> = if x.is_empty() { (1..=y.len()).map(|index| index as f64).collect() } else { x };
        check_values("x", &x, 2)?;
        check_values("predict_at", &predict_at, 0)?;
        if x.len() != y.len() {
            return Err(invalid(format!("`x` has {} values and `y` {}", x.len(), y.len())));
        }
        let line = Line::fit(&x, &y).ok_or_else(|| invalid("all values of `x` are equal: there is no line"))?;
        let rounded = |value: f64| round_to(value, DIGITS);
        Ok(Output {
            count: y.len(),
            slope: rounded(line.slope),
            intercept: rounded(line.intercept),
            correlation: line.correlation.map(rounded),
            r_squared: line.correlation.map(|correlation| rounded(correlation * correlation)),
            slope_error: line.residual_error.map(|error| rounded(error / line.x_squares.sqrt())),
            p_value: line.p_value().map(rounded),
            predictions: predict_at
                .iter()
                .map(|x| Prediction {
                    x: *x,
                    y: rounded(line.value(*x)),
                    interval_95: line.margin(*x).map(|margin| {
                        let value = line.value(*x);
                        [rounded(value - margin), rounded(value + margin)]
                    }),
                })
                .collect(),
        })
    }
}

struct Line {
    count: f64,
    x_mean: f64,
    x_squares: f64,
    slope: f64,
    intercept: f64,
    correlation: Option<f64>,
    /// The standard deviation of the residuals; `None` without degrees of freedom.
    residual_error: Option<f64>,
}

impl Line {
    fn fit(x: &[f64], y: &[f64]) -> Option<Self> {
        let (x_sample, y_sample) = (Sample::new(x), Sample::new(y));
        let (x_mean, y_mean, count) = (x_sample.mean, y_sample.mean, x_sample.count);
        let products = |of: &[f64], mean: f64, with: &[f64], with_mean: f64| {
            exact_sum(of.iter().zip(with).map(|(one, other)| (one - mean) * (other - with_mean)))
        };
        let x_squares = products(x, x_mean, x, x_mean);
        let y_squares = products(y, y_mean, y, y_mean);
        if x_squares <= 0.0 {
            return None;
        }
        let slope = products(x, x_mean, y, y_mean) / x_squares;
        let intercept = y_mean - slope * x_mean;
        let residuals = exact_sum(x.iter().zip(y).map(|(x, y)| {
            let residual = y - (intercept + slope * x);
            residual * residual
        }));
        let freedom = count - 2.0;
        Some(Self {
            count,
            x_mean,
            x_squares,
            slope,
            intercept,
            correlation: (y_squares > 0.0).then(|| (slope * (x_squares / y_squares).sqrt()).clamp(-1.0, 1.0)),
            residual_error: (freedom > 0.0).then(|| (residuals / freedom).sqrt()),
        })
    }

    fn value(&self, x: f64) -> f64 {
        self.intercept + self.slope * x
    }

    fn p_value(&self) -> Option<f64> {
        let error = self.residual_error? / self.x_squares.sqrt();
        if error == 0.0 {
            return Some(if self.slope == 0.0 { 1.0 } else { 0.0 });
        }
        Some(t_two_sided(self.slope / error, self.count - 2.0))
    }

    fn margin(&self, x: f64) -> Option<f64> {
        let distance = x - self.x_mean;
        let spread = (1.0 + 1.0 / self.count + distance * distance / self.x_squares).sqrt();
        Some(t_critical(0.05, self.count - 2.0) * self.residual_error? * spread)
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;
    use serde_json::json;

    use super::super::computation::compute_json;
    use super::LinearTrend;

    #[test]
    fn a_line_is_fitted_and_tested() {
        let output =
            compute_json::<LinearTrend>(json!({ "x": [1, 2, 3, 4, 5], "y": [2, 4, 5, 4, 5], "predict_at": [6] }))
                .unwrap();
        assert_eq!((&output["slope"], &output["intercept"]), (&json!(0.6), &json!(2.2)));
        assert_eq!((&output["r_squared"], &output["correlation"]), (&json!(0.6), &json!(0.774597)));
        assert_eq!((&output["slope_error"], &output["p_value"]), (&json!(0.282843), &json!(0.124027)));
        assert_eq!(output["predictions"][0]["y"], json!(5.8));
        let exact = compute_json::<LinearTrend>(json!({ "y": [1, 3] })).unwrap();
        assert_eq!((&exact["slope"], &exact["p_value"]), (&json!(2.0), &json!(null)));
        let flat = compute_json::<LinearTrend>(json!({ "y": [2, 2, 2] })).unwrap();
        assert_eq!((&flat["correlation"], &flat["p_value"]), (&json!(null), &json!(1.0)));
    }

    #[test]
    fn pairs_without_a_line_are_rejected() {
        for arguments in [
            json!({ "y": [1] }),
            json!({ "y": [1, 2], "x": [1] }),
            json!({ "y": [1, 2], "x": [3, 3] }),
            json!({ "y": [1, 2], "predict_at": [1e101] }),
        ] {
            let cause = compute_json::<LinearTrend>(arguments.clone()).unwrap_err();
            assert_eq!(cause.code, ErrorCode::InvalidInput, "{arguments}");
        }
    }
}
