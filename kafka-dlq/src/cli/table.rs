//! Tables that fit the terminal.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Rows of text under a heading.
pub(super) struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

const GAP: usize = 2;
/// A column is cut no shorter than this.
const LEAST: usize = 8;
/// In a pipe, longer cells than this stand out of line, instead of widening every row.
const IN_LINE: usize = 60;

impl Table {
    pub(super) fn new(heading: &[&'static str]) -> Self {
        Self { heading: heading.to_vec(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The lines; cut to so many columns, where there is a terminal.
    pub(super) fn lines(&self, width_of_all: Option<usize>) -> Vec<String> {
        let mut widths: Vec<usize> = self.heading.iter().map(|name| name.len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width().min(width_of_all.unwrap_or(IN_LINE)));
            }
        }
        if let Some(width) = width_of_all {
            fit(&mut widths, width);
        }
        let heading = self.heading.iter().map(|name| name.to_string()).collect();
        let line = |row: &Vec<String>| line(row, &widths, width_of_all.is_some());
        std::iter::once(&heading).chain(&self.rows).map(line).collect()
    }
}

/// Takes from the widest column until all fit, or none can give more.
fn fit(widths: &mut [usize], room: usize) {
    let gaps = GAP * widths.len().saturating_sub(1);
    loop {
        let over = (widths.iter().sum::<usize>() + gaps).saturating_sub(room);
        let Some(widest) = widths.iter().copied().max().filter(|widest| over > 0 && *widest > LEAST) else { return };
        // Down to the next narrower one at once; those of the same width share what is left.
        let next = widths.iter().copied().filter(|width| *width < widest).max().unwrap_or(0).max(LEAST);
        let alike = widths.iter().filter(|width| **width == widest).count();
        let each = (widest - next).min(over.div_ceil(alike)).max(1);
        let mut over = over;
        for width in widths.iter_mut().filter(|width| **width == widest) {
            let less = each.min(over);
            (*width, over) = (*width - less, over - less);
        }
    }
}

/// Columns, not letters: one of Chinese takes two. Cut only where there is a terminal.
fn line(row: &[String], widths: &[usize], cuts: bool) -> String {
    let mut out = String::new();
    for (cell, width) in row.iter().zip(widths) {
        let length = cell.width();
        match length > *width && cuts {
            true => {
                let (part, taken) = cut(cell, width.saturating_sub(1));
                out.push_str(part);
                out.push('…');
                out.extend(std::iter::repeat_n(' ', width.saturating_sub(taken + 1)));
            }
            false => {
                out.push_str(cell);
                out.extend(std::iter::repeat_n(' ', width.saturating_sub(length)));
            }
        }
        out.push_str("  ");
    }
    out.truncate(out.trim_end().len());
    out
}

/// What fits into so many columns, and how many it takes.
fn cut(text: &str, room: usize) -> (&str, usize) {
    let mut taken = 0;
    for (at, letter) in text.char_indices() {
        let width = letter.width().unwrap_or(0);
        if taken + width > room {
            return (&text[..at], taken);
        }
        taken += width;
    }
    (text, taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_and_a_pipe_gets_all() {
        let mut table = Table::new(&["TOPIC", "REASON"]);
        table.row(["orders".into(), "ü".repeat(200)]);
        assert!(table.lines(Some(60)).iter().all(|line| line.width() <= 60));
        assert!(table.lines(None)[1].ends_with(&"ü".repeat(200)));
        assert_eq!(table.lines(None)[0], "TOPIC   REASON");
        // A terminal of no width at all is no reason to fail.
        assert_eq!(table.lines(Some(0)).len(), 2);
    }

    #[test]
    fn letters_that_take_two_columns_fit_too_and_the_columns_behind_them_stand_in_line() {
        let mut table = Table::new(&["KEY", "VALUE"]);
        table.row(["注文".into(), "値".repeat(100)]);
        table.row(["o-12".into(), "🛒".repeat(100)]);
        let lines = table.lines(Some(40));
        assert!(lines.iter().all(|line| line.width() <= 40), "{lines:?}");
        let starts: Vec<usize> =
            lines.iter().zip(["V", "値", "🛒"]).map(|(line, at)| line.split(at).next().unwrap().width()).collect();
        assert_eq!(starts, [6, 6, 6], "{lines:?}");
    }

    #[test]
    fn wide_columns_give_first_and_share_what_is_missing() {
        let mut widths = [100, 10, 100, 8];
        fit(&mut widths, 80);
        assert_eq!(widths, [28, 10, 28, 8]);
        let mut widths = [10_000_000, 9];
        fit(&mut widths, 20);
        assert_eq!(widths, [9, 9]);
        let mut widths = [30, 30];
        fit(&mut widths, 5);
        assert_eq!(widths, [LEAST, LEAST]);
    }
}
