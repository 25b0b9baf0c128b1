//! Settings: the shipped file, the rival's file, the environment, and one bad file per rule.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sentinelops::config::{Config, Environment, NAMES, Origins};

const FIXTURES: &str = "tests/it/fixtures/config";

fn environment(pairs: &[(&str, &str)]) -> Environment {
    Environment::of(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

fn load(yaml: &str, pairs: &[(&str, &str)]) -> Config {
    Config::assemble(Some((Path::new("config.yaml"), yaml)), &environment(pairs)).unwrap()
}

fn refused(yaml: &str, pairs: &[(&str, &str)]) -> String {
    Config::assemble(Some((Path::new("config.yaml"), yaml)), &environment(pairs))
        .unwrap_err()
        .to_string()
}

#[test]
fn the_shipped_file_equals_the_defaults() {
    let text = std::fs::read_to_string("config.yaml").unwrap();
    assert_eq!(load(&text, &[]), Config::default());
    assert_eq!(load("", &[]), Config::default());
}

#[test]
fn the_shipped_file_names_every_setting() {
    let text = std::fs::read_to_string("config.yaml").unwrap();
    let missing: Vec<_> = Config::catalogue()
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| {
            let key = path.rsplit('.').next().unwrap();
            !text.lines().any(|line| {
                let line = line.trim_start_matches(|c: char| "# -".contains(c));
                line.starts_with(&format!("{key}:"))
            })
        })
        .collect();
    assert!(missing.is_empty(), "config.yaml does not name {missing:?}");
}

#[test]
fn the_documentation_names_every_setting_with_its_default() {
    let text = std::fs::read_to_string("docs/configuration.md").unwrap();
    let documented: BTreeMap<_, _> = text
        .lines()
        .filter_map(|line| {
            let mut cells = line.split('|').map(str::trim).skip(1);
            let path = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
            Some((path.to_owned(), cells.next()?.trim_matches('`').to_owned()))
        })
        .collect();
    let wrong: Vec<_> = Config::catalogue()
        .into_iter()
        .filter(|(path, default)| {
            let default = if default.is_empty() { "none" } else { default };
            documented.get(path).map(String::as_str) != Some(default)
        })
        .collect();
    assert!(wrong.is_empty(), "docs/configuration.md lacks or contradicts {wrong:#?}");
    for (name, _) in NAMES {
        assert!(text.contains(&format!("`{name}`")), "docs/configuration.md does not name {name}");
    }
}

#[test]
fn the_example_of_variables_names_every_variable_and_sets_none() {
    let text = std::fs::read_to_string(".env.example").unwrap();
    for (name, _) in NAMES {
        assert!(text.contains(&format!("{name}=")), ".env.example does not name {name}");
    }
    let mut environment = environment(&[]);
    environment.add_dot_env(&text).unwrap();
    assert_eq!(Config::assemble(None, &environment).unwrap(), Config::default());
}

#[test]
fn the_file_of_the_system_we_replace_loads() {
    let text = std::fs::read_to_string(format!("{FIXTURES}/rival.yaml")).unwrap();
    let config = load(&text, &[]);
    assert_eq!(config.analyzer.max_tokens, 1024);
    assert_eq!(config.polling, Config::default().polling);
}

#[test]
fn each_rule_has_a_message_that_says_what_to_do() {
    let mut files: Vec<PathBuf> = std::fs::read_dir(format!("{FIXTURES}/bad"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut messages = Vec::new();
    for file in &files {
        let yaml = std::fs::read_to_string(file).unwrap();
        let pairs: Vec<_> =
            yaml.lines().filter_map(|line| line.strip_prefix("# env: ")?.split_once('=')).collect();
        let name = file.file_stem().unwrap().to_str().unwrap();
        messages.push(format!("## {name}\n{}\n", refused(&yaml, &pairs)));
    }
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn the_environment_goes_before_the_file() {
    let config = load(
        "polling: {interval_seconds: 60, lookback_minutes: 6}",
        &[
            ("SENTINELOPS_POLLING__INTERVAL_SECONDS", "10"),
            ("SENTINELOPS_INCIDENTS__PAGERDUTY_SEVERITIES", "[P1]"),
            ("SENTINELOPS_LOGGING__FORMAT", "json"),
            ("DATABASE_URL", "postgres://u:p@db/x"),
        ],
    );
    assert_eq!(config.polling.interval_seconds, 10);
    assert_eq!(config.polling.lookback_minutes, 6);
    assert_eq!(config.incidents.pagerduty_severities.len(), 1);
    assert_eq!(config.store.url, "postgres://u:p@db/x");
}

#[test]
fn secrets_and_names_that_look_like_numbers_load_as_written() {
    for text in [
        "0012345678901234567",
        "12345678901234567890",
        "1234567890.1234567890",
        "-1234567890123456",
    ] {
        let config = load("", &[("SENTINELOPS_HTTP__TOKEN", text)]);
        assert_eq!(config.http.token.expose(), text);
    }
    let config = load("", &[("ANTHROPIC_API_KEY", "12345")]);
    assert_eq!(config.analyzer.api_key.expose(), "12345");
    for text in ["4", "4.5", "true", "[4]", "{a=4}"] {
        let config = load("", &[("SENTINELOPS_ANALYZER__MODEL", text)]);
        assert_eq!(config.analyzer.model, text);
    }
}

#[test]
fn a_file_may_refer_to_variables_and_files_of_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "from-a-file-of-secrets\n").unwrap();
    let token = token.to_str().unwrap();
    let yaml = "http: {token: '${TEAM_TOKEN}'}";
    let config = load(yaml, &[("TEAM_TOKEN_FILE", token)]);
    assert_eq!(config.http.token.expose(), "from-a-file-of-secrets");
    let config = load("", &[("SENTINELOPS_HTTP__TOKEN_FILE", token)]);
    assert_eq!(config.http.token.expose(), "from-a-file-of-secrets");
}

#[test]
fn settings_are_printed_without_secrets() {
    let config = load(
        "",
        &[
            ("SENTINELOPS_HTTP__TOKEN", "0123456789abcdef"),
            ("ANTHROPIC_API_KEY", "sk-ant-secret"),
            ("DATABASE_URL", "postgres://u:hunter2@db/x"),
        ],
    );
    let shown = format!("{config:?}{}", config.dump());
    for secret in ["0123456789abcdef", "sk-ant-secret", "hunter2"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains("postgres://u:***@db/x"), "{shown}");
}

#[test]
fn a_secret_in_the_wrong_place_is_not_printed() {
    for name in ["SENTINELOPS_NOTIFY__SLACK__TEAM", "SENTINELOPS_NOTIFY__SLACK", "SENTINELOPS_HTTP"]
    {
        let message = refused("", &[(name, "xoxb-hunter2")]);
        assert!(
            message.contains("must be a map of settings") && message.contains(name),
            "{message}"
        );
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn an_empty_section_means_its_defaults() {
    assert_eq!(load("polling:\nincidents:\n", &[]), Config::default());
}

#[test]
fn a_named_file_must_exist_and_parent_folders_are_not_searched() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.yaml"), "polling: {interval_seconds: 7}").unwrap();
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    let at = |file: Option<&str>, directory: &Path| {
        Origins { file: file.map(PathBuf::from), directory: directory.to_owned() }
            .load_with(&environment(&[]))
    };
    assert_eq!(at(None, folder.path()).unwrap().polling.interval_seconds, 7);
    assert_eq!(at(None, &inner).unwrap().polling.interval_seconds, 30);
    let error = at(Some("/nowhere/config.yaml"), folder.path()).unwrap_err();
    assert!(error.to_string().contains("/nowhere/config.yaml: cannot be read"), "{error}");
}
