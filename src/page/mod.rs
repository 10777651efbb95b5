//! The shell of a page that needs nothing from outside: its head, style, sections, tables. Knows no results.

#[cfg(feature = "check")]
pub(crate) mod facts;
#[cfg(feature = "check")]
pub(crate) mod table;
#[cfg(feature = "check")]
pub(crate) mod units;

use std::fmt::Write as _;

/// Colours, text, sections: what all pages have in common.
const STYLE: &str = include_str!("style.css");

/// What stands around the sections of a page. Nothing is escaped but the title and the lead.
pub(crate) struct Page<'a> {
    pub title: &'a str,
    /// One sentence under the title.
    pub lead: &'a str,
    /// CSS beside the common one.
    pub style: &'a str,
    /// Runs after the page has been read; the page is whole without it.
    pub script: &'a str,
    /// Of `main`: `wide` for tables of many columns.
    pub class: &'a str,
}

impl Page<'_> {
    /// The document around its sections.
    pub fn around(&self, sections: &str) -> String {
        let title = escape(self.title);
        let mut page = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n");
        page += "<meta charset=\"utf-8\">\n";
        page += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
        page += "<meta name=\"color-scheme\" content=\"light dark\">\n";
        put(&mut page, &format!("<title>{title}</title>"));
        put(
            &mut page,
            &format!("<style>{STYLE}{}</style>\n</head>\n<body>", self.style),
        );
        match self.class {
            "" => put(&mut page, "<main>"),
            class => put(&mut page, &format!("<main class=\"{class}\">")),
        }
        put(
            &mut page,
            &format!(
                "<header>\n<h1>{title}</h1>\n<p class=\"lead\">{}</p>\n</header>",
                escape(self.lead)
            ),
        );
        page += sections;
        page += "</main>\n";
        if !self.script.is_empty() {
            put(&mut page, &format!("<script>{}</script>", self.script));
        }
        page += "</body>\n</html>\n";
        page
    }
}

pub(crate) fn section(page: &mut String, heading: &str, body: &str) {
    put(
        page,
        &format!("<section>\n<h2>{heading}</h2>\n{body}</section>"),
    );
}

/// A picture with a text below; `drawn` and `caption` are markup.
#[cfg(any(feature = "bench", feature = "train"))]
pub(crate) fn figure(drawn: &str, caption: &str) -> String {
    let caption = match caption {
        "" => String::new(),
        text => format!("<figcaption>{text}</figcaption>"),
    };
    format!("<figure>{drawn}{caption}</figure>\n")
}

pub(crate) fn put(page: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(page, "{line}");
}

/// Text as it may stand between tags and in quotes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}
