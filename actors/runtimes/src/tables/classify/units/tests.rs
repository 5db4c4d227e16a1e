//! Columns of units, and the columns of figures that have them.

use crate::tables::classify::{ClassifySettings, Table, classify};
use crate::tables::decimal::Decimal;
use crate::tables::read;

fn table(text: &str) -> Table {
    let grid = read::read(text.as_bytes(), None).unwrap();
    classify(grid, &ClassifySettings::default()).unwrap_or_else(|cause| panic!("{cause}: {text}"))
}

/// The names of the series with their sums.
fn sums(table: &Table) -> Vec<String> {
    let sum = |values: &[Option<Decimal>]| {
        values.iter().flatten().fold(Decimal::ZERO, |sum, value| sum.checked_add(*value).unwrap()).to_string()
    };
    table.series.iter().map(|series| format!("{}: {}", series.name, sum(&series.values))).collect()
}

#[test]
fn figures_of_several_units_are_not_added_up() {
    for (text, expected) in [
        ("item,amount,unit\nA,10,kg\nB,5,g\nC,3,kg\nD,3,g\n", ["amount (kg): 13", "amount (g): 8"]),
        ("item,unit,amount\nA,kg,10\nB,g,5\nC,kg,3\nD,g,3\n", ["amount (kg): 13", "amount (g): 8"]),
        ("item,amount,unit\nA,10,pcs\nB,5,hours\nC,3,pcs\nD,3,hours\n", ["amount (pcs): 13", "amount (hours): 8"]),
        ("item,qty,uom\nA,10,kg\nB,5,box\nC,3,KG\nD,3,BOX\n", ["qty (kg): 13", "qty (box): 8"]),
        (
            "Posten,Wert,Einheit\nA,10,Karton\nB,5,Palette\nC,3,Karton\nD,3,Palette\n",
            ["Wert (Karton): 13", "Wert (Palette): 8"],
        ),
        ("item,stock,Unit of Measure\nA,10,bag\nB,5,box\nC,3,bag\nD,3,box\n", ["stock (bag): 13", "stock (box): 8"]),
    ] {
        let table = table(text);
        assert_eq!(sums(&table), expected, "{text}");
        assert!(table.warnings.iter().any(|note| note.message.contains("never added up")), "{:?}", table.warnings);
    }
}

#[test]
fn the_unit_of_a_quantity_is_not_that_of_the_money_beside_it() {
    for (text, expected) in [
        ("item,qty,unit,amount\nA,1,kg,10\nB,2,g,20\nC,4,kg,40\n", &["qty (kg): 5", "qty (g): 2", "amount: 70"][..]),
        ("item,amount_usd,unit\nA,1,kg\nB,2,g\nC,4,kg\n", &["amount_usd: 7"]),
        ("item,revenue,unit\nA,1,kg\nB,2,g\nC,4,kg\n", &["revenue: 7"]),
        ("item,unit,amount,currency\nA,kg,1,EUR\nB,g,2,EUR\nC,kg,4,USD\n", &["amount (€): 3", "amount ($): 4"]),
        ("area,amount,unit\nN,1,A1\nS,2,B2\nE,4,C3\n", &["amount: 7"]),
    ] {
        assert_eq!(sums(&table(text)), expected, "{text}");
    }
}

#[test]
fn a_currency_in_words_is_one_irrespective_of_case_and_plural() {
    let words = table("item,amount,currency\nA,100,US Dollar\nB,200,Euro\nC,50,US dollars\nD,5,USD\n");
    assert_eq!(sums(&words), ["amount ($): 155", "amount (€): 200"]);
    let unknown = table("item,amount,currency\nA,100,Bitcoin\nB,200,Euro\nC,50,BITCOINS\n");
    assert_eq!(sums(&unknown), ["amount (Bitcoin): 150", "amount (€): 200"]);
}
