//! Tables that fit the terminal.

/// Rows of text under a heading.
pub(super) struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

const GAP: usize = 2;
/// A column is cut no shorter than this.
const LEAST: usize = 8;

impl Table {
    pub(super) fn new(heading: &[&'static str]) -> Self {
        Self { heading: heading.to_vec(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The lines; cut to `width` columns, where there is a terminal.
    pub(super) fn lines(&self, width: Option<usize>) -> Vec<String> {
        let mut widths: Vec<usize> = self.heading.iter().map(|name| name.len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        if let Some(width) = width {
            fit(&mut widths, width);
        }
        let heading = self.heading.iter().map(|name| name.to_string()).collect();
        std::iter::once(&heading).chain(&self.rows).map(|row: &Vec<String>| line(row, &widths)).collect()
    }
}

/// Takes from the widest column until all fit, or none can give more.
fn fit(widths: &mut [usize], room: usize) {
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > room {
        let Some(widest) = widths.iter_mut().max().filter(|widest| **widest > LEAST) else { return };
        *widest -= 1;
    }
}

fn line(row: &[String], widths: &[usize]) -> String {
    let mut out = String::new();
    for (cell, width) in row.iter().zip(widths) {
        let length = cell.chars().count();
        match length > *width {
            true => out.extend(cell.chars().take(width.saturating_sub(1)).chain(['…'])),
            false => out.extend(cell.chars().chain(std::iter::repeat_n(' ', width - length))),
        }
        out.push_str("  ");
    }
    out.truncate(out.trim_end().len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_and_a_pipe_gets_all() {
        let mut table = Table::new(&["TOPIC", "REASON"]);
        table.row(["orders".into(), "ü".repeat(200)]);
        assert!(table.lines(Some(60)).iter().all(|line| line.chars().count() <= 60));
        assert!(table.lines(None)[1].ends_with(&"ü".repeat(200)));
        assert_eq!(table.lines(None)[0], "TOPIC   REASON");
        // A terminal of no width at all is no reason to fail.
        assert_eq!(table.lines(Some(0)).len(), 2);
    }
}
