//! `native:parse_invoice`: reads an invoice or a credit note in UBL 2.1, as EN 16931 and Peppol use it, and recomputes
//! its sums.

use greenroom_protocol::Cause;
use greenroom_protocol::value::truncate_utf8;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::computation::{Computation, invalid, round_to};
use super::money::Money;
use super::xml_tree::{self, Element};

/// Maximum lines of a result; all of them are added up.
const LINES_MAX: usize = 300;
/// Maximum bytes of a text of a result.
const TEXT_BYTES_MAX: usize = 300;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arguments {
    /// The XML document.
    xml: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Output {
    /// `Invoice` or `CreditNote`.
    kind: String,
    number: Option<String>,
    issue_date: Option<String>,
    due_date: Option<String>,
    currency: Option<String>,
    order_reference: Option<String>,
    seller: Party,
    buyer: Party,
    /// The account to pay to.
    iban: Option<String>,
    payment_reference: Option<String>,
    lines: Vec<Line>,
    lines_omitted: usize,
    taxes: Vec<Tax>,
    /// The sums as the document states them.
    line_total: Option<Money>,
    tax_exclusive: Option<Money>,
    tax_total: Option<Money>,
    tax_inclusive: Option<Money>,
    prepaid: Option<Money>,
    payable: Option<Money>,
    /// What does not add up, one sentence each.
    contradictions: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Party {
    name: Option<String>,
    tax_id: Option<String>,
    country: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Line {
    id: Option<String>,
    description: Option<String>,
    quantity: Option<f64>,
    unit: Option<String>,
    unit_price: Option<f64>,
    amount: Option<Money>,
    tax_pct: Option<f64>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Tax {
    taxable: Option<Money>,
    tax: Option<Money>,
    percent: Option<f64>,
    category: Option<String>,
}

/// The tool.
pub(crate) struct ParseInvoice;

impl Computation for ParseInvoice {
    type Arguments = Arguments;
    type Output = Output;
    const NAME: &'static str = "parse_invoice";
    const DESCRIPTION: &'static str = "Reads an invoice or credit note in UBL XML: parties, dates, lines, taxes and \
                                       sums, and every sum that does not add up.";

    fn compute(arguments: Arguments) -> Result<Output, Cause> {
        let root = xml_tree::parse(&arguments.xml)?;
        if !matches!(root.name.as_str(), "Invoice" | "CreditNote") {
            return Err(invalid(format!("the document is a `{}`, not an `Invoice` or `CreditNote` of UBL", root.name)));
        }
        let elements = ["InvoiceLine", "CreditNoteLine"].into_iter().flat_map(|name| root.all(name));
        let mut lines = elements.map(read_line).collect::<Result<Vec<_>, _>>()?;
        let subtotals = root.all("TaxTotal").flat_map(|total| total.all("TaxSubtotal"));
        let money = |path: &[&str]| amount(&root, path);
        let mut output = Output {
            kind: root.name.clone(),
            number: text(&root, &["ID"]),
            issue_date: text(&root, &["IssueDate"]),
            due_date: text(&root, &["DueDate"]).or_else(|| text(&root, &["PaymentMeans", "PaymentDueDate"])),
            currency: text(&root, &["DocumentCurrencyCode"]),
            order_reference: text(&root, &["OrderReference", "ID"]),
            seller: read_party(root.find(&["AccountingSupplierParty", "Party"])),
            buyer: read_party(root.find(&["AccountingCustomerParty", "Party"])),
            iban: text(&root, &["PaymentMeans", "PayeeFinancialAccount", "ID"]),
            payment_reference: text(&root, &["PaymentMeans", "PaymentID"]),
            taxes: subtotals.take(LINES_MAX).map(read_tax).collect::<Result<_, _>>()?,
            line_total: money(&["LegalMonetaryTotal", "LineExtensionAmount"])?,
            tax_exclusive: money(&["LegalMonetaryTotal", "TaxExclusiveAmount"])?,
            tax_total: money(&["TaxTotal", "TaxAmount"])?,
            tax_inclusive: money(&["LegalMonetaryTotal", "TaxInclusiveAmount"])?,
            prepaid: money(&["LegalMonetaryTotal", "PrepaidAmount"])?,
            payable: money(&["LegalMonetaryTotal", "PayableAmount"])?,
            lines_omitted: lines.len().saturating_sub(LINES_MAX),
            lines: Vec::new(),
            contradictions: Vec::new(),
        };
        let roundings = money(&["LegalMonetaryTotal", "PayableRoundingAmount"])?.unwrap_or_default();
        output.contradictions = contradictions(&output, &lines, roundings);
        lines.truncate(LINES_MAX);
        Ok(Output { lines, ..output })
    }
}

fn text(element: &Element, path: &[&str]) -> Option<String> {
    element.text(path).map(|text| truncate_utf8(&text, TEXT_BYTES_MAX).to_owned())
}

/// The amount at a path.
///
/// # Errors
/// `invalid_input` if there is a text that is no amount.
fn amount(element: &Element, path: &[&str]) -> Result<Option<Money>, Cause> {
    let Some(text) = element.text(path) else { return Ok(None) };
    match Money::parse(&text) {
        Some(money) => Ok(Some(money)),
        None => Err(invalid(format!("{} is `{}`, which is no amount", path.join("/"), truncate_utf8(&text, 40)))),
    }
}

fn number(element: &Element, path: &[&str]) -> Option<f64> {
    element.text(path)?.parse().ok().filter(|number: &f64| number.is_finite())
}

fn read_party(party: Option<&Element>) -> Party {
    let first = |paths: [&[&str]; 2]| party.and_then(|party| paths.into_iter().find_map(|path| text(party, path)));
    Party {
        name: first([&["PartyLegalEntity", "RegistrationName"], &["PartyName", "Name"]]),
        tax_id: first([&["PartyTaxScheme", "CompanyID"], &["PartyLegalEntity", "CompanyID"]]),
        country: first([&["PostalAddress", "Country", "IdentificationCode"], &["PostalAddress", "Country", "Name"]]),
    }
}

fn read_line(line: &Element) -> Result<Line, Cause> {
    let quantity = line.find(&["InvoicedQuantity"]).or_else(|| line.find(&["CreditedQuantity"]));
    // A price may be that of several units.
    let base = number(line, &["Price", "BaseQuantity"]).filter(|base| *base > 0.0).unwrap_or(1.0);
    Ok(Line {
        id: text(line, &["ID"]),
        description: text(line, &["Item", "Name"]).or_else(|| text(line, &["Item", "Description"])),
        quantity: quantity.and_then(|quantity| number(quantity, &[])),
        unit: quantity.and_then(|quantity| quantity.attribute("unitCode")).map(str::to_owned),
        unit_price: number(line, &["Price", "PriceAmount"]).map(|price| round_to(price / base, 6)),
        amount: amount(line, &["LineExtensionAmount"])?,
        tax_pct: number(line, &["Item", "ClassifiedTaxCategory", "Percent"]),
    })
}

fn read_tax(subtotal: &Element) -> Result<Tax, Cause> {
    Ok(Tax {
        taxable: amount(subtotal, &["TaxableAmount"])?,
        tax: amount(subtotal, &["TaxAmount"])?,
        percent: number(subtotal, &["TaxCategory", "Percent"]),
        category: text(subtotal, &["TaxCategory", "ID"]),
    })
}

/// Compares each sum with what it is the sum of.
fn contradictions(output: &Output, lines: &[Line], roundings: Money) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |subject: String, stated: Option<Money>, computed: Option<Money>| {
        if let (Some(stated), Some(computed)) = (stated, computed)
            && stated != computed
            && found.len() < LINES_MAX
        {
            found.push(format!("{subject} is {}, computed {}", stated.to_f64(), computed.to_f64()));
        }
    };
    for line in lines {
        let subject = format!("the amount of line {}", line.id.as_deref().unwrap_or("?"));
        let product =
            line.quantity.zip(line.unit_price).and_then(|(quantity, price)| Money::from_f64(quantity * price));
        compare(subject, line.amount, product);
    }
    let line_sum = lines.iter().map(|line| line.amount).sum::<Option<Money>>().filter(|_| !lines.is_empty());
    compare("the sum of the lines".to_owned(), output.line_total, line_sum);
    for tax in &output.taxes {
        let computed = tax.taxable.zip(tax.percent);
        let computed = computed.and_then(|(taxable, percent)| Money::from_f64(taxable.to_f64() * percent / 100.0));
        compare(format!("the tax at {} %", tax.percent.unwrap_or_default()), tax.tax, computed);
    }
    let tax_sum = output.taxes.iter().map(|tax| tax.tax).sum::<Option<Money>>().filter(|_| !output.taxes.is_empty());
    compare("the sum of the taxes".to_owned(), output.tax_total, tax_sum);
    let inclusive = output.tax_exclusive.zip(output.tax_total).map(|(net, tax)| net + tax);
    compare("the total with tax".to_owned(), output.tax_inclusive, inclusive);
    let payable = output.tax_inclusive.map(|total| total - output.prepaid.unwrap_or_default() + roundings);
    compare("the payable amount".to_owned(), output.payable, payable);
    found
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;
    use serde_json::json;

    use super::super::computation::compute_json;
    use super::ParseInvoice;

    fn invoice(payable: &str) -> String {
        format!(
            "<Invoice xmlns:cbc='c' xmlns:cac='a'><cbc:ID>R-1</cbc:ID><cbc:IssueDate>2025-01-06</cbc:IssueDate>\
             <cbc:DocumentCurrencyCode>EUR</cbc:DocumentCurrencyCode>\
             <cac:AccountingSupplierParty><cac:Party><cac:PartyName>\
             <cbc:Name>Northwind &amp; Co</cbc:Name></cac:PartyName>\
             </cac:Party></cac:AccountingSupplierParty>\
             <cac:TaxTotal><cbc:TaxAmount currencyID='EUR'>19.00</cbc:TaxAmount><cac:TaxSubtotal>\
             <cbc:TaxableAmount>100.00</cbc:TaxableAmount><cbc:TaxAmount>19.00</cbc:TaxAmount>\
             <cac:TaxCategory><cbc:ID>S</cbc:ID><cbc:Percent>19</cbc:Percent></cac:TaxCategory>\
             </cac:TaxSubtotal></cac:TaxTotal>\
             <cac:LegalMonetaryTotal><cbc:LineExtensionAmount>100.00</cbc:LineExtensionAmount>\
             <cbc:TaxExclusiveAmount>100.00</cbc:TaxExclusiveAmount>\
             <cbc:TaxInclusiveAmount>119.00</cbc:TaxInclusiveAmount>\
             <cbc:PayableAmount>{payable}</cbc:PayableAmount></cac:LegalMonetaryTotal>\
             <cac:InvoiceLine><cbc:ID>1</cbc:ID><cbc:InvoicedQuantity unitCode='HUR'>4</cbc:InvoicedQuantity>\
             <cbc:LineExtensionAmount>100.00</cbc:LineExtensionAmount><cac:Item><cbc:Name>Advice</cbc:Name></cac:Item>\
             <cac:Price><cbc:PriceAmount>25</cbc:PriceAmount></cac:Price></cac:InvoiceLine></Invoice>"
        )
    }

    #[test]
    fn an_invoice_is_read_and_recomputed() {
        let output = compute_json::<ParseInvoice>(json!({ "xml": invoice("119.00") })).unwrap();
        assert_eq!((&output["number"], &output["payable"]), (&json!("R-1"), &json!(119.0)));
        assert_eq!(output["seller"]["name"], json!("Northwind & Co"));
        let line = &output["lines"][0];
        assert_eq!((&line["unit"], &line["quantity"], &line["amount"]), (&json!("HUR"), &json!(4.0), &json!(100.0)));
        assert_eq!((&output["contradictions"], &output["due_date"]), (&json!([]), &json!(null)));
        let wrong = compute_json::<ParseInvoice>(json!({ "xml": invoice("129.00") })).unwrap();
        assert_eq!(wrong["contradictions"], json!(["the payable amount is 129, computed 119"]));
    }

    #[test]
    fn another_document_is_rejected() {
        for xml in ["<Order/>", "not xml", invoice("12O").as_str(), "<Invoice><ID>1</Invoice>"] {
            let cause = compute_json::<ParseInvoice>(json!({ "xml": xml })).unwrap_err();
            assert_eq!(cause.code, ErrorCode::InvalidInput, "{xml}");
        }
        let empty = compute_json::<ParseInvoice>(json!({ "xml": "<CreditNote/>" })).unwrap();
        assert_eq!((&empty["kind"], &empty["lines"]), (&json!("CreditNote"), &json!([])));
    }
}
