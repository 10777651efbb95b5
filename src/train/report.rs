//! One page that tells what a demonstration did: readable without a network, by day and night, on a phone. Draws nothing.

use crate::page::{Page, escape, figure, put, section};

/// A picture that goes into the page itself.
///
/// An SVG inherits the page's text colour (`currentColor`) and may use its CSS variables `--ink`, `--soft`, `--line`,
/// `--accent`, `--accent-2` and `--card`, which follow the light or dark scheme.
#[derive(Debug, Clone, PartialEq)]
pub enum Picture {
    /// An `<svg …>` element.
    Svg(String),
    /// A `data:image/…` address.
    DataUri(String),
}

/// A spectrogram of one test item.
#[derive(Debug, Clone, PartialEq)]
pub struct Spectrogram {
    pub class: String,
    /// What the model said, and how sure it was.
    pub caption: String,
    pub picture: Picture,
}

/// What came out of checking one operator on this adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    pub operator: String,
    pub n_cases: usize,
    pub n_failed: usize,
}

/// Everything the page shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    pub title: String,
    /// One sentence under the title.
    pub summary: String,
    /// From 0 to 1, on data the model has not seen.
    pub accuracy: f64,
    /// The same for a model that does not see the order of time.
    pub baseline_accuracy: f64,
    /// What guessing gets: 1 / classes.
    pub chance: f64,
    /// Paragraphs in plain words.
    pub explanation: Vec<String>,
    pub loss_curve: Picture,
    pub confusion_matrix: Picture,
    pub spectrograms: Vec<Spectrogram>,
    pub checks: Vec<Check>,
    /// Adapter, driver, times, sizes: name and value.
    pub environment: Vec<(String, String)>,
}

/// The page as one self-contained document: no script, no address outside of it. All text is escaped; an SVG goes in as is.
pub fn html(report: &Report) -> String {
    let mut page = scores(report);
    section(
        &mut page,
        "What happened here",
        &paragraphs(&report.explanation),
    );
    page += "<div class=\"pair\">\n";
    let loss = drawn(&report.loss_curve, "Loss over the steps of training");
    section(&mut page, "Learning", &figure(&loss, ""));
    let matrix = drawn(
        &report.confusion_matrix,
        "Confusion matrix: true class against predicted class",
    );
    section(&mut page, "What it took for what", &figure(&matrix, ""));
    page += "</div>\n";
    if !report.spectrograms.is_empty() {
        section(
            &mut page,
            "What it heard",
            &spectrograms(&report.spectrograms),
        );
    }
    section(
        &mut page,
        "Kernels checked on this adapter",
        &checks(&report.checks),
    );
    section(&mut page, "Where it ran", &environment(&report.environment));
    Page {
        title: &report.title,
        lead: &report.summary,
        style: STYLE,
        script: "",
        class: "",
    }
    .around(&page)
}

fn scores(report: &Report) -> String {
    let mut out = String::from("<section class=\"scores\" aria-label=\"Accuracy\">\n");
    let rows = [
        ("model", "The model", report.accuracy),
        ("other", "Average spectrum only", report.baseline_accuracy),
        ("chance", "Guessing", report.chance),
    ];
    for (class, name, value) in rows {
        // Nothing sensible can be drawn for NaN; the number still says so.
        let width = (100.0 * value.clamp(0.0, 1.0)).max(0.0);
        put(
            &mut out,
            &format!(
                "<div class=\"score {class}\"><span class=\"name\">{name}</span>\
                 <span class=\"bar\"><i style=\"width:{width:.1}%\"></i></span>\
                 <b>{value:.2}</b></div>"
            ),
        );
    }
    out += "<p class=\"note\">Accuracy on data that took no part in training; 1.00 would be no mistake at all.</p>\n</section>\n";
    out
}

fn paragraphs(texts: &[String]) -> String {
    let texts = texts.iter().map(|t| format!("<p>{}</p>\n", escape(t)));
    texts.collect()
}

fn spectrograms(items: &[Spectrogram]) -> String {
    let mut out = String::from(
        "<p class=\"note\">Time runs to the right, pitch upwards.</p>\n<div class=\"grid\">\n",
    );
    for item in items {
        let caption = format!("<b>{}</b> {}", escape(&item.class), escape(&item.caption));
        let alt = format!("Spectrogram of {}", item.class);
        out += &figure(&drawn(&item.picture, &alt), &caption);
    }
    out += "</div>\n";
    out
}

fn checks(checks: &[Check]) -> String {
    let n_cases: usize = checks.iter().map(|c| c.n_cases).sum();
    let n_failed: usize = checks.iter().map(|c| c.n_failed).sum();
    let verdict = match (checks.len(), n_failed) {
        (0, _) => String::from("<p>No kernel was checked.</p>\n"),
        (n, 0) => format!(
            "<p><span class=\"ok\">All right:</span> {n_cases} cases of {n} operators agree with their \
             definition in 64-bit arithmetic, forward and backward.</p>\n"
        ),
        (n, _) => format!(
            "<p><span class=\"bad\">{n_failed} of {n_cases} cases failed</span> in {n} operators: \
             do not trust the numbers above.</p>\n"
        ),
    };
    let mut out = verdict;
    if checks.is_empty() {
        return out;
    }
    out += "<ul class=\"chips\">\n";
    for check in checks {
        let (class, said) = match check.n_failed {
            0 => ("ok", format!("{}", check.n_cases)),
            failed => ("bad", format!("{failed} of {} wrong", check.n_cases)),
        };
        let name = escape(&check.operator);
        put(
            &mut out,
            &format!("<li class=\"{class}\">{name} <span>{said}</span></li>"),
        );
    }
    out += "</ul>\n";
    out
}

fn environment(rows: &[(String, String)]) -> String {
    let mut out = String::from("<table class=\"facts\">\n");
    for (name, value) in rows {
        let (name, value) = (escape(name), escape(value));
        put(
            &mut out,
            &format!("<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>"),
        );
    }
    out += "</table>\n";
    out
}

/// The picture as markup.
fn drawn(picture: &Picture, alt: &str) -> String {
    let alt = escape(alt);
    match picture {
        Picture::Svg(svg) => {
            format!("<div class=\"svg\" role=\"img\" aria-label=\"{alt}\">{svg}</div>")
        }
        Picture::DataUri(uri) => format!("<img src=\"{}\" alt=\"{alt}\">", escape(uri)),
    }
}

/// Scores and what else only this page has.
const STYLE: &str = include_str!("report.css");

#[cfg(test)]
mod tests {
    use super::*;

    /// A page's worth of everything; what it shows is invented.
    fn report() -> Report {
        let svg = "<svg viewBox=\"0 0 400 240\" fill=\"none\" stroke=\"currentColor\"><path d=\"M30 10V210H390\"/>\
                   <path stroke=\"var(--accent)\" stroke-width=\"2.5\" d=\"M30 30C120 40 150 190 390 200\"/></svg>";
        let item = |class: &str, caption: &str| {
            Spectrogram {
            class: class.into(),
            caption: caption.into(),
            picture: Picture::Svg(
                "<svg viewBox=\"0 0 256 64\"><rect width=\"256\" height=\"64\" fill=\"#2d1160\"/>\
                 <path d=\"M0 50q64-40 128-9t128-9\" stroke=\"#fb8761\" stroke-width=\"5\" fill=\"none\"/></svg>"
                    .into(),
            ),
        }
        };
        let check = |operator: &str, n_cases| Check {
            operator: operator.into(),
            n_cases,
            n_failed: 0,
        };
        Report {
            title: "affekt demo".into(),
            summary: "A shifted-window transformer learned four emotions from synthetic speech in 2 min 41 s.".into(),
            accuracy: 0.9625,
            baseline_accuracy: 0.31,
            chance: 0.25,
            explanation: vec![
                "Invented speakers said invented words <with> four kinds of melody, rhythm & loudness.".into(),
                "The test was spoken by other voices than the training.".into(),
            ],
            loss_curve: Picture::Svg(svg.into()),
            confusion_matrix: Picture::DataUri(
                "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==".into(),
            ),
            spectrograms: vec![
                item("anger", "taken for anger, 98 %"),
                item("fear", "taken for fear, 91 %"),
                item("happiness", "taken for happiness, 95 %"),
                item("sadness", "taken for fear, 54 %"),
            ],
            checks: vec![
                check("stft", 24),
                check("window_attention", 31),
                check("layer_norm", 18),
                check("matmul", 40),
                check("cross_entropy", 12),
            ],
            environment: vec![
                ("Adapter".into(), "llvmpipe (LLVM 15.0.6, 256 bits)".into()),
                ("Driver".into(), "Mesa 22.3.6 (LLVM 15.0.6)".into()),
                ("Backend".into(), "Vulkan".into()),
                ("Parameters".into(), "567 876".into()),
            ],
        }
    }

    #[test]
    fn the_page_shows_everything_and_needs_nothing_from_outside() {
        let page = html(&report());
        for shown in [
            "<title>affekt demo</title>",
            "<b>0.96</b>",
            "<b>0.31</b>",
            "<b>0.25</b>",
            "words &lt;with&gt; four kinds of melody, rhythm &amp; loudness",
            "<path d=\"M30 10V210H390\"/>",
            "<img src=\"data:image/png;base64,",
            "taken for fear, 54 %",
            "125 cases of 5 operators",
            "<th scope=\"row\">Adapter</th><td>llvmpipe (LLVM 15.0.6, 256 bits)</td>",
            "prefers-color-scheme: dark",
            "width=device-width",
        ] {
            assert!(page.contains(shown), "{shown} is missing");
        }
        for outside in ["http", "//", "<script", "<link", "@import", "url("] {
            assert!(!page.contains(outside), "{outside} points outside");
        }
        // Written for a look with the eye where a path is given.
        if let Some(file) = std::env::var_os("AFFEKT_REPORT_PAGE") {
            std::fs::write(file, page).expect("the page can be written");
        }
    }

    #[test]
    fn tags_close() {
        let page = html(&report());
        for tag in [
            "html", "head", "body", "main", "section", "figure", "table", "ul", "li", "div", "p",
        ] {
            let opened = page.matches(&format!("<{tag}>")).count()
                + page.matches(&format!("<{tag} ")).count();
            let closed = page.matches(&format!("</{tag}>")).count();
            assert!(
                opened > 0 && opened == closed,
                "{tag}: {opened} and {closed}"
            );
        }
    }

    #[test]
    fn a_failed_check_is_said_and_text_cannot_become_markup() {
        let mut report = report();
        report.checks[1].n_failed = 2;
        report.title = "</title><script>".into();
        report.confusion_matrix = Picture::DataUri("\" onerror=\"x".into());
        report.accuracy = f64::NAN;
        let page = html(&report);
        assert!(page.contains("2 of 125 cases failed"), "{page}");
        assert!(page.contains("window_attention <span>2 of 31 wrong</span>"));
        assert!(!page.contains("<script") && !page.contains("\" onerror"));
        assert!(page.contains("<b>NaN</b>"));
        report.checks.clear();
        assert!(html(&report).contains("No kernel was checked."));
    }
}
