//! A table for the terminal.

use super::{Cell, Table};

impl Table {
    /// The table as lines of text, numbers to the right.
    pub(crate) fn to_text(&self) -> String {
        let head: Vec<String> = self.columns.clone();
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(Cell::shown).collect())
            .collect();
        let widths: Vec<usize> = (0..head.len())
            .map(|idx| {
                let cells = rows.iter().chain([&head]).filter_map(|row| row.get(idx));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let is_number = |idx: usize| {
            self.rows
                .iter()
                .any(|row| matches!(row.get(idx), Some(Cell::Number { .. })))
        };
        let mut out = format!("{}\n", self.title);
        for row in [&head].into_iter().chain(&rows) {
            let mut line = String::new();
            for (idx, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                if is_number(idx) {
                    line += &format!("  {cell:>width$}");
                } else {
                    line += &format!("  {cell:<width$}");
                }
            }
            out += line.trim_end();
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let table = Table {
            title: "Figures".into(),
            columns: vec!["what".into(), "λ".into(), "note".into()],
            rows: vec![
                vec!["rate".into(), Cell::number(30.0, 1), "a".into()],
                vec!["distortion".into(), Cell::number(1000.0, 1), "".into()],
            ],
            note: None,
        };
        let expected = "Figures
  what             λ  note
  rate          30.0  a
  distortion  1000.0\n";
        assert_eq!(table.to_text(), expected);
    }
}
