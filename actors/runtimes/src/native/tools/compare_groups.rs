//! `native:compare_groups`: significance tests of two rates, of two means, and of counts against expected shares or
//! against each other.

use greenroom_protocol::Cause;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::computation::{Computation, invalid, require_at_most, round_to};
use super::describe_numbers::{Sample, check_values, exact_sum};
use super::distributions::{chi_squared_upper, normal_quantile, normal_two_sided, t_critical, t_two_sided};

/// Maximum rows and columns of a table of counts.
const TABLE_MAX: usize = 50;
/// Maximum counts that are compared with expected shares.
const COUNTS_MAX: usize = 1_000;
/// Maximum of a count.
const COUNT_MAX: u64 = 1_000_000_000_000;
/// The expected count below which the chi-squared distribution is a poor approximation.
const EXPECTED_MIN: f64 = 5.0;
/// The digits after the point of a result.
const DIGITS: u8 = 6;

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Test {
    TwoProportions,
    TwoMeans,
    CountsAgainstShares,
    TableOfCounts,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arguments {
    /// Two rates (z-test), two lists of numbers (Welch's t-test), counts against shares, or a table of counts
    /// (chi-squared).
    test: Test,
    /// `two_proportions`: the successes of the first and of the second group.
    #[serde(default)]
    successes: Vec<u64>,
    /// `two_proportions`: the sizes of the two groups.
    #[serde(default)]
    totals: Vec<u64>,
    /// `two_means`: the values of the first group.
    #[serde(default)]
    first: Vec<f64>,
    /// `two_means`: the values of the second group.
    #[serde(default)]
    second: Vec<f64>,
    /// `counts_against_shares`: the counts.
    #[serde(default)]
    counts: Vec<u64>,
    /// `counts_against_shares`: the expected shares, in any unit; equal ones if absent.
    #[serde(default)]
    shares: Vec<f64>,
    /// `table_of_counts`: the rows.
    #[serde(default)]
    table: Vec<Vec<u64>>,
    /// The confidence of the interval in percent; 95 if absent.
    #[serde(default = "usual_confidence")]
    confidence_pct: f64,
}

const fn usual_confidence() -> f64 {
    95.0
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The rates in percent, or the means, of the two groups.
    estimates: Vec<f64>,
    /// The second estimate less the first: percentage points for rates.
    difference: Option<f64>,
    /// The difference in percent of the first estimate.
    relative_difference_pct: Option<f64>,
    /// The bounds of the difference at the confidence.
    interval: Option<[f64; 2]>,
    /// z, t or chi-squared.
    statistic: f64,
    degrees_of_freedom: Option<f64>,
    /// The probability of a result at least this extreme without a difference.
    p_value: f64,
    /// Whether the p-value is below one less the confidence.
    is_significant: bool,
    /// Why the result may be unreliable.
    warnings: Vec<String>,
}

/// The tool.
pub(crate) struct CompareGroups;

impl Computation for CompareGroups {
    type Arguments = Arguments;
    type Output = Output;
    const NAME: &'static str = "compare_groups";
    const DESCRIPTION: &'static str = "Tests whether two rates, two means, or counts differ by more than chance: \
                                       difference, confidence interval, statistic and p-value.";

    fn compute(arguments: Arguments) -> Result<Output, Cause> {
        if !(50.0..=99.99).contains(&arguments.confidence_pct) {
            return Err(invalid("`confidence_pct` is from 50 to 99.99"));
        }
        let alpha = 1.0 - arguments.confidence_pct / 100.0;
        let mut output = match arguments.test {
            Test::TwoProportions => two_proportions(&arguments, alpha)?,
            Test::TwoMeans => two_means(&arguments, alpha)?,
            Test::CountsAgainstShares => counts_against_shares(&arguments)?,
            Test::TableOfCounts => table_of_counts(&arguments.table)?,
        };
        output.is_significant = output.p_value < alpha;
        output.p_value = round_to(output.p_value, DIGITS);
        output.statistic = round_to(output.statistic, DIGITS);
        Ok(output)
    }
}

/// The part of a result that both tests of two groups have.
fn of_two_groups(estimates: [f64; 2], margin: f64, statistic: f64, p_value: f64) -> Output {
    let [first, second] = estimates;
    let difference = second - first;
    let rounded = |value: f64| round_to(value, DIGITS);
    Output {
        estimates: estimates.map(rounded).to_vec(),
        difference: Some(rounded(difference)),
        relative_difference_pct: (first != 0.0).then(|| rounded(difference / first * 100.0)),
        interval: Some([rounded(difference - margin), rounded(difference + margin)]),
        statistic,
        degrees_of_freedom: None,
        p_value,
        is_significant: false,
        warnings: Vec::new(),
    }
}

fn two_proportions(arguments: &Arguments, alpha: f64) -> Result<Output, Cause> {
    let ([first, second], [first_total, second_total]) = (arguments.successes.as_slice(), arguments.totals.as_slice())
    else {
        return Err(invalid("`successes` and `totals` have two numbers each"));
    };
    for (successes, total) in [(first, first_total), (second, second_total)] {
        if *total == 0 || successes > total || *total > COUNT_MAX {
            return Err(invalid(format!("{successes} successes of {total} is no rate")));
        }
    }
    let [first, second, first_total, second_total] =
        [first, second, first_total, second_total].map(|count| *count as f64);
    let (first_rate, second_rate) = (first / first_total, second / second_total);
    let pooled = (first + second) / (first_total + second_total);
    let pooled_error = (pooled * (1.0 - pooled) * (1.0 / first_total + 1.0 / second_total)).sqrt();
    let error =
        (first_rate * (1.0 - first_rate) / first_total + second_rate * (1.0 - second_rate) / second_total).sqrt();
    let z = if pooled_error > 0.0 { (second_rate - first_rate) / pooled_error } else { 0.0 };
    let margin = normal_quantile(1.0 - alpha / 2.0) * error * 100.0;
    let mut output = of_two_groups([first_rate * 100.0, second_rate * 100.0], margin, z, normal_two_sided(z));
    let smallest = [first, second, first_total - first, second_total - second].into_iter().fold(f64::MAX, f64::min);
    if smallest < EXPECTED_MIN {
        output.warnings.push("a group has fewer than 5 successes or failures: the normal approximation is poor".into());
    }
    Ok(output)
}

fn two_means(arguments: &Arguments, alpha: f64) -> Result<Output, Cause> {
    check_values("first", &arguments.first, 2)?;
    check_values("second", &arguments.second, 2)?;
    let (first, second) = (Sample::new(&arguments.first), Sample::new(&arguments.second));
    let variance = |sample: &Sample| sample.variance().unwrap_or_default() / sample.count;
    let (first_part, second_part) = (variance(&first), variance(&second));
    let error = (first_part + second_part).sqrt();
    if error == 0.0 {
        return Err(invalid("no value of a group differs from its others: there is no spread to test against"));
    }
    let parts = first_part.powi(2) / (first.count - 1.0) + second_part.powi(2) / (second.count - 1.0);
    let freedom =
        if parts > 0.0 { (first_part + second_part).powi(2) / parts } else { first.count + second.count - 2.0 };
    let t = (second.mean - first.mean) / error;
    let margin = t_critical(alpha, freedom) * error;
    let mut output = of_two_groups([first.mean, second.mean], margin, t, t_two_sided(t, freedom));
    output.degrees_of_freedom = Some(round_to(freedom, DIGITS));
    if first.count.min(second.count) < 10.0 {
        output
            .warnings
            .push("a group has fewer than 10 values: the test relies on values that are nearly normal".into());
    }
    Ok(output)
}

fn counts_against_shares(arguments: &Arguments) -> Result<Output, Cause> {
    let counts = &arguments.counts;
    require_at_most("counts", counts.len(), COUNTS_MAX)?;
    let shares = if arguments.shares.is_empty() { vec![1.0; counts.len()] } else { arguments.shares.clone() };
    if counts.len() < 2 || shares.len() != counts.len() {
        return Err(invalid("`counts` has at least two numbers, and `shares` as many"));
    }
    check_values("shares", &shares, 2)?;
    if shares.iter().any(|share| *share <= 0.0) {
        return Err(invalid("each of `shares` is above zero"));
    }
    let total = total(counts)?;
    let share_sum = exact_sum(shares.iter().copied());
    let pairs = counts.iter().zip(&shares).map(|(count, share)| (*count as f64, total * share / share_sum));
    Ok(chi_squared(&pairs.collect::<Vec<_>>(), counts.len() as f64 - 1.0))
}

fn table_of_counts(table: &[Vec<u64>]) -> Result<Output, Cause> {
    let columns = table.first().map_or(0, Vec::len);
    require_at_most("rows", table.len(), TABLE_MAX)?;
    require_at_most("columns", columns, TABLE_MAX)?;
    if table.len() < 2 || columns < 2 || table.iter().any(|row| row.len() != columns) {
        return Err(invalid("`table` has at least two rows of equally many, at least two, counts"));
    }
    let row_totals = table.iter().map(|row| total(row)).collect::<Result<Vec<_>, _>>()?;
    let column = |index: usize| table.iter().filter_map(|row| row.get(index).copied()).collect::<Vec<_>>();
    let column_totals = (0..columns).map(|index| total(&column(index))).collect::<Result<Vec<_>, _>>()?;
    let all: f64 = row_totals.iter().sum();
    let pairs: Vec<(f64, f64)> = table
        .iter()
        .zip(&row_totals)
        .flat_map(|(row, row_total)| {
            row.iter().zip(&column_totals).map(move |(count, column)| (*count as f64, row_total * column / all))
        })
        .collect();
    Ok(chi_squared(&pairs, (table.len() - 1) as f64 * (columns - 1) as f64))
}

/// The sum of counts, which is above zero.
fn total(counts: &[u64]) -> Result<f64, Cause> {
    if counts.iter().any(|count| *count > COUNT_MAX) {
        return Err(invalid(format!("a count is at most {COUNT_MAX}")));
    }
    match counts.iter().sum::<u64>() {
        0 => Err(invalid("all counts of a row, of a column or of the list are zero")),
        total => Ok(total as f64),
    }
}

fn chi_squared(pairs: &[(f64, f64)], freedom: f64) -> Output {
    let statistic = exact_sum(pairs.iter().map(|(count, expected)| (count - expected).powi(2) / expected));
    let small = pairs.iter().filter(|(_, expected)| *expected < EXPECTED_MIN).count();
    let warning = format!("{small} expected counts are below 5: the chi-squared approximation is poor");
    Output {
        estimates: pairs.iter().map(|(_, expected)| round_to(*expected, DIGITS)).collect(),
        difference: None,
        relative_difference_pct: None,
        interval: None,
        statistic,
        degrees_of_freedom: Some(freedom),
        p_value: chi_squared_upper(statistic, freedom),
        is_significant: false,
        warnings: (small > 0).then_some(warning).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;
    use serde_json::{Value, json};

    use super::super::computation::compute_json;
    use super::CompareGroups;

    fn compute(arguments: Value) -> Value {
        compute_json::<CompareGroups>(arguments).unwrap()
    }

    #[test]
    fn two_rates_are_compared() {
        let output = compute(json!({ "test": "two_proportions", "successes": [100, 130], "totals": [1000, 1000] }));
        assert_eq!((&output["estimates"], &output["difference"]), (&json!([10.0, 13.0]), &json!(3.0)));
        assert_eq!((&output["statistic"], &output["is_significant"]), (&json!(2.102741), &json!(true)));
        assert_eq!((&output["p_value"], &output["relative_difference_pct"]), (&json!(0.035488), &json!(30.0)));
        let few = compute(json!({ "test": "two_proportions", "successes": [0, 0], "totals": [10, 10] }));
        assert_eq!((&few["p_value"], few["warnings"].as_array().unwrap().len()), (&json!(1.0), 1));
    }

    #[test]
    fn two_means_are_compared_without_equal_variances() {
        let output = compute(json!({ "test": "two_means", "first": [1, 2, 3, 4], "second": [3, 5, 7, 9] }));
        assert_eq!((&output["difference"], &output["statistic"]), (&json!(3.5), &json!(2.424871)));
        assert_eq!(output["degrees_of_freedom"], json!(4.411765));
        assert_eq!(output["is_significant"], json!(false));
    }

    #[test]
    fn counts_are_compared_with_shares_and_with_each_other() {
        let mismatch = compute(json!({ "test": "counts_against_shares", "counts": [4900, 5100], "shares": [50, 50] }));
        assert_eq!((&mismatch["statistic"], &mismatch["p_value"]), (&json!(4.0), &json!(0.0455)));
        let table = compute(json!({ "test": "table_of_counts", "table": [[20, 30], [30, 20]] }));
        assert_eq!((&table["statistic"], &table["degrees_of_freedom"]), (&json!(4.0), &json!(1.0)));
    }

    #[test]
    fn groups_without_a_test_are_rejected() {
        for arguments in [
            json!({ "test": "two_proportions", "successes": [5, 1], "totals": [4, 4] }),
            json!({ "test": "two_proportions", "successes": [5], "totals": [4, 4] }),
            json!({ "test": "two_means", "first": [1, 1], "second": [2, 2] }),
            json!({ "test": "counts_against_shares", "counts": [0, 0] }),
            json!({ "test": "counts_against_shares", "counts": [1, 2], "shares": [0, 1] }),
            json!({ "test": "table_of_counts", "table": [[1, 2], [3]] }),
            json!({ "test": "table_of_counts", "table": [[0, 2], [0, 3]] }),
            json!({ "test": "two_means", "first": [1, 2], "second": [2, 3], "confidence_pct": 100 }),
            json!({ "test": "guess" }),
        ] {
            let cause = compute_json::<CompareGroups>(arguments.clone()).unwrap_err();
            assert_eq!(cause.code, ErrorCode::InvalidInput, "{arguments}");
        }
    }
}
