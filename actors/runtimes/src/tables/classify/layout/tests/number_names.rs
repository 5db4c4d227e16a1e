//! Headers of numbers: years and months in every form, repeated and in any order.

use super::{lines, read};

/// Tests that the names of a table are in its first line.
#[track_caller]
fn assert_names(cases: &[(&str, &[&str])]) {
    for (text, names) in cases {
        let (layout, _) = read(text);
        assert_eq!(layout.names, *names, "{text}");
        assert_eq!((layout.has_header, lines(&layout).first()), (true, Some(&2)), "{text}");
    }
}

#[test]
fn years_may_repeat_and_have_any_order() {
    assert_names(&[
        ("Region,2024,2024\nNord,100,150\nSued,200,250\n", &["Region", "2024", "2024_2"]),
        ("Region,2024,2024\nNord,1000,1950\nSued,2000,2500\n", &["Region", "2024", "2024_2"]),
        ("2024,2024\n100,150\n200,250\n", &["2024", "2024_2"]),
        ("Region,2023,2023,2024,2024\nN,1,2,3,4\nS,5,6,7,8\n", &["Region", "2023", "2023_2", "2024", "2024_2"]),
        ("Region,2023,2024,2023,2024\nN,1,2,3,4\nS,5,6,7,8\n", &["Region", "2023", "2024", "2023_2", "2024_2"]),
        ("Region,2024,2023,2025\nNorth,100,200,300\nSouth,150,210,310\n", &["Region", "2024", "2023", "2025"]),
        ("Region,2024,2010,2020\nNorth,100,200,300\nSouth,150,210,310\n", &["Region", "2024", "2010", "2020"]),
        (",2024,2024\nNorth,100,200\nSouth,150,210\n", &["column_1", "2024", "2024_2"]),
        ("Date,2024,2024\n2024-10-01,100,200\n2024-11-01,150,210\n", &["Date", "2024", "2024_2"]),
        (
            "Region,2023,2024,YoY,2023,2024\nNorth,100,200,2.0,5,6\nSouth,150,210,1.4,7,8\n",
            &["Region", "2023", "2024", "YoY", "2023_2", "2024_2"],
        ),
    ]);
}

#[test]
fn years_and_months_may_be_written_as_other_numbers() {
    assert_names(&[
        ("Region,202401,202402\nNorth,100,200\nSouth,150,210\n", &["Region", "202401", "202402"]),
        ("Region,202312,202401\nNorth,150000,210500\nSouth,150000,210500\n", &["Region", "202312", "202401"]),
        ("Region,202403,202406\nNorth,100,200\nSouth,150,210\n", &["Region", "202403", "202406"]),
        ("Region,202401\nNorth,100\nSouth,150\n", &["Region", "202401"]),
        ("Region,1.2023,2.2023\nNorth,100,200\nSouth,150,210\n", &["Region", "1.2023", "2.2023"]),
        ("Region,2023.1,2023.2\nNorth,100,200\nSouth,150,210\n", &["Region", "2023.1", "2023.2"]),
        ("Region,2023.0,2024.0\nNorth,100,200\nSouth,150,210\n", &["Region", "2023.0", "2024.0"]),
        ("Region,202401.0,202402.0\nNorth,100,200\nSouth,150,210\n", &["Region", "202401.0", "202402.0"]),
        ("Region,2024,2024.1\nNorth,100,200\nSouth,150,210\n", &["Region", "2024", "2024.1"]),
        ("Region,23,24\nNorth,100,200\nSouth,150,210\n", &["Region", "23", "24"]),
        ("Region,99,00\nNorth,100,200\nSouth,150,210\n", &["Region", "99", "00"]),
    ]);
    // Two digits may be figures, so they are a warning.
    assert_eq!(read("Region,23,24\nNorth,100,200\nSouth,150,210\n").1.warnings.len(), 1);
    assert_eq!(read("Region,202401,202402\nNorth,100,200\nSouth,150,210\n").1.warnings.len(), 0);
}

#[test]
fn figures_that_look_like_years_or_months_are_no_header() {
    for text in [
        "2023,100,5\n2024,200,6\n2022,300,7\n",
        "202401,100\n202402,200\n202403,300\n",
        "2023.0,100\n2024.0,200\n",
        "North,2010,2005\nSouth,1990,2015\n",
        "North,1960,2010,1985\nSouth,1500,2700,1990\n",
        "North,202401,202402\nSouth,202405,202406\n",
        "North,1.1999,1.2023\nSouth,1.2001,1.1987\n",
        "North,23,24\nSouth,17,91\n",
        "North,23,31\nSouth,170,910\n",
        "23,24\n100,200\n",
        "2024,2024\n1500,1700\n2500,2300\n",
    ] {
        let (layout, findings) = read(text);
        assert!(!layout.has_header, "{text}: {:?}", layout.names);
        assert_eq!(lines(&layout).first(), Some(&1), "{text}");
        assert_eq!(findings.warnings.len(), 1, "{text}");
    }
}

#[test]
fn a_row_of_data_with_consecutive_numbers_does_not_replace_a_header() {
    assert_names(&[
        (",x,y\n0,1,2\n1,5,9\n2,7,4\n", &["column_1", "x", "y"]),
        (",region,x,y\n0,N,1,2\n1,S,5,9\n2,E,7,4\n", &["column_1", "region", "x", "y"]),
        ("Date,,A,B\n2024-10-01,1,2,3\n2024-11-01,4,5,9\n2024-12-01,7,8,1\n", &["Date", "column_2", "A", "B"]),
        ("Item,A,B,\nX,10,11,12\nY,4,5,9\nZ,7,8,1\n", &["Item", "A", "B", "column_4"]),
        ("Region,2023,2024,\nNorth,1,2,3\nSouth,3,4,9\nEast,9,9,1\n", &["Region", "2023", "2024", "column_4"]),
        ("Date,,Revenue,\n2024-10-01,1,2,3\n2024-11-01,3,4,5\n", &["Date", "column_2", "Revenue", "column_4"]),
    ]);
    // A title above a header of numbers is none of its names.
    for (text, line) in
        [("Sales by region,EUR,,\nstore,1,2,3\nA,10,20,30\n", 3), ("Sales,EUR,\nregion,2023,2024\nN,5,6\nS,5,6\n", 3)]
    {
        assert_eq!(lines(&read(text).0).first(), Some(&line), "{text}");
    }
}
