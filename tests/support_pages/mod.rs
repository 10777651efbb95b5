//! INVENTED results for tests of pages: no such adapter exists and nothing here was measured.

#![allow(
    dead_code,
    reason = "every test program uses its own part of this file"
)]

use affekt::bench::Report;
use affekt::bench::report::{
    Bound, Ceilings, Environment, Health, LaunchPoint, Machine, MemoryPoint, Row, RowVerdict, Step,
    Timing,
};
use affekt::check::report as check;

/// An adapter that does not exist.
struct Adapter {
    name: &'static str,
    class: &'static str,
    engine: &'static str,
    memory_gb_s: f64,
    cache_gb_s: f64,
    cache_bytes: u64,
    f32_gflop_s: f64,
    f16_gflop_s: Option<f64>,
    launch_secs: f64,
}

const SOFTWARE: Adapter = Adapter {
    name: "Invented Software Rasterizer (not real, 256 bits)",
    class: "cpu",
    engine: "affekt 0.1.0",
    memory_gb_s: 11.8,
    cache_gb_s: 41.0,
    cache_bytes: 1 << 20,
    f32_gflop_s: 98.0,
    f16_gflop_s: None,
    launch_secs: 27e-6,
};
const DISCRETE: Adapter = Adapter {
    name: "Invented Discrete 9000 <not real>",
    class: "discrete",
    engine: "affekt 0.1.0",
    memory_gb_s: 880.0,
    cache_gb_s: 3900.0,
    cache_bytes: 32 << 20,
    f32_gflop_s: 31_400.0,
    f16_gflop_s: Some(61_900.0),
    launch_secs: 3.4e-6,
};
/// The same adapter under another engine, which measures no ceilings.
const OTHER_ENGINE: Adapter = Adapter {
    engine: "invented-peer 9.9.9",
    ..SOFTWARE
};

/// Operator, case, shapes, bytes, operations.
const CASES: &[(&str, &str, &str, u64, u64)] = &[
    (
        "add",
        "65536x64",
        "f32[65536, 64] f32[65536, 64]",
        50_331_648,
        4_194_304,
    ),
    ("gelu", "65536x64", "f32[65536, 64]", 33_554_432, 83_886_080),
    ("dropout", "65536x64", "f32[65536, 64]", 33_554_432, 0),
    (
        "sum",
        "rows_of_4096",
        "f32[1024, 4096]",
        16_781_312,
        4_194_304,
    ),
    (
        "sum",
        "columns_of_4096",
        "f32[4096, 1024]",
        16_781_312,
        4_194_304,
    ),
    (
        "gather",
        "tokens",
        "f32[4096, 96] u32[65536]",
        25_427_968,
        0,
    ),
    (
        "matmul",
        "square_512",
        "f32[512, 512] f32[512, 512]",
        3_145_728,
        268_435_456,
    ),
    (
        "matmul",
        "square_1024",
        "f32[1024, 1024] f32[1024, 1024]",
        12_582_912,
        2_147_483_648,
    ),
    (
        "matmul",
        "8192x32x96",
        "f32[8192, 32] f32[32, 96]",
        4_206_592,
        50_331_648,
    ),
    (
        "matmul",
        "8192x96x32_by_input",
        "f32[8192, 96] f32[32, 96]",
        4_206_592,
        50_331_648,
    ),
    (
        "matmul",
        "32x8192x96_by_weight",
        "f32[8192, 32] f32[8192, 96]",
        4_206_592,
        50_331_648,
    ),
    (
        "matmul",
        "1000x517x333",
        "f32[1000, 517] f32[517, 333]",
        4_088_644,
        344_322_000,
    ),
    (
        "matmul",
        "64_of_64x16x64",
        "f32[64, 64, 16] f32[64, 16, 64]",
        1_572_864,
        8_388_608,
    ),
    (
        "window_attention",
        "stage_1",
        "f32[16, 8, 64, 96] f32[2, 15, 15]",
        4_194_304,
        54_525_952,
    ),
    (
        "window_attention",
        "stage_2",
        "f32[16, 4, 32, 192] f32[4, 7, 15]",
        2_097_152,
        12_582_912,
    ),
    (
        "window_attention",
        "stage_3",
        "f32[16, 2, 16, 384] f32[8, 3, 15]",
        1_048_576,
        3_145_728,
    ),
    (
        "layer_norm",
        "rows_of_32",
        "f32[8192, 32] f32[32] f32[32]",
        2_097_408,
        2_097_152,
    ),
    (
        "layer_norm",
        "rows_of_768",
        "f32[4096, 768] f32[768] f32[768]",
        25_171_968,
        25_165_824,
    ),
    (
        "softmax",
        "rows_of_768",
        "f32[4096, 768]",
        25_165_824,
        15_728_640,
    ),
    ("log_softmax", "classes", "f32[4096, 4]", 131_072, 98_304),
    (
        "cross_entropy",
        "batch_of_64",
        "f32[64, 4] u32[64]",
        1_284,
        1_024,
    ),
    (
        "stft",
        "speech_400",
        "f32[16, 80000] f32[400]",
        17_980_256,
        206_000_000,
    ),
    (
        "istft",
        "speech_400",
        "f32[16, 501, 201, 2] f32[400]",
        17_980_256,
        206_000_000,
    ),
    (
        "fft",
        "4096x1024",
        "f32[4096, 1024, 2]",
        67_108_864,
        209_715_200,
    ),
    (
        "fft",
        "prime_1021",
        "f32[256, 1021, 2]",
        4_182_016,
        52_000_000,
    ),
    (
        "mel",
        "16x201x501",
        "f32[16, 201, 501]",
        9_010_000,
        14_000_000,
    ),
    (
        "adam_step",
        "parameters_of_a_layer",
        "f32[768, 768] f32[768, 768]",
        16_515_072,
        8_257_536,
    ),
    (
        "global_norm",
        "a_layer",
        "f32[768, 768]",
        2_359_300,
        1_179_648,
    ),
];

/// The software adapter alone.
pub fn one() -> Report {
    Report::new(vec![machine(&SOFTWARE, 1)])
}

/// Three machines, one of them with another engine and without some rows.
pub fn three() -> Report {
    let mut peer = machine(&OTHER_ENGINE, 3);
    peer.ceilings = None;
    peer.rows
        .retain(|r| !matches!(r.op.as_str(), "stft" | "mel" | "window_attention"));
    for row in &mut peer.rows {
        (row.percent, row.bound, row.gpu) = (None, None, None);
    }
    // Other shapes under an equal name: not to be compared.
    peer.rows[0].shapes = "f32[1, 1] f32[1, 1]".to_string();
    peer.steps.truncate(1);
    peer.health.clock = "wall".to_string();
    let mut discrete = machine(&DISCRETE, 2);
    discrete.health.throttled = true;
    discrete.health.slowdown = 1.31;
    Report::new(vec![machine(&SOFTWARE, 1), peer, discrete])
}

/// As many rows as that on one machine.
pub fn many(n_rows: usize) -> Report {
    let mut machine = machine(&SOFTWARE, 1);
    let rows = machine.rows.clone();
    let again = rows.iter().cycle().take(n_rows).enumerate();
    machine.rows = again
        .map(|(i, row)| {
            let mut row = row.clone();
            if i >= rows.len() {
                row.case = format!("{}_{}", row.case, i / rows.len());
            }
            row
        })
        .collect();
    Report::new(vec![machine])
}

/// A number from 0 to 1 that belongs to a name.
fn made_up(name: &str, seed: u64) -> f64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ seed, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (hash >> 40) as f64 / (1u64 << 24) as f64
}

fn timing(median: f64, spread: f64) -> Timing {
    Timing {
        n: 120,
        median,
        p10: median * (1.0 - spread),
        p90: median * (1.0 + 1.4 * spread),
        p99: median * (1.0 + 3.0 * spread),
        n_discarded: 0,
        drift: 1.0,
    }
}

fn machine(adapter: &Adapter, seed: u64) -> Machine {
    let mut rows: Vec<Row> = CASES.iter().map(|case| row(adapter, seed, case)).collect();
    if seed == 1 {
        let mut wrong = rows[17].clone();
        wrong.case = "far_from_zero".to_string();
        wrong.verdict = RowVerdict::Wrong;
        wrong.detail = Some("y[3, 17] is 0.25, expected <0.5> within 1e-6".to_string());
        // Speeds that a page must not show.
        wrong.median = Some(0.000_777);
        rows.insert(18, wrong);
    }
    let mut skipped = rows[6].clone();
    skipped.op = "matmul".to_string();
    skipped.case = "half_4096".to_string();
    skipped.verdict = RowVerdict::Skipped;
    skipped.detail = Some("kernels may not use f16 on this adapter".to_string());
    (skipped.median, skipped.gpu, skipped.wall) = (None, None, None);
    rows.insert(13, skipped);
    let n_noisy = rows.iter().filter(|r| r.noisy).count();
    Machine {
        environment: environment(adapter),
        ceilings: Some(ceilings(adapter)),
        rows,
        steps: vec![
            step(adapter, "speech-swin", "small", 16, 567_876, 8.5e9),
            step(adapter, "speech-swin", "paper", 16, 28_300_000, 1.9e11),
        ],
        health: Health {
            clock: "timestamps".to_string(),
            slowdown: 1.012,
            throttled: false,
            n_noisy,
            n_discarded: if seed == 1 { 3 } else { 0 },
            skipped: vec!["matmul/half_4096: kernels may not use f16 on this adapter".to_string()],
            seconds: 192.0,
            ..Health::default()
        },
        ladders: Vec::new(),
    }
}

fn environment(adapter: &Adapter) -> Environment {
    let mut features = vec!["timestamps".to_string(), "subgroups of 8".to_string()];
    if adapter.f16_gflop_s.is_some() {
        features.insert(0, "f16".to_string());
    }
    Environment {
        engine: adapter.engine.to_string(),
        adapter: format!("vulkan:{}", adapter.name),
        class: adapter.class.to_string(),
        backend: "vulkan".to_string(),
        driver: "invented driver".to_string(),
        driver_info: "Invention 1.2.3".to_string(),
        limits: "full".to_string(),
        wgpu: "30.0.1".to_string(),
        os: "linux x86_64, Invented GNU/Linux 1".to_string(),
        n_host_threads: 2,
        started: 1_764_104_783,
        plan_table: String::new(),
        features,
        device_limits: vec![
            ("max_buffer_bytes".to_string(), 1 << 31),
            ("max_storage_buffers".to_string(), 30),
            ("max_workgroup_bytes".to_string(), 32 << 10),
            ("max_workgroups_per_axis".to_string(), 65_535),
        ],
    }
}

fn ceilings(adapter: &Adapter) -> Ceilings {
    let memory = (14..=28).step_by(2).map(|k| {
        let bytes = 1u64 << k;
        let in_cache = 1.0 / (1.0 + (bytes as f64 / adapter.cache_bytes as f64).powi(2));
        let small = 1.0 / (1.0 + 3e4 / bytes as f64);
        let copy = (adapter.memory_gb_s + (adapter.cache_gb_s - adapter.memory_gb_s) * in_cache)
            * if bytes < adapter.cache_bytes {
                small
            } else {
                1.0
            };
        MemoryPoint {
            bytes,
            copy_gb_s: copy,
            sum_of_two_gb_s: 1.1 * copy,
            sum_of_three_gb_s: 1.15 * copy,
            read_gb_s: 1.21 * copy,
            write_gb_s: 0.83 * copy,
        }
    });
    Ceilings {
        memory: memory.collect(),
        f32_gflop_s: adapter.f32_gflop_s,
        f16_gflop_s: adapter.f16_gflop_s,
        launch: [1u32, 4, 16, 64]
            .map(|n_dispatches| LaunchPoint {
                n_dispatches,
                secs: adapter.launch_secs * (1.0 + 2.0 / f64::from(n_dispatches)),
            })
            .into(),
        launch_on_device: Vec::new(),
        upload_gb_s: 0.31 * adapter.memory_gb_s.min(40.0),
        download_gb_s: 0.22 * adapter.memory_gb_s.min(40.0),
        readback: timing(9.0 * adapter.launch_secs, 0.08),
        cooperative: match adapter.f16_gflop_s {
            Some(_) => vec![
                "16x16x16 f16 to f32".to_string(),
                "16x8x16 f16 to f16".to_string(),
            ],
            None => Vec::new(),
        },
    }
}

fn row(adapter: &Adapter, seed: u64, case: &(&str, &str, &str, u64, u64)) -> Row {
    let (op, case, shapes, bytes, flops) = *case;
    let name = format!("{op}/{case}");
    let rate = match bytes < adapter.cache_bytes {
        true => adapter.cache_gb_s,
        false => adapter.memory_gb_s,
    };
    let memory = bytes as f64 / rate / 1e9;
    let compute = flops as f64 / adapter.f32_gflop_s / 1e9;
    let best = memory.max(compute).max(0.4 * adapter.launch_secs);
    let share = 0.25 + 0.7 * made_up(&name, seed);
    let median = best / share;
    let bound = match best {
        b if b == memory => Bound::Memory,
        b if b == compute => Bound::Compute,
        _ => Bound::Launch,
    };
    let spread = 0.01 + 0.05 * made_up(&name, seed + 7);
    let noisy = spread > 0.055;
    Row {
        median: Some(median),
        gpu: Some(timing(median, spread)),
        wall: Some(timing(median + adapter.launch_secs, spread)),
        plan: Some(match op {
            "matmul" => "broadcast 8x32 blocks: cpu class, k of 512 in steps of 8".to_string(),
            _ => "one workgroup of 64 per row".to_string(),
        }),
        entries: match op {
            "matmul" => vec!["matmul_broadcast".to_string()],
            "istft" => vec!["irfft_last".to_string(), "overlap_add".to_string()],
            op => vec![op.to_string()],
        },
        dropped: match name.as_str() {
            "matmul/square_1024" => vec!["matmul_tiled: y[0, 1] is 3, expected 4".to_string()],
            _ => Vec::new(),
        },
        n_dispatches: if op == "istft" { 2 } else { 1 },
        bytes,
        flops,
        gb_s: Some(bytes as f64 / median / 1e9),
        gflop_s: (flops > 0).then_some(flops as f64 / median / 1e9),
        percent: Some(100.0 * share),
        bound: Some(bound),
        workspace_bytes: if op == "istft" { 12_877_824 } else { 0 },
        compile_cold: Some(0.021 + 0.1 * made_up(op, 5)),
        compile_cached: (seed == 2).then_some(0.004),
        noisy,
        ..Row::without_time(op, case, shapes.to_string(), RowVerdict::Right)
    }
}

fn step(adapter: &Adapter, model: &str, config: &str, batch: usize, n: usize, flops: f64) -> Step {
    let whole = flops / adapter.f32_gflop_s / 1e9 * 2.4;
    Step {
        model: model.to_string(),
        config: config.to_string(),
        batch,
        n_parameters: n,
        verdict: RowVerdict::Right,
        detail: None,
        median: Some(whole),
        step: Some(timing(whole, 0.03)),
        forward: Some(timing(0.34 * whole, 0.03)),
        backward: Some(timing(0.66 * whole, 0.03)),
        optimizer: Some(timing(0.09 * whole, 0.03)),
        first: Some(whole + 2.3),
        n_dispatches: 1_204,
        n_submissions: 21,
        bytes: 3_400_000_000,
        peak_bytes: 412_000_000,
        dropped: Vec::new(),
        beside: None,
    }
}

/// A check of the software adapter alone, with a wrong case.
pub fn checked() -> check::Report {
    check::Report::new(vec![checked_machine(&SOFTWARE, true)], None)
}

/// Checks of three adapters: one wrong, one right, one that could not be opened.
pub fn checked_three() -> check::Report {
    let mut broken = check::Machine {
        environment: environment(&DISCRETE),
        error: Some("device lost: the driver went <away> on purpose".to_string()),
        ..check::Machine::default()
    };
    broken.environment.adapter = "vulkan:Invented Integrated 7 (not real)".to_string();
    let machines = vec![
        checked_machine(&SOFTWARE, true),
        checked_machine(&DISCRETE, false),
        broken,
    ];
    check::Report::new(machines, Some("o".to_string()))
}

fn checked_machine(adapter: &Adapter, with_a_wrong_case: bool) -> check::Machine {
    let mut machine = check::Machine {
        environment: environment(adapter),
        seconds: 41.7,
        ..check::Machine::default()
    };
    for cases in CASES.chunk_by(|a, b| a.0 == b.0) {
        let mut operator = check::Operator::new(cases[0].0);
        for (op, label, _, _, _) in cases {
            for property in ["value", "strided", "gradient", "repeat"] {
                let name = format!("{op}/{label}/{property}");
                let wrong = with_a_wrong_case && name == "softmax/rows_of_768/gradient";
                let skipped = *op == "matmul" && property == "gradient";
                let (verdict, detail) = match (wrong, skipped) {
                    (true, _) => (
                        check::Verdict::Wrong,
                        Some("dx[7] is 0.75, expected <0.25> within 3e-6".to_string()),
                    ),
                    (_, true) => (
                        check::Verdict::Skipped,
                        Some("this device cannot run matmul_subgroup".to_string()),
                    ),
                    _ => (check::Verdict::Right, None),
                };
                // Of few binary digits, so that a file gives it back exactly.
                let seconds = (1.0 + (100.0 * made_up(&name, 3)).floor()) / 1024.0;
                operator.count(verdict, seconds);
                machine.cases.push(check::Case {
                    name,
                    op: op.to_string(),
                    case: label.to_string(),
                    property: property.to_string(),
                    entry: wrong.then(|| "softmax_vjp".to_string()),
                    variant: wrong.then_some(2),
                    verdict,
                    detail,
                    seconds,
                });
            }
        }
        machine.add(operator);
    }
    machine
}
