//! `affekt bench` and `affekt tune` as a user meets them.

mod support;

use std::process::ExitCode;

use serde_json::{Value, json};
use support::{Test, command, file, folder, path, refused, run, text};

fn main() -> ExitCode {
    support::main(ANYWHERE, ON_A_DEVICE)
}

const ANYWHERE: &[Test] = &[
    ("what_is_no_result_is_refused", what_is_no_result_is_refused),
    ("results_are_put_side_by_side", results_are_put_side_by_side),
    ("a_regression_ends_with_1", a_regression_ends_with_1),
    ("files_are_filtered", files_are_filtered),
    ("wrong_use_is_one_line", wrong_use_is_one_line),
];

const ON_A_DEVICE: &[Test] = &[
    ("a_row_is_measured", a_row_is_measured),
    ("a_spoiled_kernel_gives_way", a_spoiled_kernel_gives_way),
    (
        "a_row_without_a_right_kernel_fails",
        a_row_without_a_right_kernel_fails,
    ),
    (
        "a_table_is_made_and_forgotten",
        a_table_is_made_and_forgotten,
    ),
    ("all_adapters_are_measured", all_adapters_are_measured),
    (
        "only_what_stays_slower_is_slower",
        only_what_stays_slower_is_slower,
    ),
    ("a_spoiled_function_fails", a_spoiled_function_fails),
    (
        "a_lost_device_keeps_what_there_is",
        a_lost_device_keeps_what_there_is,
    ),
    (
        "a_killed_tuning_keeps_its_table",
        a_killed_tuning_keeps_its_table,
    ),
    ("rungs_are_listed", rungs_are_listed),
];

/// A timing that does not spread.
fn timing(median: f64) -> Value {
    json!({ "n": 9, "median": median, "p10": median, "p90": median, "p99": median })
}

/// Results with one row for each name and time, all of these sizes; the numbers are invented.
fn results(rows: &[(&str, f64)], shapes: &str) -> Value {
    let rows: Vec<Value> = rows
        .iter()
        .map(|(case, median)| {
            json!({
                "op": "sum",
                "case": case,
                "shapes": shapes,
                "verdict": "right",
                "median": median,
                "wall": timing(*median),
                "percent": 25.0,
            })
        })
        .collect();
    json!({
        "schema": "affekt-bench",
        "schema_version": 1,
        "machines": [{ "environment": { "engine": "invented 1", "adapter": "none" }, "rows": rows }],
    })
}

fn results_file(name: &str, value: &Value) -> String {
    file(name, value.to_string().as_bytes())
}

fn what_is_no_result_is_refused() {
    let good = results_file("good.json", &results(&[("a", 1.0)], "f32[4]"));
    for (name, content, words) in [
        ("text.json", "no", "no JSON"),
        (
            "foreign.json",
            "{\"rows\": []}",
            "no results of affekt bench",
        ),
        (
            "newer.json",
            "{\"schema\": \"affekt-bench\", \"schema_version\": 7}",
            "schema version 7, this program reads 1",
        ),
        (
            "broken.json",
            "{\"schema\": \"affekt-bench\", \"schema_version\": 1}",
            "broken results",
        ),
    ] {
        let bad = file(name, content.as_bytes());
        refused(&["bench", "--compare", &good, &bad], &[name, words]);
        refused(
            &["bench", "--compare", &good, "--baseline", &bad],
            &[name, words],
        );
    }
    refused(
        &["bench", "--compare", &path("absent.json")],
        &["absent.json"],
    );
    for (call, words) in [
        (
            &["bench", "--compare", &good, "--adapter", "0"][..],
            "--adapter cannot be used with --compare",
        ),
        (
            &["bench", "abs", "--all-adapters", "--adapter", "0"],
            "--adapter cannot be used with --all-adapters",
        ),
        (
            &["check", "--adapter", "0", "abs", "--all-adapters"],
            "--adapter cannot be used with --all-adapters",
        ),
        (
            &["bench", "abs", "--margin", "0.1"],
            "--margin has no meaning",
        ),
    ] {
        refused(call, &[words]);
    }
    let with = |field: &str, value: Value| {
        let mut results = results(&[("a", 1.0)], "");
        results["machines"][0][field] = value;
        results
    };
    let step = json!({
        "model": "m",
        "config": "c",
        "batch": 1,
        "n_parameters": 1,
        "verdict": "right",
        "median": 1.0,
    });
    let mut negative = results(&[("a", 1.0)], "");
    negative["machines"][0]["rows"][0]["gb_s"] = json!(-1.0);
    for (name, value, words) in [
        (
            "ceiling.json",
            with("ceilings", json!({ "f32_gflop_s": 1e308 })),
            "ceilings.f32_gflop_s is 1e",
        ),
        (
            "negative.json",
            negative,
            "rows[0].gb_s is -1.0, expected 0 or a number between 1e-15 and 1e15",
        ),
        (
            "steps.json",
            with("steps", json!([step, step])),
            "step/m is there twice",
        ),
        (
            "twice.json",
            results(&[("a", 1.0), ("a", 2.0)], ""),
            "sum/a is there twice",
        ),
        (
            "zero.json",
            results(&[("a", 0.0)], ""),
            "sum/a has times that are none",
        ),
    ] {
        let bad = results_file(name, &value);
        refused(&["bench", "--compare", &bad], &[name, words]);
    }
    let mut elsewhere = results(&[("a", 1.0)], "f32[4]");
    elsewhere["machines"][0]["environment"]["adapter"] = json!("another");
    let elsewhere = results_file("elsewhere.json", &elsewhere);
    let others = results_file("others.json", &results(&[("b", 1.0)], "f32[4]"));
    let mut limited = results(&[("a", 1.0)], "f32[4]");
    limited["machines"][0]["environment"]["limits"] = json!("default");
    let limited = results_file("limited.json", &limited);
    // The table is printed before.
    for (baseline, words) in [
        (
            &limited,
            "the baseline was measured on none with \"default\" limits, this is with \"\" limits",
        ),
        (&elsewhere, "the baseline has nothing of invented 1 on none"),
        (&others, "the baseline has none of these rows"),
    ] {
        refused(
            &["bench", "--compare", &good, "--baseline", baseline],
            &[words],
        );
    }
    let other = results_file("sizes.json", &results(&[("a", 1.0)], "f32[8]"));
    refused(
        &["bench", "--compare", &good, &other],
        &["sum/a is of f32[8] in one file and of f32[4] in another"],
    );
    let page = folder().join("no-folder/page.html");
    let page = page.to_str().unwrap();
    refused(
        &["bench", "--compare", &good, "--html", page],
        &["page.html"],
    );
}

fn results_are_put_side_by_side() {
    let a = results_file("left.json", &results(&[("a", 1e-3), ("b", 2e-6)], "f32[4]"));
    let b = results_file("right.json", &results(&[("b", 1e-6), ("c", 1.0)], "f32[4]"));
    let page = path("both.html");
    let output = run(&["bench", "--compare", &a, &b, "--html", &page]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    let line = |name: &str| {
        let line = table.lines().find(|l| l.starts_with(name));
        let words: Vec<String> = line.unwrap().split_whitespace().map(String::from).collect();
        words.join(" ")
    };
    assert_eq!(line("sum/a"), "sum/a 1.00 ms 25 - - -");
    assert_eq!(
        line("sum/b"),
        "sum/b 2.00 µs 25 1.00 µs 25 0.50 (0.50 to 0.50)"
    );
    assert_eq!(line("sum/c"), "sum/c - - 1.00 s 25 -");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(
        page.contains("sum</b>/b") || page.contains("sum/b"),
        "{page}"
    );
    // Times of a wrong result are none.
    let mut wrong = results(&[("b", 1e-6)], "f32[4]");
    wrong["machines"][0]["rows"][0]["verdict"] = json!("wrong");
    let wrong = results_file("wrong.json", &wrong);
    let table = text(&run(&["bench", "--compare", &a, &wrong]).stdout);
    assert!(
        table.contains("FAIL") && !table.contains("1.00 µs"),
        "{table}"
    );
    let both = text(&run(&["bench", "--compare", &a, &b, "--json"]).stdout);
    let both: Value = serde_json::from_str(&both).unwrap();
    assert_eq!(both["machines"].as_array().unwrap().len(), 2);
}

fn a_regression_ends_with_1() {
    let old = results_file("old.json", &results(&[("a", 1.0), ("b", 1.0)], ""));
    let new = results_file("new.json", &results(&[("a", 1.02), ("b", 1.5)], ""));
    let against = |extra: &[&str]| {
        let base = ["bench", "--baseline", &old, "--compare", &new];
        run(&[&base, extra].concat())
    };
    let output = against(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "affekt: slower than the baseline: sum/b\n"
    );
    assert!(text(&output.stdout).contains("1.50 (1.50 to 1.50)"));
    assert_eq!(against(&["--margin", "0.6"]).status.code(), Some(0));
    // What once took so long is no regression of what takes as long today.
    let slow = results_file("slow.json", &results(&[("b", 1.48)], ""));
    let output = against(&["--baseline", &slow]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    // The other way round it is faster.
    let output = run(&["bench", "--baseline", &new, "--compare", &old]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    // The same for programs, and on a page.
    let page = path("against.html");
    let output = against(&["--json", "--html", &page]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["machines"][0]["rows"].as_array().unwrap();
    assert_eq!(rows[0]["beside"]["change"], "equal");
    let beside = &rows[1]["beside"];
    assert_eq!(
        [
            &beside["change"],
            &beside["median"],
            &beside["ratio"]["value"]
        ],
        [&json!("slower"), &json!(1.0), &json!(1.5)]
    );
    assert_eq!(beside["ratio"]["low"], 1.5);
    let page = std::fs::read_to_string(page).unwrap();
    for shown in [
        "Over baseline",
        "<span class=\"bad\">slower</span>",
        "1.50×",
    ] {
        assert!(page.contains(shown), "{shown} is missing");
    }
}

fn files_are_filtered() {
    let a = results_file("all.json", &results(&[("ab", 1.0), ("bc", 1.0)], ""));
    let b = results_file("again.json", &results(&[("ab", 1.0), ("bc", 2.0)], ""));
    let table = |filter: &str| {
        let output = run(&["bench", filter, "--compare", &a, &b]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let both = table("sum/");
    assert!(both.contains("sum/ab") && both.contains("sum/bc"), "{both}");
    let one = table("/ab");
    assert!(one.contains("sum/ab") && !one.contains("sum/bc"), "{one}");
    refused(
        &["bench", "softmax", "--compare", &a, &b],
        &["no row of these files has \"softmax\" in its name"],
    );
    // A row that is not asked for is no regression.
    let against = |filter: &str| run(&["bench", filter, "--compare", &b, "--baseline", &a]);
    assert_eq!(against("/ab").status.code(), Some(0));
    assert_eq!(against("/bc").status.code(), Some(1));
}

fn wrong_use_is_one_line() {
    refused(
        &["bench", "sofmax"],
        &["no row has \"sofmax\" in its name", "softmax"],
    );
    refused(&["bench", "softmax", "--seconds", "0"], &["--seconds is 0"]);
    refused(&["bench", "softmax", "--margin=-1"], &["--margin is -1"]);
    refused(
        &["bench", "softmax", "--corrupt", "sofmax"],
        &["no entry point is called sofmax"],
    );
    refused(&["tune", "--seconds", "NaN"], &["--seconds is NaN"]);
    refused(
        &["bench", "softmax", "--baseline", &path("absent.json")],
        &["absent.json"],
    );
    let kept = results_file("kept.json", &results(&[("a", 1.0)], "f32[4]"));
    for reads in ["--compare", "--baseline"] {
        refused(
            &["bench", "softmax", reads, &kept, "--html", &kept],
            &["--html would overwrite", "kept.json"],
        );
    }
    let mut spoiled = results(&[("a", 1.0)], "f32[4]");
    spoiled["machines"][0]["health"] = json!({ "spoiled": true });
    let spoiled = results_file("spoiled.json", &spoiled);
    refused(
        &["bench", "--compare", &kept, "--baseline", &spoiled],
        &["spoiled"],
    );
    refused(&["tune", "--forget", "--json"], &["--forget", "--json"]);
    refused(&["bench", "softmax", "--all-cases"], &["--rungs"]);
    for flag in ["--seconds=1", "--limits=default", "--no-compile"] {
        refused(
            &["bench", "--compare", "a.json", flag],
            &["--compare", flag.split('=').next().unwrap()],
        );
    }
    refused(
        &["bench", "sofmax", "--rungs"],
        &["no row has \"sofmax\" in its name"],
    );
}

/// A short run of the rows that the filter names.
fn measured(filter: &str, extra: &[&str]) -> (Option<i32>, Value, String) {
    let base = ["bench", filter, "--seconds", "0.02", "--json"];
    let output = run(&[&base, extra].concat());
    let told = text(&output.stderr);
    let value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {told}{}", text(&output.stdout)));
    (output.status.code(), value, told)
}

fn a_row_is_measured() {
    let page = path("row.html");
    let (code, report, told) = measured("softmax/rows_of_32", &["--html", &page]);
    assert_eq!(code, Some(0), "{told}");
    let machine = &report["machines"][0];
    // log_softmax has such rows too, and both are differentiated.
    assert_eq!(machine["rows"].as_array().unwrap().len(), 4, "{told}");
    for row in machine["rows"].as_array().unwrap() {
        assert_eq!(row["verdict"], "right", "{row}");
        assert_eq!(row["shapes"], "f32[8192, 32]");
        // Each element read once and written once; a gradient is made of the result and of what comes from above.
        let n = if row["backward"] == true { 3 } else { 2 };
        assert_eq!(row["bytes"], n * 4 * 8192 * 32);
        for field in ["median", "gb_s", "percent", "compile_cold"] {
            assert!(row[field].as_f64().unwrap() > 0.0, "{field} of {row}");
        }
        assert!(row["compile_cached"].as_f64().unwrap() >= 0.0);
        let wall = &row["wall"];
        assert!(wall["p10"].as_f64() <= wall["median"].as_f64());
        assert!(wall["median"].as_f64() <= wall["p90"].as_f64());
        let has_clock = machine["health"]["clock"] == "timestamps";
        assert_eq!(row["gpu"].is_object(), has_clock);
        assert_eq!(row["entries"].as_array().unwrap().len(), 1);
    }
    let ceilings = &machine["ceilings"];
    assert!(ceilings["memory"].as_array().unwrap().len() >= 6);
    let launches = ceilings["launch"].as_array().unwrap();
    let launches: Vec<u64> = launches
        .iter()
        .map(|p| p["n_dispatches"].as_u64().unwrap())
        .collect();
    assert_eq!(launches, [1, 16, 64, 256]);
    for field in ["f32_gflop_s", "upload_gb_s", "download_gb_s"] {
        assert!(ceilings[field].as_f64().unwrap() > 0.0, "{field}");
    }
    assert!(std::fs::read_to_string(page).unwrap().contains("<svg"));
    // What was written is read again, and is no slower than itself.
    let kept = file("kept.json", report.to_string().as_bytes());
    let output = run(&["bench", "--baseline", &kept, "--compare", &kept]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

fn a_spoiled_kernel_gives_way() {
    // Whatever the plan takes first here.
    let (_, report, _) = measured("softmax/rows_of_768", &["--no-compile"]);
    let rows = |report: &Value| report["machines"][0]["rows"].as_array().unwrap().clone();
    let of_softmax = |report: &Value| {
        let rows = rows(report);
        rows.into_iter().find(|row| row["op"] == "softmax").unwrap()
    };
    let first = of_softmax(&report)["entries"][0]
        .as_str()
        .unwrap()
        .to_string();
    let (code, report, told) = measured(
        "softmax/rows_of_768",
        &["--no-compile", "--corrupt", &first],
    );
    let row = of_softmax(&report);
    assert_eq!(
        (code, &row["verdict"]),
        (Some(0), &json!("right")),
        "{told}"
    );
    let next = row["entries"][0].as_str().unwrap();
    assert!(next.starts_with("softmax") && next != first, "{row}");
    let dropped = row["dropped"][0].as_str().unwrap();
    assert!(dropped.starts_with(&format!("{first}: ")), "{dropped}");
    assert!(told.contains(&format!("{first} is wrong on")), "{told}");
    // It was a trial: nobody remembers the verdict.
    let (_, report, told) = measured("softmax/rows_of_768", &["--no-compile"]);
    assert_eq!(of_softmax(&report)["entries"][0], first.as_str(), "{told}");
}

fn a_row_without_a_right_kernel_fails() {
    let output = run(&[
        "bench",
        "argmax/",
        "--seconds",
        "0.02",
        "--no-compile",
        "--corrupt",
        "argmax",
    ]);
    let (out, told) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{out}{told}");
    let line = out
        .lines()
        .find(|l| l.starts_with("argmax/rows_of_768"))
        .unwrap();
    assert!(line.contains("FAIL: argmax gives wrong numbers"), "{line}");
    assert!(!line.contains("GB/s") && !line.contains(" ms"), "{line}");
    assert!(
        told.ends_with("affekt: wrong: argmax/rows_of_768\n"),
        "{told}"
    );
}

fn a_table_is_made_and_forgotten() {
    let cache = folder().join("plans");
    let tune = |arguments: &[&str]| {
        let output = command(&[&["tune"], arguments].concat())
            .env("XDG_CACHE_HOME", &cache)
            .env("HOME", &cache)
            .env("LOCALAPPDATA", &cache)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    };
    let (out, _) = tune(&["softmax/rows_of_32", "--seconds", "20", "--json"]);
    let made: Value = serde_json::from_str(&out).unwrap();
    let kept = std::path::PathBuf::from(made["file"].as_str().unwrap());
    assert!(kept.starts_with(&cache), "{made}");
    let table: Value = serde_json::from_slice(&std::fs::read(&kept).unwrap()).unwrap();
    assert_eq!(table["schema"], "affekt-plans");
    assert_eq!(
        table["rows"].as_array().unwrap().len(),
        made["rows"].as_array().unwrap().len()
    );
    let (_, told) = tune(&["--forget"]);
    assert!(told.contains("removed "), "{told}");
    assert!(!kept.exists());
    let (_, told) = tune(&["--forget"]);
    assert!(told.contains("there is no table of this adapter"), "{told}");
    let out = path("shipped.json");
    tune(&["softmax/rows_of_32", "--seconds", "20", "--out", &out]);
    assert!(std::fs::metadata(out).unwrap().len() > 0);
}

fn all_adapters_are_measured() {
    let adapters = run(&["adapters", "--json"]);
    let adapters: Value = serde_json::from_slice(&adapters.stdout).unwrap();
    let labels: Vec<&Value> = adapters["adapters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| &a["label"])
        .collect();
    let (code, report, told) = measured("global_norm", &["--no-compile", "--all-adapters"]);
    assert_eq!(code, Some(0), "{told}");
    let machines = report["machines"].as_array().unwrap();
    let measured: Vec<&Value> = machines
        .iter()
        .map(|m| &m["environment"]["adapter"])
        .collect();
    assert_eq!(measured, labels);
}

/// A run beside itself has no regression; beside one that was so fast that no noise explains it, it has.
fn only_what_stays_slower_is_slower() {
    let (code, report, told) = measured("softmax/rows_of_32", &["--no-compile"]);
    assert_eq!(code, Some(0), "{told}");
    let same = file("same.json", report.to_string().as_bytes());
    let (code, _, told) = measured("softmax/rows_of_32", &["--no-compile", "--baseline", &same]);
    assert_eq!(code, Some(0), "{told}");
    let mut faster = report.clone();
    let row = &mut faster["machines"][0]["rows"][0];
    assert_eq!(row["op"], "log_softmax");
    let median = row["median"].as_f64().unwrap() / 10.0;
    row["median"] = json!(median);
    for clock in ["gpu", "wall"] {
        if !row[clock].is_null() {
            row[clock] = timing(median);
        }
    }
    let faster = file("faster.json", faster.to_string().as_bytes());
    let (code, report, told) = measured(
        "softmax/rows_of_32",
        &["--no-compile", "--baseline", &faster],
    );
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.ends_with("affekt: slower than the baseline: log_softmax/rows_of_32\n"),
        "{told}"
    );
    let rows = report["machines"][0]["rows"].as_array().unwrap();
    let beside = &rows[0]["beside"];
    assert_eq!(beside["change"], "slower");
    // It was given every chance; the best round stands.
    let rounds: Vec<f64> = beside["rounds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r.as_f64().unwrap())
        .collect();
    assert!(rounds.len() > 2, "{beside}");
    let best = rounds.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(rows[0]["median"].as_f64(), Some(best));
    assert_ne!(rows[1]["beside"]["change"], "slower");
}

/// Behind a generated kernel of one function there is no other.
fn a_spoiled_function_fails() {
    let spoiled = |entry: &str| {
        run(&[
            "bench",
            "relu/large",
            "--seconds",
            "0.02",
            "--no-compile",
            "--corrupt",
            entry,
        ])
    };
    let output = spoiled("relu");
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert!(out.contains("FAIL: relu gives wrong numbers"), "{out}");
    // It is no fused chain, so that nothing is spoiled.
    let output = spoiled("fused");
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("nothing that ran is called fused"), "{said}");
}

fn a_lost_device_keeps_what_there_is() {
    let page = path("lost.html");
    let arguments = ["--no-compile", "--lose-after", "1", "--html", &page];
    let (code, report, told) = measured("softmax/rows_of_32", &arguments);
    assert_eq!(code, Some(2), "{told}");
    let last = told.lines().last().unwrap();
    assert!(
        last.contains("destroyed on purpose") && last.ends_with(", softmax/rows_of_32 backward"),
        "{last}"
    );
    let machine = &report["machines"][0];
    assert_eq!(machine["rows"].as_array().unwrap().len(), 1);
    assert_eq!(machine["rows"][0]["verdict"], "right");
    let missing = machine["health"]["missing"].as_array().unwrap();
    assert_eq!(missing.len(), 3, "{missing:?}");
    assert_eq!(missing[1], "softmax/rows_of_32");
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(page.contains("ended early:") && page.contains("log_softmax"));
    // The table was printed as far as it went.
    let base = ["bench", "softmax/rows_of_32", "--seconds", "0.02"];
    let output = run(&[&base[..], &arguments].concat());
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(2));
    assert!(out.contains("log_softmax/rows_of_32  "), "{out}");
    assert!(text(&output.stderr).contains("3 rows missing"));
}

fn a_killed_tuning_keeps_its_table() {
    let cache = folder().join("killed");
    let _ = std::fs::remove_dir_all(&cache);
    let kept = || {
        let folder = std::fs::read_dir(cache.join("affekt")).ok()?;
        let mut files = folder.filter_map(|e| Some(e.ok()?.path()));
        files.find(|p| {
            let name = p.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            name.starts_with("plans-") && name.ends_with(".json")
        })
    };
    // More cases than it comes to.
    let mut child = command(&["tune", "--seconds", "600"])
        .env("XDG_CACHE_HOME", &cache)
        .env("HOME", &cache)
        .env("LOCALAPPDATA", &cache)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let start = std::time::Instant::now();
    while kept().is_none() {
        assert!(start.elapsed().as_secs() < 120, "no table was stored");
        assert_eq!(child.try_wait().unwrap(), None, "it ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let table = std::fs::read(kept().unwrap()).unwrap();
    let table: Value = serde_json::from_slice(&table).unwrap();
    assert_eq!(table["schema"], "affekt-plans");
}

fn rungs_are_listed() {
    let page = path("rungs.html");
    let arguments = ["bench", "softmax/rows_of_32", "--rungs", "--seconds", "0.3"];
    let output = run(&[&arguments[..], &["--html", &page]].concat());
    let out = text(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{out}{}",
        text(&output.stderr)
    );
    for shown in [
        "softmax/rows_of_32 forward  f32[8192, 32]",
        "log_softmax/rows_of_32 forward",
        "* softmax",
        "chosen / this ",
        "the chosen rung is slower than naive in ",
        "the chosen rung is slower than another rung in ",
    ] {
        assert!(out.contains(shown), "{shown} is missing in {out}");
    }
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<h2>Rungs</h2>") && page.contains("Chosen over this"));
    let output = run(&[&arguments[..], &["--json"]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ladders = report["machines"][0]["ladders"].as_array().unwrap();
    for ladder in ladders {
        let rungs = ladder["rungs"].as_array().unwrap();
        let chosen: Vec<&Value> = rungs.iter().filter(|r| r["chosen"] == true).collect();
        assert_eq!(chosen.len(), 1, "{ladder}");
        assert!(rungs.len() > 1 && chosen[0]["timing"]["median"].as_f64() > Some(0.0));
    }
}
