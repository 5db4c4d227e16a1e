//! Texts against formats.

use super::Format;

/// Each format with texts that have it, and texts that do not.
const SAMPLES: &[(Format, &[&str], &[&str])] = &[
    (
        Format::Date,
        &["2024-02-29", "0001-01-01", "9999-12-31"],
        &["2023-02-29", "2024-13-01", "20240229", "2024-2-9", "29.02.2024", "2024-02-29T00:00:00", "", " 2024-02-29"],
    ),
    (
        Format::DateTime,
        &["2024-02-29T12:00:00Z", "2024-02-29T12:00:00.123456+05:30", "2024-02-29T00:00:00-08:00"],
        &[
            "2024-02-29T12:00:00",
            "2024-02-29 12:00:00Z",
            "2024-02-30T12:00:00Z",
            "2024-02-29T25:00:00Z",
            "2024-02-29",
            "2024-02-29T12:00:00.Z",
            "2024-02-29T12:00:00Z[UTC]",
            "2024-02-29T12:00:00+0530",
        ],
    ),
    (Format::Duration, &["P1D", "PT36H", "P1Y2M3W4DT5H6M7.5S"], &["1 day", "P", "PT", "-P1D", "P1H", "1D", ""]),
    (
        Format::Email,
        &["name@example.org", "first.last+tag@sub.example.co.uk"],
        &[
            "name",
            "name@",
            "@example.org",
            "name@localhost",
            "Name <name@example.org>",
            "a b@example.org",
            "name@[127.0.0.1]",
        ],
    ),
    (
        Format::Uri,
        &["https://example.org/a?b=c#d", "urn:isbn:0451450523", "mailto:name@example.org", "file:///tmp/a"],
        &[
            "example.org/a",
            "/a",
            "https://",
            "https://exa mple.org",
            " https://example.org",
            "https:\\\\example.org",
            "https://example.org/ä",
        ],
    ),
    (Format::Iso4217, &["EUR", "USD", "XCG"], &["eur", "EU", "EURO", "ZZZ", "€", "R U"]),
    (Format::Iso3166, &["DE", "GB"], &["de", "DEU", "UK", "ZZ", "", "D "]),
];

#[test]
fn each_format_accepts_its_standard_and_nothing_else() {
    for (format, valid, invalid) in SAMPLES {
        for text in *valid {
            assert!(format.accepts(text), "{}: {text:?}", format.as_str());
        }
        for text in *invalid {
            assert!(!format.accepts(text), "{}: {text:?}", format.as_str());
        }
    }
    assert_eq!(SAMPLES.len(), Format::ALL.len());
}

#[test]
fn the_example_of_each_format_has_it_and_the_name_is_what_is_written() {
    for format in Format::ALL {
        let (_, example) = format.described().split_once("such as ").unwrap();
        assert!(format.accepts(example), "{example}");
        assert_eq!(serde_json::to_value(format).unwrap(), format.as_str());
    }
}
