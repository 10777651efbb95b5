//! Pages of results: whole, closed in themselves, and honest about what is missing. The results shown are invented.

mod support_pages;

use affekt::bench::Report;
use affekt::bench::report::RowVerdict;
use affekt::{bench, check};
use support_pages::{checked, checked_three, many, one, three};

fn bench_pages() -> Vec<(&'static str, String)> {
    vec![
        ("bench-one", bench::page::html(&one())),
        ("bench-three", bench::page::html(&three())),
        ("bench-none", bench::page::html(&Report::new(Vec::new()))),
    ]
}

fn all_pages() -> Vec<(&'static str, String)> {
    let mut pages = bench_pages();
    let none = check::report::Report::new(Vec::new(), None);
    pages.push(("check-one", check::page::html(&checked())));
    pages.push(("check-three", check::page::html(&checked_three())));
    pages.push(("check-none", check::page::html(&none)));
    pages
}

fn shows(page: &str, words: &[&str]) {
    for shown in words {
        assert!(page.contains(shown), "{shown} is missing");
    }
}

#[test]
fn pages_need_nothing_from_outside_and_are_written_for_a_look() {
    for (name, page) in all_pages() {
        for outside in ["http", "src=", "href", "<link", "@import", "url(", "fetch("] {
            assert!(!page.contains(outside), "{name}: {outside} points outside");
        }
        shows(
            &page,
            &[
                "<!doctype html>",
                "prefers-color-scheme: dark",
                "width=device-width",
            ],
        );
        for broken in [
            "NaN%", ">NaN", "\"NaN", "inf ", ">inf", "\"inf", "NaN,", ",NaN",
        ] {
            assert!(!page.contains(broken), "{name}: {broken}");
        }
        // Written for a look with the eye where a folder is given.
        if let Some(folder) = std::env::var_os("AFFEKT_PAGES") {
            let file = std::path::Path::new(&folder).join(format!("{name}.html"));
            std::fs::write(file, page).expect("the page can be written");
        }
    }
}

#[test]
fn tags_close() {
    let tags = [
        "html",
        "head",
        "body",
        "main",
        "section",
        "header",
        "h1",
        "h2",
        "h3",
        "p",
        "div",
        "figure",
        "figcaption",
        "svg",
        "text",
        "g",
        "title",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "details",
        "summary",
        "ul",
        "li",
        "dl",
        "dt",
        "dd",
        "span",
        "small",
        "code",
        "b",
        "i",
        "script",
        "style",
    ];
    for (name, page) in all_pages() {
        for tag in tags {
            let opened = page.matches(&format!("<{tag}>")).count()
                + page.matches(&format!("<{tag} ")).count();
            let closed = page.matches(&format!("</{tag}>")).count();
            assert_eq!(opened, closed, "{name}: {tag}");
        }
    }
}

#[test]
fn one_machine_is_shown_with_everything() {
    let page = bench::page::html(&one());
    shows(
        &page,
        &[
            "<title>affekt bench: Invented Software Rasterizer</title>",
            "vulkan:Invented Software Rasterizer (not real, 256 bits)",
            "timestamps, subgroups of 8",
            "3 timestamps discarded",
            "timestamps of the device",
            "after the run 1.01× the time of before",
            // Ceilings.
            "f32 98.0 GFLOP/s",
            "memory 11.8 GB/s",
            "kernels may not use f16",
            "Launch, 1 dispatch per submission",
            "Readback of one number",
            "aria-label=\"Roofline of Invented Software Rasterizer\"",
            "aria-label=\"Memory rates of Invented Software Rasterizer\"",
            "matmul/square_512: ",
            // Rows.
            "aria-label=\"matmul: percent of the ceiling, by case\"",
            "<code>f32[512, 512] f32[512, 512]</code>",
            "broadcast 8x32 blocks: cpu class",
            "not used:",
            "12.3 MiB",
            "FAIL",
            "expected &lt;0.5&gt; within",
            "kernels may not use f16 on this adapter",
            // Steps.
            "speech-swin small, batch 16",
            "567\u{202f}876 parameters",
            "393 MiB",
        ],
    );
    // The wrong row has a speed in the file, and none on the page.
    assert!(!page.contains("777 µs"));
    assert_eq!(page.matches("class=\"dot ").count(), 26);
}

#[test]
fn several_machines_stand_side_by_side() {
    let page = bench::page::html(&three());
    shows(
        &page,
        &[
            "<title>affekt bench</title>",
            "31 cases of compute kernels on 3 machines",
            "<b class=\"who\">C</b> Invented Discrete 9000 &lt;not real&gt;</h2>",
            "<b class=\"who\">B</b> Invented Software Rasterizer, invented-peer 9.9.9",
            "f16 61.9 TFLOP/s",
            "16x16x16 f16 to f32",
            "slowed down:",
            "wall clock; the device has no timestamps",
            "ratios are of wall times where a machine has no timestamps",
            "<b class=\"who\">C</b> over <b class=\"who\">A</b>",
            "time over A, mean of 28",
            "add: time over that of the first machine, by case",
        ],
    );
    // No roofline of an engine that measures no ceilings.
    assert_eq!(page.matches("aria-label=\"Roofline of").count(), 2);
}

#[test]
fn a_page_of_a_hundred_rows_is_small() {
    let page = bench::page::html(&many(100));
    assert!(page.len() < 300_000, "{} bytes", page.len());
}

#[test]
fn text_cannot_become_markup_and_numbers_that_are_none_are_dashes() {
    let mut report = one();
    let machine = &mut report.machines[0];
    machine.environment.adapter = "vulkan:</title><script>x</script>".to_string();
    machine.environment.features = vec!["\" onload=\"x".to_string()];
    let ceilings = machine.ceilings.as_mut().expect("it has some");
    ceilings.memory[3].copy_gb_s = f64::NAN;
    ceilings.f16_gflop_s = Some(f64::INFINITY);
    ceilings.readback.median = f64::NAN;
    for (i, row) in machine.rows.iter_mut().enumerate() {
        row.op = format!("<b>{}'\"&", row.op);
        row.plan = Some("<i>".to_string());
        match i % 4 {
            0 => row.median = Some(f64::NAN),
            1 => (row.percent, row.gb_s) = (Some(f64::NAN), Some(f64::INFINITY)),
            2 => {
                row.gpu = row
                    .gpu
                    .map(|t| affekt::bench::report::Timing { p10: 0.0, ..t })
            }
            _ => (row.flops, row.bytes) = (1, 0),
        }
    }
    let both = Report::new(vec![report.machines[0].clone(), one().machines.remove(0)]);
    for page in [bench::page::html(&report), bench::page::html(&both)] {
        assert_eq!(page.matches("<script").count(), 1);
        for broken in ["NaN", "inf\"", ">inf", "\" onload", "<b><b>", "<i></td>"] {
            assert!(!page.contains(broken), "{broken}");
        }
    }
}

#[test]
fn what_is_missing_is_said() {
    let empty = bench::page::html(&Report::new(Vec::new()));
    shows(&empty, &["Nothing was measured", "name no machine"]);
    let mut report = one();
    report.machines[0].rows.clear();
    report.machines[0].steps.clear();
    report.machines[0].ceilings = None;
    let page = bench::page::html(&report);
    shows(&page, &["No kernel was timed."]);
    assert!(!page.contains("<svg"));
    // Nothing but what a file must have.
    let text = r#"{"schema": "affekt-bench", "schema_version": 1, "machines": [{"environment": {}, "rows": [
        {"op": "add", "case": "a", "shapes": "", "verdict": "skipped", "median": null}]}]}"#;
    let bare: Report = serde_json::from_str(text).expect("the other fields have defaults");
    assert_eq!(bare.machines[0].rows[0].verdict, RowVerdict::Skipped);
    shows(
        &bench::page::html(&bare),
        &["unnamed adapter", "1 case skipped", "<li>add/a</li>"],
    );
}

#[test]
fn verdicts_of_all_adapters_are_told() {
    let page = check::page::html(&checked());
    shows(
        &page,
        &[
            "<title>affekt check: Invented Software Rasterizer</title>",
            "1 case wrong:",
            "softmax/rows_of_768/gradient",
            "softmax_vjp.2",
            "dx[7] is 0.75, expected &lt;0.25&gt; within 3e-6",
            "7 cases: this device cannot run matmul_subgroup",
            "41.7 s",
        ],
    );
    let page = check::page::html(&checked_three());
    shows(
        &page,
        &[
            "Cases with &quot;o&quot; in their name",
            "All right.",
            "Not checked to the end:</span> device lost: the driver went &lt;away&gt; on purpose",
            "<b class=\"who\">B</b> right",
        ],
    );
    let none = check::report::Report::new(Vec::new(), None);
    shows(&check::page::html(&none), &["Nothing was checked"]);
    // The file keeps everything.
    let text = checked_three().to_json();
    let read: check::report::Report = serde_json::from_str(&text).expect("it is its own form");
    assert_eq!(read, checked_three());
    shows(
        &text,
        &["\"schema\": \"affekt-check\"", "\"schema_version\": 1"],
    );
}
