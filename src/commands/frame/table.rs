//! Tables that fit the screen, whose rows may come in parts.

use crate::commands::frame::page::Page;
use crate::commands::frame::screen::Paint;
use crate::telemetry::clean;

/// Between two columns.
const GAP: usize = 2;

/// Stands for a cell without content, so that other programs find the next one.
const NOTHING: &str = "-";

/// Of a row that does not fit into one line, the rest is this far to the right.
const INDENT: usize = 4;

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// What stands above it.
    pub(crate) title: &'static str,
    /// The highest is left out first where the screen is too narrow, and 0 never.
    pub(crate) rank: u8,
}

/// A table. Each part is laid out with all that came before it in mind.
#[derive(Debug)]
pub(crate) struct Table {
    columns: &'static [Column],
    widths: Vec<usize>,
    layout: Option<Layout>,
}

/// Which columns are shown, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Layout {
    /// Those, side by side.
    Lines(Vec<usize>),
    /// The first on a line of its own, and the others of these below it.
    Stacked(Vec<usize>),
}

impl Layout {
    fn of(columns: &[Column], widths: &[usize], width: usize) -> Self {
        let mut shown: Vec<usize> = (0..columns.len()).collect();
        let total = |shown: &[usize]| shown.iter().map(|&n| widths[n] + GAP).sum::<usize>() - GAP;
        while total(&shown) > width {
            let least =
                shown.iter().copied().max_by_key(|&n| columns[n].rank).filter(|&n| columns[n].rank > 0);
            let Some(least) = least else { return Self::Stacked(shown) };
            shown.retain(|&n| n != least);
        }
        Self::Lines(shown)
    }

    fn shown(&self) -> &[usize] {
        match self {
            Self::Lines(shown) | Self::Stacked(shown) => shown,
        }
    }
}

impl Table {
    #[must_use]
    pub(crate) fn new(columns: &'static [Column]) -> Self {
        let widths = columns.iter().map(|column| column.title.len()).collect();
        Self { columns, widths, layout: None }
    }

    /// Writes some rows more, with the titles where they are new.
    pub(crate) fn rows(&mut self, page: &mut Page, rows: &[Vec<String>]) {
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|text| cell(text)).collect()).collect();
        for (n, width) in self.widths.iter_mut().enumerate() {
            let widest = rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.chars().count()).max();
            *width = (*width).max(widest.unwrap_or_default());
        }
        let layout = Layout::of(self.columns, &self.widths, page.screen().table_width());
        if self.layout.as_ref() != Some(&layout) {
            let titles: Vec<_> = self.columns.iter().map(|column| column.title.to_owned()).collect();
            for line in self.lines(&titles, &layout) {
                let painted = page.screen().paint(Paint::Dim, line.trim_end()).into_owned();
                page.line(&painted);
            }
        }
        for line in rows.iter().flat_map(|row| self.lines(row, &layout)) {
            page.line(&line);
        }
        self.layout = Some(layout);
    }

    /// The titles of the columns for which there was no room.
    #[must_use]
    pub(crate) fn left_out(&self) -> Vec<&'static str> {
        let shown = self.layout.as_ref().map_or(&[][..], Layout::shown);
        let is_left_out = |n: &usize| !shown.is_empty() && !shown.contains(n);
        (0..self.columns.len()).filter(is_left_out).map(|n| self.columns[n].title).collect()
    }

    fn lines(&self, cells: &[String], layout: &Layout) -> Vec<String> {
        match layout {
            Layout::Lines(shown) => vec![self.line(cells, shown)],
            Layout::Stacked(shown) => {
                let (first, rest) = shown.split_at(1);
                vec![self.line(cells, first), format!("{:INDENT$}{}", "", self.line(cells, rest))]
            }
        }
    }

    fn line(&self, cells: &[String], shown: &[usize]) -> String {
        let padded = shown.iter().map(|&n| format!("{:width$}", cells[n], width = self.widths[n] + GAP));
        padded.collect::<String>().trim_end().to_owned()
    }
}

fn cell(text: &str) -> String {
    if text.is_empty() { NOTHING.to_owned() } else { clean(text).into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::frame::screen::Screen;

    const COLUMNS: [Column; 4] = [
        Column { title: "USER", rank: 0 },
        Column { title: "STATE", rank: 0 },
        Column { title: "ENV", rank: 1 },
        Column { title: "TENANT", rank: 2 },
    ];

    fn row(cells: [&str; 4]) -> Vec<String> {
        cells.map(str::to_owned).into()
    }

    fn shown(columns: usize, parts: &[&[[&str; 4]]]) -> (String, Vec<&'static str>) {
        let mut table = Table::new(&COLUMNS);
        let mut page = Page::new(Screen::terminal(columns, false));
        for part in parts {
            table.rows(&mut page, &part.iter().map(|cells| row(*cells)).collect::<Vec<_>>());
        }
        (page.into_text(), table.left_out())
    }

    #[test]
    fn what_there_is_no_room_for_is_left_out_by_rank_and_told() {
        let rows: &[[&str; 4]] =
            &[["ana", "needs_reauth", "paper", "a-tenant-of-some-length"], ["b", "ok", "", ""]];
        let all = "USER  STATE         ENV    TENANT\n\
                   ana   needs_reauth  paper  a-tenant-of-some-length\n\
                   b     ok            -      -\n";
        assert_eq!(shown(50, &[rows]), (all.into(), vec![]));
        let fewer = "USER  STATE         ENV\nana   needs_reauth  paper\nb     ok            -\n";
        assert_eq!(shown(49, &[rows]), (fewer.into(), vec!["TENANT"]));
    }

    #[test]
    fn an_id_that_is_too_long_for_a_line_gets_one_of_its_own() {
        let id = "AnIdOfAUserThatIsLongerThanTheScreenIsWide";
        let (text, left_out) = shown(40, &[&[[id, "retrying", "live", ""]]]);
        assert_eq!(text, format!("USER\n    STATE\n{id}\n    retrying\n"));
        assert_eq!(left_out, ["ENV", "TENANT"]);
    }

    #[test]
    fn a_later_part_keeps_the_columns_and_repeats_the_titles_only_where_they_change() {
        let first: &[[&str; 4]] = &[["ana", "ok", "paper", "t"]];
        let second: &[[&str; 4]] = &[["benedict", "ok", "live", "t"]];
        let wide = "USER  STATE  ENV    TENANT\nana   ok     paper  t\nbenedict  ok     live   t\n";
        assert_eq!(shown(80, &[first, second]).0, wide);
        let third: &[[&str; 4]] = &[["an-id-of-thirty-characters-long", "ok", "live", "t"]];
        let (text, left_out) = shown(44, &[first, third]);
        assert!(
            text.ends_with("USER                             STATE\nan-id-of-thirty-characters-long  ok\n"),
            "{text}"
        );
        assert_eq!(left_out, ["ENV", "TENANT"]);
    }

    #[test]
    fn a_table_without_rows_is_its_titles() {
        assert_eq!(shown(80, &[&[]]).0, "USER  STATE  ENV  TENANT\n");
        assert_eq!(Table::new(&COLUMNS).left_out(), [""; 0]);
    }
}
