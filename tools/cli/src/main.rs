//! The `affekt` command: parse, run, exit. Each verb has a file.
//!
//! Data goes to stdout, talk to stderr. It ends with 0, with 1 if a check failed, and with 2 after one line that says
//! what was wrong with the call or its input.

mod adapters;
mod bench;
mod check;
mod demo;
mod eval;
mod ops;
mod outcome;
mod predict;
mod print;
mod progress;
mod run;
mod session;
mod spectrogram;
mod train;
mod trained;
mod tune;

use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use outcome::{Failure, flatten, say};

/// WGSL compute kernels for affective computing on any Vulkan, Metal or DX12 GPU.
#[derive(Parser)]
#[command(name = "affekt", version, arg_required_else_help = true)]
#[command(after_help = "Example:\n  affekt check layer_norm --adapter llvmpipe")]
struct Cli {
    /// Index, part of the name, or backend:name
    #[arg(
        long,
        global = true,
        value_name = "NAME|INDEX",
        env = "AFFEKT_ADAPTER",
        hide_env_values = true
    )]
    adapter: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Adapters(adapters::Adapters),
    Ops(ops::Ops),
    Run(run::Run),
    Check(check::Check),
    Bench(bench::Bench),
    Tune(tune::Tune),
    Train(train::Train),
    Eval(eval::Eval),
    Predict(predict::Predict),
    Spectrogram(spectrogram::Spectrogram),
    Demo(demo::Demo),
}

fn main() -> ExitCode {
    session::start_log();
    let parsed = Cli::command().try_get_matches().and_then(|matches| {
        let on_the_line = matches.value_source("adapter") == Some(ValueSource::CommandLine);
        Ok((Cli::from_arg_matches(&matches)?, on_the_line))
    });
    let (cli, on_the_line) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return refuse(&error),
    };
    let session = session::Session::new(cli.adapter, on_the_line);
    let ended = match &cli.verb {
        Verb::Adapters(verb) => verb.run(&session),
        Verb::Ops(verb) => verb.run(&session),
        Verb::Run(verb) => verb.run(&session),
        Verb::Check(verb) => verb.run(&session),
        Verb::Bench(verb) => verb.run(&session),
        Verb::Tune(verb) => verb.run(&session),
        Verb::Train(verb) => verb.run(&session),
        Verb::Eval(verb) => verb.run(&session),
        Verb::Predict(verb) => verb.run(&session),
        Verb::Spectrogram(verb) => verb.run(&session),
        Verb::Demo(verb) => verb.run(&session),
    };
    match ended {
        // Whoever has closed the pipe has seen enough.
        Ok(()) | Err(Failure::Closed) => ExitCode::SUCCESS,
        Err(Failure::Checked(message)) => {
            say(&format!("affekt: {message}"));
            ExitCode::from(1)
        }
        Err(Failure::Wrong(message)) => {
            say(&format!("affekt: {}", flatten(&message)));
            ExitCode::from(2)
        }
    }
}

/// Help and version as they are, a wrong call as one line.
fn refuse(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind::{
        DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion,
    };
    match error.kind() {
        DisplayHelp | DisplayVersion => {
            let _ = error.print();
            ExitCode::SUCCESS
        }
        DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(2)
        }
        _ => {
            let text = error.render().to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            let end = ["\n\nUsage:", "\n\nFor more"]
                .iter()
                .filter_map(|mark| text.find(mark))
                .min()
                .unwrap_or(text.len());
            // What is wrong, then tips, each in a paragraph.
            let parts: Vec<String> = text[..end].split("\n\n").map(flatten).collect();
            say(&format!("affekt: {}", parts.join("; ")));
            ExitCode::from(2)
        }
    }
}
