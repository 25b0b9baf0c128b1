//! The shape of the tree: who may import whom, which code is pure, and that files say what they are for.
//! CONTRIBUTING.md and ARCHITECTURE.md give the reasons.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which top-level modules a top-level module may import. A change here is a change of the architecture: say
/// why in ARCHITECTURE.md.
const IMPORTS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("clock", &["model"]),
    ("secret", &[]),
    ("telemetry", &[]),
    ("lifecycle", &["telemetry"]),
    ("net", &["secret", "telemetry"]),
    ("detect", &["model"]),
    ("sources", &["model", "clock", "secret", "net", "telemetry"]),
    ("store", &["model", "telemetry"]),
    ("incidents", &["model", "store", "clock", "telemetry"]),
    ("notify", &["model", "store", "clock", "telemetry", "secret", "net"]),
    ("upkeep", &["model", "store", "clock", "telemetry"]),
    ("pipeline", &["model", "clock", "telemetry", "store", "detect", "incidents", "sources"]),
    ("http", &["model", "store", "incidents", "clock", "secret", "telemetry"]),
    ("simulate", &["model", "clock", "net"]),
    (
        "config",
        &[
            "model",
            "secret",
            "net",
            "sources",
            "detect",
            "store",
            "incidents",
            "notify",
            "upkeep",
            "pipeline",
            "http",
            "telemetry",
        ],
    ),
    (
        "app",
        &[
            "model",
            "clock",
            "secret",
            "telemetry",
            "lifecycle",
            "net",
            "detect",
            "sources",
            "store",
            "incidents",
            "notify",
            "upkeep",
            "pipeline",
            "http",
            "simulate",
            "config",
        ],
    ),
    (
        "cli",
        &[
            "model",
            "clock",
            "secret",
            "telemetry",
            "lifecycle",
            "net",
            "detect",
            "sources",
            "store",
            "incidents",
            "notify",
            "upkeep",
            "pipeline",
            "http",
            "simulate",
            "config",
            "app",
        ],
    ),
];

/// Code that only computes: what goes in comes out, whatever the time and the machine.
const PURE: &[&str] = &[
    "src/model",
    "src/detect",
    "src/incidents/state",
    "src/incidents/fingerprint",
    "src/notify/route",
    "src/notify/message",
    "src/sources/schedule",
    "src/simulate/random",
    "src/simulate/document",
    "src/simulate/traffic",
    "src/simulate/scenario",
];

/// Longest file that needs no reason; tests at its end are not counted.
const LINES: usize = 400;

#[test]
fn every_file_says_what_it_is_for() {
    check(&["src", "tests", "benches"], |_, text| {
        (!text.starts_with("//!")).then(|| "does not begin with //!".to_owned())
    });
}

#[test]
fn modules_import_only_what_the_table_allows() {
    check(&["src"], |path, text| {
        let module = top_level(path)?;
        let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == module) else {
            return Some(format!(
                "module `{module}` is not in the import table of tests/it/tidy.rs"
            ));
        };
        let wrong: Vec<String> = imports(text)
            .into_iter()
            .filter(|import| *import != module && is_module(import))
            .filter(|import| !allowed.contains(&import.as_str()))
            .collect();
        (!wrong.is_empty()).then(|| format!("`{module}` must not import {}", wrong.join(", ")))
    });
}

#[test]
fn the_import_table_has_no_cycle_below_the_top() {
    for (module, allowed) in IMPORTS {
        for import in *allowed {
            let back =
                IMPORTS.iter().any(|(name, theirs)| name == import && theirs.contains(module));
            assert!(!back, "{module} and {import} import each other");
        }
    }
}

#[test]
fn pure_code_does_not_wait_or_touch_the_outside() {
    for pure in PURE {
        let found = files("src").iter().any(|path| path.to_string_lossy().starts_with(pure));
        assert!(found, "{pure} is gone: change the list of pure code");
    }
    check(&["src"], |path, text| {
        let path = path.to_string_lossy();
        if !PURE.iter().any(|pure| path.starts_with(pure)) {
            return None;
        }
        let code = without_comments(text);
        ["async ", ".await", "tokio", "sqlx", "std::fs", "reqwest"]
            .into_iter()
            .find(|banned| code.contains(banned))
            .map(|banned| format!("is pure code, but contains `{banned}`"))
    });
}

#[test]
fn long_files_say_why() {
    check(&["src"], |_, text| {
        let code = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        let header: Vec<_> = text.lines().take_while(|line| line.starts_with("//!")).collect();
        let reason = header.join(" ").contains("Long because");
        (code > LINES && !reason).then(|| {
            format!("has {code} lines of code and its header gives no reason (`Long because …`)")
        })
    });
}

#[test]
fn nothing_is_left_for_later() {
    let marks =
        [["TO", "DO"], ["FIX", "ME"], ["todo", "!("], ["unimpl", "emented!("], ["#[ign", "ore"]];
    let marks = marks.map(|halves| halves.concat());
    let allow = ["#[al", "low("].concat();
    check(&["src", "tests", "benches"], |_, text| {
        marks
            .iter()
            .chain(std::iter::once(&allow))
            .find(|mark| text.contains(mark.as_str()))
            .map(|mark| format!("contains `{mark}`"))
    });
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_exists() {
    let code = without_comments(&fs::read_to_string("src/telemetry/metrics.rs").unwrap());
    let registered: BTreeSet<String> = code
        .split(".register(")
        .skip(1)
        .filter_map(|call| call.split('"').nth(1))
        .map(str::to_owned)
        .collect();
    assert!(registered.len() > 5, "the metrics were not found in telemetry/metrics.rs");
    let document = fs::read_to_string("docs/metrics.md").unwrap();
    let documented: BTreeSet<String> = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `sentinelops_")?.split('`').next())
        .map(|name| name.strip_suffix("_total").unwrap_or(name).to_owned())
        .collect();
    assert_eq!(
        registered, documented,
        "telemetry/metrics.rs (left) and docs/metrics.md (right) differ"
    );
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    let top = fs::read_dir(".").unwrap().map(|entry| entry.unwrap().path());
    let docs = fs::read_dir("docs").unwrap().map(|entry| entry.unwrap().path());
    let mut complaints = Vec::new();
    for path in top.chain(docs).filter(|path| path.extension().is_some_and(|e| e == "md")) {
        let text = fs::read_to_string(&path).unwrap();
        for target in text.split("](").skip(1).filter_map(|after| after.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            let elsewhere = file.is_empty() || target.contains("://");
            if !elsewhere && !path.parent().unwrap().join(file).exists() {
                complaints.push(format!("{}: {target} is not there", path.display()));
            }
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn imports_are_found_however_they_are_written() {
    let text = "
        use crate::{
            model::{Incident, Severity}, // crate::cli
            store,
        };
        use crate::net::client;
        /// Not an import: [`crate::app`].
        fn f() -> crate::notify::Failure { super::super::clock::now() }
    ";
    let expected = ["clock", "model", "net", "notify", "store"].map(str::to_owned);
    assert_eq!(imports(text), BTreeSet::from(expected));
}

/// Applies a rule to every Rust file of some folders, and fails with all complaints at once.
fn check(folders: &[&str], rule: impl Fn(&Path, &str) -> Option<String>) {
    let complaints: Vec<String> = folders
        .iter()
        .flat_map(|folder| files(folder))
        .filter_map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            rule(&path, &text).map(|complaint| format!("{}: {complaint}", path.display()))
        })
        .collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// The Rust files below a folder, if there is such a folder.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// `src/notify/slack.rs` belongs to `notify`; the crate's roots belong to none.
fn top_level(path: &Path) -> Option<String> {
    let first = path.strip_prefix("src").ok()?.components().next()?;
    let name = first.as_os_str().to_str()?.trim_end_matches(".rs").to_owned();
    (name != "lib" && name != "main").then_some(name)
}

fn is_module(name: &str) -> bool {
    Path::new("src").join(name).is_dir() || Path::new("src").join(format!("{name}.rs")).is_file()
}

/// The first names after `crate::` and after `super::super::`, groups included.
fn imports(text: &str) -> BTreeSet<String> {
    let code: String = without_comments(text).split_whitespace().collect::<Vec<_>>().join(" ");
    let mut found = BTreeSet::new();
    for root in ["crate::", "super::super::"] {
        for after in code.split(root).skip(1) {
            match after.strip_prefix('{') {
                Some(group) => found.extend(group_heads(group)),
                None => found.extend([head(after)]),
            }
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

/// The first names of the members of a group whose opening brace is already gone.
fn group_heads(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut members = vec![String::new()];
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => members.push(String::new()),
            _ => {}
        }
        if let Some(member) = members.last_mut()
            && character != ','
        {
            member.push(character);
        }
    }
    members.iter().map(|member| head(member.trim())).collect()
}

fn head(path: &str) -> String {
    path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The text without what follows `//`; good enough, since no path follows one inside a string.
fn without_comments(text: &str) -> String {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    code.collect::<Vec<_>>().join("\n")
}
