//! `native:cash_flow`: net present value, internal rate of return and payback of a series of payments.

use greenroom_protocol::Cause;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::business_days::days_between;
use super::computation::{Computation, invalid, require_at_most, round_to};
use super::money::{Money, Percent};

/// Maximum payments of a series.
const FLOWS_MAX: usize = 1_200;
/// The rates of a period between which an internal rate of return is searched: −99 % and 10,000 %.
const RATE_RANGE: (f64, f64) = (-0.99, 100.0);
/// Halvings of that range, after which the rate has each of its printed digits.
const HALVINGS: u32 = 100;
/// The days of a year, by which dated payments are discounted.
const DAYS_PER_YEAR: f64 = 365.0;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arguments {
    /// The payments in their order, the first one today: negative for money that leaves.
    flows: Vec<Money>,
    /// The discount rate of a year in percent.
    yearly_rate_pct: Percent,
    /// Periods in a year: 1 for payments a year apart, 12 for months. Ignored with `dates`.
    #[serde(default = "yearly")]
    periods_per_year: u32,
    /// The dates of the payments, if they are not equally spaced; as many as `flows`, in their order.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    dates: Vec<Date>,
}

const fn yearly() -> u32 {
    1
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The sum without discounting.
    total: Money,
    /// The net present value at the date of the first payment.
    net_present_value: Money,
    /// The internal rate of return of a year in percent, if the series has exactly one.
    internal_rate_pct: Option<f64>,
    /// How often the payments change their sign; above 1 there may be several internal rates, and none is given.
    sign_changes: usize,
    /// Years until the sum is no longer negative, interpolated within the period.
    payback_years: Option<f64>,
    /// The same with discounted payments.
    discounted_payback_years: Option<f64>,
    /// The present value of all later payments, divided by the first payment.
    profitability_index: Option<f64>,
    /// The present value of each payment.
    present_values: Vec<Money>,
}

/// The tool.
pub(crate) struct CashFlow;

impl Computation for CashFlow {
    type Arguments = Arguments;
    type Output = Output;
    const NAME: &'static str = "cash_flow";
    const DESCRIPTION: &'static str = "Computes net present value, internal rate of return, payback and profitability \
                                       index of payments, equally spaced or dated.";

    fn compute(arguments: Arguments) -> Result<Output, Cause> {
        let times = times(&arguments)?;
        let flows: Vec<f64> = arguments.flows.iter().map(|flow| flow.to_f64()).collect();
        let rate = arguments.yearly_rate_pct.to_fraction();
        if rate <= -1.0 {
            return Err(invalid("`yearly_rate_pct` is above -100"));
        }
        let present: Vec<f64> = flows.iter().zip(&times).map(|(flow, time)| flow / (1.0 + rate).powf(*time)).collect();
        let value: f64 = present.iter().sum();
        let later = value - present.first().copied().unwrap_or_default();
        let first = flows.first().copied().unwrap_or_default();
        let sign_changes = sign_changes(&flows);
        let money = |units: f64| Money::from_f64(units).ok_or_else(|| invalid("a present value is too large"));
        Ok(Output {
            total: arguments.flows.iter().copied().sum(),
            net_present_value: money(value)?,
            internal_rate_pct: (sign_changes == 1).then(|| internal_rate(&flows, &times)).flatten(),
            sign_changes,
            payback_years: payback(&flows, &times),
            discounted_payback_years: payback(&present, &times),
            profitability_index: (first < 0.0).then(|| round_to(later / -first, 4)),
            present_values: present.iter().map(|units| money(*units)).collect::<Result<_, _>>()?,
        })
    }
}

/// The years from the first payment to each one.
fn times(arguments: &Arguments) -> Result<Vec<f64>, Cause> {
    let count = arguments.flows.len();
    require_at_most("flows", count, FLOWS_MAX)?;
    if count < 2 {
        return Err(invalid("`flows` has at least two payments"));
    }
    if arguments.dates.is_empty() {
        if !(1..=366).contains(&arguments.periods_per_year) {
            return Err(invalid("`periods_per_year` is from 1 to 366"));
        }
        return Ok((0..count).map(|index| index as f64 / f64::from(arguments.periods_per_year)).collect());
    }
    if arguments.dates.len() != count || !arguments.dates.is_sorted() {
        return Err(invalid("`dates` has one date for each payment, in their order"));
    }
    let first = arguments.dates.first().copied().unwrap_or_default();
    arguments.dates.iter().map(|date| Ok(f64::from(days_between(first, *date)?) / DAYS_PER_YEAR)).collect()
}

fn sign_changes(flows: &[f64]) -> usize {
    let signs: Vec<bool> = flows.iter().filter(|flow| **flow != 0.0).map(|flow| *flow > 0.0).collect();
    signs.iter().zip(signs.iter().skip(1)).filter(|(one, other)| one != other).count()
}

/// With one change of sign, the value falls or rises with the rate through exactly one zero.
fn internal_rate(flows: &[f64], times: &[f64]) -> Option<f64> {
    let value =
        |rate: f64| -> f64 { flows.iter().zip(times).map(|(flow, time)| flow / (1.0 + rate).powf(*time)).sum() };
    let (mut low, mut high) = RATE_RANGE;
    let is_low_positive = value(low) > 0.0;
    if is_low_positive == (value(high) > 0.0) {
        return None;
    }
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if (value(middle) > 0.0) == is_low_positive { low = middle } else { high = middle }
    }
    Some(round_to(f64::midpoint(low, high) * 100.0, 4))
}

/// The time at which the running sum of a series that begins below zero reaches zero for good.
fn payback(flows: &[f64], times: &[f64]) -> Option<f64> {
    let (mut sum, mut last_time, mut payback) = (0.0_f64, 0.0_f64, None);
    for (flow, time) in flows.iter().zip(times) {
        let next = sum + flow;
        if sum < 0.0 && next >= 0.0 {
            payback = Some(round_to(last_time + (time - last_time) * (-sum / flow), 4));
        } else if next < 0.0 {
            payback = None;
        }
        (sum, last_time) = (next, *time);
    }
    payback
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;
    use serde_json::{Value, json};

    use super::super::computation::compute_json;
    use super::CashFlow;

    fn compute(arguments: Value) -> Value {
        compute_json::<CashFlow>(arguments).unwrap()
    }

    #[test]
    fn a_yearly_series_has_a_value_a_rate_and_a_payback() {
        let output = compute(json!({ "flows": [-1000, 500, 500, 500], "yearly_rate_pct": 10 }));
        assert_eq!(output["net_present_value"], json!(243.43));
        assert_eq!(output["internal_rate_pct"], json!(23.3752));
        assert_eq!((&output["payback_years"], &output["total"]), (&json!(2.0), &json!(500.0)));
        assert_eq!(output["discounted_payback_years"], json!(2.352));
        assert_eq!(output["profitability_index"], json!(1.2434));
    }

    #[test]
    fn dated_payments_are_discounted_by_days() {
        let output = compute(json!({
            "flows": [-1000, 1100], "yearly_rate_pct": 10, "dates": ["2024-01-01", "2024-12-31"]
        }));
        assert_eq!((&output["net_present_value"], &output["internal_rate_pct"]), (&json!(0.0), &json!(10.0)));
        let never = compute(json!({ "flows": [-1000, 100], "yearly_rate_pct": 5 }));
        assert_eq!((&never["payback_years"], &never["internal_rate_pct"]), (&json!(null), &json!(-90.0)));
    }

    #[test]
    fn several_changes_of_sign_have_no_single_rate() {
        let output = compute(json!({ "flows": [-100, 230, -132], "yearly_rate_pct": 15 }));
        assert_eq!((&output["internal_rate_pct"], &output["sign_changes"]), (&json!(null), &json!(2)));
        let gains = compute(json!({ "flows": [100, 0], "yearly_rate_pct": 5 }));
        assert_eq!((&gains["internal_rate_pct"], &gains["profitability_index"]), (&json!(null), &json!(null)));
    }

    #[test]
    fn a_series_without_sense_is_rejected() {
        for (arguments, code) in [
            (json!({ "flows": [1], "yearly_rate_pct": 5 }), ErrorCode::InvalidInput),
            (json!({ "flows": [1, 2], "yearly_rate_pct": -100 }), ErrorCode::InvalidInput),
            (json!({ "flows": [1, 2], "yearly_rate_pct": 5, "periods_per_year": 0 }), ErrorCode::InvalidInput),
            (json!({ "flows": [1, 2], "yearly_rate_pct": 5, "dates": ["2024-01-01"] }), ErrorCode::InvalidInput),
            (json!({ "flows": vec![1e11; 1200], "yearly_rate_pct": -99.9 }), ErrorCode::InvalidInput),
            (json!({ "flows": vec![1; 1201], "yearly_rate_pct": 5 }), ErrorCode::PayloadTooLarge),
        ] {
            assert_eq!(compute_json::<CashFlow>(arguments).unwrap_err().code, code);
        }
    }
}
