//! What a person or a script sees: aligned tables on a terminal, tab-separated rows in a pipe, JSON when asked.

use crate::error::CliError;
use serde_json::Value;
use std::io::{self, IsTerminal, Write};

/// Writes one line to standard output.
pub(crate) fn line(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Writes one JSON value as one line to standard output.
pub(crate) fn json(value: &Value) -> Result<(), CliError> {
    line(&value.to_string())
}

/// Writes one line to standard error, where a failing write has nobody left to tell.
pub(crate) fn note(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Rows under a heading.
pub(crate) struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table; every row must have as many cells as the heading.
    pub(crate) fn new(heading: &[&'static str]) -> Table {
        Table { heading: heading.to_vec(), rows: Vec::new() }
    }

    /// Appends a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.heading.len(), "a row has a cell for each column");
        self.rows.push(cells);
    }

    /// Prints: aligned with its heading on a terminal, else tab-separated without heading.
    pub(crate) fn print(&self) -> Result<(), CliError> {
        let text = if io::stdout().is_terminal() { self.aligned() } else { self.separated() };
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }

    fn aligned(&self) -> String {
        let mut widths: Vec<usize> = self.heading.iter().map(|cell| cell.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let heading = self.heading.iter().map(|cell| (*cell).to_owned()).collect();
        let mut text = String::new();
        for row in std::iter::once(&heading).chain(&self.rows) {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }

    fn separated(&self) -> String {
        self.rows.iter().map(|row| row.join("\t") + "\n").collect()
    }
}

/// `[1, 2, 3]` as `1,2,3`, and nothing as `-`.
pub(crate) fn ids<T: ToString>(ids: &[T]) -> String {
    if ids.is_empty() {
        return "-".to_owned();
    }
    ids.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

/// A number, or `-` where it is not known.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Bytes in decimal units, as disks and networks are sold: `999 B`, `1.0 kB`, `12.3 MB`, `4.5 GB`.
pub(crate) fn bytes(bytes: f64) -> String {
    match bytes {
        few if few < 1e3 => format!("{few:.0} B"),
        some if some < 1e6 => format!("{:.1} kB", some / 1e3),
        many if many < 1e9 => format!("{:.1} MB", many / 1e6),
        most => format!("{:.1} GB", most / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::{Table, bytes, ids};

    #[test]
    fn bytes_are_told_in_decimal_units() {
        assert_eq!(
            [0.0, 999.0, 1e3, 12.34e6, 4.5e9].map(bytes),
            ["0 B", "999 B", "1.0 kB", "12.3 MB", "4.5 GB"]
        );
    }

    #[test]
    fn a_table_is_aligned_for_eyes_and_separated_for_pipes() {
        let mut table = Table::new(&["NAME", "PARTITIONS", "X"]);
        table.row(vec!["grün-orders".into(), "3".into(), "a".into()]);
        table.row(vec!["a".into(), "12".into(), String::new()]);
        assert_eq!(
            table.aligned(),
            "NAME         PARTITIONS  X\ngrün-orders  3           a\na            12\n"
        );
        assert_eq!(table.separated(), "grün-orders\t3\ta\na\t12\t\n");
    }

    #[test]
    fn no_ids_are_a_dash() {
        assert_eq!(ids::<i32>(&[]), "-");
        assert_eq!(ids(&[1, 2]), "1,2");
    }
}
