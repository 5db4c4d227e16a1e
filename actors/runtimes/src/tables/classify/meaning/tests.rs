//! Names of columns, as people write them, and what they mean.

use super::{Meaning, is_lower_better, meaning_of};

#[test]
fn the_head_of_a_name_decides() {
    for (name, expected) in [
        ("revenue", Meaning::Revenue),
        ("net_revenue", Meaning::Revenue),
        ("Revenue (USD)", Meaning::Revenue),
        ("cost_of_revenue", Meaning::Cost),
        ("Cost of Sales", Meaning::Cost),
        ("sales_tax", Meaning::Cost),
        ("units_sold", Meaning::Quantity),
        ("number_of_orders", Meaning::Quantity),
        ("Umsatz", Meaning::Revenue),
        ("Nettoumsatz", Meaning::Revenue),
        ("Umsatzkosten", Meaning::Cost),
        ("profit before tax", Meaning::Profit),
        ("coût des ventes", Meaning::Cost),
        ("chiffre d'affaires", Meaning::Revenue),
        ("Betrag", Meaning::Amount),
        ("amount_total", Meaning::Amount),
        ("order_value", Meaning::Amount),
        ("sales_target", Meaning::Plan),
        ("2023", Meaning::Unknown),
        ("Q4 2024", Meaning::Unknown),
        ("foo", Meaning::Unknown),
    ] {
        assert_eq!(meaning_of(name), expected, "{name}");
    }
}

#[test]
fn figures_that_do_not_add_up_are_recognised() {
    for name in [
        "margin_pct",
        "Margin %",
        "conversion_rate",
        "market_share",
        "avg_order_value",
        "Anteil",
        "revenue_per_user",
        "km/h",
        "nps",
    ] {
        assert_eq!(meaning_of(name), Meaning::Ratio, "{name}");
    }
    for name in
        ["unit_price", "unitPrice", "price_per_litre", "Prix unitaire", "unit_cost", "Stückpreis", "Einzelpreis"]
    {
        assert_eq!(meaning_of(name), Meaning::UnitPrice, "{name}");
    }
    for name in ["price", "Preis", "list_price", "Literpreis"] {
        assert_eq!(meaning_of(name), Meaning::Price, "{name}");
    }
    assert_eq!(meaning_of("total_price"), Meaning::Amount);
    for name in ["running_total", "revenue_ytd", "Saldo", "cumulative revenue"] {
        assert_eq!(meaning_of(name), Meaning::Level, "{name}");
    }
    assert_eq!(meaning_of("margin"), Meaning::RatioOrAmount);
}

#[test]
fn digits_that_are_no_quantity_are_recognised() {
    for name in [
        "id",
        "customer_id",
        "CustomerID",
        "zip",
        "PLZ",
        "Kundennummer",
        "phone",
        "Invoice No",
        "code_postal",
        "id_cliente",
        "order_number",
    ] {
        assert_eq!(meaning_of(name), Meaning::Identifier, "{name}");
    }
    for name in ["year", "Jahr", "month", "fiscal year"] {
        assert_eq!(meaning_of(name), Meaning::Calendar, "{name}");
    }
}

#[test]
fn revenue_leads_and_a_cost_is_better_when_it_is_lower() {
    let headline_weight = |name: &str| meaning_of(name).headline_weight();
    assert!(headline_weight("net_revenue") > headline_weight("cost_of_revenue"));
    assert!(headline_weight("cost_of_revenue") > headline_weight("units"));
    assert!(headline_weight("units") > headline_weight("unit_price"));
    assert_eq!(headline_weight("customer_id"), 0);
    assert!(is_lower_better("cost_of_revenue") && is_lower_better("churn_rate") && is_lower_better("returns"));
    assert!(!is_lower_better("revenue") && !is_lower_better("sales"));
}
