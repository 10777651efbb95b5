//! The command as a user meets it: what it prints, where, and how it ends.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{ExitCode, Output, Stdio};

use serde_json::Value;
use support::{Test, command, done, file, folder, json, path, refusal, refused, run, text};

fn main() -> ExitCode {
    support::main(ANYWHERE, ON_A_DEVICE)
}

const ANYWHERE: &[Test] = &[
    ("help_has_an_example_per_verb", help_has_an_example_per_verb),
    ("wrong_use_is_one_line", wrong_use_is_one_line),
    ("ops_lists_operators", ops_lists_operators),
    ("ops_prints_one_operator", ops_prints_one_operator),
    ("ops_names_what_is_similar", ops_names_what_is_similar),
    ("a_closed_pipe_is_no_error", a_closed_pipe_is_no_error),
    #[cfg(target_os = "linux")]
    (
        "a_full_disk_behind_stdout_is_one",
        a_full_disk_behind_stdout_is_one,
    ),
    #[cfg(target_os = "linux")]
    (
        "no_adapter_says_what_to_install",
        no_adapter_says_what_to_install,
    ),
];

const ON_A_DEVICE: &[Test] = &[
    (
        "adapters_are_taken_back_by_name",
        adapters_are_taken_back_by_name,
    ),
    ("an_unknown_adapter_is_named", an_unknown_adapter_is_named),
    ("ops_prints_what_is_generated", ops_prints_what_is_generated),
    ("ops_plans_a_shape", ops_plans_a_shape),
    (
        "run_multiplies_with_gradients",
        run_multiplies_with_gradients,
    ),
    ("run_sums_over_axes", run_sums_over_axes),
    ("run_takes_f16_and_integers", run_takes_f16_and_integers),
    ("run_takes_npy", run_takes_npy),
    ("run_refuses_files", run_refuses_files),
    ("run_refuses_calls", run_refuses_calls),
    ("run_refuses_gradients", run_refuses_gradients),
    ("run_keeps_the_old_file", run_keeps_the_old_file),
    ("check_counts_and_names", check_counts_and_names),
    (
        "check_without_a_match_is_wrong_use",
        check_without_a_match_is_wrong_use,
    ),
    (
        "check_goes_through_all_adapters",
        check_goes_through_all_adapters,
    ),
    (
        "check_refuses_a_page_that_cannot_be_written",
        check_refuses_a_page_that_cannot_be_written,
    ),
    (
        "check_into_a_closed_pipe_is_no_error",
        check_into_a_closed_pipe_is_no_error,
    ),
    (
        "a_cache_that_cannot_be_written_is_a_warning",
        a_cache_that_cannot_be_written_is_a_warning,
    ),
    ("a_wrong_kernel_ends_with_1", a_wrong_kernel_ends_with_1),
];

// ---- files ----

/// A tensor in a file: name, type as the header spells it, shape, bytes.
type Stored<'a> = (&'a str, &'a str, &'a [usize], Vec<u8>);

fn floats(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn safetensors(tensors: &[Stored]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, dtype, shape, bytes) in tensors {
        let start = data.len();
        data.extend_from_slice(bytes);
        header.insert(
            name.to_string(),
            serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, data.len()] }),
        );
    }
    let header = Value::Object(header).to_string();
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(&data);
    out
}

/// Type, shape and bytes of every tensor of a file.
fn read(path: &str) -> BTreeMap<String, (String, Vec<u64>, Vec<u8>)> {
    let bytes = std::fs::read(path).unwrap();
    let n = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + n]).unwrap();
    let place = |v: &Value| v.as_u64().unwrap() as usize + 8 + n;
    header
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, about)| {
            let range = &about["data_offsets"];
            let shape = about["shape"].as_array().unwrap();
            (
                name.clone(),
                (
                    about["dtype"].as_str().unwrap().to_string(),
                    shape.iter().map(|n| n.as_u64().unwrap()).collect(),
                    bytes[place(&range[0])..place(&range[1])].to_vec(),
                ),
            )
        })
        .collect()
}

/// Asserts name, shape and numbers of an f32 tensor.
fn holds(path: &str, name: &str, shape: &[u64], numbers: &[f32]) {
    let tensors = read(path);
    let (dtype, got, bytes) = &tensors[name];
    assert_eq!((dtype.as_str(), got.as_slice()), ("F32", shape), "{name}");
    let got: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    assert_eq!(got, numbers, "{name}");
}

// ---- anywhere ----

fn help_has_an_example_per_verb() {
    for verb in [
        "adapters",
        "ops",
        "run",
        "check",
        "train",
        "eval",
        "predict",
        "spectrogram",
        "demo",
    ] {
        let help = done(&[verb, "--help"]);
        assert!(help.contains(&format!("\n  affekt {verb} ")), "{help}");
    }
    assert!(done(&["--help"]).contains("\n  affekt check"));
    assert!(done(&["--version"]).starts_with("affekt "));
    assert_eq!(run(&[]).status.code(), Some(2));
}

fn wrong_use_is_one_line() {
    refused(&["fly"], &["fly"]);
    refused(&["ops", "--jsn"], &["--jsn", "--json"]);
    refused(&["run", "add"], &["--in", "--out"]);
    refused(&["run"], &["<OP>"]);
    refused(&["check", "--limits", "none"], &["none", "default", "full"]);
    refused(&["ops", "--shape", "2x3"], &["NAME"]);
}

fn ops_lists_operators() {
    let listed = json(&["ops", "--json"]);
    let listed = listed["ops"].as_array().unwrap();
    assert!(listed.len() >= 11, "{}", listed.len());
    let table = done(&["ops"]);
    for op in listed {
        let name = op["name"].as_str().unwrap();
        assert!(
            table
                .lines()
                .any(|l| l.split_whitespace().next() == Some(name))
        );
        for key in ["formula", "source", "inputs", "attributes", "outputs"] {
            assert!(!op[key].is_null(), "{name} has no {key}");
        }
    }
}

fn ops_prints_one_operator() {
    let softmax = json(&["ops", "softmax", "--json"]);
    assert_eq!(softmax["inputs"][0]["name"], "x");
    assert_eq!(softmax["attributes"][0]["name"], "axis");
    assert_eq!(softmax["attributes"][0]["default"], -1);
    let kernels = softmax["kernels"].as_array().unwrap();
    assert!(kernels.iter().any(|k| k["role"] == "forward"));
    assert!(kernels.iter().any(|k| k["role"] == "vjp"));
    for kernel in kernels {
        let wgsl = kernel["wgsl"].as_str().unwrap();
        assert!(wgsl.contains(&format!("fn {}(", kernel["entry"].as_str().unwrap())));
        assert!(!wgsl.contains("#import"));
        let bindings = kernel["bindings"].as_array().unwrap();
        assert!(bindings.iter().any(|b| b["writes"] == true));
        assert!(bindings.iter().any(|b| b["writes"] == false));
    }
    let printed = done(&["ops", "softmax"]);
    assert!(printed.starts_with("softmax(x; axis = -1"), "{printed}");
    assert!(printed.contains("@compute"));
    // A view dispatches nothing.
    assert_eq!(
        json(&["ops", "permute", "--json"])["kernels"],
        serde_json::json!([])
    );
}

fn ops_names_what_is_similar() {
    refused(&["ops", "sotfmax"], &["sotfmax", "softmax"]);
    refused(
        &["run", "layernorm", "--in", "a", "--out", "b"],
        &["layer_norm"],
    );
}

/// Runs with a reader that goes away before the first byte.
fn closed(arguments: &[&str]) -> Output {
    let mut child = command(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    child.wait_with_output().unwrap()
}

fn a_closed_pipe_is_no_error() {
    for arguments in [
        &["ops"] as &[&str],
        &["ops", "softmax"],
        &["ops", "--json"],
        &["--help"],
    ] {
        let output = closed(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
    }
}

#[cfg(target_os = "linux")]
fn a_full_disk_behind_stdout_is_one() {
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = command(&["ops"]).stdout(full).output().unwrap();
    refusal(&output, &["stdout"], "ops > /dev/full");
}

#[cfg(target_os = "linux")]
fn no_adapter_says_what_to_install() {
    let input = file(
        "none.safetensors",
        &safetensors(&[("x", "F32", &[1], floats(&[1.0]))]),
    );
    let out = path("none.out.safetensors");
    for arguments in [
        &["adapters"] as &[&str],
        &["check", "add/"],
        &["run", "gelu", "--in", &input, "--out", &out],
        &["ops", "sum", "--shape", "2x3"],
    ] {
        let output = command(arguments)
            .env("VK_DRIVER_FILES", "/nonexistent.json")
            .env("VK_ICD_FILENAMES", "/nonexistent.json")
            .output()
            .unwrap();
        refusal(&output, &["mesa-vulkan-drivers"], &format!("{arguments:?}"));
    }
    let output = command(&["adapters", "--json"])
        .env("VK_DRIVER_FILES", "/nonexistent.json")
        .env("VK_ICD_FILENAMES", "/nonexistent.json")
        .output()
        .unwrap();
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(listed, serde_json::json!({ "adapters": [] }));
    // The functions that a kernel would be made of need none.
    let output = command(&["ops", "mul"])
        .env("VK_DRIVER_FILES", "/nonexistent.json")
        .env("VK_ICD_FILENAMES", "/nonexistent.json")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("fn mul(a: T, b: T)"));
}

// ---- on a device ----

fn adapters_are_taken_back_by_name() {
    let listed = json(&["adapters", "--json"]);
    let listed = listed["adapters"].as_array().unwrap();
    assert_eq!(listed.iter().filter(|a| a["chosen"] == true).count(), 1);
    for adapter in listed {
        let label = adapter["label"].as_str().unwrap();
        assert!(done(&["adapters"]).contains(label));
        assert!(adapter["limits"]["max_buffer_bytes"].as_u64().unwrap() > 0);
        for wanted in [label, &adapter["index"].to_string()] {
            let again = json(&["adapters", "--json", "--adapter", wanted]);
            let again = again["adapters"].as_array().unwrap();
            let chosen = again.iter().find(|a| a["chosen"] == true).unwrap();
            assert_eq!(chosen["label"], *label);
        }
    }
}

fn an_unknown_adapter_is_named() {
    refused(
        &["adapters", "--adapter", "voodoo"],
        &["voodoo", "there is"],
    );
    refused(&["check", "add/", "--adapter", "99"], &["99", "there is"]);
    let output = command(&["check", "add/"])
        .env("AFFEKT_ADAPTER", "voodoo")
        .output()
        .unwrap();
    refusal(&output, &["voodoo"], "AFFEKT_ADAPTER");
    // Set to nothing is not set.
    let output = command(&["adapters"])
        .env("AFFEKT_ADAPTER", "")
        .output()
        .unwrap();
    assert!(output.status.success());
}

fn ops_prints_what_is_generated() {
    let mul = json(&["ops", "mul", "--json"]);
    let kernels = mul["kernels"].as_array().unwrap();
    let roles: Vec<&str> = kernels
        .iter()
        .map(|k| k["role"].as_str().unwrap())
        .collect();
    assert!(
        roles.contains(&"forward") && roles.contains(&"vjp"),
        "{roles:?}"
    );
    assert!(done(&["ops", "mul"]).contains("fn mul_of_f32("));
}

fn ops_plans_a_shape() {
    let planned = json(&[
        "ops", "sum", "--json", "--shape", "f16:4x8", "--attr", "axes=1",
    ]);
    let outputs = &planned["shape"]["outputs"];
    assert_eq!(
        *outputs,
        serde_json::json!([{ "dtype": "f16", "shape": [4] }])
    );
    // 32 + 4 numbers of two bytes.
    assert_eq!(planned["shape"]["bytes"], 72);
    assert!(done(&["ops", "sum", "--shape", "scalar"]).contains("plan"));
    refused(&["ops", "sum", "--shape", "4by8"], &["sum", "4by8"]);
    refused(
        &["ops", "sum", "--shape", "2", "3"],
        &["2 shapes", "1 inputs"],
    );
    refused(&["ops", "add", "--shape", "2", "3"], &["add", "[2]", "[3]"]);
    refused(
        &["ops", "sum", "--shape", "2", "--attr", "axes=5"],
        &["sum", "5"],
    );
}

fn run_multiplies_with_gradients() {
    let input = file(
        "mul.safetensors",
        &safetensors(&[
            ("a", "F32", &[2, 2], floats(&[1.0, 2.0, 3.0, 4.0])),
            ("b", "F32", &[2], floats(&[10.0, 100.0])),
            ("dy", "F32", &[2, 2], floats(&[1.0, 0.5, 2.0, 0.25])),
        ]),
    );
    let out = path("mul.out.safetensors");
    let told = json(&[
        "run", "mul", "--in", &input, "--out", &out, "--grad", "--json",
    ]);
    let names: Vec<&str> = told["tensors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["y", "da", "db"]);
    assert_eq!(told["tensors"][0]["max"], 400.0);
    holds(&out, "y", &[2, 2], &[10.0, 200.0, 30.0, 400.0]);
    // da = dy · b; db = Σ dy · a over the rows that b was stretched to.
    holds(&out, "da", &[2, 2], &[10.0, 50.0, 20.0, 25.0]);
    holds(&out, "db", &[2], &[7.0, 2.0]);
    // dy is left alone without --grad.
    let told = done(&["run", "mul", "--in", &input, "--out", &out]);
    assert!(told.contains("[2, 2]"), "{told}");
    assert_eq!(read(&out).len(), 1);
}

fn run_sums_over_axes() {
    let input = file(
        "sum.safetensors",
        &safetensors(&[
            ("x", "F32", &[2, 3], floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
            ("dy", "F32", &[2, 1], floats(&[1.0, -2.0])),
        ]),
    );
    let out = path("sum.out.safetensors");
    done(&[
        "run",
        "sum",
        "--in",
        &input,
        "--out",
        &out,
        "--attr",
        "axes=1",
        "keepdim=true",
        "--grad",
    ]);
    holds(&out, "y", &[2, 1], &[6.0, 15.0]);
    holds(&out, "dx", &[2, 3], &[1.0, 1.0, 1.0, -2.0, -2.0, -2.0]);
    // f64 is narrowed on the way in.
    let wide: Vec<u8> = [0.5f64, 0.25]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let input = file(
        "wide.safetensors",
        &safetensors(&[("x", "F64", &[2], wide)]),
    );
    done(&["run", "sum", "--in", &input, "--out", &out]);
    holds(&out, "y", &[], &[0.75]);
}

fn run_takes_f16_and_integers() {
    let out = path("typed.out.safetensors");
    // 0x3c00 is 1, 0x4000 is 2, 0x4200 is 3 in f16.
    let halves = |words: &[u16]| {
        words
            .iter()
            .flat_map(|w| w.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let input = file(
        "half.safetensors",
        &safetensors(&[
            ("a", "F16", &[3], halves(&[0x3c00, 0x4000, 0x3c00])),
            ("b", "F16", &[1], halves(&[0x3c00])),
        ]),
    );
    done(&["run", "add", "--in", &input, "--out", &out]);
    let (dtype, _, bytes) = read(&out).remove("y").unwrap();
    assert_eq!(
        (dtype.as_str(), bytes),
        ("F16", halves(&[0x4000, 0x4200, 0x4000]))
    );
    let longs = [5i64, -7].iter().flat_map(|x| x.to_le_bytes()).collect();
    let ints = [2i32, 3].iter().flat_map(|x| x.to_le_bytes()).collect();
    let input = file(
        "int.safetensors",
        &safetensors(&[("a", "I64", &[2], longs), ("b", "I32", &[2], ints)]),
    );
    done(&["run", "mul", "--in", &input, "--out", &out]);
    let (dtype, _, bytes) = read(&out).remove("y").unwrap();
    let expected: Vec<u8> = [10i32, -21].iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!((dtype.as_str(), bytes), ("I32", expected));
}

fn npy(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header =
        format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend_from_slice(&(header.len() as u16).to_le_bytes());
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(data);
    out
}

fn run_takes_npy() {
    let a = floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    std::fs::create_dir_all(folder().join("npy")).unwrap();
    let a = file("npy/a.npy", &npy("<f4", "True", "(2, 3)", &a));
    let b = file(
        "npy/b.npy",
        &npy("<f4", "False", "(3,)", &floats(&[10.0, 20.0, 30.0])),
    );
    let out = path("npy/y.npy");
    done(&["run", "add", "--in", &a, &b, "--out", &out]);
    let written = std::fs::read(&out).unwrap();
    // Columns of a: (1, 2), (3, 4), (5, 6).
    let expected = floats(&[11.0, 23.0, 35.0, 12.0, 24.0, 36.0]);
    assert_eq!(written[written.len() - 24..], expected);
    assert!(text(&written[10..80]).contains("'shape': (2, 3)"));
    // What was written is read.
    let again = path("npy/again.safetensors");
    std::fs::copy(&out, folder().join("npy/x.npy")).unwrap();
    done(&[
        "run",
        "permute",
        "--in",
        &path("npy/x.npy"),
        "--out",
        &again,
        "--attr",
        "axes=1,0",
    ]);
    holds(&again, "y", &[3, 2], &[11.0, 12.0, 23.0, 24.0, 35.0, 36.0]);
}

fn run_refuses_files() {
    let good = safetensors(&[("x", "F32", &[2], floats(&[1.0, 2.0]))]);
    let mut long = good.clone();
    long.push(0);
    let mut huge = good.clone();
    huge[..8].copy_from_slice(&i64::MAX.to_le_bytes());
    let cases: &[(&str, Vec<u8>, &str)] = &[
        ("empty.safetensors", Vec::new(), "empty"),
        ("short.safetensors", good[..5].to_vec(), "cut short"),
        (
            "cut.safetensors",
            good[..good.len() - 1].to_vec(),
            "cut short",
        ),
        ("long.safetensors", long, "lies"),
        (
            "huge.safetensors",
            huge,
            "header of 9223372036854775807 bytes",
        ),
        (
            "text.safetensors",
            b"not a tensor in sight".to_vec(),
            "cut short, or no safetensors",
        ),
        (
            "type.safetensors",
            safetensors(&[("x", "BF16", &[2], vec![0; 4])]),
            "type BF16",
        ),
        (
            "shape.safetensors",
            safetensors(&[("x", "F32", &[1 << 40, 1 << 40], floats(&[1.0]))]),
            "overflow",
        ),
        (
            "rank.safetensors",
            safetensors(&[("x", "F32", &[1; 7], floats(&[1.0]))]),
            "7 axes",
        ),
        (
            "big.safetensors",
            safetensors(&[("x", "I64", &[1], (1i64 << 31).to_le_bytes().to_vec())]),
            "2147483648",
        ),
        ("empty.npy", Vec::new(), "empty"),
        ("magic.npy", good.clone(), "no npy file"),
        (
            "cut.npy",
            b"\x93NUMPY\x01\x00v\x00{'descr'".to_vec(),
            "cut short",
        ),
        (
            "huge.npy",
            b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(),
            "header of 4294967295",
        ),
        (
            "few.npy",
            npy("<f4", "False", "(3,)", &[0; 8]),
            "12 bytes, 8 follow",
        ),
        (
            "many.npy",
            npy("<f4", "False", "(9999999999, 9999999999)", &[0; 8]),
            "counted",
        ),
        ("order.npy", npy(">f4", "False", "(2,)", &[0; 8]), ">f4"),
        ("object.npy", npy("|O", "False", "(1,)", &[0; 8]), "|O"),
        ("x.bin", good.clone(), ".safetensors"),
    ];
    let out = path("refused.out.safetensors");
    for (name, content, words) in cases {
        let input = file(name, content);
        refused(
            &["run", "gelu", "--in", &input, "--out", &out],
            &[name, words],
        );
    }
    refused(
        &["run", "gelu", "--in", &path("absent.npy"), "--out", &out],
        &["absent.npy"],
    );
    let here = folder().join("folder.npy");
    std::fs::create_dir_all(&here).unwrap();
    refused(
        &["run", "gelu", "--in", here.to_str().unwrap(), "--out", &out],
        &["regular file"],
    );
    assert!(!Path::new(&out).exists());
}

fn run_refuses_calls() {
    let input = |name: &str, tensors: &[Stored]| file(name, &safetensors(tensors));
    let two = floats(&[1.0, 2.0]);
    let x = input("call.x.safetensors", &[("x", "F32", &[2], two.clone())]);
    let other = input("call.other.safetensors", &[("z", "F32", &[2], two.clone())]);
    let shapes = input(
        "call.shapes.safetensors",
        &[
            ("a", "F32", &[2], two.clone()),
            ("b", "F32", &[3], floats(&[1.0, 2.0, 3.0])),
        ],
    );
    let types = input(
        "call.types.safetensors",
        &[
            ("a", "F32", &[2], two.clone()),
            ("b", "I32", &[2], two.clone()),
        ],
    );
    let floats_only = input("call.int.safetensors", &[("x", "I32", &[2], two.clone())]);
    let norm = input(
        "call.norm.safetensors",
        &[
            ("x", "F32", &[2, 2], floats(&[0.0; 4])),
            ("weight", "F32", &[3], floats(&[0.0; 3])),
            ("bias", "F32", &[2], floats(&[0.0; 2])),
        ],
    );
    let out = path("calls.out.safetensors");
    let call = |words: &[&str], expected: &[&str]| {
        let mut arguments = vec!["run", words[0], "--out", &out, "--in"];
        arguments.extend(&words[1..]);
        refused(&arguments, expected);
    };
    call(&["nothing", &x], &["nothing"]);
    call(&["gelu", &other], &["\"z\"", "gelu", "x"]);
    call(&["add", &shapes], &["add", "[2]", "[3]"]);
    call(&["add", &types], &["add", "f32", "i32"]);
    call(&["softmax", &floats_only], &["softmax", "i32"]);
    call(&["layer_norm", &norm], &["layer_norm", "[3]", "[2, 2]"]);
    call(&["where", &x], &["where", "\"x\""]);
    call(&["softmax", &x, "--attr", "axis=1"], &["softmax", "axis 1"]);
    call(
        &["softmax", &x, "--attr", "axis=first"],
        &["softmax", "axis=first", "whole number"],
    );
    call(
        &["softmax", &x, "--attr", "dim=0"],
        &["softmax", "dim", "axis"],
    );
    call(
        &["softmax", &x, "--attr", "axis"],
        &["softmax", "axis", "name=value"],
    );
    call(&["softmax", &x, &x], &["\"x\"", "before it"]);
    let missing = input("call.a.safetensors", &[("a", "F32", &[2], two)]);
    call(&["add", &missing], &["add", "b", "missing"]);
    refused(
        &["run", "gelu", "--in", &x, "--out", &path("a.bin")],
        &["a.bin", ".npy"],
    );
    refused(
        &["run", "gelu", "--in", &x, "--out", &path("no/a.npy")],
        &["no/a.npy"],
    );
    assert!(!Path::new(&out).exists());
}

fn run_refuses_gradients() {
    let two = floats(&[1.0, 2.0]);
    let out = path("gradients.out.safetensors");
    let call = |name: &str, op: &str, tensors: &[Stored], expected: &[&str]| {
        let input = file(name, &safetensors(tensors));
        refused(
            &["run", op, "--in", &input, "--out", &out, "--grad"],
            expected,
        );
    };
    call(
        "dy.none.safetensors",
        "gelu",
        &[("x", "F32", &[2], two.clone())],
        &["dy", "[2]"],
    );
    call(
        "dy.shape.safetensors",
        "gelu",
        &[
            ("x", "F32", &[2], two.clone()),
            ("dy", "F32", &[1], floats(&[1.0])),
        ],
        &["dy", "[1]", "[2]"],
    );
    call(
        "dy.type.safetensors",
        "gelu",
        &[
            ("x", "F32", &[2], two.clone()),
            ("dy", "I32", &[2], two.clone()),
        ],
        &["dy", "i32", "f32"],
    );
    call(
        "dy.int.safetensors",
        "sum",
        &[
            ("x", "I32", &[2], two.clone()),
            ("dy", "I32", &[], floats(&[1.0])),
        ],
        &["sum", "gradient"],
    );
    assert!(!Path::new(&out).exists());
}

fn run_keeps_the_old_file() {
    let input = file(
        "old.safetensors",
        &safetensors(&[("x", "F32", &[1], floats(&[0.0]))]),
    );
    let before = std::fs::read(&input).unwrap();
    // Three outputs do not fit an npy file; nothing of the kind is left behind.
    let out = file("old.npy", b"old");
    let dy = file(
        "old.dy.safetensors",
        &safetensors(&[("dy", "F32", &[1], floats(&[1.0]))]),
    );
    refused(
        &["run", "gelu", "--in", &input, &dy, "--out", &out, "--grad"],
        &["one tensor"],
    );
    assert_eq!(std::fs::read(&out).unwrap(), b"old");
    assert_eq!(std::fs::read(&input).unwrap(), before);
    // A file may be its own input.
    let itself = file("x.safetensors", &before);
    done(&["run", "gelu", "--in", &itself, "--out", &itself]);
    holds(&itself, "y", &[1], &[0.0]);
}

fn check_counts_and_names() {
    let output = run(&["check", "add/prime", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["schema"], "affekt-check");
    assert_eq!(told["schema_version"], 1);
    assert_eq!(told["filter"], "add/prime");
    assert_eq!(told["machines"].as_array().unwrap().len(), 1);
    let told = &told["machines"][0];
    let cases = told["cases"].as_array().unwrap();
    assert_eq!(told["n_wrong"], 0);
    assert!(told["n_right"].as_u64().unwrap() >= 5, "{told}");
    assert_eq!(
        cases.len() as u64,
        told["n_right"].as_u64().unwrap() + told["n_skipped"].as_u64().unwrap()
    );
    for case in cases {
        assert!(case["name"].as_str().unwrap().contains("add/prime"));
        assert_eq!(case["op"], "add");
        assert!(["right", "skipped"].contains(&case["verdict"].as_str().unwrap()));
    }
    assert!(told["seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(told["operators"][0]["name"], "add");
    let environment = &told["environment"];
    assert_eq!(
        environment["engine"],
        format!("affekt {}", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(environment["limits"], "full");
    assert!(environment["started"].as_u64().unwrap() > 1_700_000_000);
    let label = environment["adapter"].as_str().unwrap();
    assert!(done(&["adapters"]).contains(label));
    let output = run(&["check", "add/prime", "--verbose", "--limits", "default"]);
    assert_eq!(output.status.code(), Some(0));
    let printed = text(&output.stdout);
    assert!(printed.contains("right   add/prime/value"), "{printed}");
    assert!(printed.contains("default limits"), "{printed}");
    // No terminal, so one line of talk and no progress.
    assert_eq!(text(&output.stderr).lines().count(), 1);
}

fn check_without_a_match_is_wrong_use() {
    refused(&["check", "no/such/case"], &["no/such/case"]);
}

fn check_goes_through_all_adapters() {
    let page = path("check.html");
    let output = run(&[
        "check",
        "add/prime/value",
        "--all-adapters",
        "--json",
        "--html",
        &page,
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let labels = |list: &Value, field: &str| -> Vec<String> {
        let list = list.as_array().unwrap().iter();
        list.map(|m| m.pointer(field).unwrap().as_str().unwrap().to_string())
            .collect()
    };
    let listed = json(&["adapters", "--json"]);
    assert_eq!(
        labels(&told["machines"], "/environment/adapter"),
        labels(&listed["adapters"], "/label")
    );
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("All right."), "{page}");
    assert!(page.contains("add"), "{page}");
}

fn check_refuses_a_page_that_cannot_be_written() {
    let blocked = file("check-no-folder", b"");
    for (page, word) in [
        (format!("{blocked}/check.html"), "check-no-folder"),
        (path("no-folder-here/check.html"), "no-folder-here"),
        (folder().to_str().unwrap().to_string(), "no regular file"),
    ] {
        // Before any case is run: there is one line and no count of cases.
        refused(&["check", "add/prime/value", "--html", &page], &[word]);
    }
}

fn check_into_a_closed_pipe_is_no_error() {
    let output = closed(&["check", "add/one_element"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        !text(&output.stderr).contains("affekt:"),
        "{}",
        text(&output.stderr)
    );
}

fn a_cache_that_cannot_be_written_is_a_warning() {
    let input = file(
        "cache.safetensors",
        &safetensors(&[("x", "F32", &[1], floats(&[0.0]))]),
    );
    let blocked = file("no-folder", b"");
    let output = command(&[
        "run",
        "gelu",
        "--in",
        &input,
        "--out",
        &path("cache.out.npy"),
    ])
    .env("XDG_CACHE_HOME", &blocked)
    .env("HOME", &blocked)
    .env("LOCALAPPDATA", &blocked)
    .output()
    .unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    // The driver may complain about its own cache.
    let ours: Vec<&str> = told.lines().filter(|l| l.starts_with("affekt")).collect();
    assert_eq!(ours.len(), 1, "{told}");
    assert!(ours[0].starts_with("affekt: warning: "), "{told}");
}

/// Turns every verdict below a folder from right to wrong.
fn condemn(folder: &Path) -> usize {
    let mut n_turned = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            n_turned += condemn(&path);
        } else if path.extension().is_some_and(|e| e == "tsv") {
            let verdicts = std::fs::read_to_string(&path).unwrap();
            n_turned += verdicts.matches("\tright\n").count();
            let turned = verdicts.replace("\tright\n", "\twrong\ton purpose\n");
            std::fs::write(&path, turned).unwrap();
        }
    }
    n_turned
}

fn a_wrong_kernel_ends_with_1() {
    let cache = folder().join("verdicts");
    let x = safetensors(&[("x", "F32", &[2], floats(&[0.0, 0.0]))]);
    let input = file("verdict.safetensors", &x);
    let out = path("verdict.safetensors.out.safetensors");
    let softmax = || {
        command(&["run", "softmax", "--in", &input, "--out", &out])
            .env("XDG_CACHE_HOME", &cache)
            .env("HOME", &cache)
            .env("LOCALAPPDATA", &cache)
            .output()
            .unwrap()
    };
    assert_eq!(softmax().status.code(), Some(0));
    // Each run finds the rung of the one before condemned, falls back to the next, and at last has none.
    for _ in 0..8 {
        assert!(condemn(&cache) > 0);
        let output = softmax();
        if output.status.code() == Some(0) {
            holds(&out, "y", &[2], &[0.5, 0.5]);
            continue;
        }
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("softmax gives wrong numbers"), "{told}");
        assert!(told.contains("on purpose"), "{told}");
        return;
    }
    panic!("softmax has no end of rungs");
}
