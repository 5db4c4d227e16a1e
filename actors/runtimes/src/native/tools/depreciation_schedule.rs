//! `native:depreciation_schedule`: the depreciation of an asset year by year, to the cent, down to its residual value.

use greenroom_protocol::Cause;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::computation::{Computation, invalid};
use super::money::{Money, Percent};

/// Maximum useful life.
const YEARS_MAX: u32 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Method {
    #[default]
    StraightLine,
    DecliningBalance,
    SumOfYears,
    UnitsOfProduction,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arguments {
    /// The cost of the asset.
    cost: Money,
    /// The value at the end of its life.
    #[serde(default)]
    residual: Money,
    /// The useful life in years.
    life_years: u32,
    /// How the cost is spread; `declining_balance` changes to straight line in the year in which that is more.
    #[serde(default)]
    method: Method,
    /// The rate of a declining balance in percent of the carrying amount; twice the straight-line rate if absent.
    #[serde(default)]
    rate_pct: Option<Percent>,
    /// Months of use in the first year, from 1 to 12; what it lacks follows after the last year.
    #[serde(default = "full_year")]
    first_year_months: u32,
    /// The units of each year, for `units_of_production`; as many as the years of life.
    #[serde(default)]
    units: Vec<u32>,
}

const fn full_year() -> u32 {
    12
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Cost less residual value.
    depreciable: Money,
    total_depreciation: Money,
    schedule: Vec<Year>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Year {
    year: u32,
    depreciation: Money,
    accumulated: Money,
    carrying_amount: Money,
}

/// The tool.
pub(crate) struct DepreciationSchedule;

impl Computation for DepreciationSchedule {
    type Arguments = Arguments;
    type Output = Output;
    const NAME: &'static str = "depreciation_schedule";
    const DESCRIPTION: &'static str = "Computes the depreciation of an asset year by year to the cent: straight line, \
                                       declining balance, sum of the years' digits or units of production.";

    fn compute(arguments: Arguments) -> Result<Output, Cause> {
        check(&arguments)?;
        let depreciable = arguments.cost - arguments.residual;
        let amounts = match arguments.method {
            Method::StraightLine => straight_line(&arguments, depreciable),
            Method::DecliningBalance => declining_balance(&arguments, depreciable),
            Method::SumOfYears => {
                let life = arguments.life_years;
                by_parts(&arguments, depreciable, &(1..=life).rev().map(i128::from).collect::<Vec<_>>())
            }
            Method::UnitsOfProduction => {
                spread(depreciable, &arguments.units.iter().copied().map(i128::from).collect::<Vec<_>>())
            }
        };
        let mut accumulated = Money::ZERO;
        let schedule = (1..)
            .zip(amounts)
            .map(|(year, depreciation)| {
                accumulated = accumulated + depreciation;
                Year { year, depreciation, accumulated, carrying_amount: arguments.cost - accumulated }
            })
            .collect();
        Ok(Output { depreciable, total_depreciation: accumulated, schedule })
    }
}

fn check(arguments: &Arguments) -> Result<(), Cause> {
    if !arguments.cost.is_positive() || arguments.residual < Money::ZERO || arguments.residual >= arguments.cost {
        return Err(invalid("`cost` is above zero, and `residual` from zero to below the cost"));
    }
    if !(1..=YEARS_MAX).contains(&arguments.life_years) || !(1..=12).contains(&arguments.first_year_months) {
        return Err(invalid(format!("`life_years` is 1 to {YEARS_MAX}, and `first_year_months` 1 to 12")));
    }
    if arguments.rate_pct.is_some_and(|rate| !(0.0..=1.0).contains(&rate.to_fraction())) {
        return Err(invalid("`rate_pct` is from 0 to 100"));
    }
    let needs_units = arguments.method == Method::UnitsOfProduction;
    let sum: u64 = arguments.units.iter().copied().map(u64::from).sum();
    if needs_units && (arguments.units.len() != arguments.life_years as usize || sum == 0) {
        return Err(invalid("`units` has one number for each year of life, and not only zeros"));
    }
    Ok(())
}

/// The amounts of whole years of use, moved by the months that the first year lacks.
fn by_parts(arguments: &Arguments, depreciable: Money, parts: &[i128]) -> Vec<Money> {
    let (months, rest) = (i128::from(arguments.first_year_months), i128::from(12 - arguments.first_year_months));
    let before = std::iter::once(0).chain(parts.iter().copied());
    let after = parts.iter().copied().chain(std::iter::once(0));
    let mut weights: Vec<i128> = after.zip(before).map(|(this, last)| this * months + last * rest).collect();
    if weights.last() == Some(&0) {
        weights.pop();
    }
    spread(depreciable, &weights)
}

/// Spreads an amount by weights; the rounding of all parts together is that of their sum.
fn spread(amount: Money, weights: &[i128]) -> Vec<Money> {
    let total: i128 = weights.iter().sum();
    let (mut weight, mut sum) = (0, Money::ZERO);
    let parts = weights.iter().map(|part| {
        weight += part;
        let until = amount.part(weight, total);
        let amount = until - sum;
        sum = until;
        amount
    });
    parts.collect()
}

fn straight_line(arguments: &Arguments, depreciable: Money) -> Vec<Money> {
    by_parts(arguments, depreciable, &vec![1; arguments.life_years as usize])
}

fn declining_balance(arguments: &Arguments, depreciable: Money) -> Vec<Money> {
    let life = i128::from(arguments.life_years);
    let mut months_left = life * 12;
    let mut left = depreciable;
    let mut amounts = Vec::new();
    while left.is_positive() && months_left > 0 {
        let months = if amounts.is_empty() { i128::from(arguments.first_year_months) } else { months_left.min(12) };
        let carrying_amount = left + arguments.residual;
        let declining = match arguments.rate_pct {
            Some(rate) => rate.of(carrying_amount).part(months, 12),
            None => carrying_amount.part(2 * months, life * 12),
        };
        let straight = left.part(months, months_left);
        let amount = declining.max(straight).min(left);
        amounts.push(amount);
        left = left - amount;
        months_left -= months;
    }
    amounts
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;
    use serde_json::{Value, json};

    use super::super::computation::compute_json;
    use super::DepreciationSchedule;

    fn amounts(arguments: Value) -> Vec<f64> {
        let output = compute_json::<DepreciationSchedule>(arguments).unwrap();
        assert_eq!(output["total_depreciation"], output["depreciable"], "{output}");
        output["schedule"].as_array().unwrap().iter().map(|year| year["depreciation"].as_f64().unwrap()).collect()
    }

    #[test]
    fn each_method_spreads_the_whole_amount() {
        let asset = |method: &str| json!({ "cost": 10_000, "residual": 1_000, "life_years": 5, "method": method });
        assert_eq!(amounts(asset("straight_line")), [1800.0; 5]);
        assert_eq!(amounts(asset("sum_of_years")), [3000.0, 2400.0, 1800.0, 1200.0, 600.0]);
        assert_eq!(amounts(asset("declining_balance")), [4000.0, 2400.0, 1440.0, 864.0, 296.0]);
        let mut units = asset("units_of_production");
        units["units"] = json!([100, 0, 300, 400, 100]);
        assert_eq!(amounts(units), [1000.0, 0.0, 3000.0, 4000.0, 1000.0]);
    }

    #[test]
    fn a_short_first_year_adds_a_year_at_the_end() {
        let asset = json!({ "cost": 1_000, "life_years": 3, "first_year_months": 3 });
        assert_eq!(amounts(asset), [83.33, 333.34, 333.33, 250.0]);
        let declining =
            json!({ "cost": 1_000, "life_years": 4, "method": "declining_balance", "first_year_months": 6 });
        assert_eq!(amounts(declining), [250.0, 375.0, 187.5, 125.0, 62.5]);
    }

    #[test]
    fn an_asset_without_sense_is_rejected() {
        for arguments in [
            json!({ "cost": 0, "life_years": 5 }),
            json!({ "cost": 10, "residual": 10, "life_years": 5 }),
            json!({ "cost": 10, "life_years": 0 }),
            json!({ "cost": 10, "life_years": 4_000_000_000_u32 }),
            json!({ "cost": 10, "life_years": 2, "first_year_months": 13 }),
            json!({ "cost": 10, "life_years": 2, "rate_pct": 101 }),
            json!({ "cost": 10, "life_years": 2, "method": "units_of_production", "units": [0, 0] }),
            json!({ "cost": 10, "life_years": 2, "method": "units_of_production", "units": [1] }),
        ] {
            let cause = compute_json::<DepreciationSchedule>(arguments.clone()).unwrap_err();
            assert_eq!(cause.code, ErrorCode::InvalidInput, "{arguments}");
        }
    }
}
