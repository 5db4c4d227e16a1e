//! `native:loan_schedule`: the amortisation of a loan, payment by payment, to the cent. The last payment settles what
//! the rounding of the others left.

use greenroom_protocol::Cause;
use jiff::Span;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::computation::{Computation, invalid};
use super::money::{Money, Percent};

/// Maximum payments of a loan.
const PAYMENTS_MAX: u32 = 1_200;
/// Rows of the schedule without a number of rows in the arguments.
const ROWS_DEFAULT: usize = 60;
/// Maximum rows of the schedule in a result.
const ROWS_MAX: usize = 400;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Method {
    #[default]
    Annuity,
    EqualPrincipal,
    InterestOnly,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arguments {
    /// The amount that is borrowed.
    principal: Money,
    /// The nominal interest of a year in percent, such as 4.5.
    yearly_rate_pct: Percent,
    /// The number of payments.
    payments: u32,
    /// Payments in a year: 1, 2, 4 or 12.
    #[serde(default = "monthly")]
    payments_per_year: u32,
    /// Equal payments, equal parts of the principal, or interest only with the principal in the last payment.
    #[serde(default)]
    method: Method,
    /// What each payment repays in addition.
    #[serde(default)]
    extra_payment: Money,
    /// The date of the first payment, written like 2025-01-31.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    first_due: Option<Date>,
    /// Rows of the schedule in the result; 60 if absent, at most 400. The totals are always those of all payments.
    #[serde(default)]
    rows: Option<usize>,
}

const fn monthly() -> u32 {
    12
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The regular payment; the first one if they differ.
    payment: Money,
    /// Payments until nothing is left.
    payments: usize,
    last_payment: Money,
    total_paid: Money,
    total_interest: Money,
    /// The first rows of the schedule.
    schedule: Vec<Row>,
    /// Rows that are left out.
    rows_omitted: usize,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Row {
    number: u32,
    #[schemars(with = "Option<String>")]
    due: Option<Date>,
    payment: Money,
    interest: Money,
    principal: Money,
    balance: Money,
}

/// The tool.
pub(crate) struct LoanSchedule;

impl Computation for LoanSchedule {
    type Arguments = Arguments;
    type Output = Output;
    const NAME: &'static str = "loan_schedule";
    const DESCRIPTION: &'static str = "Computes the amortisation schedule of a loan to the cent: payment, interest, \
                                       principal and balance of each payment, and the totals.";

    fn compute(arguments: Arguments) -> Result<Output, Cause> {
        check(&arguments)?;
        let rows = schedule(&arguments)?;
        let (Some(first), Some(last)) = (rows.first().cloned(), rows.last().cloned()) else {
            return Err(invalid("the loan has no payment"));
        };
        let count = rows.len();
        let limit = arguments.rows.unwrap_or(ROWS_DEFAULT).min(ROWS_MAX);
        Ok(Output {
            payment: first.payment,
            payments: count,
            last_payment: last.payment,
            total_paid: rows.iter().map(|row| row.payment).sum(),
            total_interest: rows.iter().map(|row| row.interest).sum(),
            schedule: rows.into_iter().take(limit).collect(),
            rows_omitted: count.saturating_sub(limit),
        })
    }
}

fn check(arguments: &Arguments) -> Result<(), Cause> {
    if !arguments.principal.is_positive() {
        return Err(invalid("`principal` is above zero"));
    }
    if arguments.yearly_rate_pct.is_negative() || arguments.extra_payment < Money::ZERO {
        return Err(invalid("`yearly_rate_pct` and `extra_payment` are not negative"));
    }
    if !matches!(arguments.payments_per_year, 1 | 2 | 4 | 12) {
        return Err(invalid("`payments_per_year` is 1, 2, 4 or 12"));
    }
    if !(1..=PAYMENTS_MAX).contains(&arguments.payments) {
        return Err(invalid(format!("`payments` is a number from 1 to {PAYMENTS_MAX}")));
    }
    Ok(())
}

/// The regular amount: the payment of an annuity, or the part of the principal in each payment.
fn regular_amount(arguments: &Arguments) -> Result<Money, Cause> {
    let count = i128::from(arguments.payments);
    match arguments.method {
        Method::InterestOnly => Ok(Money::ZERO),
        Method::EqualPrincipal => Ok(arguments.principal.part(1, count)),
        Method::Annuity => {
            let rate = arguments.yearly_rate_pct.to_fraction() / f64::from(arguments.payments_per_year);
            if rate == 0.0 {
                return Ok(arguments.principal.part(1, count));
            }
            // Repeated multiplication, because the precision of `powi` is not specified.
            let growth = (0..arguments.payments).fold(1.0_f64, |product, _| product * (1.0 + rate));
            let factor = if growth.is_finite() { rate * growth / (growth - 1.0) } else { rate };
            Money::from_f64(arguments.principal.to_f64() * factor).ok_or_else(|| invalid("the payment is too large"))
        }
    }
}

fn schedule(arguments: &Arguments) -> Result<Vec<Row>, Cause> {
    let regular = regular_amount(arguments)?;
    let mut balance = arguments.principal;
    let mut rows = Vec::new();
    for number in 1..=arguments.payments {
        let interest = balance.interest(arguments.yearly_rate_pct, i128::from(arguments.payments_per_year));
        let planned = match arguments.method {
            Method::Annuity => regular - interest,
            Method::EqualPrincipal | Method::InterestOnly => regular,
        };
        let is_last = number == arguments.payments;
        let principal = if is_last { balance } else { (planned + arguments.extra_payment).min(balance) };
        if principal < Money::ZERO {
            return Err(invalid("a payment would not cover its interest"));
        }
        balance = balance - principal;
        let due =
            arguments.first_due.map(|first| due_date(first, number - 1, arguments.payments_per_year)).transpose()?;
        rows.push(Row { number, due, payment: principal + interest, interest, principal, balance });
        if balance == Money::ZERO {
            break;
        }
    }
    Ok(rows)
}

/// The day of a payment, counted from the first one, so that the 31st returns after a shorter month.
fn due_date(first: Date, index: u32, payments_per_year: u32) -> Result<Date, Cause> {
    let months = i64::from(index) * i64::from(12 / payments_per_year.max(1));
    let moved = Span::new().try_months(months).and_then(|span| first.checked_add(span));
    moved.map_err(|error| invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;
    use serde_json::{Value, json};

    use super::super::computation::compute_json;
    use super::LoanSchedule;

    fn compute(arguments: Value) -> Value {
        compute_json::<LoanSchedule>(arguments).unwrap()
    }

    #[test]
    fn an_annuity_ends_at_zero() {
        let output = compute(json!({
            "principal": 200_000, "yearly_rate_pct": 6, "payments": 360, "first_due": "2025-01-31", "rows": 2
        }));
        assert_eq!(output["payment"], json!(1199.1));
        assert_eq!(output["schedule"][0]["interest"], json!(1000.0));
        assert_eq!(output["schedule"][1]["due"], json!("2025-02-28"));
        assert_eq!((&output["payments"], &output["rows_omitted"]), (&json!(360), &json!(358)));
        let (paid, interest) = (output["total_paid"].as_f64().unwrap(), output["total_interest"].as_f64().unwrap());
        assert!((paid - interest - 200_000.0).abs() < 0.001, "{output}");
    }

    #[test]
    fn other_methods_repay_the_same_principal() {
        let equal = compute(json!({
            "principal": 1000, "yearly_rate_pct": 12, "payments": 3, "method": "equal_principal"
        }));
        assert_eq!(equal["schedule"][0]["principal"], json!(333.33));
        assert_eq!((&equal["last_payment"], &equal["total_interest"]), (&json!(336.67), &json!(20.0)));
        let bullet = compute(json!({
            "principal": 1000, "yearly_rate_pct": 6, "payments": 2, "payments_per_year": 2, "method": "interest_only"
        }));
        assert_eq!((&bullet["payment"], &bullet["last_payment"]), (&json!(30.0), &json!(1030.0)));
        let early = compute(json!({ "principal": 1000, "yearly_rate_pct": 0, "payments": 10, "extra_payment": 400 }));
        assert_eq!((&early["payments"], &early["total_paid"]), (&json!(2), &json!(1000.0)));
    }

    #[test]
    fn a_loan_without_sense_is_rejected() {
        for arguments in [
            json!({ "principal": 0, "yearly_rate_pct": 5, "payments": 12 }),
            json!({ "principal": 100, "yearly_rate_pct": -5, "payments": 12 }),
            json!({ "principal": 100, "yearly_rate_pct": 5, "payments": 0 }),
            json!({ "principal": 100, "yearly_rate_pct": 5, "payments": 4_000_000_000_u32 }),
            json!({ "principal": 100, "yearly_rate_pct": 5, "payments": 12, "payments_per_year": 7 }),
            json!({ "principal": 1e300, "yearly_rate_pct": 5, "payments": 12 }),
            json!({ "principal": 100, "yearly_rate_pct": 5, "payments": 1200, "first_due": "9990-01-01" }),
        ] {
            let cause = compute_json::<LoanSchedule>(arguments.clone()).unwrap_err();
            assert_eq!(cause.code, ErrorCode::InvalidInput, "{arguments}");
        }
        let steep = compute(json!({ "principal": 1e9, "yearly_rate_pct": 99999, "payments": 1200, "rows": 1 }));
        assert_eq!(steep["schedule"].as_array().unwrap().len(), 1);
    }
}
