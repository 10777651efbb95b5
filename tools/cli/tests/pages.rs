//! Pages of results in a browser: charts are drawn, nothing is wider than a phone, tables sort. The results are invented.
//!
//! Trials need Chromium and are ignored where there is none. Screenshots stay in `target/tmp` for a look with the eye.

#[path = "../../../tests/support_pages/mod.rs"]
mod support_pages;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use serde_json::Value;

/// Most time for one start of the browser.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tells, in an element that the test reads, what the browser makes of the page.
const INSPECT: &str = r#"
const told = { width: innerWidth, page: document.documentElement.scrollWidth, charts: [], clipped: [] };
for (const svg of document.querySelectorAll("svg")) {
  const box = svg.getBoundingClientRect();
  told.charts.push([svg.getAttribute("aria-label"), box.width, box.height, svg.querySelectorAll("rect,circle,polyline").length]);
  const view = svg.viewBox.baseVal;
  for (const text of svg.querySelectorAll("text:not([transform])")) {
    const t = text.getBBox();
    if (t.x < -2 || t.x + t.width > view.width + 2 || t.y < -2 || t.y + t.height > view.height + 4)
      told.clipped.push(text.textContent);
  }
}
told.filled = [...document.querySelectorAll("svg rect.b-memory, svg rect.faster")]
  .filter((e) => /^rgb/.test(getComputedStyle(e).fill) && getComputedStyle(e).fill !== "rgb(0, 0, 0)").length;
"#;

const SORT: &str = r#"
const told = {};
const table = document.querySelector("table.sort");
const heads = [...table.tHead.rows[0].cells];
const column = (name) => heads.findIndex((head) => head.textContent === name);
const keys = (i) => [...table.tBodies[0].rows].map((row) => row.cells[i].dataset.v ?? row.cells[i].textContent);
const press = (name) => {
  const i = column(name);
  heads[i].querySelector("button").click();
  return { sorted: heads.map((head) => head.getAttribute("aria-sort")).filter((s) => s), keys: keys(i) };
};
told.before = keys(0);
told.buttons = heads.filter((head) => head.querySelector("button").tabIndex === 0).length;
told.columns = heads.length;
told.up = press("Median");
told.down = press("Median");
told.text = press("Kernel");
"#;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let browser = browser();
    let tests: [(&str, fn(&Path)); 3] = [
        ("charts_are_drawn", charts_are_drawn),
        ("tables_sort", tables_sort),
        ("screenshots_are_kept", screenshots_are_kept),
    ];
    let trials = tests.map(|(name, test)| match browser.clone() {
        Some(browser) => Trial::test(name, move || {
            test(&browser);
            Ok(())
        }),
        None => Trial::test(name, || Ok(()))
            .with_kind("no chromium")
            .with_ignored_flag(true),
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}

/// Chromium, by the names that systems give it.
fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|file| file.is_file())
}

/// Where pages and pictures of them are left.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pages")
}

fn write(name: &str, page: &str) -> PathBuf {
    std::fs::create_dir_all(folder()).unwrap();
    let file = folder().join(format!("{name}.html"));
    std::fs::write(&file, page).unwrap();
    file
}

/// The page with a script that leaves what it has found in an element of the outermost document.
fn with_script(page: &str, script: &str) -> String {
    page.replace(
        "</body>",
        &format!(
            "<script type=\"module\">{script}\nconst out = parent.document.createElement(\"pre\");\n\
             out.id = \"told\";\nout.textContent = JSON.stringify(told);\nparent.document.body.append(out);\
             </script></body>"
        ),
    )
}

/// A page of that width inside another one: a window cannot be as narrow as a phone.
fn in_a_frame(page: &str, width: u32) -> String {
    let page = page.replace('&', "&amp;").replace('"', "&quot;");
    format!(
        "<!doctype html><body><iframe style=\"border:0\" width=\"{width}\" height=\"1000\" srcdoc=\"{page}\">\
         </iframe></body>"
    )
}

/// Starts the browser on a file and gives back what it prints.
fn open(browser: &Path, file: &Path, width: u32, arguments: &[&str]) -> String {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let own = folder().join(format!("browser-{}-{n}", std::process::id()));
    let printed = folder().join(format!("printed-{}-{n}", std::process::id()));
    let mut child = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
        ])
        .args(["--disable-background-networking", "--no-first-run"])
        .arg(format!("--user-data-dir={}", own.display()))
        .arg(format!("--window-size={width},1000"))
        .args(arguments)
        .arg(format!("file://{}", file.display()))
        .stdout(std::fs::File::create(&printed).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if start.elapsed() > PATIENCE => {
                child.kill().unwrap();
                panic!("the browser does not end");
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let text = std::fs::read_to_string(&printed).unwrap();
    let _ = std::fs::remove_dir_all(&own);
    let _ = std::fs::remove_file(&printed);
    assert!(status.success(), "{status}");
    text
}

/// What a script found in the page.
fn told(browser: &Path, name: &str, page: &str, width: u32, script: &str) -> Value {
    let page = in_a_frame(&with_script(page, script), width);
    let dom = open(browser, &write(name, &page), 1300, &["--dump-dom"]);
    let (_, rest) = dom.split_once("<pre id=\"told\">").expect("the script ran");
    let (text, _) = rest.split_once("</pre>").unwrap();
    let text = [("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")]
        .iter()
        .fold(text.to_string(), |t, (from, to)| t.replace(from, to));
    serde_json::from_str(&text).unwrap()
}

fn charts_are_drawn(browser: &Path) {
    let one = affekt::bench::page::html(&support_pages::one());
    let three = affekt::bench::page::html(&support_pages::three());
    let checked = affekt::check::page::html(&support_pages::checked_three());
    for (name, page, n_charts) in [
        ("one", &one, 20),
        ("three", &three, 20),
        ("check", &checked, 0),
    ] {
        for width in [1200, 390] {
            let name = format!("inspect-{name}-{width}");
            let told = told(browser, &name, page, width, INSPECT);
            assert_eq!(told["width"], width, "{name}");
            // The page itself never scrolls sideways.
            assert_eq!(told["page"], width, "{name}");
            let charts = told["charts"].as_array().unwrap();
            assert!(charts.len() >= n_charts, "{name}: {} charts", charts.len());
            for chart in charts {
                let least = if width > 1000 { 250.0 } else { 200.0 };
                assert!(chart[1].as_f64().unwrap() >= least, "{name}: {chart}");
                assert!(chart[2].as_f64().unwrap() >= 15.0, "{name}: {chart}");
                assert!(chart[3].as_u64().unwrap() >= 1, "{name}: {chart}");
            }
            assert_eq!(
                told["clipped"].as_array().unwrap().len(),
                0,
                "{name}: {told}"
            );
            assert!(
                n_charts == 0 || told["filled"].as_u64().unwrap() >= 8,
                "{name}: {told}"
            );
        }
    }
}

fn tables_sort(browser: &Path) {
    let page = affekt::bench::page::html(&support_pages::one());
    let told = told(browser, "sort", &page, 1200, SORT);
    assert_eq!(told["buttons"], told["columns"]);
    let keys = |of: &Value| -> Vec<String> {
        let keys = of.as_array().unwrap().iter();
        keys.map(|k| k.as_str().unwrap().to_string()).collect()
    };
    // Numbers by value, those that are missing last, either way.
    let numbers = |of: &Value| -> (Vec<f64>, usize) {
        let keys = keys(of);
        let known: Vec<f64> = keys.iter().map_while(|k| k.parse().ok()).collect();
        let n_missing = keys.len() - known.len();
        assert!(keys[known.len()..].iter().all(String::is_empty), "{keys:?}");
        (known, n_missing)
    };
    assert_eq!(told["up"]["sorted"], serde_json::json!(["ascending"]));
    let (up, n_missing) = numbers(&told["up"]["keys"]);
    assert!(up.len() > 20 && n_missing == 2 && up.is_sorted(), "{up:?}");
    assert_eq!(told["down"]["sorted"], serde_json::json!(["descending"]));
    let (mut down, n_missing) = numbers(&told["down"]["keys"]);
    down.reverse();
    assert_eq!((down, n_missing), (up, 2));
    // One column at a time; text by its letters.
    assert_eq!(told["text"]["sorted"], serde_json::json!(["ascending"]));
    let mut before = keys(&told["before"]);
    let after = keys(&told["text"]["keys"]);
    assert_eq!(after[0], "adam_step/parameters_of_a_layer");
    assert_ne!(before, after);
    before.sort();
    let mut sorted = after.clone();
    sorted.sort();
    assert_eq!(before, sorted);
}

fn screenshots_are_kept(browser: &Path) {
    let pages = [
        (
            "bench-one",
            affekt::bench::page::html(&support_pages::one()),
        ),
        (
            "bench-three",
            affekt::bench::page::html(&support_pages::three()),
        ),
        (
            "check-three",
            affekt::check::page::html(&support_pages::checked_three()),
        ),
    ];
    for (name, page) in &pages {
        let file = write(name, page);
        for (width, scheme, what) in [(1200, 1, "light"), (390, 0, "dark")] {
            let picture = folder().join(format!("{name}-{width}-{what}.png"));
            let _ = std::fs::remove_file(&picture);
            let screenshot = format!("--screenshot={}", picture.display());
            let scheme = format!("--blink-settings=preferredColorScheme={scheme}");
            open(browser, &file, width, &[&screenshot, &scheme]);
            let bytes = std::fs::read(&picture).expect("there is a picture");
            assert!(
                bytes.starts_with(b"\x89PNG") && bytes.len() > 20_000,
                "{name}"
            );
        }
    }
}
