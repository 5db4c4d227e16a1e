//! Whether the figures of a column follow each other as calendar years do, counted before anything is decided.

/// The calendar years that are read as such: no table of figures is about others.
const YEARS: std::ops::RangeInclusive<u16> = 1900..=2100;

/// The figures of a column that are years.
#[derive(Debug, Default)]
pub(super) struct Years {
    /// Years that differ by at most one from the year before them, and the first one.
    following: usize,
    /// The last year.
    last: Option<u16>,
    /// True if they are not all the same.
    are_distinct: bool,
}

impl Years {
    /// Counts a figure, by its text.
    pub(super) fn count(&mut self, text: &str) {
        let is_plain = text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit());
        let Some(year) = text.parse().ok().filter(|year| is_plain && YEARS.contains(year)) else { return };
        let step = self.last.map_or(0, |last| year.abs_diff(last));
        self.following += usize::from(step <= 1);
        self.are_distinct |= step > 0;
        self.last = Some(year);
    }

    /// True if so many figures are years that follow each other, and at least two of them differ.
    pub(super) fn are_all(&self, figures: usize) -> bool {
        self.are_distinct && self.following == figures
    }
}

#[cfg(test)]
mod tests {
    use super::Years;

    #[test]
    fn only_years_that_follow_each_other_are_a_calendar() {
        for (texts, expected) in [
            (&["2019", "2020", "2021"][..], true),
            (&["2021", "2021", "2020"], true),
            (&["1900", "1901"], true),
            (&["2099", "2100"], true),
            (&["2000", "1950", "2075"], false),
            (&["2019", "2021"], false),
            (&["2020", "2020"], false),
            (&["2020"], false),
            (&["1899", "1900", "1901"], false),
            (&["2100", "2101"], false),
            (&["2019", "2020.0"], false),
            (&["2,019", "2,020"], false),
            (&["+2019", "2020"], false),
            (&[], false),
        ] {
            let mut years = Years::default();
            texts.iter().for_each(|text| years.count(text));
            assert_eq!(years.are_all(texts.len()), expected, "{texts:?}");
        }
    }
}
