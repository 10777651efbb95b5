//! Tables that a click on a heading sorts, and that are whole without a script.

use crate::page::escape;
use crate::page::units::NOTHING;

/// Makes the headings of sortable tables into buttons.
pub(crate) const SCRIPT: &str = include_str!("table.js");
pub(crate) const STYLE: &str = include_str!("table.css");

/// What a cell shows, and what it is sorted by.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    html: String,
    /// `None`: by what is shown; empty: after all others, whichever way the table is sorted.
    key: Option<String>,
    class: &'static str,
}

impl Cell {
    /// Text that is sorted as it stands.
    pub fn text(text: &str) -> Self {
        Cell {
            html: escape(text),
            key: None,
            class: "",
        }
    }

    /// A number as it is shown; a dash if there is none.
    pub fn number(value: Option<f64>, show: impl Fn(f64) -> String) -> Self {
        match value.filter(|v| v.is_finite()) {
            Some(value) => Cell {
                html: escape(&show(value)),
                key: Some(key_of(value)),
                class: "",
            },
            None => Self::nothing(),
        }
    }

    pub fn nothing() -> Self {
        Cell {
            html: NOTHING.to_string(),
            key: Some(String::new()),
            class: "none",
        }
    }

    /// Markup, sorted by text.
    pub fn markup(html: String, key: &str) -> Self {
        Cell {
            html,
            key: Some(key.to_string()),
            class: "",
        }
    }

    /// The same with a smaller line below; `html` is markup.
    pub fn below(mut self, html: &str) -> Self {
        if !html.is_empty() {
            // What is sorted by what it shows goes on without the line.
            if self.key.is_none() {
                self.key = Some(plain(&self.html));
            }
            self.html += &format!("<small>{html}</small>");
        }
        self
    }

    pub fn class(mut self, class: &'static str) -> Self {
        self.class = class;
        self
    }
}

/// Four digits order as well as all of them.
fn key_of(value: f64) -> String {
    format!("{value:.3e}")
}

/// What was escaped, as the reader sees it.
fn plain(html: &str) -> String {
    let pairs = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ];
    pairs
        .iter()
        .fold(html.to_string(), |text, (from, to)| text.replace(from, to))
}

/// A heading; `html` is markup.
pub(crate) struct Column {
    html: String,
    numeric: bool,
}

impl Column {
    pub fn text(html: &str) -> Self {
        Column {
            html: html.to_string(),
            numeric: false,
        }
    }

    pub fn number(html: &str) -> Self {
        Column {
            html: html.to_string(),
            numeric: true,
        }
    }
}

/// A table in a box of its own that scrolls sideways. The first cell of a row is its heading.
pub(crate) fn sortable(label: &str, columns: &[Column], rows: &[Vec<Cell>]) -> String {
    let mut out = format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\">\n\
         <table class=\"sort\">\n<thead><tr>",
        escape(label)
    );
    for column in columns {
        let class = if column.numeric { " class=\"n\"" } else { "" };
        out += &format!("<th scope=\"col\"{class}>{}</th>", column.html);
    }
    out += "</tr></thead>\n<tbody>\n";
    for row in rows {
        out += "<tr>";
        for (i, (cell, column)) in row.iter().zip(columns).enumerate() {
            let class = match (column.numeric, cell.class) {
                (false, "") => String::new(),
                (true, "") => " class=\"n\"".to_string(),
                (false, class) => format!(" class=\"{class}\""),
                (true, class) => format!(" class=\"n {class}\""),
            };
            let key = match &cell.key {
                None => String::new(),
                Some(key) => format!(" data-v=\"{}\"", escape(key)),
            };
            out += &match i {
                0 => format!("<th scope=\"row\"{class}{key}>{}</th>", cell.html),
                _ => format!("<td{class}{key}>{}</td>", cell.html),
            };
        }
        out += "</tr>\n";
    }
    out += "</tbody>\n</table>\n</div>\n";
    out
}
