//! Machines beside each other on a page: what they are called, and what ran where. Knows no results.

use crate::check::Environment;
use crate::page::escape;
use crate::page::facts::Facts;
use crate::page::units::{bytes, date, grouped};

/// How a machine is called on its page.
pub(crate) struct Who {
    /// `A`, `B`, …; a number beyond `Z`.
    pub letter: String,
    /// As short as tells it from the others.
    pub name: String,
}

impl Who {
    pub fn all<'a>(environments: impl Iterator<Item = &'a Environment>) -> Vec<Self> {
        let environments: Vec<&Environment> = environments.collect();
        let mut names: Vec<String> = environments.iter().map(|e| short(&e.adapter)).collect();
        // What differs among machines of one name is added to it, until no two are equal.
        let marks: [fn(&Environment) -> String; 5] = [
            |e| e.engine.clone(),
            |e| match e.limits.as_str() {
                "" => String::new(),
                limits => format!("{limits} limits"),
            },
            |e| e.backend.clone(),
            |e| e.driver_info.clone(),
            |e| date(e.started),
        ];
        for mark in marks {
            let before = names.clone();
            for (i, own) in environments.iter().enumerate() {
                let others = environments.iter().enumerate().filter(|(j, _)| *j != i);
                let differs = others
                    .filter(|(j, _)| before[*j] == before[i])
                    .any(|(_, other)| mark(other) != mark(own));
                if differs && !mark(own).is_empty() {
                    names[i] = format!("{}, {}", before[i], mark(own));
                }
            }
        }
        names
            .into_iter()
            .enumerate()
            .map(|(i, name)| Who {
                letter: match u8::try_from(i) {
                    Ok(i @ 0..26) => char::from(b'A' + i).to_string(),
                    _ => (i + 1).to_string(),
                },
                name,
            })
            .collect()
    }

    /// The letter in a box.
    pub fn chip(&self) -> String {
        format!("<b class=\"who\">{}</b>", self.letter)
    }

    /// Letter and name in markup; the name alone where there is one machine.
    pub fn heading(&self, of: &[Who]) -> String {
        match of.len() {
            1 => escape(&self.name),
            _ => format!("{} {}", self.chip(), escape(&self.name)),
        }
    }
}

/// A label without the backend before it and the brackets behind.
fn short(label: &str) -> String {
    let name = label.split_once(':').map_or(label, |(_, name)| name);
    match name.split(" (").next().unwrap_or(name).trim() {
        "" => "unnamed adapter".to_string(),
        name => name.to_string(),
    }
}

pub(crate) fn headings(who: &[Who]) -> Vec<String> {
    who.iter().map(|w| w.heading(who)).collect()
}

/// `1 case`, `2 cases`.
pub(crate) fn counted(n: usize, one: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n => format!("{} {one}s", grouped(&n.to_string())),
    }
}

/// A machine with a few large numbers: names, and values in markup; `below` is markup too.
pub(crate) fn card(
    heading: &str,
    environment: &Environment,
    tiles: &[(String, String)],
    below: &str,
) -> String {
    let e = environment;
    let mut about: Vec<String> = [&e.engine, &e.class, &e.backend]
        .into_iter()
        .filter(|s| !s.is_empty())
        .cloned()
        .collect();
    if !e.limits.is_empty() {
        about.push(format!("{} limits", e.limits));
    }
    let mut out = format!(
        "<section>\n<h2>{heading}</h2>\n<p class=\"note\">{}</p>\n",
        escape(&about.join(" · "))
    );
    if !tiles.is_empty() {
        out += "<dl class=\"tiles\">\n";
        for (name, value) in tiles {
            out += &format!("<div><dt>{name}</dt><dd>{value}</dd></div>\n");
        }
        out += "</dl>\n";
    }
    out + below + "</section>\n"
}

/// Adapter, driver, engine, host.
pub(crate) fn facts_of(environments: &[&Environment]) -> Facts {
    let mut facts = Facts::default();
    let each =
        |of: fn(&Environment) -> String| environments.iter().map(|e| of(e)).collect::<Vec<_>>();
    facts.text("Adapter", each(|e| e.adapter.clone()));
    facts.text(
        "Driver",
        each(|e| {
            let parts = [e.driver.as_str(), e.driver_info.as_str()];
            let known: Vec<&str> = parts.into_iter().filter(|s| !s.is_empty()).collect();
            known.join(", ")
        }),
    );
    facts.text(
        "Engine",
        each(|e| match e.wgpu.as_str() {
            "" => e.engine.clone(),
            wgpu => format!("{}, wgpu {wgpu}", e.engine),
        }),
    );
    facts.text("Class", each(|e| e.class.clone()));
    facts.text("Limits", each(|e| e.limits.clone()));
    facts.text("Features", each(|e| e.features.join(", ")));
    facts.text("Plan table", each(|e| e.plan_table.clone()));
    facts.text(
        "Host",
        each(|e| match e.n_host_threads {
            0 => e.os.clone(),
            n => format!("{}; {}", e.os, counted(n, "thread")),
        }),
    );
    facts.text(
        "Started",
        each(|e| match e.started {
            0 => String::new(),
            started => date(started),
        }),
    );
    facts
}

/// Limits of the devices, folded; nothing where none is known.
pub(crate) fn limits_of(environments: &[&Environment], who: &[Who]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in environments.iter().flat_map(|e| &e.device_limits) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return String::new();
    }
    let mut facts = Facts::default();
    for name in names {
        let values = environments.iter().map(|e| {
            let limit = e.device_limits.iter().find(|(n, _)| n == name);
            match limit.map(|(_, value)| *value) {
                Some(n) if name.ends_with("_bytes") => bytes(n),
                Some(n) => grouped(&n.to_string()),
                None => String::new(),
            }
        });
        facts.text(&name.trim_end_matches("_bytes").replace('_', " "), values);
    }
    let table = facts.table("Limits of the device", &headings(who));
    format!("<details><summary>Limits of the device</summary>\n{table}</details>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_have_names_that_tell_them_apart() {
        let of = |adapter: &str, engine: &str, started| Environment {
            adapter: adapter.to_string(),
            engine: engine.to_string(),
            started,
            ..Environment::default()
        };
        let names = |environments: &[Environment]| -> Vec<String> {
            let who = Who::all(environments.iter());
            who.into_iter().map(|w| w.name).collect()
        };
        let lavapipe = of("vulkan:llvmpipe (LLVM 15.0.6, 256 bits)", "affekt 0.1.0", 0);
        assert_eq!(names(std::slice::from_ref(&lavapipe)), ["llvmpipe"]);
        assert_eq!(
            names(&[
                lavapipe.clone(),
                of("metal:Apple M4", "affekt 0.1.0", 0),
                of("vulkan:llvmpipe", "burn 0.22.0", 0),
            ]),
            [
                "llvmpipe, affekt 0.1.0",
                "Apple M4",
                "llvmpipe, burn 0.22.0"
            ]
        );
        let later = of("vulkan:llvmpipe", "affekt 0.1.0", 60);
        assert_eq!(
            names(&[lavapipe, later]),
            [
                "llvmpipe, 1970-01-01 00:00 UTC",
                "llvmpipe, 1970-01-01 00:01 UTC"
            ]
        );
        assert_eq!(names(&[of("", "", 0)]), ["unnamed adapter"]);
        let many: Vec<Environment> = (0..28).map(|i| of(&i.to_string(), "", 0)).collect();
        let who = Who::all(many.iter());
        assert_eq!([&who[25].letter, &who[26].letter], ["Z", "27"]);
        assert_eq!(who[1].heading(&who), "<b class=\"who\">B</b> 1");
    }
}
