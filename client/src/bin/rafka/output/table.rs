//! Rows under a heading.

use super::{Look, Paint};
use crate::error::CliError;
use std::io::{self, Write};
use unicode_width::UnicodeWidthStr;

/// A text and what it says by its colour.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    look: Look,
}

impl Cell {
    /// A coloured cell.
    pub(crate) fn new(look: Look, text: impl Into<String>) -> Cell {
        Cell { text: text.into(), look }
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell { text: text.to_string(), look: Look::Plain }
    }
}

/// Rows under a heading; a column of numbers is aligned to the right.
pub(crate) struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table; every row must have as many cells as the heading.
    pub(crate) fn new(heading: &[&'static str]) -> Table {
        Table { heading: heading.to_vec(), rows: Vec::new() }
    }

    /// Appends a row.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        assert_eq!(cells.len(), self.heading.len(), "a row has a cell for each column");
        self.rows.push(cells);
    }

    /// Prints: aligned with its heading on a terminal, else tab-separated without heading.
    pub(crate) fn print(&self, paint: Paint) -> Result<(), CliError> {
        let text = if paint.aligned { self.aligned(paint) } else { self.separated() };
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }

    fn aligned(&self, paint: Paint) -> String {
        let heading: Vec<Cell> = self.heading.iter().map(|text| Cell::new(Look::Heading, *text)).collect();
        let columns: Vec<Column> = (0..self.heading.len()).map(|at| self.column(at)).collect();
        let mut text = String::new();
        for row in std::iter::once(&heading).chain(&self.rows) {
            let mut line = String::new();
            let mut owed = 0;
            for (cell, column) in row.iter().zip(&columns) {
                let room = column.width - cell.text.width();
                let (before, after) = if column.numbers { (room, 0) } else { (0, room) };
                // Spaces are written only before something, so that no line ends in them.
                if !cell.text.is_empty() {
                    line.push_str(&" ".repeat(owed + before));
                    line.push_str(&paint.out(cell.look, &cell.text));
                    owed = after + 2;
                } else {
                    owed += column.width + 2;
                }
            }
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    fn column(&self, at: usize) -> Column {
        let cells = || self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.text.as_str());
        let number = |text: &str| text == "-" || text.is_empty() || text.parse::<f64>().is_ok();
        let numbers = cells().all(number) && cells().any(|text| text.parse::<f64>().is_ok());
        let width = self.heading[at].width().max(cells().map(UnicodeWidthStr::width).max().unwrap_or(0));
        Column { width, numbers }
    }

    fn separated(&self) -> String {
        let line = |row: &Vec<Cell>| row.iter().map(|cell| cell.text.as_str()).collect::<Vec<_>>().join("\t");
        self.rows.iter().map(|row| line(row) + "\n").collect()
    }
}

struct Column {
    /// In columns of a terminal.
    width: usize,
    numbers: bool,
}

#[cfg(test)]
mod tests {
    use super::{Cell, Table};
    use crate::output::{Look, Paint};

    fn table() -> Table {
        let mut table = Table::new(&["NAME", "PARTITIONS", "X"]);
        table.row(vec!["grün-orders".into(), 3.into(), "a".into()]);
        table.row(vec!["a".into(), 12.into(), "".into()]);
        table.row(vec!["日本".into(), "-".into(), Cell::new(Look::Bad, "b")]);
        table
    }

    #[test]
    fn a_table_is_aligned_for_eyes_and_separated_for_pipes() {
        let aligned = "\
NAME         PARTITIONS  X
grün-orders           3  a
a                    12
日本                  -  b
";
        assert_eq!(table().aligned(Paint::default()), aligned);
        assert_eq!(table().separated(), "grün-orders\t3\ta\na\t12\t\n日本\t-\tb\n");
    }

    #[test]
    fn colours_do_not_move_columns() {
        let plain = table().aligned(Paint::default());
        let coloured = table().aligned(Paint { stdout: true, ..Paint::default() });
        assert!(coloured.contains("\u{1b}[31mb\u{1b}[0m"));
        let mut bare = coloured;
        for code in ["\u{1b}[1m", "\u{1b}[31m", "\u{1b}[0m"] {
            bare = bare.replace(code, "");
        }
        assert_eq!(bare, plain);
    }
}
