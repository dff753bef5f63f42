//! Text tables that fit the terminal. Into a pipe nothing is cut.

/// Room between two columns.
const GAP: usize = 2;

/// The narrowest that a column is cut to.
const NARROWEST: usize = 12;

/// A column's name, and whether its cells may be cut.
#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    /// Never cut.
    Whole(&'static str),
    /// Cut with `…` when there is no room.
    Cut(&'static str),
}

/// The terminal's width; `None` without a terminal.
pub(super) fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// A head and rows; a row may have notes below it.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    columns: [Column; N],
    rows: Vec<([String; N], Vec<String>)>,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(columns: [Column; N]) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, cells: [String; N], notes: Vec<String>) {
        self.rows.push((cells, notes));
    }

    /// At most `width` wide, as far as the columns that are never cut allow that.
    pub(super) fn text(&self, width: Option<usize>) -> String {
        let widths = self.widths(width);
        let mut text = line(&self.columns.map(|column| column.name().to_owned()), &widths);
        for (cells, notes) in &self.rows {
            text.push_str(&line(cells, &widths));
            for note in notes {
                let room = width.map_or(usize::MAX, |width| width.saturating_sub(GAP).max(NARROWEST));
                text.push_str(&format!("  {}\n", cut(note, room)));
            }
        }
        text
    }

    fn widths(&self, width: Option<usize>) -> Vec<usize> {
        let natural = |(index, column): (usize, &Column)| {
            let cells = self.rows.iter().filter_map(|(cells, _)| cells.get(index));
            let widest = cells.map(|cell| cell.chars().count()).max();
            widest.unwrap_or(0).max(column.name().len())
        };
        let mut widths: Vec<usize> = self.columns.iter().enumerate().map(natural).collect();
        let Some(width) = width else { return widths };
        let gaps = GAP * N.saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > width {
            let cuttable = widths.iter_mut().zip(&self.columns);
            let widest = cuttable
                .filter(|(width, column)| matches!(column, Column::Cut(_)) && **width > NARROWEST)
                .map(|(width, _)| width)
                .max();
            let Some(widest) = widest else { break };
            *widest -= 1;
        }
        widths
    }
}

impl Column {
    fn name(self) -> &'static str {
        match self {
            Self::Whole(name) | Self::Cut(name) => name,
        }
    }
}

fn line<const N: usize>(cells: &[String; N], widths: &[usize]) -> String {
    let mut text = String::new();
    for (cell, &width) in cells.iter().zip(widths) {
        text.push_str(&format!("{:width$}{:GAP$}", cut(cell, width), ""));
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(room.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<3> {
        let mut table = Table::new([Column::Cut("NAME"), Column::Whole("WHEN"), Column::Cut("WHY")]);
        let cells = |name: &str, why: &str| [name.to_owned(), "2026-11-20".to_owned(), why.to_owned()];
        table.row(cells("a", "so it is"), Vec::new());
        let notes = vec!["a note that is longer than the table may be".to_owned()];
        table.row(cells("a-rather-long-name", "because of this and that"), notes);
        table
    }

    #[test]
    fn a_pipe_gets_everything() {
        assert_eq!(
            table().text(None),
            "NAME                WHEN        WHY\n\
             a                   2026-11-20  so it is\n\
             a-rather-long-name  2026-11-20  because of this and that\n  \
             a note that is longer than the table may be\n"
        );
    }

    #[test]
    fn a_terminal_gets_what_fits_and_the_widest_column_gives_first() {
        assert_eq!(
            table().text(Some(46)),
            "NAME              WHEN        WHY\n\
             a                 2026-11-20  so it is\n\
             a-rather-long-n…  2026-11-20  because of this…\n  \
             a note that is longer than the table may be\n"
        );
        let narrow = table().text(Some(20));
        assert!(
            narrow.contains("a-rather-lo…  2026-11-20  because of …\n"),
            "{narrow}"
        );
        assert!(narrow.contains("  a note that is lo…\n"), "{narrow}");
    }
}
