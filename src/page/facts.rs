//! Names with a value for each of several things that stand side by side.

use crate::page::escape;
use crate::page::units::NOTHING;

/// Rows of a name and, for each column, markup; an empty one is a dash. Rows that are empty everywhere are left out.
#[derive(Default)]
pub(crate) struct Facts {
    rows: Vec<(String, Vec<String>)>,
}

impl Facts {
    /// Text for each column.
    pub fn text(&mut self, name: &str, values: impl IntoIterator<Item = String>) {
        self.markup(name, values.into_iter().map(|v| escape(&v)));
    }

    pub fn markup(&mut self, name: &str, values: impl IntoIterator<Item = String>) {
        let values: Vec<String> = values.into_iter().collect();
        if values.iter().any(|v| !v.is_empty()) {
            self.rows.push((escape(name), values));
        }
    }

    /// A table with a heading per column, which are markup; a list where there is a single column.
    pub fn table(&self, label: &str, headings: &[String]) -> String {
        if headings.len() == 1 {
            return self.list();
        }
        let mut out = format!(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\">\n\
             <table class=\"facts beside\" style=\"min-width:{}rem\">\n",
            escape(label),
            10 + 12 * headings.len()
        );
        out += "<thead><tr><td></td>";
        for heading in headings {
            out += &format!("<th scope=\"col\">{heading}</th>");
        }
        out += "</tr></thead>\n";
        out += "<tbody>\n";
        for (name, values) in &self.rows {
            out += &format!("<tr><th scope=\"row\">{name}</th>");
            for value in values {
                let shown = if value.is_empty() { NOTHING } else { value };
                out += &format!("<td>{shown}</td>");
            }
            out += "</tr>\n";
        }
        out += "</tbody>\n</table>\n</div>\n";
        out
    }
    fn list(&self) -> String {
        let mut out = String::from("<dl class=\"pairs\">\n");
        for (name, values) in &self.rows {
            out += &format!("<div><dt>{name}</dt><dd>{}</dd></div>\n", values[0]);
        }
        out += "</dl>\n";
        out
    }
}
